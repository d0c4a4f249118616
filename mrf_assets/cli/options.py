"""Kinds of values that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mrf_assets.errors import SettingError
from mrf_assets.priority import Priority
from mrf_assets.settings import machine_path

TAXONOMY_CODES_HELP = (
    "CSV of what each specialty does (taxonomy, billing_code_type, billing_code), for ghost rates.  "
    "[default: the one that `mrf catalog` was given last]"
)
RAW_TEXT_HELP = "In CSV, leave texts that a spreadsheet would run as a formula as they are."


class LocalPath(click.Path):
    """A path of this machine; an address is refused before it becomes a folder of that name."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click has it
        """The path."""
        machine_path(param.opts[0] if param is not None else "path", value)
        return super().convert(value, param, ctx)


class PriorityName(click.Choice[str]):
    """A priority by its name, in any case."""

    def __init__(self) -> None:
        super().__init__([each.name for each in Priority], case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click has it
        """The priority."""
        return value if isinstance(value, Priority) else Priority[super().convert(value, param, ctx)]


def named_values(flag: str, pairs: Sequence[str]) -> dict[str, str]:
    """The values of a flag that is given as name=value, any number of times; the last of a name counts.

    Raises:
        SettingError: A text of another form.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingError(flag, f"{pair!r} is not of the form name=value")
        values[name] = value
    return values
