"""Settings as the configuration of a Dagster resource, for the launchpad."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import dagster as dg
from pydantic import Field, create_model

from mrf_assets.settings import SettingsModel, groups_of


def resource_of(name: str, kind: type[SettingsModel], names: Iterable[str]) -> Any:  # noqa: ANN401 - a class, made here
    """A class of resources whose configuration is `names`, some of the settings of `kind`.

    Dagster has no groups of fields, so a description begins with its group. Bounds are left to `kind`: its errors are
    one line each.
    """
    groups = {field: group for group, fields in groups_of(kind).items() for field in fields}
    fields: Any = {}
    for field_name in names:
        field = kind.model_fields[field_name]
        default = str(field.default) if isinstance(field.default, Path) else field.default
        description = f"{groups[field_name]}: {field.description}"
        fields[field_name] = (_config_type(field.annotation), Field(default, description=description))
    return create_model(name, __base__=dg.ConfigurableResource, **fields)


def _config_type(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """The type that Dagster has for a field; it knows no paths."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation is Path:
        return str
    args = get_args(annotation)
    if type(None) in args:
        (inner,) = (each for each in args if each is not type(None))
        return _config_type(inner) | None
    return annotation


def configuration_of(settings: SettingsModel, names: Iterable[str]) -> dict[str, Any]:
    """Settings as configuration; paths absolute, for runs start anywhere."""
    values = {name: getattr(settings, name) for name in names}
    return {name: str(it.absolute()) if isinstance(it, Path) else it for name, it in values.items()}
