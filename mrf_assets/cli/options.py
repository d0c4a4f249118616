"""Kinds of values that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import click

from mrf_assets.errors import SettingError
from mrf_assets.priority import Priority
from mrf_assets.settings import (
    IndexWatching,
    Operations,
    Settings,
    SettingsModel,
    choices_of,
    flag_of,
    machine_path,
    shown_default,
)

RAW_TEXT_HELP = "In CSV, leave texts that a spreadsheet would run as a formula as they are."

_M = TypeVar("_M", bound=SettingsModel)
_Option = Callable[[Any], Any]  # decorates a command


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


class _Words(click.Choice[str]):
    """Words that `--help` shows; the settings refuse others, in one line."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, ARG002 - as click has it
        """The word as it was given."""
        return value


def setting_option(
    kind: type[SettingsModel],
    name: str,
    *,
    flag: str | None = None,
    description: str | None = None,
    **others: Any,  # noqa: ANN401 - of `click.option`
) -> _Option:
    """The flag that sets one field of a class of settings, with its description and its default.

    Args:
        kind: The class.
        name: The field; also the name of the command's argument.
        flag: The flag with its opposite, such as `--referenced-groups-only/--all-groups`, if the command has one.
        description: Replaces the field's description, if the setting means something narrower in this command.
        **others: Arguments of `click.option`.
    """
    field = kind.model_fields[name]
    flag = flag or flag_of(field) or ""
    # Without a default: the environment comes before it.
    attributes: dict[str, Any] = {
        "default": None,
        "help": f"{description or field.description}  [default: {shown_default(field)}]",
    }
    kind_of_value = _click_type(field.annotation)
    attributes |= {"is_flag": True} if kind_of_value is bool and "/" not in flag else {"type": kind_of_value}
    return click.option(flag, name, **attributes | others)


def _click_type(annotation: Any) -> Any:  # noqa: ANN401 - a type
    if choices := choices_of(annotation):
        return _Words(choices)
    parts = get_args(annotation) or (annotation,)
    kinds = [get_args(each)[0] if get_origin(each) is Annotated else each for each in parts]
    if Path in kinds:
        return LocalPath()
    return next((each for each in (bool, int, float) if each in kinds), str)


def from_flags(kind: type[_M], **flags: Any) -> _M:  # noqa: ANN401 - click's values
    """Settings of the environment and of flags, which win; an error names the flag that was given.

    Raises:
        SettingError: A value that cannot be used.
    """
    try:
        return kind.from_environment(**flags)
    except SettingError as error:
        is_given = flags.get(error.name) is not None
        flag = flag_of(kind.model_fields[error.name]) if is_given and error.name in kind.model_fields else None
        raise SettingError(flag or error.name, error.reason) from None


OUTPUT_DIR = setting_option(Settings, "output_dir")
PUBLISHED_DIR = setting_option(Settings, "output_dir", description="The output folder of `mrf run`.")
MEMORY = setting_option(Settings, "query_memory_mb")
TAXONOMY_OPTION = setting_option(Settings, "taxonomy_codes")
REGISTRY = setting_option(IndexWatching, "index_registry")
BUDGET = setting_option(Operations, "budget_dollars")
WORKERS = click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Networks at a time.")


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
