"""The Dagster UI on a small batch, in a real browser, with the daemon that backfills need.

Four networks, one of them not there, one with a price that a check objects to. Skipped where no
Chromium is installed.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from playwright.sync_api import expect

from mrf_assets.definitions import defs
from mrf_assets.defs.freshness import FRESHNESS_CHECK
from mrf_assets.schema import TABLES
from mrf_assets_tests.browser import PAGE_MILLISECONDS, Ui, chromium, opened
from mrf_assets_tests.dagster_fixtures import Payer, Place, dagster_dev, key, wait_for
from mrf_assets_tests.factory import document
from mrf_assets_tests.mrf_server import MrfServer

pytestmark = pytest.mark.browser

_BROKEN, _DOUBTFUL = "b", "d"
_SOUND = "acd"
_RUN_SECONDS = 150.0
_TABLES = "/locations/__repository__@mrf_assets/asset-groups/network_tables/lineage"
_BACKFILLS = "{partitionBackfillsOrError{... on PartitionBackfills{results{status numPartitions}}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A payer, what was ingested of it, and the UI over it."""

    place: Place
    payer: Payer
    ui: Ui

    def materialize(self, letters: str) -> None:
        """Choose networks in the dialog, and launch them."""
        self.ui.open(_TABLES, "Materialize all")
        self.ui.click("Materialize all")
        self.ui.click("Select a partition or create one")
        for letter in letters:
            self.ui.click(key(letter))
        self.ui.page.keyboard.press("Escape")
        self.ui.launch(self.ui.page.get_by_role("button", name=re.compile(r"Launch (backfill|\d+ run)")))

    def failed_checks(self, table: str = "rates") -> set[str]:
        """The checks of a table that failed in any network."""
        checks = _checks_of(table)
        with self.place.instance() as instance:
            infos = instance.event_log_storage.get_asset_check_partition_info(checks)
        assert {info.check_key for info in infos} == set(checks)
        assert all(info.is_current for info in infos)
        return {info.check_key.name for info in infos if info.latest_execution_status.value == "FAILED"}

    def passed(self, table: str = "rates") -> str:
        """What the lineage says of a table's checks."""
        count = len(_checks_of(table))
        return f"{count - len(self.failed_checks(table))} / {count} Passed"

    def ended_run(self, letter: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """The latest run of a network that was started here, once it has ended as it should."""

        def look() -> dg.DagsterRun | None:
            of_network = dg.RunsFilter(tags={"dagster/partition": key(letter)}, statuses=[status])
            with self.place.instance() as instance:
                runs = instance.get_runs(of_network)
            return next((run for run in runs if "mrf/batch" not in run.tags), None)

        return wait_for(f"a run of {letter} to end with {status}", look, _RUN_SECONDS, every_seconds=0.5)

    def backfills(self) -> list[dict[str, str | int]]:
        """What Dagster says of the backfills."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.ui.base_url}/graphql",
            json.dumps({"query": _BACKFILLS}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
            found: list[dict[str, str | int]] = json.load(answer)["data"]["partitionBackfillsOrError"]["results"]
        return found


def _checks_of(table: str) -> list[dg.AssetCheckKey]:
    return [check for check in defs.resolve_asset_graph().asset_check_keys if check.asset_key == dg.AssetKey(table)]


def _doubtful() -> dict[str, object]:
    made = document(seed=1, codes=2)
    made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][0]["negotiated_rate"] = 0
    return made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A batch, then the UI over it."""
    place = Place(tmp_path_factory.mktemp("ui"))
    with chromium() as browser, MrfServer() as server:
        payer = Payer(server)
        for letter in _SOUND:
            payer.publish(letter, _doubtful() if letter == _DOUBTFUL else None)
        assert 1 == place.run(payer.publish_index("abcd"), 1).returncode
        with dagster_dev(place) as base_url:
            yield Desk(place=place, payer=payer, ui=opened(browser, base_url))


def test_the_lineage_shows_the_groups(desk: Desk) -> None:
    """From the payer's files to the answers; the four are folded, each with how many assets it has."""
    desk.ui.open("/asset-groups", "Materialize all")
    for group in ("source", "network_tables", "providers", "answers"):
        in_graph_and_list = desk.ui.page.get_by_text(group, exact=True)
        expect(in_graph_and_list.locator("visible=true")).not_to_have_count(0, timeout=PAGE_MILLISECONDS)


def test_the_lineage_of_a_table_goes_from_its_files_to_what_is_made_of_it(desk: Desk) -> None:
    """Both ways from the group of tables; the table shows its checks."""
    desk.ui.open("/assets/rates?view=lineage", "network_files", "catalog", "rate_changes", desk.passed())


def test_a_missing_file_fails_no_check(desk: Desk) -> None:
    """Of the rules of errors and form, what was published passed all; the network that is missing is Missing."""
    assert {"dollars_are_positive"} <= desk.failed_checks() <= {"dollars_are_positive", FRESHNESS_CHECK}
    for table in TABLES:
        if _checks_of(table):
            desk.ui.open(f"/assets/{table}?view=lineage", desk.passed(table))
    desk.ui.open("/assets/rates?view=checks&checkDetail=reconciliation", "Execution history")
    desk.ui.page.get_by_role("tab", name="Partitions").last.click()
    desk.ui.see("Passed (3)", "Missing (1)", "Failed (0)", "Execution Failed (0)", "Skipped (0)")


def test_the_partitions_show_what_failed(desk: Desk) -> None:
    """One network failed, three are there; each by its name."""
    desk.ui.open(
        "/assets/rates?view=partitions",
        *("Failed (1)", "Materialized (3)", "Missing (0)"),
        *(key(letter) for letter in "abcd"),
    )


def test_a_check_shows_its_sql_and_the_offending_rows(desk: Desk) -> None:
    """What is judged, and how many rows of the last network were objected to."""
    desk.ui.open(
        "/assets/rates?view=checks&checkDetail=dollars_are_positive",
        "WHERE negotiated_type IS DISTINCT FROM 'percentage' AND negotiated_rate <= 0",
        re.compile(r"Evaluation result\s+Failed"),
        re.compile(r"offending_rows\s+1\s"),
        key(_DOUBTFUL),
    )


def test_a_failed_run_says_why(desk: Desk) -> None:
    """The address and what to do, in the run's own events."""
    with desk.place.instance() as instance:
        (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))

    desk.ui.open(f"/runs/{run.run_id}", "HTTP 404, the file is not there; get a newer index or drop the address")


def test_a_backfill_is_launched_by_clicks(desk: Desk) -> None:
    """Three partitions are chosen in the dialog, and the daemon brings their runs to success."""
    desk.materialize(_SOUND)

    ended = wait_for(
        "the backfill to end",
        lambda: [it for it in desk.backfills() if str(it["status"]).startswith("COMPLETED")],
        _RUN_SECONDS,
        every_seconds=1.0,
    )

    assert [{"status": "COMPLETED_SUCCESS", "numPartitions": 3}] == ended
    with desk.place.instance() as instance:
        runs = [run for run in instance.get_runs() if "dagster/backfill" in run.tags]
    assert {key(letter): "SUCCESS" for letter in _SOUND} == {
        run.tags["dagster/partition"]: run.status.value for run in runs
    }
    desk.ui.open("/runs?view=backfills", "Manually launched", "Success")
    desk.ui.open("/assets/rates?view=lineage", desk.passed())


def test_a_failed_partition_is_read_repaired_and_retried(desk: Desk) -> None:
    """From the red partition to its run, with the reason and the log; once the file is there a click makes it green."""
    desk.materialize(_BROKEN)
    failed = desk.ended_run(_BROKEN, dg.DagsterRunStatus.FAILURE)

    desk.ui.open("/assets/rates?view=partitions", "Failed (1)", key(_BROKEN))
    desk.ui.click(key(_BROKEN))
    desk.ui.see(f"Run {failed.run_id[:8]} failed, and did not materialize this asset.")
    desk.ui.page.get_by_role("link", name=failed.run_id[:8]).click()
    desk.ui.see("HTTP 404, the file is not there; get a newer index or drop the address")
    desk.ui.click("stderr")
    desk.ui.see(f"{key(_BROKEN)}: reading {desk.payer.server.url(Payer.path(_BROKEN))}")

    assert {"dollars_are_positive"} <= desk.failed_checks() <= {"dollars_are_positive", FRESHNESS_CHECK}

    desk.payer.publish(_BROKEN)
    desk.ui.launch(desk.ui.page.get_by_role("button", name="Re-execute all (*)"))
    retried = desk.ended_run(_BROKEN, dg.DagsterRunStatus.SUCCESS)

    assert failed.run_id == retried.parent_run_id
    desk.ui.open("/assets/rates?view=partitions", "Failed (0)", "Materialized (4)")
    desk.ui.open("/assets/rates?view=lineage", desk.passed())


def test_audits_are_offered_for_each_network(desk: Desk) -> None:
    """On the partitions of their job, as the Checks tab executes no check of a partitioned asset."""
    desk.ui.open("/locations/__repository__@mrf_assets/jobs/audit/partitions", "Launch backfill", "Total partitions")


def test_the_pages_raise_no_error(desk: Desk) -> None:
    """None that was opened so far."""
    desk.ui.open("/overview", "Overview")

    assert [] == desk.ui.errors
