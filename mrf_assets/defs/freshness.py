"""Networks whose payer has published nothing new for too long.

Dagster's freshness policies are about an asset as a whole (`assets` has one); this is a check of each network.
A network is late `fresh_days` after the first day of its newest period, wherever the period came from. Every run of
a network tells the check; a weekly job tells it of networks that became late since, and alerts.
"""

import datetime as dt
import warnings
from collections.abc import Iterator, Sequence

import dagster as dg

from mrf_assets.alerts import Alert, send_alert
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.private_dagster import latest_observations
from mrf_assets.defs.reported_checks import report_results
from mrf_assets.defs.resources import Ingestor
from mrf_assets.lake.store import Store
from mrf_assets.settings import Operations

_TABLE = "rates"
_FILES = "network_files"
FRESHNESS_CHECK = "newest_period_is_recent"
_RETIRED = "retired"  # what the sensor of indexes observes of a network that left its index


def freshness_spec(fresh_days: int) -> dg.AssetCheckSpec:
    """The check, on the rates of each network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # as those of `checks`
        return dg.AssetCheckSpec(
            FRESHNESS_CHECK,
            asset=_TABLE,
            partitions_def=NETWORK_PARTITIONS,
            description=f"The newest period of the network began no more than {fresh_days} days ago (MRF_FRESH_DAYS).",
        )


def freshness_result(network_id: str, ingestor: Ingestor, fresh_days: int) -> dg.AssetCheckResult:
    """The check's result, as the network is published now."""
    newest, days = _age(Store(ingestor.settings.output_dir).periods(network_id), today())
    return _result(newest, days, fresh_days)


def late_networks_job(operations: Operations) -> dg.JobDefinition:
    """The job that finds late networks."""

    @dg.op(name="tell_late_networks")
    def tell_late_networks(context: dg.OpExecutionContext, ingestor: Ingestor) -> None:
        late = list(_late(context.instance, ingestor, operations.fresh_days))
        for network_id, newest, days in late:
            report_results(context, [_result(newest, days, operations.fresh_days)], network_id)
        context.log.info("%d networks have no period of the last %d days", len(late), operations.fresh_days)
        if late:
            lines = [
                f"{network_id}: {_words(newest, days, operations.fresh_days)}" for network_id, newest, days in late
            ]
            alert = Alert(title=f"{len(late)} networks are late", lines=tuple(lines), severity="warning")
            send_alert(alert, operations.alert_urls)

    @dg.job(
        name="late_networks",
        executor_def=dg.in_process_executor,
        description="Warns of networks that have no recent period; retired ones are left out.",
    )
    def late_networks() -> None:
        tell_late_networks()

    return late_networks


def retired_networks(instance: dg.DagsterInstance) -> set[str]:
    """The networks that left their index, as they were observed last."""
    networks = set[str]()
    for record in latest_observations(instance, _FILES):
        observation = record.asset_observation
        status = observation.metadata.get("status") if observation else None
        if status and status.value == _RETIRED and record.partition_key:
            networks.add(record.partition_key)
    return networks


def _late(instance: dg.DagsterInstance, ingestor: Ingestor, fresh_days: int) -> Iterator[tuple[str, str, int]]:
    """Network, newest period and its age in days."""
    store, retired_ids, now = Store(ingestor.settings.output_dir), retired_networks(instance), today()
    for network_id in store.networks():
        if network_id not in retired_ids and (periods := store.periods(network_id)):
            newest, days = _age(periods, now)
            if days > fresh_days:
                yield network_id, newest, days


def _age(periods: Sequence[str], today: dt.date) -> tuple[str, int]:
    newest = max(periods)
    return newest, (today - dt.date.fromisoformat(f"{newest}-01")).days


def today() -> dt.date:
    """In UTC."""
    return dt.datetime.now(tz=dt.UTC).date()


def _result(newest: str, days: int, fresh_days: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=_TABLE,
        check_name=FRESHNESS_CHECK,
        passed=days <= fresh_days,
        severity=dg.AssetCheckSeverity.WARN,
        description=_words(newest, days, fresh_days),
        metadata={"newest_period": newest, "days": days, "fresh_days": fresh_days},
    )


def _words(newest: str, days: int, fresh_days: int) -> str:
    return f"the newest period is {newest}; it began {days} days ago, {fresh_days} are allowed"
