"""What the event log says of runs, as plain values: the source of the manifest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from mrf_assets.manifest import NetworkRecord

_RUNS_AT_ONCE = 200
_PARTITION = "dagster/partition"
_BATCH = "mrf/batch"
_AUDIT = "audit"  # the job of `jobs`
_ERROR_CHARACTERS = 500
_REPORTED_TABLE = "rates"  # every table's event carries the network's facts; one is enough


def latest_batch(instance: dg.DagsterInstance) -> str | None:
    """The id of the batch that was started last."""
    for record in _records(instance, dg.RunsFilter()):
        if batch_id := record.dagster_run.tags.get(_BATCH):
            return batch_id
    return None


def batch_records(instance: dg.DagsterInstance, batch_id: str) -> dict[str, NetworkRecord]:
    """network_id -> its latest run in a batch."""
    return _latest(instance, _records(instance, dg.RunsFilter(tags={_BATCH: batch_id})))


def batch_record(instance: dg.DagsterInstance, batch_id: str, network_id: str) -> NetworkRecord | None:
    """One network's latest run in a batch."""
    runs = dg.RunsFilter(tags={_BATCH: batch_id, _PARTITION: network_id})
    return _latest(instance, _records(instance, runs)).get(network_id)


def all_records(instance: dg.DagsterInstance) -> dict[str, NetworkRecord]:
    """network_id -> its latest run, whoever started it."""
    return _latest(instance, _records(instance, dg.RunsFilter()))


def _records(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(runs, limit=_RUNS_AT_ONCE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _latest(instance: dg.DagsterInstance, records: Iterable[dg.RunRecord]) -> dict[str, NetworkRecord]:
    found: dict[str, NetworkRecord] = {}
    for record in records:  # newest first
        network_id = record.dagster_run.tags.get(_PARTITION)
        if network_id and network_id not in found and not _is_audit(record.dagster_run):
            found[network_id] = _read(instance, record, network_id)
    return found


def _is_audit(run: dg.DagsterRun) -> bool:
    """Checks alone: the job, or a selection in the UI that holds no table."""
    return run.job_name == _AUDIT or bool(run.asset_check_selection and not run.asset_selection)


def _read(instance: dg.DagsterInstance, record: dg.RunRecord, network_id: str) -> NetworkRecord:
    run = record.dagster_run
    status, error, facts = "running", None, dict[str, Any]()
    if run.status == dg.DagsterRunStatus.SUCCESS:
        status, facts = "success", _success_facts(instance, run.run_id)
    elif run.is_finished:
        status = "canceled" if run.status == dg.DagsterRunStatus.CANCELED else "failed"
        error, facts = _failure(instance, run.run_id)
        if status == "canceled":
            error = "canceled"
    ended = None if record.end_time is None else dt.datetime.fromtimestamp(record.end_time, tz=dt.UTC)
    seconds = None if record.end_time is None or record.start_time is None else record.end_time - record.start_time
    return NetworkRecord(
        network_id=network_id,
        run_id=run.run_id,
        batch_id=run.tags.get(_BATCH),
        status=status,
        error=error,
        facts=facts,
        tags=run.tags,
        seconds=facts.get("duration_seconds", seconds),
        ended=ended,
    )


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


def _innermost(error: Any) -> str:  # noqa: ANN401 - Dagster does not export the type of this field
    """What went wrong first: Dagster wraps it in "Error occurred while executing op"."""
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip()


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
