"""The enrichment in the Dagster UI: a run that failed goes on where it stopped, and its figures are plotted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from playwright.sync_api import expect

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.browser import Ui, chromium, opened
from mrf_assets_tests.dagster_fixtures import Place, dagster_dev, wait_for
from mrf_assets_tests.factory import document, render
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.nppes_server import NppesServer, Reply

pytestmark = pytest.mark.browser

_JOB = "/locations/__repository__@mrf_assets/jobs/enrich_npis"
_NETWORKS = "abcdefghijklm"
_ANSWERED = 10  # look-ups, before the registry is down; fifty failures more end the run
_RUN_SECONDS = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Went:
    """A run that failed in the middle, and the one that went on."""

    ui: Ui
    failed: dg.DagsterRun
    retried: dg.DagsterRun
    asked_before: Counter[str]
    asked_after: Counter[str]


def _publish(place: Place, name: str) -> None:
    source = place.root / f"{name}.json"
    source.write_bytes(render(document(seed=ord(name), codes=10)))
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=name, period="2026-11")
    task = FileTask(address=Address(str(source)), network_id=f"t~{name}", identity=identity)
    ingest(task.network_id, [task], Settings(output_dir=place.output)).require_published()


def _ended(place: Place, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    def look() -> dg.DagsterRun | None:
        with place.instance() as instance:
            found = instance.get_runs(dg.RunsFilter(job_name="enrich_npis", statuses=[status]))
        return next(iter(found), None)

    return wait_for(f"the run to end with {status}", look, _RUN_SECONDS, every_seconds=0.5)


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Went]:
    """The registry goes down in the middle of a run and comes back before the next; CMS's page is down all the time."""
    place = Place(tmp_path_factory.mktemp("enrichment"))
    for name in _NETWORKS:
        _publish(place, name)
    with chromium() as browser, MrfServer() as cms, NppesServer() as api:

        def go_down(_npi: str) -> None:
            if api.total() >= _ANSWERED:
                api.always(Reply(status=404))

        api.on_request = go_down
        environment = {
            "MRF_NPI_API_URL": api.url,
            "MRF_NPI_FILES_URL": cms.url("/nobody.html"),
            "MRF_RATE_LIMIT_DELAY": "0.001",
        }
        with dagster_dev(place, **environment) as base_url:
            ui = opened(browser, base_url)
            ui.open(_JOB, "Materialize all")
            ui.click("Materialize all")
            ui.launch(
                ui.page.get_by_text("Confirm").locator("visible=true").last
            )  # the tables were not made by Dagster
            failed = _ended(place, dg.DagsterRunStatus.FAILURE)
            asked_before = Counter(api.requests)
            api.on_request = lambda _npi: None
            api.always(None)
            ui.open(f"/runs/{failed.run_id}", "Re-execute")
            ui.launch(ui.page.get_by_role("button", name="Re-execute").first)
            retried = _ended(place, dg.DagsterRunStatus.SUCCESS)
            asked_after = Counter(api.requests) - asked_before
            yield Went(ui=ui, failed=failed, retried=retried, asked_before=asked_before, asked_after=asked_after)


def test_a_failed_run_that_is_executed_again_goes_on(went: Went) -> None:
    """What the registry had answered is not asked for again, and nothing is left out."""
    answered = {npi for npi, times in went.asked_before.items() if npi not in went.asked_after and times == 1}

    assert went.failed.run_id == went.retried.parent_run_id
    assert len(answered) >= _ANSWERED - 1
    assert {1} == set(went.asked_after.values())
    went.ui.open("/assets/npi_registry?view=events", "Materialized", went.retried.run_id[:8])


def test_figures_are_plotted(went: Went) -> None:
    """Over time, for each number of an update."""
    went.ui.open(f"{_JOB}/npi_registry", "Metadata plots", "success_rate_percent", "utilisation_percent", "requests")

    expect(went.ui.page.locator("canvas")).not_to_have_count(0)
    assert [] == went.ui.errors
