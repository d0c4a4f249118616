"""What runs once a backfill has ended: its tags say which job, and how.

One asset backfill over the tables and the enrichment would do it too, but enriches nothing as soon as one network
fails: Dagster leaves out all that is downstream of a failed partition.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from mrf_assets.defs.enrichment import enrich_npis
from mrf_assets.defs.private_dagster import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from mrf_assets.priority import PRIORITY_TAG
from mrf_assets.submit import AFTER_TAG, ENRICH, FOLLOWED_SECONDS, FOLLOWER, THEN_CONFIG_TAG, THEN_TAG, followed

_INTERVAL_SECONDS = 15  # two reads of SQLite
_MOST = 100  # backfills looked at in a tick, those that were submitted last: what a tick and its cursor cost is bounded
_LAUNCH_STATUSES = [status for status in dg.DagsterRunStatus if status != dg.DagsterRunStatus.NOT_STARTED]
_SUBMIT = f"`mrf submit --job {ENRICH}` starts it"
_END_STATUSES = [BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.COMPLETED]


@dg.sensor(
    name=FOLLOWER,
    job=enrich_npis,
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts `enrich_npis` once for each ended backfill that was submitted as `comprehensive`, whatever "
    "became of its single networks.",
)
def enrich_after_backfill(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """The cursor holds the backfills that it is done with (`submit.followed`), while they are looked at.

    A backfill gets there once its run is seen: what a daemon that dies requests and does not start is requested
    again, and the run key keeps it from being started twice. It stays there when the run is deleted.
    """
    reasons, done, requests = followed(context.cursor), dict[str, str](), list[dg.RunRequest]()
    for backfill in _ended_lately(context.instance):
        backfill_id = backfill.backfill_id
        if backfill_id in reasons or _is_launched(context.instance, backfill_id):
            done[backfill_id] = reasons.get(backfill_id, "")
            continue
        try:
            config = _config(context, backfill.tags.get(THEN_CONFIG_TAG))
        except (ValueError, RecursionError, dg.DagsterInvalidConfigError) as error:
            done[backfill_id] = f"{ENRICH} cannot run as its tag {THEN_CONFIG_TAG} says; {_SUBMIT}"
            context.log.warning("%s: %s (%s)", backfill_id, done[backfill_id], error)
            continue
        tags = {AFTER_TAG: backfill_id, PRIORITY_TAG: backfill.tags.get(PRIORITY_TAG, "0")}
        requests.append(dg.RunRequest(run_key=backfill_id, run_config=config, tags=tags))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(done))


def _ended_lately(instance: dg.DagsterInstance) -> Iterator[PartitionBackfill]:
    """By their end: a backfill of all networks takes longer than a week."""
    filters = BulkActionsFilter(statuses=_END_STATUSES, tags={THEN_TAG: ENRICH})
    for backfill in instance.get_backfills(filters=filters, limit=_MOST):
        end_time = backfill.backfill_end_timestamp or backfill.backfill_timestamp
        if time.time() - end_time <= FOLLOWED_SECONDS:
            yield backfill


def _is_launched(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """A run that was left before it was queued is not: the daemon takes it up when it is requested again."""
    return instance.get_runs_count(dg.RunsFilter(tags={AFTER_TAG: backfill_id}, statuses=_LAUNCH_STATUSES)) > 0


def _config(context: dg.SensorEvaluationContext, text: str | None) -> dict[str, Any]:
    """The settings of a tag, which anybody may write by hand; the daemon's tick would fail on a wrong one, for all."""
    if text is None:
        return {}
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - of a text
    if context.repository_def is not None:
        dg.validate_run_config(context.repository_def.get_job(ENRICH), config)
    return config
