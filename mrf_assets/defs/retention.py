"""Forget old runs: Dagster's records grow by 0.9 MB for each run of a network, and never shrink.

Kept whatever its age: what goes on, the latest ingest of each network, and the run that published what is
readable of it. The manifest, the partitions' colours and the plots' last point stay.
"""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from mrf_assets.defs.private_dagster import latest_materializations, shard_of_run
from mrf_assets.defs.run_records import is_ingest

_RUNS_AT_ONCE = 500
_REPORTED_TABLE = "rates"  # all tables of a network are published by the same run
_PARTITION = "dagster/partition"


def prune_job(keep_runs_days: int) -> dg.JobDefinition:
    """The job that forgets runs that ended more than `keep_runs_days` ago; with 0 it forgets none."""

    @dg.op(name="forget_old_runs")
    def forget_old_runs(context: dg.OpExecutionContext) -> None:
        if not keep_runs_days:
            context.log.info("MRF_KEEP_RUNS_DAYS is 0: all runs are kept")
            return
        before = dt.datetime.now(tz=dt.UTC) - dt.timedelta(days=keep_runs_days)
        run_count = prune_runs(context.instance, before)
        context.log.info("forgot %d runs that ended before %s", run_count, before.date())
        context.add_output_metadata({"runs": run_count})

    @dg.job(
        name="prune_runs",
        executor_def=dg.in_process_executor,
        description="Forgets runs older than MRF_KEEP_RUNS_DAYS with their events and logs, but never the latest of a "
        "network, nor the one that published what is readable.",
    )
    def prune() -> None:
        forget_old_runs()

    return prune


def prune_runs(instance: dg.DagsterInstance, before: dt.datetime) -> int:
    """Delete runs that ended before then, with their events and compute logs; returns how many."""
    retained_ids = _publishing_runs(instance)
    old, networks = list[str](), set[str]()
    for record in _all_runs(instance):  # newest first
        run = record.dagster_run
        network_id = run.tags.get(_PARTITION)
        if network_id and network_id not in networks and is_ingest(run):
            networks.add(network_id)
            retained_ids.add(run.run_id)
        end_time = record.end_time or record.update_timestamp.replace(tzinfo=dt.UTC).timestamp()
        if run.is_finished and end_time < before.timestamp():
            old.append(run.run_id)
    run_ids = [run_id for run_id in old if run_id not in retained_ids]
    for run_id in run_ids:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        _delete_shard(instance, run_id)
    return len(run_ids)


def _all_runs(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(limit=_RUNS_AT_ONCE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _publishing_runs(instance: dg.DagsterInstance) -> set[str]:
    return {record.run_id for record in latest_materializations(instance, _REPORTED_TABLE)}


def _delete_shard(instance: dg.DagsterInstance, run_id: str) -> None:
    """On SQLite each run has a file of its own, which Dagster empties and leaves (100 kB)."""
    path = shard_of_run(instance, run_id)
    if path is not None:
        for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            each.unlink(missing_ok=True)
