"""Who is told of runs that the daemon starts: of single ones that fail, and of batches that end.

A batch is one of a sensor or schedule (tag `mrf/batch`) or a backfill of the UI. Its failures are told together
when it has ended, not one by one. Batches of the command line tell of themselves.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import dagster as dg

from mrf_assets.alerts import Alert, send_alert
from mrf_assets.defs.processes import WORKER_TAG
from mrf_assets.defs.run_records import backfill_goes_on, batch_of, batch_runs
from mrf_assets.settings import Operations
from mrf_assets.statistics import batch_alert, count

_INTERVAL_SECONDS = 30
_RUNS_AT_ONCE = 500
# Dagster ends a tick after 60 s, and its cursor is lost: then it is told anew, for ever. 7,170 runs took 27 to 120 s.
_BATCHES_TOLD = 1
_RUNS_READ = 500
_OPEN_BATCHES = 1_000  # remembered while they go on; the cursor stays small
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _ENDED]


def alert_sensors(operations: Operations) -> list[dg.SensorDefinition]:
    """Running where there is somebody to tell; the toggle in the UI overrules it."""
    status = dg.DefaultSensorStatus.RUNNING if operations.alert_urls else dg.DefaultSensorStatus.STOPPED

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=status,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        description="Tells MRF_ALERT_URLS of a run that failed and belongs to no batch.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if batch_of(run.tags) is None and run.tags.get("dagster/will_retry") != "true":
            send_alert(_failed_run(run, context.failure_event.message or ""), operations.alert_urls)

    @dg.sensor(
        name="ended_batches",
        default_status=status,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        description="Tells MRF_ALERT_URLS how a batch of sensors or of the UI ended, with what failed in it.",
    )
    def ended_batches(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.cursor is None:  # what ended before anybody listened is not told
            context.update_cursor(_Cursor(after=dt.datetime.now(tz=dt.UTC)).text)
            return dg.SkipReason("Begins to listen.")
        cursor, ended = _look(context.instance, _Cursor.of(context.cursor))
        for batch_id in ended:
            send_alert(_ended_batch(context.instance, batch_id, operations), operations.alert_urls)
        context.update_cursor(cursor.text)
        return dg.SkipReason(f"{len(ended)} batches are told, {len(cursor.open)} go on or are told next.")

    return [failed_runs, ended_batches]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cursor:
    after: dt.datetime  # what was updated until then is known
    open: Sequence[str] = field(default_factory=tuple)  # batches that go on

    @classmethod
    def of(cls, text: str) -> _Cursor:
        value = json.loads(text)
        return cls(after=dt.datetime.fromisoformat(value["after"]), open=value["open"])

    @property
    def text(self) -> str:
        return json.dumps({"after": self.after.isoformat(), "open": list(self.open)[-_OPEN_BATCHES:]})


def _look(instance: dg.DagsterInstance, before: _Cursor) -> tuple[_Cursor, list[str]]:
    """Where to go on, and what is told now of the batches that ended since; the others stay for the next ticks."""
    after, candidates = before.after, dict.fromkeys(before.open)
    for record in _ended_since(instance, before.after):
        after = max(after, record.update_timestamp.replace(tzinfo=dt.UTC))
        tags = record.dagster_run.tags
        if WORKER_TAG not in tags and (batch_id := batch_of(tags)):
            candidates[batch_id] = None
    has_ended = (batch_id for batch_id in candidates if _has_ended(instance, batch_id))
    ended = list(islice(has_ended, _BATCHES_TOLD))
    still_open = [batch_id for batch_id in candidates if batch_id not in ended]
    return _Cursor(after=after, open=still_open), ended


def _ended_since(instance: dg.DagsterInstance, after: dt.datetime) -> Iterable[dg.RunRecord]:
    cursor = None
    runs = dg.RunsFilter(statuses=_ENDED, updated_after=after)
    while page := instance.get_run_records(runs, limit=_RUNS_AT_ONCE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _has_ended(instance: dg.DagsterInstance, batch_id: str) -> bool:
    return not backfill_goes_on(instance, batch_id) and not _count(instance, batch_id, _UNFINISHED)


def _count(instance: dg.DagsterInstance, batch_id: str, statuses: Sequence[dg.DagsterRunStatus]) -> int:
    return sum(
        instance.get_runs_count(dg.RunsFilter(tags={tag: batch_id}, statuses=statuses))
        for tag in ("mrf/batch", "dagster/backfill")
    )


def _ended_batch(instance: dg.DagsterInstance, batch_id: str, operations: Operations) -> Alert:
    if runs := batch_runs(instance, batch_id, most_read=_RUNS_READ):
        return batch_alert(count(batch_id, [], runs, operations))
    # No ingests: audits, comparisons, or runs of no network.
    ended = [_count(instance, batch_id, [status]) for status in _ENDED]
    succeeded, failed, _ = ended
    return Alert(
        title=f"Batch {batch_id} ended",
        lines=(f"{succeeded} of {sum(ended)} runs succeeded, {failed} failed.",),
        severity="failure" if failed else "success",
    )


def _failed_run(run: dg.DagsterRun, message: str) -> Alert:
    what = run.tags.get("dagster/partition") or run.job_name
    return Alert(title=f"{what} failed", lines=(message, f"Job {run.job_name}, run {run.run_id}."), severity="failure")
