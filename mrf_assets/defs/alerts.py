"""Who is told of runs that the daemon starts: of single ones that fail, and of batches that end.

A batch is one of a sensor or schedule (tag `mrf/batch`) or a backfill of the UI. Its failures are told together
when it has ended, not one by one. Batches of the command line tell of themselves.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile

import dagster as dg

from mrf_assets.alerts import Alert, send_alert
from mrf_assets.batches.statistics import batch_alert
from mrf_assets.defs.processes import WORKER_TAG
from mrf_assets.defs.run_records import backfill_goes_on, batch_of, batch_runs, count_batch
from mrf_assets.settings import Operations

_INTERVAL_SECONDS = 30
_RUNS_AT_ONCE = 500
# Dagster ends a tick after 60 s, and its cursor is lost: then it is told anew, for ever. 7,170 runs took 27 to 120 s.
_BATCHES_TOLD = 1
_RUNS_READ = 500
_OPEN_BATCHES = 1_000  # remembered while they go on; the cursor stays small
_END_STATUSES = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_OPEN_STATUSES = [status for status in dg.DagsterRunStatus if status not in _END_STATUSES]


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
            context.update_cursor(_begin(context.instance).text)
            return dg.SkipReason("Begins to listen.")
        before = _Cursor.of(context.cursor) or _cursor_from_time(context.instance, context.cursor)
        cursor, batch_ids = _look(context.instance, before)
        for batch_id in batch_ids:
            send_alert(_ended_batch(context.instance, batch_id, operations), operations.alert_urls)
        context.update_cursor(cursor.text)
        return dg.SkipReason(
            f"Alerts were sent for {len(batch_ids)} batches; {len(cursor.open)} are still running or come next."
        )

    return [failed_runs, ended_batches]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cursor:
    """By the order in which runs were made, and not by the clock: one that is set back would silence the sensor."""

    newest_id: int  # storage id of the newest run that was looked at
    open: Sequence[str] = field(default_factory=tuple)  # batches that go on, the oldest first

    @classmethod
    def of(cls, text: str) -> _Cursor | None:
        """None for one of a version that went by the clock."""
        value = json.loads(text)
        return cls(newest_id=value["seen"], open=value["open"]) if "seen" in value else None

    @property
    def text(self) -> str:
        return json.dumps({"seen": self.newest_id, "open": list(self.open)[-_OPEN_BATCHES:]})


def _look(instance: dg.DagsterInstance, before: _Cursor) -> tuple[_Cursor, list[str]]:
    """Where to go on, and what is told now of the batches that ended since; the others stay for the next ticks."""
    newest_id = _newest(instance)  # less than before where runs were deleted, whose ids are given again
    new_records = list(_records_after(instance, before.newest_id))
    candidates = dict.fromkeys([*before.open, *_batches(reversed(new_records))])
    has_ended = (batch_id for batch_id in candidates if _has_ended(instance, batch_id))
    batch_ids = list(islice(has_ended, _BATCHES_TOLD))
    still_open = [batch_id for batch_id in candidates if batch_id not in batch_ids]
    return _Cursor(
        newest_id=max([newest_id, *(record.storage_id for record in new_records)]), open=still_open
    ), batch_ids


def _begin(instance: dg.DagsterInstance) -> _Cursor:
    return _Cursor(newest_id=_newest(instance), open=_oldest_first(instance, dg.RunsFilter(statuses=_OPEN_STATUSES)))


def _cursor_from_time(instance: dg.DagsterInstance, text: str) -> _Cursor:
    """From a cursor that is a time; where it lies in the future, what ended within a day is reported, perhaps again."""
    value, now = json.loads(text), dt.datetime.now(tz=dt.UTC)
    after = dt.datetime.fromisoformat(value["after"])
    since = after if after <= now else now - dt.timedelta(days=1)
    batch_ids = _oldest_first(instance, dg.RunsFilter(statuses=_END_STATUSES, updated_after=since))
    fresh_cursor = _begin(instance)
    return replace(fresh_cursor, open=list(dict.fromkeys([*value["open"], *batch_ids, *fresh_cursor.open])))


def _oldest_first(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> list[str]:
    """Batches by their latest run: the cursor has room for so many, and keeps those behind."""
    return list(dict.fromkeys(_batches(_records(instance, runs))))[::-1]


def _newest(instance: dg.DagsterInstance) -> int:
    return max((record.storage_id for record in instance.get_run_records(limit=1)), default=0)


def _records_after(instance: dg.DagsterInstance, newest_id: int) -> Iterable[dg.RunRecord]:
    """Runs that were made after one, the newest first."""
    return takewhile(lambda record: record.storage_id > newest_id, _records(instance, dg.RunsFilter()))


def _records(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> Iterable[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(runs, limit=_RUNS_AT_ONCE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _batches(records: Iterable[dg.RunRecord]) -> Iterable[str]:
    """The batches of runs, but those of the command line, which tell of themselves."""
    for record in records:
        tags = record.dagster_run.tags
        if WORKER_TAG not in tags and (batch_id := batch_of(tags)):
            yield batch_id


def _has_ended(instance: dg.DagsterInstance, batch_id: str) -> bool:
    return not backfill_goes_on(instance, batch_id) and not _count(instance, batch_id, _OPEN_STATUSES)


def _count(instance: dg.DagsterInstance, batch_id: str, statuses: Sequence[dg.DagsterRunStatus]) -> int:
    return sum(
        instance.get_runs_count(dg.RunsFilter(tags={tag: batch_id}, statuses=statuses))
        for tag in ("mrf/batch", "dagster/backfill")
    )


def _ended_batch(instance: dg.DagsterInstance, batch_id: str, operations: Operations) -> Alert:
    if runs := batch_runs(instance, batch_id, most_read=_RUNS_READ):
        backfill = instance.get_backfill(batch_id)
        return batch_alert(count_batch(batch_id, None, runs, operations, backfill=backfill))
    # No ingests: audits, comparisons, or runs of no network.
    counts = [_count(instance, batch_id, [status]) for status in _END_STATUSES]
    succeeded, failed, _ = counts
    return Alert(
        title=f"Batch {batch_id} ended",
        lines=(f"{succeeded} of {sum(counts)} runs succeeded, {failed} failed.",),
        severity="failure" if failed else "success",
    )


def _failed_run(run: dg.DagsterRun, message: str) -> Alert:
    what = run.tags.get("dagster/partition") or run.job_name
    return Alert(title=f"{what} failed", lines=(message, f"Job {run.job_name}, run {run.run_id}."), severity="failure")
