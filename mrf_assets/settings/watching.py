"""How indexes are watched: nothing of it changes a row."""

from __future__ import annotations

from pathlib import Path

from mrf_assets.settings.environment import dagster_home
from mrf_assets.settings.model import SettingsModel, setting
from mrf_assets.settings.paths import MachinePath

_LONGEST_TICK_SECONDS = 50  # Dagster gives a sensor 60, and takes some for itself


class IndexWatching(SettingsModel):
    """Watched indexes."""

    index_registry: MachinePath | None = setting(
        None,
        "File that lists the watched indexes.",
        flag="--registry",
        absent="indexes.toml in DAGSTER_HOME",
    )
    sensor_enabled: bool = setting(True, "Whether the sensor runs from the start.")
    sensor_interval_seconds: int = setting(60, "Seconds between two ticks.", ge=1)
    sensor_tick_seconds: float = setting(
        20.0, "Seconds for one tick, of the 60 that Dagster allows.", gt=0, le=_LONGEST_TICK_SECONDS
    )
    sensor_max_runs: int = setting(100, "Runs requested in a tick, those that wait in the queue counted.", ge=1)
    sensor_max_probes: int = setting(500, "Files asked about in a tick.", ge=1)

    @property
    def registry(self) -> Path:
        """The registry's file. It belongs to an instance: daemon, webserver and shell share DAGSTER_HOME, no folder."""
        return (self.index_registry or dagster_home() / "indexes.toml").absolute()
