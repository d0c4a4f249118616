"""Everything that a run may vary, said once: name, default, bounds and meaning of each setting.

Environment, launchpad, flags, options of downloads and docs/settings.md come from these models.
Read it in the order in which data flows:

environment      DAGSTER_HOME, certificates, and what libraries read from the environment
paths            what may be a path of this machine
model            what all models can do: take values, refuse others in one line, change
limits           how far a stranger's file may go
downloads        how a file is fetched
prices           what a gigabyte, an hour and a request cost
statistics       when a statistic is sound
ingest           `Settings`: all that may vary between two ingests
operations       for whoever operates the platform
watching         how indexes are watched
discovery        how portals are searched
enrichment       how NPIs are looked up
variables        all of them together, and variables that are none
reference_page   the page docs/settings.md
"""

from __future__ import annotations

from mrf_assets.settings.discovery import MAX_WATCHED, DiscoveryMode, DiscoverySettings
from mrf_assets.settings.downloads import DownloadSettings
from mrf_assets.settings.enrichment import LOOK_UP_SETTINGS, EnrichSettings
from mrf_assets.settings.environment import (
    certificates,
    dagster_home,
    default_host_state_dir,
    ignore_netrc,
    spare_blas_threads,
)
from mrf_assets.settings.ingest import NETWORK_ARGUMENTS, NETWORK_PATHS, READER_NAMES, ReaderName, Settings
from mrf_assets.settings.limits import CONTAINER_VALUES, MIB, Limits
from mrf_assets.settings.model import MAX_WORKERS, SettingsModel, choices_of, flag_of, groups_of, shown_default
from mrf_assets.settings.operations import Operations
from mrf_assets.settings.paths import machine_path
from mrf_assets.settings.prices import Prices, dollars_text
from mrf_assets.settings.statistics import StatisticRules
from mrf_assets.settings.variables import ALL_SETTINGS, unknown_variables
from mrf_assets.settings.watching import IndexWatching

__all__ = [
    "ALL_SETTINGS",
    "CONTAINER_VALUES",
    "LOOK_UP_SETTINGS",
    "MAX_WATCHED",
    "MAX_WORKERS",
    "MIB",
    "NETWORK_ARGUMENTS",
    "NETWORK_PATHS",
    "READER_NAMES",
    "DiscoveryMode",
    "DiscoverySettings",
    "DownloadSettings",
    "EnrichSettings",
    "IndexWatching",
    "Limits",
    "Operations",
    "Prices",
    "ReaderName",
    "Settings",
    "SettingsModel",
    "StatisticRules",
    "certificates",
    "choices_of",
    "dagster_home",
    "default_host_state_dir",
    "dollars_text",
    "flag_of",
    "groups_of",
    "ignore_netrc",
    "machine_path",
    "shown_default",
    "spare_blas_threads",
    "unknown_variables",
]
