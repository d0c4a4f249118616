"""The sensor of indexes: what `watch.tick` finds, in Dagster's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from mrf_assets.alerts import Alert, send_alert
from mrf_assets.defs import jobs
from mrf_assets.defs.assets import network_files
from mrf_assets.defs.partitions import add_networks
from mrf_assets.defs.printable_metadata import printable_metadata
from mrf_assets.defs.resources import config_of
from mrf_assets.priority import PRIORITY_TAG
from mrf_assets.settings import IndexWatching, Operations, Settings
from mrf_assets.text import printable_lines
from mrf_assets.watch.offers import Offer
from mrf_assets.watch.tick import IndexWatch

_TAG_CHARACTERS = 250
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]


def index_sensor(settings: Settings, watching: IndexWatching, operations: Operations) -> dg.SensorDefinition:
    """The sensor that watches the indexes of the registry."""
    # A network that is new to the registry may be published already, by the command line.
    # Nobody looks on: to publish an empty network is for a person to decide.
    ingest_settings = settings.changed(skip_unchanged=True, allow_empty=False)
    config = {"resources": {"ingestor": {"config": config_of(ingest_settings)}}}

    @dg.sensor(
        name="index_sensor",
        job=jobs.ingest_job,
        minimum_interval_seconds=watching.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if watching.sensor_enabled else dg.DefaultSensorStatus.STOPPED,
        description="Watches the indexes of the registry (`mrf index list`): adds networks as partitions, tells of "
        "their files as observations, and requests runs for networks that are new or have changed. A network that "
        "left its index is told of as retired, and stays readable.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        def alert(title: str, lines: Sequence[str]) -> bool:
            return send_alert(Alert(title=title, lines=tuple(lines), severity="failure"), operations.alert_urls)

        tick = IndexWatch(settings, watching).tick(
            context.cursor,
            queued_runs=context.instance.get_runs_count(dg.RunsFilter(statuses=_WAITING)),
            alert=alert,
        )
        context.log.info(printable_lines(tick.summary))
        # Not as requests of the result: the daemon asks for each key by itself whether it is there, 5,000 in a minute
        # (benchmarks/NOTES.md).
        add_networks(context.instance, tick.partitions)
        requests = [_run_request(offer, config) for offer in tick.offers if offer.needs_run]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else tick.summary,
            cursor=tick.cursor,
            asset_events=[_observation(offer) for offer in tick.offers],
        )

    return sensor


def _run_request(offer: Offer, config: dict[str, Any]) -> dg.RunRequest:
    tags = {
        # With it the request counts as resolved: Dagster would load all keys of the instance for each one.
        "dagster/partition": offer.network_id,
        PRIORITY_TAG: str(offer.priority),
        "mrf/batch": offer.batch_id,
        "mrf/source_type": "index",
        "mrf/source_input": offer.source,
        "mrf/index": offer.index_name,
        "mrf/payer": offer.payer,
        "mrf/host": offer.host,
        "mrf/period": offer.period or "",
        "mrf/version": offer.version,
        "mrf/reason": offer.reason,
    }
    return dg.RunRequest(
        run_key=offer.run_key,
        partition_key=offer.network_id,
        run_config=config,
        tags={name: printable_lines(value)[:_TAG_CHARACTERS] for name, value in tags.items() if value},
    )


def _observation(offer: Offer) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=network_files.key,
        partition=offer.network_id,
        description=printable_lines(f"{'left' if offer.is_retired else 'is named by'} index {offer.index_name}"),
        metadata=printable_metadata(
            {
                "status": "retired" if offer.is_retired else "listed",
                "reason": offer.reason,
                "index": offer.index_name,
                "index_url": offer.source,
                "payer": offer.payer,
                "host": offer.host,
                "period": offer.period or "from the file",
                "files": offer.files,
                "batch_id": offer.batch_id,
            }
        ),
        tags={"dagster/data_version": offer.version},
    )
