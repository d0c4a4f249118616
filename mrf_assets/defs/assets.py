"""The assets: what a payer publishes, and the tables made of it."""

import datetime as dt
import logging
import time
from collections.abc import Iterator, Mapping

import dagster as dg

from mrf_assets.defs.checks import check_results, check_specs
from mrf_assets.defs.freshness import freshness_result
from mrf_assets.defs.metadata import data_version, failure_facts, table_facts
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.printable_metadata import failure
from mrf_assets.defs.processes import end_with_run, is_step_process
from mrf_assets.defs.refusals import FILES_ASSET, refusals_result
from mrf_assets.defs.reported_checks import REFUSED, are_current, report_results
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.ingest.results import NetworkResult, Progress, cost_of_files
from mrf_assets.schema import TABLES, Table
from mrf_assets.tasks import FileTask

logger = logging.getLogger(__name__)

_Results = Iterator[dg.MaterializeResult]  # type: ignore[type-arg]  # tables are files, no values

OWNERS = ["team:data-platform"]
POOL = "ingest"

network_files = dg.AssetSpec(
    "network_files",
    description="The in-network-rates files of one network, as the payer publishes them.",
    partitions_def=NETWORK_PARTITIONS,
    group_name="source",
    kinds={"json"},
    owners=OWNERS,
)


def column_schema(table: Table) -> dg.TableSchema:
    """The columns of a table, as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type),
                description=column.doc,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in table.columns
        ]
    )


def _spec(table: Table, code_version: str, fresh_days: int) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        deps=[network_files],
        description=table.grain,
        partitions_def=NETWORK_PARTITIONS,
        group_name="network_tables",
        kinds={"parquet", "duckdb"},
        owners=OWNERS,
        code_version=code_version,
        skippable=True,
        # Of the table as a whole: that nothing at all was published for so long. Of each network: `freshness`.
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=fresh_days)),
        metadata={"dagster/column_schema": column_schema(table), "dagster/table_name": f"mrf.{table.name}"},
    )


def network_tables(code_version: str, fresh_days: int) -> dg.AssetsDefinition:
    """The tables of a network; partitions made with another `code_version` are shown as stale."""

    @dg.multi_asset(
        name="network_tables",
        specs=[_spec(table, code_version, fresh_days) for table in TABLES.values()],
        partitions_def=NETWORK_PARTITIONS,
        can_subset=True,
        pool=POOL,
    )
    def tables(context: dg.AssetExecutionContext, ingestor: Ingestor) -> _Results:
        """All tables of one network, in one pass over its files: written, audited, then published together."""
        end_with_run(context)
        yield from _materialize(context, ingestor)
        report_results(context, [freshness_result(context.partition_key, ingestor, fresh_days)], context.partition_key)

    return tables


def _materialize(context: dg.AssetExecutionContext, ingestor: Ingestor) -> _Results:
    selection = {key.to_user_string() for key in context.selected_asset_keys}
    result = _ingest(context, ingestor)
    if result.unchanged_since is not None:
        _leave(context, ingestor, result)
        return
    if result.failed_checks:
        _report_refusal(context, result)
        tasks = [file.task for file in result.files]
        raise _failure(context, tasks, _refusal(result), result.seconds, cost_of_files(result.files))
    version = data_version(result)
    for table in TABLES.values():
        facts = table_facts(table, result, context.run.tags)
        if table.name in selection:
            yield dg.MaterializeResult(asset_key=table.name, metadata=facts, data_version=dg.DataVersion(version))
        else:  # one pass publishes all tables, so all of them are told, whatever was asked for
            tags = {"dagster/data_version": version}
            context.log_event(dg.AssetMaterialization(table.name, "", facts, context.partition_key, tags))
    refusals = _refusals(cost_of_files(result.files))
    report_results(context, [*check_results(result.checks), refusals], context.partition_key)


def _leave(context: dg.AssetExecutionContext, ingestor: Ingestor, result: NetworkResult) -> None:
    """Nothing was made, so no table is materialized: the tables are observed as they stand.

    So stand the results of their checks, unless one is missing or is about something else: then they are audited.
    """
    for table in TABLES.values():
        facts = table_facts(table, result, context.run.tags)
        context.log_event(dg.AssetObservation(table.name, partition=context.partition_key, metadata=facts))
    if are_current(context.instance, context.partition_key, [spec.key for spec in check_specs()]):
        return
    try:
        by_period = ingestor.audit(context.partition_key)
    except MrfError as error:
        tasks = [file.task for file in result.files]
        raise _failure(context, tasks, str(error), result.seconds, error.cost) from None
    report_results(context, check_results(by_period), context.partition_key)


def _report_refusal(context: dg.AssetExecutionContext, result: NetworkResult) -> None:
    """What was objected to; it stays until the network is published, audited, or found as it was published."""
    results = check_results(result.checks, metadata={REFUSED: dg.MetadataValue.bool(True)})
    report_results(context, results, context.partition_key)


def _ingest(context: dg.AssetExecutionContext, ingestor: Ingestor) -> NetworkResult:
    start, tasks = time.monotonic(), list[FileTask]()
    try:
        if is_step_process(context):  # `mrf run` has done it for its workers
            ingestor.sweep()
        tasks = ingestor.tasks(context.partition_key)
        return ingestor.ingest(context.partition_key, tasks, _log_progress)
    except MrfError as error:
        raise _failure(context, tasks, str(error), time.monotonic() - start, error.cost) from None


def _refusal(result: NetworkResult) -> str:
    try:
        result.require_published()
    except MrfError as error:
        return str(error)
    return ""


def _refusals(cost: Mapping[str, int]) -> dg.AssetCheckResult:
    return refusals_result(FILES_ASSET, requests=cost["requests"], refusals=cost["rate_limited"])


def _failure(
    context: dg.AssetExecutionContext, tasks: list[FileTask], error: str, seconds: float, cost: Mapping[str, int]
) -> dg.Failure:
    """What to raise; first the payer's refusals are reported, which may be why the network failed."""
    if cost.get("rate_limited"):
        report_results(context, [_refusals(cost)], context.partition_key)
    return failure(error, failure_facts(tasks, context.run.tags, error, seconds, cost))


def _log_progress(progress: Progress) -> None:
    logger.info(
        "%s: %s, %.0f MB read%s, %d rate rows, %.1f MB/s of JSON",
        progress.network_id,
        progress.filename,
        progress.read_bytes / 1e6,
        "" if progress.size_bytes is None else f" of {progress.size_bytes / 1e6:.0f}",
        progress.rate_rows,
        progress.json_bytes / 1e6 / max(progress.seconds, 1e-9),
        extra={"mrf_progress": progress},
    )
