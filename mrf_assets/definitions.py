"""The code location: `defs` is what Dagster loads."""

from __future__ import annotations

import dagster as dg

import mrf_assets.defs.run_launcher  # lets SQLite's writers wait for each other
import mrf_assets.startup  # noqa: F401 - before numpy is imported
from mrf_assets.defs import enrichment, jobs, schedules
from mrf_assets.defs.alerts import alert_sensors
from mrf_assets.defs.assets import network_files, network_tables
from mrf_assets.defs.audit import audit_job
from mrf_assets.defs.catalog import catalog, catalog_checks, catalog_follows_publications
from mrf_assets.defs.changes import drift_specs, rate_changes, report
from mrf_assets.defs.checks import check_specs
from mrf_assets.defs.discovery import discover_portals, discovered_indexes
from mrf_assets.defs.follow_up import enrich_after_backfill
from mrf_assets.defs.freshness import freshness_spec
from mrf_assets.defs.look_up import look_up_job, npi_look_ups
from mrf_assets.defs.refusals import FILES_ASSET, refusals_spec
from mrf_assets.defs.reported_checks import reported_checks
from mrf_assets.defs.resources import Ingestor
from mrf_assets.defs.sensors import index_sensor
from mrf_assets.errors import ListFileError
from mrf_assets.schema import LAYOUT_VERSION
from mrf_assets.settings import EnrichSettings, IndexWatching, Operations, Settings
from mrf_assets.submit import LOOK_UP_ASSET
from mrf_assets.whitelist import Whitelists


def build_defs(
    settings: Settings | None = None,
    enrich: EnrichSettings | None = None,
    operations: Operations | None = None,
    watching: IndexWatching | None = None,
) -> dg.Definitions:
    """Definitions for these settings; without any, for those of the environment, as a daemon runs them."""
    settings = settings or Settings.for_daemon()
    operations = operations or Operations.from_environment()
    watching = watching or IndexWatching.from_environment()
    schedule_defs = schedules.build_schedules(settings, operations)
    return dg.Definitions(
        assets=[
            discovered_indexes,
            network_files,
            network_tables(_code_version(settings), operations.fresh_days),
            *enrichment.ASSETS,
            npi_look_ups,
            *(catalog, rate_changes, report),
        ],
        asset_checks=[
            *reported_checks([*check_specs(), freshness_spec(operations.fresh_days), refusals_spec(FILES_ASSET)]),
            *reported_checks([*drift_specs(), *enrichment.directory_specs()]),
            *reported_checks([refusals_spec(name) for name in ("npi_registry", LOOK_UP_ASSET)]),
            catalog_checks,
        ],
        jobs=[
            *(jobs.ingest_job, jobs.ingest_in_process_job, audit_job(operations.fresh_days), enrichment.enrich_npis),
            *(jobs.write_catalog_job, jobs.audit_catalog_job, jobs.compare_months_job, jobs.write_report_job),
            *(discover_portals, look_up_job),
            *schedule_defs.jobs,
        ],
        schedules=schedule_defs.schedules,
        sensors=[
            *(enrichment.new_providers, enrich_after_backfill, catalog_follows_publications),
            *alert_sensors(operations),
            index_sensor(settings, watching, operations),
        ],
        resources={
            "ingestor": Ingestor.of(settings),
            "enricher": enrichment.Enricher.of(enrich or EnrichSettings.from_environment()),
        },
        # A fork of a process that has the imports costs 30 % less wall time than a spawn.
        executor=dg.multiprocess_executor.configured(
            {
                "max_concurrent": settings.max_parallel_steps,
                "start_method": {"forkserver": {"preload_modules": ["mrf_assets.definitions", "pyarrow.parquet"]}},
            }
        ),
    )


def _code_version(settings: Settings) -> str:
    """Changes with what is extracted: the tables' layout, and the whitelists."""
    try:
        whitelists = Whitelists.of(settings)
    except ListFileError:  # the runs say what is wrong with it; the UI must come up all the same
        return LAYOUT_VERSION
    digests = [each.sha256[:8] for each in (whitelists.codes, whitelists.tins) if each is not None]
    return ".".join([LAYOUT_VERSION, *digests])


defs = build_defs()
