"""What holds of every setting, whatever it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo

from mrf_assets.errors import SettingError
from mrf_assets.settings import ALL_SETTINGS, SettingsModel, choices_of, groups_of, shown_default

EVERY = [(kind, name) for kind in ALL_SETTINGS for name in kind.model_fields]
of_every_setting = pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{k.__name__}.{n}" for k, n in EVERY])
_BOUNDS = ("ge", "gt", "le")
_ALLOWING = {"MRF_PRICE_PER_GB": "1"}  # a budget needs a price


def _bound(field: FieldInfo, name: str) -> Any:  # noqa: ANN401 - a number or None
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)


def _is(field: FieldInfo, kind: type) -> bool:
    return kind in (field.annotation, *get_args(field.annotation))


def _another_value(name: str, field: FieldInfo) -> tuple[str, object]:
    """A text that may stand in the environment, and the value that it stands for: not the default."""
    if choices := choices_of(field.annotation):
        return choices[-1], choices[-1]
    if _is(field, bool):
        return ("false", False) if field.default else ("true", True)
    least, _, most = (_bound(field, kind) for kind in _BOUNDS)
    if _is(field, int):
        value = most or (field.default or least or 0) + 1
        return str(value), value
    if _is(field, float):
        value = field.default / 2 if field.default else 0.5
        if least is not None and value < least:
            value = field.default + 0.5
        return str(value), value
    if "Path" in str(field.annotation):
        return f"/data/{name}", Path(f"/data/{name}")
    text = "gs" if name == "object_stores" else f"http://127.0.0.1/{name}"
    return text, text


@of_every_setting
def test_a_setting_comes_from_its_variable_as_its_own_kind(kind: type[SettingsModel], name: str) -> None:
    """MRF_ and the name in capitals; another value than the default."""
    text, value = _another_value(name, kind.model_fields[name])

    found = getattr(kind.from_environment(_ALLOWING | {f"MRF_{name.upper()}": text}), name)

    assert (value, True) == (found, found != kind.model_fields[name].default)


@pytest.mark.parametrize("kind", ALL_SETTINGS)
def test_an_empty_environment_gives_the_defaults(kind: type[SettingsModel]) -> None:
    """Nothing has to be set, and an empty variable is none at all."""
    empty = dict.fromkeys((f"MRF_{name.upper()}" for name in kind.model_fields), "")
    assert kind() == kind.from_environment({}) == kind.from_environment(empty)


@of_every_setting
def test_a_setting_says_what_it_means_and_what_holds_without_it(kind: type[SettingsModel], name: str) -> None:
    """A sentence, under the heading of a group; a default of None is said in words."""
    field = kind.model_fields[name]
    (group,) = (heading for heading, names in groups_of(kind).items() if name in names)

    assert (field.description or "").endswith(".")
    assert shown_default(field) not in ("", "None")
    assert group
    assert "\n" not in group


@of_every_setting
def test_a_number_out_of_bounds_is_refused_with_its_bounds(kind: type[SettingsModel], name: str) -> None:
    """By the name of what was set: a variable, or a field."""
    field = kind.model_fields[name]
    least, above, most = (_bound(field, each) for each in _BOUNDS)
    wrong = [
        value
        for value in (None if least is None else least - 1, above, None if most is None else most + 1)
        if value is not None
    ]

    for value in wrong:
        with pytest.raises(SettingError, match=rf"^{name}: is {value}; it must be .*\d"):
            kind(**{name: value})
        with pytest.raises(SettingError, match=rf"^MRF_{name.upper()}: is {value}; it must be "):
            kind.from_environment({f"MRF_{name.upper()}": str(value)})


@of_every_setting
def test_a_number_of_another_kind_is_refused(kind: type[SettingsModel], name: str) -> None:
    """Words, commas and prefixes of programmers; infinity, which ends in a traceback of a socket."""
    field = kind.model_fields[name]
    if not (_is(field, float) or _is(field, int)) or _is(field, bool):
        return

    for text in ("many", "1,5", "0x10"):
        with pytest.raises(SettingError, match=rf"^MRF_{name.upper()}: is '{text}', which is no (whole )?number$"):
            kind.from_environment({f"MRF_{name.upper()}": text})
    for value in (float("nan"), float("inf")):
        with pytest.raises(SettingError, match=rf"^{name}: is {value}"):
            kind(**{name: value})


@of_every_setting
def test_a_word_that_is_none_of_its_choices_is_refused_with_them(kind: type[SettingsModel], name: str) -> None:
    """A slip must not mean the contrary."""
    field = kind.model_fields[name]
    choices = choices_of(field.annotation)
    if not choices and not _is(field, bool):
        return

    told = f"use one of: {', '.join(choices)}" if choices else "which is neither true nor false"
    with pytest.raises(SettingError, match=rf"^MRF_{name.upper()}: is 'maybe'[;,] {told}$"):
        kind.from_environment({f"MRF_{name.upper()}": "maybe"})


@pytest.mark.parametrize("kind", ALL_SETTINGS)
def test_a_name_that_is_no_setting_is_refused_with_the_one_that_is_near(kind: type[SettingsModel]) -> None:
    """A misspelled field would hold its default in silence."""
    name = next(iter(kind.model_fields))
    with pytest.raises(SettingError, match=f"^{name}z: is no setting; did you mean {name}"):
        kind(**{f"{name}z": 1})


def test_settings_cannot_be_changed_in_place_and_are_compared_by_value() -> None:
    """Many hold the same; a change makes others."""
    for kind in ALL_SETTINGS:
        name, field = next(iter(kind.model_fields.items()))
        _, value = _another_value(name, field)
        changed = kind().changed(**{name: value})
        assert (value, True) == (getattr(changed, name), changed != kind())
        assert kind() == changed.changed(**{name: field.default})
        with pytest.raises(ValueError, match="frozen"):
            setattr(changed, name, value)
