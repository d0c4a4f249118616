"""What may vary between two ingests of the same files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from mrf_assets.errors import SettingError
from mrf_assets.settings.downloads import DownloadSettings
from mrf_assets.settings.limits import Limits
from mrf_assets.settings.model import SettingsModel, setting
from mrf_assets.settings.paths import MachinePath, require_folder
from mrf_assets.settings.statistics import StatisticRules

_YEAR_SECONDS = 366 * 86_400
_SHOWN_CHARACTERS = 80  # of a name that a file brings along

ReaderName = Literal["fast", "ijson"]  # those of `extract.READERS`
READER_NAMES: tuple[str, ...] = get_args(ReaderName)
# What a file may bring along for its network, as `FileTask.arguments`: of its index and of columns of a CSV.
NETWORK_ARGUMENTS = (
    "cpt_whitelist",
    "tin_whitelist",
    "referenced_groups_only",
    "provider_batch_size",
    "rate_batch_size",
    "reader",
)
NETWORK_PATHS = ("cpt_whitelist", "tin_whitelist")  # of them, files of this machine


class _Output(SettingsModel):
    """Output."""

    output_dir: MachinePath = setting(
        Path("mrf_output"), "Where parquet, plan, logs and manifest go.", flag="--output-dir"
    )
    keep_periods: int | None = setting(
        None, "Published periods kept for each network.", flag="--keep-periods", absent="all", ge=1
    )
    skip_unchanged: bool | None = setting(
        None,
        "Leave alone what is published of the very same files.",
        flag="--skip-unchanged",
        absent="true in `mrf run`, false in Dagster's UI",
    )
    grace_seconds: float = setting(
        3_600.0, "How long replaced files stay readable for queries that began before.", ge=0, le=_YEAR_SECONDS
    )


class _Whitelists(SettingsModel):
    """Whitelists."""

    cpt_whitelist: MachinePath | None = setting(
        None,
        "File of the billing codes to keep: `code` or `type,code` lines.",
        flag="--cpt-whitelist",
        absent="all codes",
    )
    tin_whitelist: MachinePath | None = setting(
        None, "File of the TINs to keep, one a line.", flag="--tin-whitelist", absent="all TINs"
    )
    allow_empty: bool = setting(
        False,
        "Replace published prices by none where a whitelist keeps none; without it, that is refused.",
        flag="--allow-empty",
    )
    referenced_groups_only: bool = setting(
        False,
        "With a whitelist, leave out groups that no kept price names.",
        flag="--referenced-groups-only",
    )


class _Reading(SettingsModel):
    """Extraction."""

    provider_batch_size: int = setting(20_000, "Rows of a row group of providers.", flag="--provider-batch-size", ge=1)
    rate_batch_size: int = setting(50_000, "Rows of a row group of rates.", flag="--rate-batch-size", ge=1)
    reader: ReaderName = setting(
        "fast", "Which reader extracts: fast, or ijson, the slow one that is obviously right.", flag="--reader"
    )
    spool_downloads: bool = setting(False, "Download a file whole to the staging folder, then extract it.")
    part_processes: int | None = setting(
        None, "Files of one network that are read at a time.", absent="the cores that `mrf run` leaves free", ge=1
    )
    read_ahead: bool = setting(True, "Fetch and decompress in a thread next to the extraction.")
    max_parallel_steps: int = setting(2, "Step processes of one Dagster run.", ge=1)


class _Queries(SettingsModel):
    """Queries and checks."""

    query_memory_mb: int = setting(
        1_024,
        "MB of memory that a query or a rule may take. The rest waits on disk, except for medians over too much, "
        "which are refused.",
        flag="--memory-mb",
        ge=1,
    )
    taxonomy_codes: MachinePath | None = setting(
        None,
        "CSV of what each specialty does (taxonomy, billing_code_type, billing_code), for ghost rates.",
        flag="--taxonomy-codes",
        absent="the one that `mrf catalog` was given last, if any",
    )
    # How far a network may move since its period before; guesses, as no payer's habits are published.
    drift_rows_share: float = setting(0.25, "How far a network's count of prices may move between periods.", ge=0)
    drift_codes_share: float = setting(0.1, "How far a network's count of codes may move.", ge=0)
    drift_tins_share: float = setting(0.25, "How far a network's count of TINs may move.", ge=0)
    drift_median_share: float = setting(
        0.2, "How far a code's median in dollars may move; 5 % of codes may move further.", ge=0
    )


# The order of the groups is the reverse of that of the classes.
class Settings(Limits, StatisticRules, _Queries, DownloadSettings, _Reading, _Whitelists, _Output):
    """What may vary between two runs over the same files."""

    @classmethod
    def for_daemon(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Settings of runs that nobody watches: the same, and careful with addresses unless told otherwise."""
        given = {name: value for name, value in environ.items() if value != ""}
        return cls.from_environment({"MRF_REFUSE_PRIVATE_ADDRESSES": "true", **given})

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Self:  # noqa: ANN401 - values of the fields
        """As for all settings; the output folder has to be one that can be written."""
        settings = super().from_environment(environ, **overrides)
        require_folder(settings.output_dir)
        return settings

    def with_arguments(self, arguments: Mapping[str, str]) -> Self:
        """The settings of one network, whose files bring `arguments` along: texts, by the names of the settings.

        Raises:
            SettingError: None of `NETWORK_ARGUMENTS`, or a value that cannot be used; named.
        """
        if not arguments:
            return self
        for name in arguments.keys() - set(NETWORK_ARGUMENTS):
            known = ", ".join(NETWORK_ARGUMENTS)
            raise SettingError(f"extra_args.{name[:_SHOWN_CHARACTERS]}", f"is not known; a file may have {known}")
        return self.of_texts({**dict(self), **arguments}, {name: f"extra_args.{name}" for name in arguments})

    @property
    def limits(self) -> Limits:
        """How far a file may go."""
        return self.part(Limits)

    @property
    def statistic_rules(self) -> StatisticRules:
        """When a statistic is sound."""
        return self.part(StatisticRules)
