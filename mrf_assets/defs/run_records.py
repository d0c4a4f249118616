"""What the event log says of runs, as plain values: the source of manifest and statistics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from mrf_assets.batches.jobs import OtherRun
from mrf_assets.batches.manifest import NetworkRecord
from mrf_assets.batches.statistics import BatchStatistics, count, latest_runs

# Not exported.
from mrf_assets.defs.private_dagster import PartitionBackfill, latest_materializations
from mrf_assets.defs.processes import LOST, is_orphan
from mrf_assets.schema import TABLES
from mrf_assets.settings import Operations

PARTITION = "dagster/partition"
BATCH = "mrf/batch"
_RUNS_AT_ONCE = 200
_BACKFILL = "dagster/backfill"  # what the UI launches is a batch too
_WAITING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED)
_FAILURE_REASON, _STEP_FAILURE = "dagster/failure_reason", "STEP_FAILURE"
_ASSET_JOB = "__ASSET_JOB"  # Dagster's, of what is materialized in the UI
_OTHER_JOBS = ("audit", "compare_months")  # of `jobs`: of a network too, and they make none of its tables
_ERROR_CHARACTERS = 500
_BACKFILL_GOES_ON = {"REQUESTED", "CANCELING", "COMPLETING", "FAILING"}
_REPORTED_TABLE = "rates"  # every table's event carries the network's facts; one is enough


def latest_batch(instance: dg.DagsterInstance, is_ours: Callable[[Mapping[str, str]], bool]) -> str | None:
    """The id of the batch that was started last, of those whose latest run has tags that are ours."""
    other_batches = set[str]()
    for record in _records(instance, dg.RunsFilter()):
        tags = record.dagster_run.tags
        batch_id = tags.get(BATCH)
        if batch_id is None or batch_id in other_batches:
            continue
        if is_ours(tags):
            return batch_id
        other_batches.add(batch_id)
    return None


def batch_runs(
    instance: dg.DagsterInstance,
    batch_id: str,
    cache: Mapping[str, NetworkRecord] | None = None,
    *,
    most_read: int | None = None,
) -> list[NetworkRecord]:
    """Every run of a batch, the newest first; a batch of the UI goes by the id of its backfill.

    `cache` has records that were read before, by run id: of a run that has ended, none is read twice.
    The events of no more than `most_read` are read, those that failed first: it takes 4 to 17 ms each.
    """
    records = {
        record.dagster_run.run_id: record
        for tag in (BATCH, _BACKFILL)
        for record in _records(instance, dg.RunsFilter(tags={tag: batch_id}))
    }
    newest_first = sorted(records.values(), key=lambda record: -record.storage_id)
    failed_first = sorted(newest_first, key=lambda record: record.dagster_run.status != dg.DagsterRunStatus.FAILURE)
    skipped_ids = set() if most_read is None else {record.dagster_run.run_id for record in failed_first[most_read:]}
    return list(_read_all(instance, newest_first, cache, skipped_ids))


def batch_records(instance: dg.DagsterInstance, batch_id: str) -> dict[str, NetworkRecord]:
    """network_id -> its latest run in a batch."""
    return latest_runs(batch_runs(instance, batch_id))


def run_record(instance: dg.DagsterInstance, run_id: str) -> NetworkRecord | None:
    """One run, found by its id: in whatever number of runs it takes no longer."""
    record = instance.get_run_record_by_id(run_id)
    return None if record is None else next(_read_all(instance, [record]), None)


def batch_record(instance: dg.DagsterInstance, batch_id: str, network_id: str) -> NetworkRecord | None:
    """One network's latest run in a batch; the search takes 0.06 s in 5,000 runs, and 0.4 s in 50,000."""
    runs = dg.RunsFilter(tags={BATCH: batch_id, PARTITION: network_id})
    return latest_runs(_read_all(instance, _records(instance, runs))).get(network_id)


def all_records(instance: dg.DagsterInstance) -> dict[str, NetworkRecord]:
    """network_id -> its latest run, whoever started it."""
    latest: dict[str, NetworkRecord] = {}
    for record in _records(instance, dg.RunsFilter()):  # newest first; the earlier ones are not read
        if record.dagster_run.tags.get(PARTITION) not in latest:
            latest |= {network_record.network_id: network_record for network_record in _read_all(instance, [record])}
    return latest


def records_by_batch(instance: dg.DagsterInstance, since: dt.datetime) -> dict[str, list[NetworkRecord]]:
    """Batch id -> all its runs, of the batches that ran since then; newest batch first, and newest run first.

    Runs that were made since then and belong to none are together under the empty text.
    """
    batches: dict[str, list[dg.RunRecord]] = {}
    for record in _records(instance, dg.RunsFilter(created_after=since)):
        batches.setdefault(batch_of(record.dagster_run.tags) or "", []).append(record)
    return {
        batch_id: [run for run in batch_runs(instance, batch_id) if batch_of(run.tags) == batch_id]
        if batch_id  # also what ran before: its networks are not pending
        else list(_read_all(instance, records))
        for batch_id, records in batches.items()
    }


def job_runs(instance: dg.DagsterInstance, since: dt.datetime) -> Iterator[OtherRun]:
    """The runs since then that make no tables of a network, such as enrichment and discovery."""
    for record in _records(instance, dg.RunsFilter(created_after=since)):
        run = record.dagster_run
        if PARTITION in run.tags and is_ingest(run):
            continue
        status, seconds = _status_of(run), None
        if record.start_time is not None and record.end_time is not None:
            seconds = record.end_time - record.start_time
        yield OtherRun(job=_job_name(run), status=status, seconds=seconds)


def _job_name(run: dg.DagsterRun) -> str:
    """Its job's, or, of what was materialized in the UI, the assets'."""
    if run.job_name == _ASSET_JOB and run.asset_selection:
        return "assets: " + ", ".join(sorted(key.to_user_string() for key in run.asset_selection))
    return run.job_name


def _status_of(run: dg.DagsterRun) -> str:
    statuses = {
        dg.DagsterRunStatus.SUCCESS: "success",
        dg.DagsterRunStatus.FAILURE: "failed",
        dg.DagsterRunStatus.CANCELED: "canceled",
    }
    return statuses.get(run.status, "queued" if run.status in _WAITING else "running")


def batch_of(tags: Mapping[str, str]) -> str | None:
    """The batch that a run belongs to, whoever started it."""
    return tags.get(BATCH) or tags.get(_BACKFILL)


def backfill_goes_on(instance: dg.DagsterInstance, batch_id: str) -> bool:
    """Whether a batch is a backfill that the daemon still works on: between two of its runs, too."""
    backfill = instance.get_backfill(batch_id)
    return backfill is not None and backfill.status.value in _BACKFILL_GOES_ON


def count_batch(
    batch_id: str | None,
    planned_networks: Sequence[str] | None,
    runs: Sequence[NetworkRecord],
    operations: Operations,
    *,
    backfill: PartitionBackfill | None,
) -> BatchStatistics:
    """The statistics of a batch out of its runs, the newest first.

    `planned_networks` are those that a plan lists for it; None: no plan does, and those of its backfill are counted.
    """
    if planned_networks is not None or backfill is None:
        return count(batch_id, planned_networks or [], runs, operations)
    return _without_pending(count(batch_id, _backfill_networks(backfill), runs, operations), backfill)


def _backfill_networks(backfill: PartitionBackfill) -> list[str]:
    """The networks whose tables a backfill makes: that of a job, or of assets that were selected in the UI."""
    if backfill.asset_backfill_data is None:
        return [] if backfill.job_name in _OTHER_JOBS else list(backfill.partition_names or ())
    subsets = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key
    partition_keys = (subset.get_partition_keys() for key, subset in subsets.items() if key.to_user_string() in TABLES)
    return sorted(set().union(*partition_keys))


def _without_pending(it: BatchStatistics, backfill: PartitionBackfill) -> BatchStatistics:
    """The statistics of a backfill that begins no further network, where it is over: none of its networks is pending.

    A completed one has begun them all; a run that is missing there was deleted since.
    """
    match backfill.status.value:
        case "CANCELING" | "CANCELED" | "FAILING" | "FAILED":
            return replace(it, canceled=it.canceled + it.pending, pending=0)
        case "COMPLETED" | "COMPLETED_SUCCESS" | "COMPLETED_FAILED":
            return replace(it, networks=it.networks - it.pending, pending=0)
        case _:
            return it


def published_facts(instance: dg.DagsterInstance, network_ids: Iterable[str]) -> dict[str, tuple[float, int | None]]:
    """network_id -> when it was published last (seconds since 1970) and the bytes of its files, where it ever was."""
    facts: dict[str, tuple[float, int | None]] = {}
    for record in latest_materializations(instance, _REPORTED_TABLE, set(network_ids)):
        if record.asset_materialization and record.partition_key:
            size = record.asset_materialization.metadata.get("source_size_bytes")
            facts[record.partition_key] = (record.timestamp, size.value if size else None)  # type: ignore[assignment]  # an int, as `metadata` writes it
    return facts


def _records(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(runs, limit=_RUNS_AT_ONCE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _read_all(
    instance: dg.DagsterInstance,
    records: Iterable[dg.RunRecord],
    cache: Mapping[str, NetworkRecord] | None = None,
    skipped_ids: Collection[str] = (),
) -> Iterator[NetworkRecord]:
    """The ingests among these: audits of what is published and comparisons say nothing of how a network went."""
    for record in records:
        network_id = record.dagster_run.tags.get(PARTITION)
        if network_id and is_ingest(record.dagster_run):
            run_id = record.dagster_run.run_id
            before = (cache or {}).get(run_id)
            if before and before.end_time:
                yield before
            else:
                yield _read(instance, record, network_id, is_read=run_id not in skipped_ids)


def is_ingest(run: dg.DagsterRun) -> bool:
    """Whether a run of a network makes its tables: its job does, or what was selected of it in the UI."""
    if run.asset_selection:
        return any(key.to_user_string() in TABLES for key in run.asset_selection)
    return run.job_name not in _OTHER_JOBS and not run.asset_check_selection


def _read(
    instance: dg.DagsterInstance, record: dg.RunRecord, network_id: str, *, is_read: bool = True
) -> NetworkRecord:
    run = record.dagster_run
    status, error, facts = "running", None, dict[str, Any]()
    if run.status == dg.DagsterRunStatus.SUCCESS:
        status, facts = "success", _success_facts(instance, run.run_id) if is_read else {}
    elif run.is_finished:
        status = "canceled" if run.status == dg.DagsterRunStatus.CANCELED else "failed"
        error, facts = _failure(instance, run.run_id) if is_read else ("see its log", {})
        if status == "canceled":
            error = "canceled"
    elif is_orphan(run.tags):  # nobody has settled it yet; it will not go on
        status, error = "failed", LOST
    elif run.status in _WAITING:
        status = "queued"
    seconds = None if record.end_time is None or record.start_time is None else record.end_time - record.start_time
    return NetworkRecord(
        network_id=network_id,
        run_id=run.run_id,
        batch_id=run.tags.get(BATCH),
        status=status,
        error=error,
        facts=facts,
        tags=run.tags,
        seconds=facts.get("duration_seconds", seconds),
        end_time=_time(record.end_time),
        start_time=_time(record.start_time),
        is_lost=status == "failed" and run.tags.get(_FAILURE_REASON) != _STEP_FAILURE,
        is_read=is_read,
    )


def _time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, tz=dt.UTC)


def _events(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> Iterator[dg.DagsterEvent]:
    for entry in instance.all_logs(run_id, of_type=kind):
        if entry.dagster_event is not None:
            yield entry.dagster_event


def _success_facts(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    for event in _events(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION):
        materialization = event.step_materialization_data.materialization
        if materialization.asset_key.to_user_string() == _REPORTED_TABLE:
            return _plain(materialization.metadata)
    for event in _events(instance, run_id, dg.DagsterEventType.ASSET_OBSERVATION):  # what was there is unchanged
        observation = event.asset_observation_data.asset_observation
        if observation.asset_key.to_user_string() == _REPORTED_TABLE:
            return _plain(observation.metadata)
    return {}


def _failure(instance: dg.DagsterInstance, run_id: str) -> tuple[str, dict[str, Any]]:
    for event in _events(instance, run_id, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        if data.user_failure_data is not None:
            facts = _plain(data.user_failure_data.metadata)
            return str(facts.get("error") or data.user_failure_data.description), facts
        if data.error is not None:
            return _innermost(data.error)[-_ERROR_CHARACTERS:], {}
    for event in _events(instance, run_id, dg.DagsterEventType.RUN_FAILURE):
        if event.message:
            return event.message[-_ERROR_CHARACTERS:], {}
    return "the run ended without a word; see its log", {}


def why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """What a failed run says of itself."""
    return _failure(instance, run_id)[0]


def _innermost(error: Any) -> str:  # noqa: ANN401 - Dagster does not export the type of this field
    """What went wrong first: Dagster wraps it in "Error occurred while executing op"."""
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip()


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
