"""The catalog as an asset: one DuckDB file of views over all networks, and the rules that look at all of them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from mrf_assets.clock import is_due
from mrf_assets.defs import jobs
from mrf_assets.defs.assets import OWNERS
from mrf_assets.defs.printable_metadata import failure, printable_metadata
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.lake.catalog import connect, write_catalog
from mrf_assets.quality.lake_rules import CATALOG_CHECKS, audit_catalog
from mrf_assets.quality.network_rules import Check, CheckResult
from mrf_assets.schema import PROVIDER_DIRECTORY, TABLES

_MAX_NETWORKS, _MAX_ROWS = 100, 20  # in metadata
_INTERVAL_SECONDS = 30
_PATIENCE_SECONDS = 600  # until what came to nothing is asked for again
_UPSTREAM_ASSETS = [*TABLES, PROVIDER_DIRECTORY.name]
_FAILURE_STATUSES = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_END_STATUSES = (dg.DagsterRunStatus.SUCCESS, *_FAILURE_STATUSES)
_OPEN_STATUSES = [
    status for status in dg.DagsterRunStatus if status not in (*_END_STATUSES, dg.DagsterRunStatus.NOT_STARTED)
]


@dg.asset(
    deps=_UPSTREAM_ASSETS,
    group_name="answers",
    kinds={"duckdb"},
    owners=OWNERS,
)
def catalog(context: dg.AssetExecutionContext, ingestor: Ingestor) -> dg.MaterializeResult:  # type: ignore[type-arg]  # a file, no value
    """`catalog.duckdb`: documented views over all networks, the latest period and all of them."""
    end_with_run(context)
    try:
        result = write_catalog(
            Path(ingestor.output_dir), ingestor.settings.taxonomy_codes, rules=ingestor.settings.statistic_rules
        )
    except MrfError as error:
        raise failure(error) from None
    return dg.MaterializeResult(
        metadata={
            "networks": result.networks,
            "periods": result.periods,
            "files": result.files,
            "path": dg.MetadataValue.path(str(result.path)),
        }
    )


@dg.multi_asset_check(
    name="catalog_checks",
    specs=[
        dg.AssetCheckSpec(
            check.name,
            asset="catalog",
            description=f"{check.explanation}\n\nSelects the offending rows:\n\n```sql\n{check.sql}\n```",
        )
        for check in CATALOG_CHECKS
    ],
    can_subset=True,
)
def catalog_checks(context: dg.AssetCheckExecutionContext, ingestor: Ingestor) -> Iterator[dg.AssetCheckResult]:
    """The second set of rules, which compare prices, months and networks; on demand, as they read all rates."""
    end_with_run(context)
    selection = {key.name for key in context.selected_asset_check_keys}
    checks = [check for check in CATALOG_CHECKS if check.name in selection]
    settings = ingestor.settings
    try:
        with connect(
            settings.output_dir,
            memory_mb=settings.query_memory_mb,
            taxonomy_codes=settings.taxonomy_codes,
            rules=settings.statistic_rules,
        ) as connection:
            results_by_network = audit_catalog(connection, checks=checks)
    except MrfError as error:
        raise failure(error) from None
    for number, check in enumerate(checks):
        yield _result(check, {network: results[number] for network, results in results_by_network.items()})


@dg.sensor(
    job=jobs.write_catalog_job,
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes the catalog anew once tables or the directory of providers were published.",
)
def catalog_follows_publications(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The cursor is the last publication that a run was requested for; one that came to nothing is repeated.

    No automation condition: as `any_deps_updated() & ~in_progress()` it forgets what is published while the catalog is
    being written, and with `since` what is published in the tick of a request; it takes 1.5 s over 10,000 networks.
    """
    job = jobs.write_catalog_job.name
    publication_id = max((_last_event(context.instance, name) for name in _UPSTREAM_ASSETS), default=0)
    newest = next(iter(context.instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)), None)
    if publication_id <= int(context.cursor or 0) and not (publication_id and _is_to_be_repeated(newest)):
        return dg.SkipReason("Nothing was published since.")
    under_way = dg.RunsFilter(job_name=job, statuses=_OPEN_STATUSES)
    if _is_about_to_start(newest) or context.instance.get_runs_count(under_way):  # it may have looked already
        return dg.SkipReason("The catalog is being written.")
    context.update_cursor(str(publication_id))
    return dg.RunRequest()


def _is_to_be_repeated(run: dg.RunRecord | None) -> bool:
    """A run that failed, was canceled, or was left by a daemon that died before it queued it, some time ago."""
    if run is None:
        return False
    if run.dagster_run.status in _FAILURE_STATUSES:
        return is_due(run.end_time or run.create_timestamp.timestamp(), _PATIENCE_SECONDS, time.time())
    return run.dagster_run.status == dg.DagsterRunStatus.NOT_STARTED and not _is_about_to_start(run)


def _is_about_to_start(run: dg.RunRecord | None) -> bool:
    """Runs are created first and queued within the same second: one that is not queued later never is."""
    if run is None or run.dagster_run.status != dg.DagsterRunStatus.NOT_STARTED:
        return False
    return not is_due(run.create_timestamp.timestamp(), _PATIENCE_SECONDS, time.time())


def _last_event(instance: dg.DagsterInstance, asset: str) -> int:
    records = instance.get_asset_records([dg.AssetKey(asset)])
    return max((record.asset_entry.last_materialization_storage_id or 0 for record in records), default=0)


def _result(check: Check, by_network: dict[str, CheckResult]) -> dg.AssetCheckResult:
    failed = {network: result for network, result in by_network.items() if not result.passed}
    notable = {network: result for network, result in by_network.items() if result.is_notable}
    counts = [
        {"network_id": network, "rows": result.offending_rows, "population": result.population}
        for network, result in notable.items()
    ]
    return dg.AssetCheckResult(
        asset_key="catalog",
        check_name=check.name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=_description(check, len(failed), len(notable)),
        metadata=printable_metadata(
            {
                "failed_networks": len(failed),
                "networks": len(by_network),
                "offending_rows": sum(result.offending_rows for result in by_network.values()),
                "tolerated_share": check.tolerated_share,
                "networks_concerned": dg.MetadataValue.json(counts[:_MAX_NETWORKS]),
                "sample": dg.MetadataValue.json(
                    [json.loads(line) for result in notable.values() for line in result.sample.splitlines()][:_MAX_ROWS]
                ),
            }
        ),
    )


def _description(check: Check, failed: int, notable: int) -> str:
    if not notable:
        return check.explanation
    return f"{failed} network(s) fail: {check.explanation}" if failed else f"{notable} network(s): {check.explanation}"
