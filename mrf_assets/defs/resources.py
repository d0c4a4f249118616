"""The pipeline as a Dagster resource: settings in the launchpad, one call per partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrf_assets.defs.launchpad import configuration_of, resource_of
from mrf_assets.errors import SettingError
from mrf_assets.ingest.pipeline import ingest, settings_of
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.ingest.results import NetworkResult, Progress
from mrf_assets.lake.store import Store
from mrf_assets.quality.network_audit import audit
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask
from mrf_assets.whitelist import Whitelists

# What is the executor's is no matter of a single step.
_NAMES = tuple(name for name in Settings.model_fields if name != "max_parallel_steps")


class Ingestor(resource_of("IngestorConfiguration", Settings, _NAMES)):  # type: ignore[misc]  # made of the settings
    """What varies between runs; see `mrf_assets.settings.Settings`."""

    @classmethod
    def of(cls, settings: Settings) -> Ingestor:
        """A resource with these settings."""
        return cls(**config_of(settings))

    @property
    def settings(self) -> Settings:
        """The settings behind the configuration."""
        return Settings(**{name: getattr(self, name) for name in _NAMES})

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
        whitelists = Whitelists.of(settings_of(tasks, self.settings))
        periods = store.retained_tables(network_id)
        if not periods:
            raise SettingError(
                "partition", f"{network_id} has nothing published under {self.output_dir}; materialize it first"
            )
        memory_mb = self.query_memory_mb
        return {period: audit(tables, whitelists.codes, memory_mb=memory_mb) for period, tables in periods.items()}


def config_of(settings: Settings) -> dict[str, Any]:
    """The settings as the resource's configuration."""
    return configuration_of(settings, _NAMES)
