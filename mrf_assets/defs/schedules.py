"""What happens by the calendar (UTC): looking for late networks, forgetting old runs, a monthly refresh.

The first two run unless they are stopped in the UI. The refresh is stopped unless it is started: an index sensor
does its work, and asks the payers for less.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from mrf_assets.defs import jobs
from mrf_assets.defs.freshness import late_networks_job, retired_networks
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.resources import config_of
from mrf_assets.defs.retention import prune_job
from mrf_assets.priority import PRIORITY_TAG, Priority
from mrf_assets.settings import Operations, Settings

_MONDAYS = "0 6 * * 1"
_SUNDAYS = "0 2 * * 0"
_EACH_MONTH = "0 3 8 * *"  # payers publish in the first days of a month


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Schedules and the jobs that are theirs alone."""

    jobs: list[dg.JobDefinition]
    schedules: list[dg.ScheduleDefinition]


def build_schedules(settings: Settings, operations: Operations) -> Scheduled:
    """All schedules."""
    late, prune = late_networks_job(operations), prune_job(operations.keep_runs_days)
    return Scheduled(
        jobs=[late, prune],
        schedules=[
            dg.ScheduleDefinition(
                name="late_networks_weekly",
                job=late,
                cron_schedule=_MONDAYS,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description="Mondays: which networks have no recent period (MRF_FRESH_DAYS).",
            ),
            dg.ScheduleDefinition(
                name="prune_runs_weekly",
                job=prune,
                cron_schedule=_SUNDAYS,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description="Sundays: forget runs older than MRF_KEEP_RUNS_DAYS.",
            ),
            _monthly_refresh(settings),
        ],
    )


def _monthly_refresh(settings: Settings) -> dg.ScheduleDefinition:
    # Nobody looks on: to publish an empty network is for a person to decide.
    ingest_settings = settings.changed(skip_unchanged=True, allow_empty=False)
    config = {"resources": {"ingestor": {"config": config_of(ingest_settings)}}}

    @dg.schedule(
        name="monthly_refresh",
        job=jobs.ingest_job,
        cron_schedule=_EACH_MONTH,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The eighth of a month: one run for each network that did not leave its index, of low priority. "
        "What is published as it is now is not downloaded again.",
    )
    def monthly_refresh(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        month = f"{context.scheduled_execution_time.astimezone(dt.UTC):%Y-%m}"
        keys = context.instance.get_dynamic_partitions(NETWORK_PARTITIONS.name or "")
        networks = sorted(set(keys) - retired_networks(context.instance))
        if not networks:
            yield dg.SkipReason("No networks are registered.")
        for network_id in networks:
            yield dg.RunRequest(
                run_key=f"{network_id}@{month}",
                partition_key=network_id,
                run_config=config,
                # With its own tag the request counts as resolved: Dagster would load all keys for each one.
                tags={
                    "dagster/partition": network_id,
                    "mrf/batch": f"refresh-{month}",
                    PRIORITY_TAG: str(int(Priority.LOW)),
                },
            )

    return monthly_refresh
