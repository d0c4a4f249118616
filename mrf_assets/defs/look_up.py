"""A list of NPIs that somebody submits: looked up now, the rows kept in a file of their own and in the run."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from mrf_assets.defs.assets import OWNERS, column_schema
from mrf_assets.defs.enrichment import Enricher
from mrf_assets.defs.partitions import REGISTRY_POOL, limit_registry
from mrf_assets.defs.printable_metadata import failure, printable_metadata
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.refusals import refusals_result
from mrf_assets.defs.reported_checks import report_results
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.providers import look_up_options
from mrf_assets.providers.lookup import Pulse, Statistics
from mrf_assets.providers.submitted_npis import FoundProviders, look_up_npis
from mrf_assets.schema import NPI_REGISTRY
from mrf_assets.settings import MAX_WORKERS
from mrf_assets.submit import LOOK_UP, LOOK_UP_ASSET

_MAX_ROWS = 1_000  # in metadata; the file has all
_OBSERVED_SECONDS = 2.0  # who submitted the list waits for it


class LookUpConfig(dg.Config):
    """Which providers."""

    npis: list[str] = Field(default=[], description="NPIs to look up, as text.")
    max_workers: int | None = Field(default=None, description=f"Look-ups at a time, up to {MAX_WORKERS}.")


@dg.multi_asset(
    name=LOOK_UP_ASSET,
    specs=[
        dg.AssetSpec(
            LOOK_UP_ASSET,
            description="The registry's entries of a list of NPIs, one file for each submitted list.",
            group_name="providers",
            kinds={"parquet"},
            owners=OWNERS,
            metadata={"dagster/column_schema": column_schema(NPI_REGISTRY)},
        )
    ],
    pool=REGISTRY_POOL,
)
def npi_look_ups(
    context: dg.AssetExecutionContext, config: LookUpConfig, ingestor: Ingestor, enricher: Enricher
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # a file, no value
    """Ask the registry for each NPI of the configuration. What is published is neither read nor changed."""
    end_with_run(context)
    limit_registry(context.instance)
    if not config.npis:
        raise dg.Failure("no NPIs were given; set `npis` of this op's configuration", allow_retries=False)
    pulse = Pulse(_OBSERVED_SECONDS)

    def observe(statistics: Statistics) -> None:
        if pulse.is_due():
            context.log_event(dg.AssetObservation(LOOK_UP_ASSET, metadata=_counts(statistics)))

    try:
        settings = enricher.settings(ingestor)
        options = look_up_options(settings, max_workers=config.max_workers)
        result = look_up_npis(config.npis, settings, options, observe)
        path = Reference(settings.output_dir).look_ups / f"{context.run_id}.parquet"
        write_table(path, NPI_REGISTRY.arrow, pa.Table.from_pylist(result.rows, NPI_REGISTRY.arrow).to_batches())
    except MrfError as error:
        raise failure(error) from None
    facts = printable_metadata(_facts(result)) | {"path": dg.MetadataValue.path(path)}
    refusals = refusals_result(
        LOOK_UP_ASSET, requests=result.statistics.requests, refusals=result.statistics.requests_refused
    )
    if not result.rows:
        report_results(context, [refusals])
        reason = next(iter(result.failures.values()))
        raise failure(f"no provider was found; the first reason: {reason}", facts)
    yield dg.MaterializeResult(asset_key=LOOK_UP_ASSET, metadata=facts)
    report_results(context, [refusals])


def _counts(statistics: Statistics) -> dict[str, int]:
    return {
        "completed": statistics.completed,
        "failed": statistics.failed,
        "pending": statistics.pending,
        "requests_refused": statistics.requests_refused,
    }


def _facts(result: FoundProviders) -> dict[str, Any]:
    rows = [{name: value for name, value in row.items() if name != "raw_json"} for row in result.rows[:_MAX_ROWS]]
    failures = dict(list(result.failures.items())[:_MAX_ROWS])
    return {
        "dagster/row_count": len(result.rows),
        **_counts(result.statistics),
        "requests": result.statistics.requests,
        "rows": dg.MetadataValue.json(json.loads(json.dumps(rows, default=str))),
        "failures": dg.MetadataValue.json(failures),
    }


look_up_job = dg.define_asset_job(
    LOOK_UP,
    selection=dg.AssetSelection.assets(LOOK_UP_ASSET).without_checks(),
    description="Look up a list of NPIs in the registry, as `mrf submit --search-type npi` asks for it.",
)
