"""The report as an asset: the page, and its charts as metadata."""

from functools import partial
from typing import Any

import dagster as dg

from mrf_assets.defs.assets import OWNERS
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.schema import PROVIDER_DIRECTORY, TABLES


@dg.asset(deps=[*TABLES, PROVIDER_DIRECTORY.name], group_name="answers", kinds={"html"}, owners=OWNERS)
def report(context: dg.AssetExecutionContext, ingestor: Ingestor) -> dg.MaterializeResult:  # type: ignore[type-arg]  # a file, no value
    """`report.html`: coverage, prices, spread, changes, quality, providers and run times, on one page."""
    from mrf_assets.report import charts, write_report  # noqa: PLC0415 - imports matplotlib, 0.5 s

    end_with_run(context)
    try:
        made = write_report(ingestor.settings)
    except MrfError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    figures = made.figures
    shown: dict[str, charts.Chart] = {}
    if figures.code_prices:
        shown["prices"] = partial(charts.distribution, figures.code_prices[0])
    if figures.spreads:
        shown["spread"] = partial(charts.spread, figures.spreads)
    if figures.changes:
        shown["changes"] = partial(charts.changed, figures.changes)
    if figures.runs:
        shown["run_times"] = partial(charts.run_times, figures.runs)
    if figures.providers:
        shown["providers"] = partial(charts.filled, figures.providers)
    facts: dict[str, Any] = {name: _picture(charts.png(chart)) for name, chart in shown.items()}
    return dg.MaterializeResult(
        metadata=facts | {"networks": len(figures.coverage), "path": dg.MetadataValue.path(made.path)}
    )


def _picture(data_uri: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![chart]({data_uri})")
