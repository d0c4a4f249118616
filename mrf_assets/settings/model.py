"""What every class of settings can do: take values, refuse others in one line, change."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum, EnumType
from inspect import get_annotations
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from mrf_assets.errors import SettingError

DAY_SECONDS = 86_400
MAX_WORKERS = 20  # look-ups at a time, and portals
PREFIX = "MRF_"
_FLAG, _ABSENT = "flag", "absent"  # what a field says beside its type and its description
_SHOWN_CHARACTERS = 80  # of a name that somebody else has written

_M = TypeVar("_M", bound="SettingsModel")


class SettingsModel(BaseModel):
    """Values that are right together: what cannot be used is refused by name when it is made.

    Each field is declared by `setting`. The first line of the docstring of the class that declares it is its group
    in the launchpad and its heading in docs/settings.md.

    Raises:
        SettingError: A value of the wrong kind or out of bounds, or a name that is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - those of the fields
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refusal(type(self), error.errors(include_url=False)[0]) from None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Self:  # noqa: ANN401 - the same
        """Settings from `MRF_*` variables; `overrides` that are not None win.

        Raises:
            SettingError: A value that cannot be used, by the name of its variable or of its field.
        """
        texts = {name: environ.get(variable_of(name), "") for name in cls.model_fields}
        given = {name: text for name, text in texts.items() if text != ""}
        overrides = {name: value for name, value in overrides.items() if value is not None}
        return cls.of_texts(given | overrides, {name: variable_of(name) for name in given.keys() - overrides.keys()})

    @classmethod
    def of_texts(cls, values: Mapping[str, Any], names: Mapping[str, str]) -> Self:
        """Settings of values that somebody wrote under other `names`, by which errors call them.

        Raises:
            SettingError: A value that cannot be used.
        """
        try:
            return cls(**values)
        except SettingError as error:
            raise SettingError(names.get(error.name, error.name), error.reason) from None

    def changed(self, **values: Any) -> Self:  # noqa: ANN401 - the same
        """The same settings but for `values`."""
        return type(self)(**dict(self) | values)

    def part(self, kind: type[_M]) -> _M:
        """The settings of `kind`, one of the classes that this one is made of."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})


def setting(
    default: Any,  # noqa: ANN401 - of the field's type
    description: str,
    *,
    flag: str | None = None,
    absent: str | None = None,
    **others: Any,  # noqa: ANN401 - of pydantic's `Field`
) -> Any:  # noqa: ANN401 - what the field is declared with
    """Declare a field of a class of settings.

    Args:
        default: What holds where nothing is set.
        description: What it means, for launchpad, `--help` and docs/settings.md.
        flag: The flag of the command line that sets it.
        absent: What None means. It is shown as the default, and in errors after "or absent for".
        **others: Arguments of pydantic's `Field`, such as bounds.
    """
    extra: Any = {_FLAG: flag, _ABSENT: absent}
    return Field(default, description=description, json_schema_extra=extra, **others)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def groups_of(kind: type[SettingsModel]) -> dict[str, list[str]]:
    """The names of the fields, under the headings of the classes that declare them."""
    groups: dict[str, list[str]] = {}
    for name in kind.model_fields:
        owner = next(each for each in reversed(kind.__mro__) if name in get_annotations(each))
        groups.setdefault((owner.__doc__ or "").partition("\n")[0].rstrip("."), []).append(name)
    return groups


def flag_of(field: FieldInfo) -> str | None:
    """The flag of the command line that sets a field."""
    return _said(field, _FLAG)


def shown_default(field: FieldInfo) -> str:
    """A field's default, for a person."""
    if field.default is None:
        return _said(field, _ABSENT) or "none"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def allowed_values(field: FieldInfo) -> str:
    """What a field may hold, for a person."""
    kinds = [field.annotation, *get_args(field.annotation)]
    if choices := [word for each in kinds for word in choices_of(each)]:
        return ", ".join(choices)
    if bool in kinds:
        return "true, false"
    if int in kinds or float in kinds:
        return _range(field)
    return "a path" if any("Path" in str(each) for each in kinds) else "text"


def _said(field: FieldInfo, key: str) -> str | None:
    extra = field.json_schema_extra
    return str(extra[key]) if isinstance(extra, dict) and extra.get(key) else None


def _refusal(kind: type[SettingsModel], error: Mapping[str, Any]) -> SettingError:
    """The first thing that pydantic found, in our words."""
    name, value = str(error["loc"][0]), error["input"]
    field = kind.model_fields.get(name)
    if field is not None and field.repr is False:
        return SettingError(name, "is no text")  # a secret
    if field is None:
        near = get_close_matches(name, list(kind.model_fields), n=1)
        return SettingError(name[:_SHOWN_CHARACTERS], f"is no setting{f'; did you mean {near[0]}?' if near else ''}")
    kinds = [field.annotation, *get_args(field.annotation)]
    if error["type"].endswith(("_parsing", "_type", "_from_float")):
        wanted = "neither true nor false" if bool in kinds else "no whole number" if int in kinds else "no number"
        return SettingError(name, f"is {value!r}, which is {wanted}")
    if choices := [word for each in kinds for word in choices_of(each)]:
        return SettingError(name, f"is {value!r}; use one of: {', '.join(choices)}")
    absent = _said(field, _ABSENT)
    what = f"is {value}; it must be {_range(field)}{f', or absent for {absent}' if absent else ''}"
    return SettingError(name, what)


def choices_of(kind: Any) -> Sequence[str]:  # noqa: ANN401 - a type
    """The words that a type allows; none where it allows more than words."""
    if isinstance(kind, EnumType):
        members: Mapping[str, Enum] = kind.__members__
        return [str(each.value) for each in members.values()]
    return get_args(kind) if get_origin(kind) is Literal else ()


def _range(field: FieldInfo) -> str:
    """The bounds of a number, in words."""
    least, above, most = (
        next((bound for each in field.metadata if (bound := getattr(each, name, None)) is not None), None)
        for name in ("ge", "gt", "le")
    )
    if above is not None:
        return f"more than {above}" if most is None else f"more than {above} and at most {most}"
    if least is None:
        return "a finite number"
    return f"{least} or more" if most is None else f"{least} to {most}"
