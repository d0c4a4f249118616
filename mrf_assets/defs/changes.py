"""Month over month as assets: what changed in a network, whether it drifted, and the report with its charts."""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg

from mrf_assets.defs.assets import OWNERS, column_schema
from mrf_assets.defs.checks import check_results
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.printable_metadata import failure, printable_metadata
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.reported_checks import report_results
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.quality.changes import Changes, changes_path, write_changes
from mrf_assets.quality.drift import DRIFT_CHECKS
from mrf_assets.schema import CHANGES_OF_PRICES, MEMBERSHIP_CHANGES, PROVIDER_DIRECTORY, RATE_CHANGES, TABLES


def drift_specs() -> list[dg.AssetCheckSpec]:
    """One spec per rule of drift, partitioned by network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # as in `defs.checks`
        return [
            dg.AssetCheckSpec(
                check.name,
                asset=RATE_CHANGES.name,
                description=f"{check.explanation}\n\n```sql\n{check.sql}\n```",
                partitions_def=NETWORK_PARTITIONS,
            )
            for check in DRIFT_CHECKS
        ]


@dg.multi_asset(
    name=RATE_CHANGES.name,
    specs=[
        dg.AssetSpec(
            RATE_CHANGES.name,
            deps=["rates", "provider_sets", "providers"],
            description=RATE_CHANGES.grain,
            partitions_def=NETWORK_PARTITIONS,
            group_name="answers",
            kinds={"parquet", "duckdb"},
            owners=OWNERS,
            metadata={
                "dagster/column_schema": column_schema(RATE_CHANGES),
                "dagster/table_name": f"mrf.{RATE_CHANGES.name}",
            },
        )
    ],
    partitions_def=NETWORK_PARTITIONS,
)
def rate_changes(context: dg.AssetExecutionContext, ingestor: Ingestor) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # a file, no value
    """Compare the two latest periods of one network, TIN by TIN, and list the NPIs that joined or left."""
    end_with_run(context)
    try:
        changes = write_changes(ingestor.settings, context.partition_key)
    except MrfError as error:
        raise failure(error) from None
    yield dg.MaterializeResult(asset_key=RATE_CHANGES.name, metadata=printable_metadata(_facts(changes)))
    by_period = {changes.period: list(changes.drift)} if changes.period else {}
    report_results(context, check_results(by_period, DRIFT_CHECKS), context.partition_key)


def _facts(changes: Changes) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "dagster/partition_row_count": changes.rows,
        "path": dg.MetadataValue.path(changes.path),
        "membership_path": dg.MetadataValue.path(
            changes_path(changes.path.parents[3], changes.network_id, MEMBERSHIP_CHANGES)
        ),
        "compared": changes.period is not None and changes.refused_because is None,
    }
    if changes.period is None:
        return facts
    shifts = [
        {
            "code_family": it.code_family,
            "code": it.code,
            "bill_type": it.bill_type,
            "site": it.site,
            "previous_median_dollars": it.previous_median_dollars,
            "median_dollars": it.median_dollars,
            "ratio": it.ratio,
        }
        for it in changes.shifts
    ]
    return facts | {
        "period": changes.period,
        "previous_period": changes.previous_period,
        **({} if changes.refused_because is None else {"refused_because": changes.refused_because}),
        **({} if changes.note is None else {"note": changes.note}),
        "tin_prices_compared": changes.compared,
        "same": changes.count("same"),
        **{word.replace(" ", "_"): changes.count(word) for word in CHANGES_OF_PRICES},
        "raised": changes.raised,
        "lowered": changes.lowered,
        **({} if changes.median_ratio is None else {"median_ratio": changes.median_ratio}),
        "npis_joined": changes.joined,
        "npis_left": changes.left,
        "largest_shifts_of_medians": dg.MetadataValue.json(shifts),
    }


@dg.asset(deps=[*TABLES, PROVIDER_DIRECTORY.name], group_name="answers", kinds={"html"}, owners=OWNERS)
def report(context: dg.AssetExecutionContext, ingestor: Ingestor) -> dg.MaterializeResult:  # type: ignore[type-arg]  # a file, no value
    """`report.html`: coverage, prices, spread, changes, quality, providers and run times, on one page."""
    end_with_run(context)
    try:
        from mrf_assets.report import charts, write_report  # noqa: PLC0415 - imports matplotlib, 0.5 s

        page = write_report(ingestor.settings)
    except MrfError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    figures = page.figures
    report_charts: dict[str, charts.Chart] = {}
    if figures.code_prices and figures.code_prices[0].measured:
        report_charts["prices"] = partial(charts.distribution, figures.code_prices[0])
    if figures.spreads:
        report_charts["spread"] = partial(charts.spread, figures.spreads)
    if figures.changes:
        report_charts["changes"] = partial(charts.changed, figures.changes)
    if figures.runs:
        report_charts["run_times"] = partial(charts.run_times, figures.runs)
    if figures.providers:
        report_charts["providers"] = partial(charts.filled, figures.providers)
    facts: dict[str, Any] = {name: _picture(charts.png(chart)) for name, chart in report_charts.items()}
    return dg.MaterializeResult(
        metadata=facts | {"networks": len(figures.coverage), "path": dg.MetadataValue.path(page.path)}
    )


def _picture(data_uri: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![chart]({data_uri})")
