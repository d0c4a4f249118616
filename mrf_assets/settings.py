"""Everything a run may vary. The only reader of the environment.

Each field can be set as `MRF_<NAME>`, by a flag of the command line, and in the Dagster
launchpad; a flag wins over the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from mrf_assets.errors import SettingError

_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may vary between two runs over the same files."""

    output_dir: Path = Path("mrf_output")
    cpt_whitelist: Path | None = None  # billing codes to keep; None keeps all
    tin_whitelist: Path | None = None  # TINs to keep; None keeps all
    referenced_groups_only: bool = False  # with a whitelist, leave out groups that no kept price names
    provider_batch_size: int = 20_000  # rows per row group of `providers`
    rate_batch_size: int = 50_000  # rows per row group of `rates`
    reader: str = "fast"  # or "ijson", the reference
    keep_periods: int | None = None  # published periods kept per network; None keeps all
    connect_timeout_seconds: float = 20.0
    read_timeout_seconds: float = 120.0  # between two pieces of a download
    part_processes: int | None = None  # files of one network read at a time; None: the cores that `mrf run` leaves free
    read_ahead: bool = True  # fetch and decompress in a thread beside the extraction
    max_parallel_steps: int = 2  # step processes of one Dagster run

    def __post_init__(self) -> None:
        for name in ("provider_batch_size", "rate_batch_size", "max_parallel_steps"):
            if getattr(self, name) < 1:
                raise SettingError(name, f"is {getattr(self, name)}; it must be 1 or more")
        for name, absent in (("keep_periods", "keep all"), ("part_processes", "use the free cores")):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingError(name, f"is {getattr(self, name)}; it must be 1 or more, or absent to {absent}")
        for name in ("connect_timeout_seconds", "read_timeout_seconds"):
            if not 0 < getattr(self, name) <= _DAY_SECONDS:  # sockets refuse infinity with a traceback
                raise SettingError(name, f"is {getattr(self, name)}; it must be more than 0 and at most {_DAY_SECONDS}")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:  # noqa: ANN401 - values of the fields
        """Settings from `MRF_*` variables; `overrides` that are not None win.

        Raises:
            SettingError: A value of the wrong kind, named.
        """
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):
            if (text := environ.get(f"MRF_{field.name.upper()}", "")) != "":
                values[field.name] = _parse(field.name, text, hints[field.name])
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)


def _parse(name: str, text: str, hint: object) -> Any:  # noqa: ANN401 - the field's type
    kinds: dict[object, Callable[[str], Any]] = {
        Path: Path,
        Path | None: Path,
        int: int,
        int | None: int,
        float: float,
        str: str,
        bool: _yes_or_no,
    }
    try:
        return kinds[hint](text)
    except ValueError:
        what = "neither true nor false" if hint is bool else "no number"
        raise SettingError(f"MRF_{name.upper()}", f"is {text!r}, which is {what}") from None


def _yes_or_no(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def dagster_home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of Dagster's storage: DAGSTER_HOME, else `.dagster_home` here."""
    return Path(environ.get("DAGSTER_HOME") or ".dagster_home").absolute()
