"""Values of rows as text, in a ledger or a CSV, and back in the types of an output."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pyarrow as pa

from mrf_assets.providers.lookup.items import Row
from mrf_assets.text import armed, disarmed


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as the ledger keeps them, in the types of an output."""
    times = [field for field in schema if pa.types.is_temporal(field.type)]
    typed_rows = [
        {**row, **{field.name: from_text(row.get(field.name) or "", field.type) for field in times}} for row in rows
    ]
    return pa.Table.from_pylist(typed_rows, schema=schema)


def to_text(value: object) -> str:
    """A cell; no spreadsheet runs it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return disarmed(value)
        case list() | dict():
            return orjson.dumps(value).decode()
        case dt.datetime() | dt.date():
            return value.isoformat()
        case _:
            return str(value)


_READERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str], Any]], ...] = (
    (pa.types.is_string, armed),
    (pa.types.is_boolean, lambda text: bool(("false", "true").index(text.lower()))),
    (pa.types.is_integer, int),
    (pa.types.is_floating, float),
    (pa.types.is_date, dt.date.fromisoformat),
    (pa.types.is_timestamp, dt.datetime.fromisoformat),
    (pa.types.is_list, orjson.loads),
)


def from_text(text: str, kind: pa.DataType) -> Any:  # noqa: ANN401 - a value of that type
    """What `to_text` made of it; ValueError for what it never makes."""
    return None if text == "" else next(reader for is_kind, reader in _READERS if is_kind(kind))(text)
