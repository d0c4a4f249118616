"""The pipeline as a Dagster resource: settings in the launchpad, one call per partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import dagster as dg

from mrf_assets.errors import SettingError
from mrf_assets.ingest.pipeline import ingest, settings_of
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.ingest.results import NetworkResult, Progress
from mrf_assets.lake.store import Store
from mrf_assets.quality.network_rules import CheckResult, audit
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask
from mrf_assets.whitelist import Whitelists

# What is the executor's is no matter of a single step.
_NAMES = tuple(field.name for field in fields(Settings) if field.name != "max_parallel_steps")
_DEFAULTS = Settings()
_PATHS = ("output_dir", "cpt_whitelist", "tin_whitelist", "host_state_dir", "taxonomy_codes")


class Ingestor(dg.ConfigurableResource):  # type: ignore[type-arg]  # no value is handed to a step but itself
    """What varies between runs; see `mrf_assets.settings.Settings`."""

    output_dir: str
    cpt_whitelist: str | None = None
    tin_whitelist: str | None = None
    allow_empty: bool = _DEFAULTS.allow_empty
    referenced_groups_only: bool = _DEFAULTS.referenced_groups_only
    provider_batch_size: int = _DEFAULTS.provider_batch_size
    rate_batch_size: int = _DEFAULTS.rate_batch_size
    reader: str = _DEFAULTS.reader
    keep_periods: int | None = _DEFAULTS.keep_periods
    skip_unchanged: bool | None = _DEFAULTS.skip_unchanged
    min_free_bytes: int = _DEFAULTS.min_free_bytes
    query_memory_mb: int = _DEFAULTS.query_memory_mb
    taxonomy_codes: str | None = None
    drift_rows_share: float = _DEFAULTS.drift_rows_share
    drift_codes_share: float = _DEFAULTS.drift_codes_share
    drift_groups_share: float = _DEFAULTS.drift_groups_share
    drift_median_share: float = _DEFAULTS.drift_median_share
    grace_seconds: float = _DEFAULTS.grace_seconds
    part_processes: int | None = _DEFAULTS.part_processes
    read_ahead: bool = _DEFAULTS.read_ahead
    connect_timeout_seconds: float = _DEFAULTS.connect_timeout_seconds
    read_timeout_seconds: float = _DEFAULTS.read_timeout_seconds
    total_timeout_seconds: float = _DEFAULTS.total_timeout_seconds
    max_retries: int = _DEFAULTS.max_retries
    connection_pooling: bool = _DEFAULTS.connection_pooling
    spool_downloads: bool = _DEFAULTS.spool_downloads
    refuse_private_addresses: bool | None = _DEFAULTS.refuse_private_addresses
    object_stores: str = _DEFAULTS.object_stores
    object_store_endpoint: str | None = _DEFAULTS.object_store_endpoint
    object_store_account: str | None = _DEFAULTS.object_store_account
    object_store_anonymous: bool = _DEFAULTS.object_store_anonymous
    host_concurrency: int = _DEFAULTS.host_concurrency
    host_start_rate_per_second: float | None = _DEFAULTS.host_start_rate_per_second
    adaptive_rate_limiting: bool = _DEFAULTS.adaptive_rate_limiting
    host_state_dir: str | None = None
    max_inflation: int = _DEFAULTS.max_inflation
    max_json_bytes: int | None = _DEFAULTS.max_json_bytes
    max_zip_members: int = _DEFAULTS.max_zip_members
    max_nesting_depth: int = _DEFAULTS.max_nesting_depth
    max_element_bytes: int = _DEFAULTS.max_element_bytes
    max_element_values: int = _DEFAULTS.max_element_values
    max_remote_fetches: int = _DEFAULTS.max_remote_fetches
    max_remote_references: int = _DEFAULTS.max_remote_references
    max_remote_reference_bytes: int = _DEFAULTS.max_remote_reference_bytes
    max_remote_total_bytes: int = _DEFAULTS.max_remote_total_bytes
    remote_reference_failure_share: float = _DEFAULTS.remote_reference_failure_share

    @classmethod
    def of(cls, settings: Settings) -> Ingestor:
        """A resource with these settings."""
        return cls(**config_of(settings))

    @property
    def settings(self) -> Settings:
        """The settings behind the configuration."""
        values = {name: getattr(self, name) for name in _NAMES}
        paths = {name: Path(values[name]) for name in _PATHS if values[name] is not None}
        return Settings(**{**values, **paths})

    def tasks(self, network_id: str) -> list[FileTask]:
        """The planned files of a network.

        Raises:
            SettingError: The network was never planned under this output folder.
        """
        tasks = TaskStore.under(self.settings.output_dir).load(network_id)
        if not tasks:
            raise SettingError(
                "partition",
                f"{network_id} has no files planned under {self.output_dir}; run `mrf run` over its index first, "
                "and start Dagster with the same MRF_OUTPUT_DIR",
            )
        return tasks

    def sweep(self) -> None:
        """Remove what killed processes left behind."""
        Store(self.settings.output_dir).sweep()

    def ingest(self, network_id: str, tasks: list[FileTask], on_progress: Callable[[Progress], None]) -> NetworkResult:
        """Fetch, extract, audit and publish one network."""
        return ingest(network_id, tasks, self.settings, on_progress)

    def audit(self, network_id: str) -> dict[str, list[CheckResult]]:
        """Apply the rules to what is published of one network, by period."""
        store, tasks = Store(self.settings.output_dir), TaskStore.under(self.settings.output_dir).load(network_id)
        wanted = Whitelists.of(settings_of(tasks, self.settings))
        periods = store.retained_tables(network_id)
        if not periods:
            raise SettingError(
                "partition", f"{network_id} has nothing published under {self.output_dir}; materialize it first"
            )
        memory_mb = self.query_memory_mb
        return {period: audit(tables, wanted.codes, memory_mb=memory_mb) for period, tables in periods.items()}


def config_of(settings: Settings) -> dict[str, Any]:
    """The settings as the resource's configuration; paths absolute, for runs start anywhere."""
    values = {name: getattr(settings, name) for name in _NAMES}
    paths = {name: str(values[name].absolute()) for name in _PATHS if values[name] is not None}
    return {**values, **paths}
