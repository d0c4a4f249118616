"""What portals name, as a run of Dagster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mrf_assets.definitions import build_defs
from mrf_assets.defs.discovery import found_path
from mrf_assets.settings import DiscoveryMode, Settings
from mrf_assets.watch.registry import read_registry
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.portal_server import INDEX, RATES, SECRET, SIGNED, link_page, page

_NAME = "discovered_indexes"


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MrfServer]:
    monkeypatch.setenv("MRF_SCRAPER_RATE_PER_SECOND", "10000")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with MrfServer() as server:
        link_page(server, "/mrf", [f"{INDEX}{SIGNED}".replace("&", "&amp;"), RATES])
        yield server


def run(lake: Path, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:  # noqa: ANN401 - of the asset
    """The job, and the metadata of what it made."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(Settings(output_dir=lake, max_retries=0)).resolve_job_def("discover_portals")
        result = job.execute_in_process(
            instance=instance,
            run_config={"ops": {_NAME: {"config": {"enable_scraping": False, **config}}}},
            raise_on_error=False,
        )
        made = result.asset_materializations_for_node(_NAME) if result.success else []
        assert SECRET not in repr([event.event_specific_data for event in result.all_events])
    return result, {name: value.value for name, value in made[0].metadata.items()} if made else {}


def test_the_job_writes_what_portals_name(server: MrfServer, tmp_path: Path) -> None:
    """Counts by status, kind and way plot; signatures stand in the file alone."""
    refused = page(server, "/refused", "no", status=403)

    result, facts = run(tmp_path, portals=[server.url("/mrf"), refused])

    assert result.success
    expected = {
        "dagster/row_count": 2,
        "portals": 2,
        "portals_found": 1,
        "portals_blocked": 1,
        "portals_failed": 0,
        "files_table_of_contents": 1,
        "files_in_network": 1,
        "way_links": 2,
    }
    assert expected == {name: facts[name] for name in expected}
    assert [server.url(f"/{INDEX}"), server.url(f"/{RATES}")] == facts["indexes"]
    assert ["found", "blocked"] == [each["status"] for each in facts["results"]]
    assert SECRET in found_path(tmp_path).read_text()


def test_portals_come_out_of_the_settings(server: MrfServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the indexes go into the registry, where that is asked for."""
    listed = tmp_path / "portals.txt"
    listed.write_text(f"{server.url('/mrf')}\n")
    monkeypatch.setenv("MRF_PORTALS", str(listed))

    result, facts = run(tmp_path, watch=True)

    assert result.success
    assert 1 == facts["indexes_added"]
    assert [server.url(f"/{INDEX}{SIGNED}")] == [
        it.url.real for it in read_registry(tmp_path / "home" / "indexes.toml")
    ]


def test_a_portal_over_the_limit_is_told(server: MrfServer, tmp_path: Path) -> None:
    """The indexes of the others are registered."""
    many = link_page(server, "/many", [f"2026-11-01_{ein}_index.json" for ein in range(3)])

    result, facts = run(tmp_path, portals=[many, server.url("/mrf")], watch=True, watch_limit=2)

    assert result.success
    assert 1 == facts["indexes_added"]
    (told,) = facts["portals_not_watched"]
    assert f"{many} names 3 indexes" in told


def test_a_mode_that_there_is_not_is_refused_before_a_run_starts(tmp_path: Path) -> None:
    """By the launchpad and by `mrf submit`; none at all is the settings'."""
    job = build_defs(Settings(output_dir=tmp_path)).resolve_job_def("discover_portals")

    for mode in (None, *DiscoveryMode):
        assert dg.validate_run_config(job, {"ops": {_NAME: {"config": {"mode": mode} if mode else {}}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="mode"):
        dg.validate_run_config(job, {"ops": {_NAME: {"config": {"mode": "sideways"}}}})


def test_no_portal_at_all_is_one_line(server: MrfServer, tmp_path: Path) -> None:
    """A failure that is not tried again, and no traceback."""
    del server
    result, _ = run(tmp_path)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "MRF_PORTALS" in str(failure.step_failure_data.user_failure_data)


def test_what_the_browser_did_is_metadata(server: MrfServer, tmp_path: Path) -> None:
    """Pages, contexts, starts, crashes: each plots."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium is installed")

    result, facts = run(tmp_path, portals=[server.url("/mrf")], mode="scraping_only", enable_scraping=True)

    assert result.success
    expected = {"scraper_pages": 1, "scraper_pages_found": 1, "scraper_launches": 1, "scraper_crashes": 0}
    assert expected == {name: facts[name] for name in expected}
    assert facts["scraper_mean_page_seconds"] > 0
    assert 2 == facts["way_browser"]
