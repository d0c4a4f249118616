"""What runs once a backfill has ended: its tags say which job, and how.

One asset backfill over the tables and the enrichment would do it too, but enriches nothing as soon as one network
fails: Dagster leaves out all that is downstream of a failed partition.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus  # public nowhere

from mrf_assets.defs.enrichment import RegistryConfig, enrich_npis
from mrf_assets.priority import PRIORITY_TAG
from mrf_assets.submission import AFTER_TAG, ENRICH, THEN_CONFIG_TAG, THEN_TAG

_INTERVAL_SECONDS = 15  # two reads of SQLite
_REMEMBERED = dt.timedelta(days=7)
_ENDED = [BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.COMPLETED]


@dg.sensor(
    job=enrich_npis,
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts `enrich_npis` once for each ended backfill that was submitted as `comprehensive`, whatever "
    "became of its single networks.",
)
def enrich_after_backfill(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Backfills are told apart by the run key: none is followed twice."""
    submitted = BulkActionsFilter(
        statuses=_ENDED, tags={THEN_TAG: ENRICH}, created_after=dt.datetime.now(tz=dt.UTC) - _REMEMBERED
    )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=backfill.backfill_id,
                run_config=_config(backfill.tags.get(THEN_CONFIG_TAG)),
                tags={AFTER_TAG: backfill.backfill_id, PRIORITY_TAG: backfill.tags.get(PRIORITY_TAG, "0")},
            )
            for backfill in context.instance.get_backfills(filters=submitted)
        ]
    )


def _config(text: str | None) -> dict[str, Any]:
    """The settings of a tag; one that somebody wrote by hand and is wrong must not hold the others up."""
    if text is None:
        return {}
    try:
        config = json.loads(text)["ops"]["npi_registry"]["config"]
        RegistryConfig(**config)
    except (ValueError, KeyError, TypeError):
        return {}
    return {"ops": {"npi_registry": {"config": config}}}
