"""What is known of batches that were begun, out of plan and event log."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from mrf_assets.batches.statistics import BatchStatistics
from mrf_assets.cli.status_view import status_lines
from mrf_assets.definitions import defs
from mrf_assets.defs.partitions import REGISTRY_POOL, add_networks, limit_registry
from mrf_assets.ingest.plan import PlannedBatch, TaskStore
from mrf_assets.runner.history import all_statistics, batch_statistics, ensure_dagster_home
from mrf_assets.submit.server import DagsterServer, ServerBackfill
from mrf_assets.submit.states import backfill_status
from mrf_assets_tests.dagster_fixtures import add_asset_backfill, add_backfill

_BATCH = "20261122_101112-ab"


def _run(instance: dg.DagsterInstance, batch_id: str, network_id: str) -> dg.RunRecord:
    """A run that has succeeded."""
    tags = {"mrf/batch": batch_id, "dagster/partition": network_id}
    run = dg.DagsterRun("network_tables", run_id=str(uuid.uuid4()), tags=tags)
    instance.add_run(run)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run_id=run.run_id
    )
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    return record


def test_a_batch_that_was_begun_before_is_told_with_all_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran before the days that are asked for is not pending; batches of before alone are not told."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    plan = TaskStore.under(tmp_path / "out")
    for batch_id in ("before", _BATCH):
        networks = {"a": 0, "b": 0, "c": 0}
        plan.save_batch(
            PlannedBatch(batch_id=batch_id, source_type="tasks", source_input="", priorities=networks, config={})
        )
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        _run(instance, "before", "a")
        since = _run(instance, _BATCH, "a").create_timestamp
        while _run(instance, _BATCH, "b").create_timestamp <= since:
            pass

    (found,) = all_statistics(tmp_path / "out", since)
    assert (_BATCH, 3, 2, 1) == (found.batch_id, found.networks, found.succeeded, found.pending)


def test_a_backfill_goes_on_between_two_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its networks are pending before the daemon has made a run of them; who waits for its end goes on waiting."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        backfill = add_backfill(instance, BulkActionStatus.REQUESTED, {}, ["a", "b"])
        before = batch_statistics(tmp_path / "out", backfill.backfill_id)
        instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_SUCCESS))
        after = batch_statistics(tmp_path / "out", backfill.backfill_id)

    assert (2, 2, True) == (before.networks, before.pending, before.is_going_on)
    assert not after.is_going_on


@pytest.mark.parametrize("status", ["CANCELING", "CANCELED", "FAILING", "FAILED"])
def test_a_backfill_that_is_over_has_nothing_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """What it had not begun is canceled: it never begins, and nobody waits for it."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        backfill = add_backfill(instance, BulkActionStatus(status), {}, ["a", "b", "c"])
        _run(instance, backfill.backfill_id, "a")
        found = batch_statistics(tmp_path / "out", backfill.backfill_id)

    assert (3, 1, 2, 0) == (found.networks, found.succeeded, found.canceled, found.pending)
    assert ["Canceled: 2", "Pending: 0"] == [line for line in status_lines(found) if line[:3] in ("Can", "Pen")]
    assert not found.is_successful


def test_a_completed_backfill_has_nothing_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has begun all of its networks; the runs that are not there were deleted as old ones are."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        backfill = add_backfill(instance, BulkActionStatus.COMPLETED_SUCCESS, {}, ["a", "b"])
        _run(instance, backfill.backfill_id, "a")
        found = batch_statistics(tmp_path / "out", backfill.backfill_id)

    assert (1, 1, 0) == (found.networks, found.succeeded, found.pending)
    assert found.is_successful


def _told_alone(output: Path, batch_id: str) -> BatchStatistics:
    return batch_statistics(output, batch_id)


def _told_among_all(output: Path, batch_id: str) -> BatchStatistics:
    since = dt.datetime.now(tz=dt.UTC) - dt.timedelta(days=1)
    (found,) = (it for it in all_statistics(output, since) if it.batch_id == batch_id)
    return found


_TOLD = pytest.mark.parametrize("told", [_told_alone, _told_among_all])
Told = Callable[[Path, str], BatchStatistics]


def _of_a_job(instance: dg.DagsterInstance) -> PartitionBackfill:
    return add_backfill(instance, BulkActionStatus.REQUESTED, {}, ["a", "b", "c"])


def _of_assets(instance: dg.DagsterInstance) -> PartitionBackfill:
    add_networks(instance, ["a", "b", "c"])
    return add_asset_backfill(instance, defs, "rates", ["a", "b", "c"])


@_TOLD
@pytest.mark.parametrize("begun", [_of_a_job, _of_assets])
def test_the_networks_that_a_backfill_has_not_begun_are_pending(
    told: Told,
    begun: Callable[[dg.DagsterInstance], PartitionBackfill],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In `mrf status` and `mrf stats`, of a job and of assets that were selected in the UI."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        backfill = begun(instance)
        _run(instance, backfill.backfill_id, "a")

    found = told(tmp_path / "out", backfill.backfill_id)
    assert (3, 1, 2) == (found.networks, found.succeeded, found.pending)


@_TOLD
def test_the_networks_that_a_canceled_backfill_had_not_begun_are_canceled(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `mrf status` and `mrf stats`."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        backfill = _of_a_job(instance)
        instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
        _run(instance, backfill.backfill_id, "a")

    found = told(tmp_path / "out", backfill.backfill_id)
    assert (3, 1, 2, 0) == (found.networks, found.succeeded, found.canceled, found.pending)


@_TOLD
def test_a_backfill_that_makes_no_tables_has_no_pending_networks(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is looked up about each network."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        add_networks(instance, ["a", "b"])
        backfill = add_asset_backfill(instance, defs, "rate_changes", ["a", "b"])
        run = dg.DagsterRun(
            "compare_months",
            run_id=str(uuid.uuid4()),
            tags={"dagster/backfill": backfill.backfill_id, "dagster/partition": "a"},
        )
        instance.add_run(run)

    assert 0 == told(tmp_path / "out", backfill.backfill_id).networks


def test_a_webserver_tells_of_a_canceled_backfill_what_was_not_begun() -> None:
    """Of four networks one was published, and one failed; the runs of the others were never made."""
    backfill = ServerBackfill(
        backfill_id="b",
        job="ingest",
        status="CANCELED",
        partitions=4,
        tags={},
        end_time=0.0,
        error=None,
        run_statuses={},
    )
    found = backfill_status(DagsterServer("http://127.0.0.1:1"), backfill, {"SUCCESS": 1, "FAILURE": 1})

    assert ("canceled", 4, 1, 1, 2) == (found.state, found.parts, found.completed, found.failed, found.canceled)


# --- the home -------------------------------------------------------------------------------


def _limit(home: Path) -> int:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}[REGISTRY_POOL]


def test_a_new_home_has_one_slot_for_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody's doing."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))

    assert 1 == _limit(ensure_dagster_home())


@pytest.mark.parametrize(
    ("settings", "set_by_hand", "expected"), [("", 3, 3), ("concurrency: {pools: {default_limit: 5}}", None, 1)]
)
def test_a_limit_that_somebody_set_is_kept(
    tmp_path: Path, settings: str, set_by_hand: int | None, expected: int
) -> None:
    """A default for all pools is not set for this one."""
    (tmp_path / "dagster.yaml").write_text(settings)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        if set_by_hand is None:
            instance.event_log_storage.initialize_concurrency_limit_to_default(REGISTRY_POOL)
        else:
            instance.event_log_storage.set_concurrency_slots(REGISTRY_POOL, set_by_hand)
        limit_registry(instance)

    assert expected == _limit(tmp_path)


def test_settings_of_an_older_version_are_told_of_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what differs and where; what the package does not set is the owner's own matter."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    ensure_dagster_home()
    settings = tmp_path / "dagster.yaml"
    packaged = settings.read_text()
    older = packaged.replace("max_concurrent_runs: 3", "max_concurrent_runs: 7").replace("freshness:", "schedules:")
    settings.write_text(older)
    (tmp_path / ".dagster.yaml.seen").write_text("the settings of a version before")
    for _ in range(2):
        ensure_dagster_home()

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{settings} is not as this version has it: ")
    assert "concurrency.runs.max_concurrent_runs, freshness.enabled; it stays" in line
    assert older == settings.read_text() != packaged


def test_settings_that_are_those_of_the_package_are_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However they are written."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    ensure_dagster_home()
    (tmp_path / ".dagster.yaml.seen").unlink()
    settings = tmp_path / "dagster.yaml"
    settings.write_text(f"# mine\n{settings.read_text()}\nschedules: {{use_threads: true}}\n")
    ensure_dagster_home()

    assert [] == caplog.records
