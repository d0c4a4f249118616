"""What is known of batches that were begun, out of plan and event log."""

from __future__ import annotations

import uuid
from pathlib import Path

import dagster as dg
import pytest

from mrf_assets.batch_history import all_statistics, ensure_dagster_home
from mrf_assets.task_store import PlannedBatch, TaskStore

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
