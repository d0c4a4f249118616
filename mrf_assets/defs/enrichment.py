"""The assets about providers: which NPIs are published, what the public registry says, and both together."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from mrf_assets.defs.assets import OWNERS, column_schema
from mrf_assets.defs.launchpad import configuration_of, resource_of
from mrf_assets.defs.partitions import REGISTRY_POOL, limit_registry
from mrf_assets.defs.printable_metadata import failure, printable_metadata
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.refusals import refusals_result
from mrf_assets.defs.reported_checks import report_results
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.providers import look_up_options
from mrf_assets.providers.directory import write_directory
from mrf_assets.providers.directory_rules import DIRECTORY_CHECKS, DirectoryFigures, audit_directory
from mrf_assets.providers.lookup import Pulse, Statistics, counts_text, pace_text, spent_text
from mrf_assets.providers.registry import MANY, MODES, Mode, RegistryResult, RegistryUpdate, write_npis
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.schema import NPI_REGISTRY, NPIS, PROVIDER_DIRECTORY, Table
from mrf_assets.settings import LOOK_UP_SETTINGS, MAX_WORKERS, EnrichSettings, Prices

logger = logging.getLogger(__name__)

_TOLD_SECONDS = 30.0
_OBSERVED_SECONDS = 300.0
_SENSOR_SECONDS = 300
_PLOT_METADATA = (
    "requests",
    "requests_refused",
    "received_bytes",
    "success_rate_percent",
    "utilisation_percent",
    "refused_percent",
    "records_per_minute",
)


class Enricher(resource_of("EnricherConfiguration", EnrichSettings, LOOK_UP_SETTINGS)):  # type: ignore[misc]  # the same
    """How the registry is asked; see `mrf_assets.settings.EnrichSettings`."""

    @classmethod
    def of(cls, settings: EnrichSettings) -> "Enricher":
        """A resource with these settings."""
        return cls(**configuration_of(settings, LOOK_UP_SETTINGS))

    def settings(self, ingestor: Ingestor) -> EnrichSettings:
        """Those of all, and those of the look-ups."""
        return EnrichSettings(**dict(ingestor.settings), **{name: getattr(self, name) for name in LOOK_UP_SETTINGS})


class RegistryConfig(dg.Config):
    """What one update of the registry may vary."""

    mode: Mode = Field(
        default="intelligent",
        description=f"One of {', '.join(MODES)}. intelligent: the bulk files where many NPIs are missing, the API for "
        "the rest; parallel_all: both side by side.",
    )
    many: int = Field(default=MANY, description="Missing NPIs from which on `intelligent` takes the bulk files.")
    max_age_days: int | None = Field(default=None, description="Look up anew what is older.")
    limit: int | None = Field(default=None, description="Look up at most so many over the API.")
    max_workers: int | None = Field(default=None, description=f"Look-ups at a time, up to {MAX_WORKERS}.")


def _spec(table: Table, deps: list[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        deps=deps,
        description=table.grain,
        group_name="providers",
        kinds={"parquet", "duckdb"},
        owners=OWNERS,
        metadata={"dagster/column_schema": column_schema(table), "dagster/table_name": f"mrf.{table.name}"},
    )


@dg.multi_asset(name="npis", specs=[_spec(NPIS, ["providers", "provider_sets", "rates"])])
def npis(context: dg.AssetExecutionContext, ingestor: Ingestor) -> dg.MaterializeResult:  # type: ignore[type-arg]  # a file, no value
    """The NPIs of the latest period of every network, with how many prices name each."""
    end_with_run(context)
    limit_registry(context.instance)  # before the run asks for its slot of the pool, which is the next step
    lake = ingestor.settings.output_dir
    rows = _translate_errors(lambda: write_npis(lake))
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows, "path": dg.MetadataValue.path(Reference(lake).npis)}
    )


@dg.multi_asset(
    name="npi_registry",
    specs=[_spec(NPI_REGISTRY, ["npis"])],
    pool=REGISTRY_POOL,
)
def npi_registry(
    context: dg.AssetExecutionContext, config: RegistryConfig, ingestor: Ingestor, enricher: Enricher
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # files, no value
    """The registry's entries; a run that was interrupted or failed is gone on with by the next."""
    end_with_run(context)
    limit_registry(context.instance)  # of the runs after this one; beside it, the ledger's lock refuses a second
    settings = _translate_errors(lambda: enricher.settings(ingestor))
    update = RegistryUpdate(
        lake=settings.output_dir,
        settings=settings,
        open_url=partial(open_url, options=FetchOptions.of(settings)),
        probe=partial(probe, options=FetchOptions.of(settings)),
        batch=look_up_options(settings, max_workers=config.max_workers, limit=config.limit),
        mode=config.mode,
        many=config.many,
        max_age=None if config.max_age_days is None else timedelta(days=config.max_age_days),
        on_progress=_progress(context, settings.part(Prices)),
    )
    start = time.monotonic()
    result = _translate_errors(update.run)
    facts = _registry_facts(result, settings.output_dir, time.monotonic() - start)
    if result.adopted_rows:
        context.log.warning("the ledger was lost; the %d rows that are there count as looked up", result.adopted_rows)
    if settings.has_prices:
        facts["cost_dollars"] = result.cost_dollars
    refusals = refusals_result(
        "npi_registry", requests=result.statistics.requests, refusals=result.statistics.requests_refused
    )
    if result.stop_reason is not None and config.limit is None and result.pending:
        report_results(context, [refusals])
        raise failure(
            f"{result.stop_reason}; {result.pending} NPIs are left: materialize it again, and it goes on", facts
        )
    yield dg.MaterializeResult(asset_key="npi_registry", metadata=printable_metadata(facts))
    report_results(context, [refusals])


@dg.multi_asset(
    name="provider_directory",
    specs=[_spec(PROVIDER_DIRECTORY, ["npis", "npi_registry"])],
)
def provider_directory(context: dg.AssetExecutionContext, ingestor: Ingestor) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # a file, no value
    """The published NPIs with their names, specialties and places, and how sure the payers' names are."""
    end_with_run(context)
    lake = ingestor.settings.output_dir
    rows = _translate_errors(lambda: write_directory(lake))
    results, figures = _translate_errors(lambda: audit_directory(Reference(lake).directory))
    yield dg.MaterializeResult(metadata=_directory_facts(figures, rows, Reference(lake).directory))
    report_results(context, map(_check_result, results))


def directory_specs() -> list[dg.AssetCheckSpec]:
    """One spec per rule of the directory."""
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=PROVIDER_DIRECTORY.name,
            description=f"{check.explanation}\n\nSelects the offending rows:\n\n```sql\n{check.sql}\n```",
        )
        for check in DIRECTORY_CHECKS
    ]


ASSETS = [npis, npi_registry, provider_directory]

enrich_npis = dg.define_asset_job(
    "enrich_npis",
    selection=dg.AssetSelection.assets(*(asset.key for asset in ASSETS)).without_checks(),
    description="Count the NPIs of what is published, look up those that are new, and join both.",
)


@dg.asset_sensor(asset_key=dg.AssetKey("providers"), job=enrich_npis, minimum_interval_seconds=_SENSOR_SECONDS)
def new_providers(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.RunRequest:
    """Networks were published: their new NPIs are looked up, once for all of a tick."""
    return dg.RunRequest(run_key=f"{asset_event.run_id}-{context.cursor}")


def _translate_errors(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work gives
    """An expected failure is one line for a person."""
    try:
        return work()
    except MrfError as error:
        raise failure(error) from None


def _progress(context: dg.AssetExecutionContext, prices: Prices) -> Callable[[Statistics], None]:
    """A line every half a minute, and every five minutes an observation whose numbers plot."""
    line, observation = Pulse(_TOLD_SECONDS), Pulse(_OBSERVED_SECONDS)

    def on_progress(statistics: Statistics) -> None:
        if line.is_due():
            cost = spent_text(statistics, statistics.cost(prices))
            context.log.info("%s; %s; %s", counts_text(statistics), cost, pace_text(statistics))
        if observation.is_due():
            facts = statistics.as_facts()
            metadata = {name: facts[name] for name in ("completed", "failed", "pending", *_PLOT_METADATA)}
            context.log_event(dg.AssetObservation("npi_registry", metadata=metadata))

    return on_progress


def _registry_facts(result: RegistryResult, lake: Path, seconds: float) -> dict[str, Any]:
    facts = result.statistics.as_facts()
    return {
        "dagster/row_count": result.rows,
        "npis": result.npis,
        "known_before": result.known_before,
        "adopted_rows": result.adopted_rows,
        "from_bulk": result.from_bulk,
        "from_api": result.from_api,
        "failed": result.failed,
        "invalid": result.invalid,
        "pending": result.pending,
        "duration_seconds": round(seconds, 3),
        **{name: facts[name] for name in _PLOT_METADATA},
        "failures": dg.MetadataValue.json(facts["failures"]),
        "bulk_files": dg.MetadataValue.json(result.bulk_files),
        "bulk_repairs": dg.MetadataValue.json(dict(result.bulk_repairs)),
        "path": dg.MetadataValue.path(Reference(lake).registry),
    }


def _directory_facts(figures: DirectoryFigures, rows: int, path: Path) -> dict[str, Any]:
    confidences = "\n".join(f"| {tenth} | {count:,} |" for tenth, count in figures.confidences.items())
    return {
        "dagster/row_count": rows,
        **{f"status_{status.replace(' ', '_')}": count for status, count in figures.statuses.items()},
        "name_fill_rate": figures.fill_rates["provider_name"],
        "taxonomy_fill_rate": figures.fill_rates["primary_taxonomy_code"],
        "fill_rates": dg.MetadataValue.json(figures.fill_rates),
        "name_confidence": dg.MetadataValue.md(f"| confidence | NPIs |\n|---|---:|\n{confidences}"),
        "figures": dg.MetadataValue.json(json.loads(json.dumps(asdict(figures)))),
        "path": dg.MetadataValue.path(path),
    }


def _check_result(result: CheckResult) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"offending_rows": result.offending_rows}
    if result.population is not None:
        metadata |= {"population": result.population, "tolerated_share": result.check.tolerated_share}
    if result.sample:
        metadata["sample"] = dg.MetadataValue.md(f"```json\n{result.sample.replace('`', chr(39))}\n```")
    return dg.AssetCheckResult(
        asset_key=PROVIDER_DIRECTORY.name,
        check_name=result.check.name,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.check.blocking else dg.AssetCheckSeverity.WARN,
        description=result.check.explanation,
        metadata=metadata,
    )
