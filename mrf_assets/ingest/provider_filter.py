"""Leave out providers that are not wanted, once all tables of a file are written.

Which TIN a price belongs to, and which groups prices refer to, is known only when all of the
file is (groups may come first or last). A query engine would be shorter, but joins do not keep
the order of rows, and equal input must give equal files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATES, TABLES
from mrf_assets.whitelist import TinWhitelist

_READ_ROWS = 50_000
_Column = Any  # an Arrow array; the stubs know one class per type
_Rule = tuple[str, _Column]  # a column, and the values of it that are wanted


def kept_rows(
    paths: Mapping[str, Path], batch_rows: Callable[[str], int], *, tins: TinWhitelist | None, referenced_only: bool
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield `(table, batch)` of every table of one file, filtered; order and schema are kept.

    With `tins`: their providers, and the prices that name at least one of them. With
    `referenced_only`: the groups that a kept price names.
    """
    rules: dict[str, list[_Rule]] = {}
    if tins is not None:
        tin_values = pa.array(sorted(tins.values), pa.string())
        groups = _distinct(paths[PROVIDERS.name], "provider_group_id", ("tin_value", tin_values))
        sets = _distinct(paths[PROVIDER_SETS.name], "provider_set_id", ("provider_group_id", groups))
        rules[PROVIDERS.name] = [("tin_value", tin_values)]
        rules[PROVIDER_SETS.name] = [("provider_group_id", groups)]
        rules[RATES.name] = [("provider_set_id", sets)]
    if referenced_only:
        group_ids = _distinct(paths[PROVIDER_SETS.name], "provider_group_id", *rules.get(PROVIDER_SETS.name, ()))
        rules.setdefault(PROVIDERS.name, []).append(("provider_group_id", group_ids))
    for name, path in paths.items():
        batches = _filtered(path, None, *rules.get(name, ()))
        for batch in _rebatched(batches, TABLES[name].arrow, batch_rows(name)):
            yield name, batch


def _batches(path: Path, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(_READ_ROWS, columns=columns)


def _filtered(path: Path, columns: list[str] | None, *rules: _Rule) -> Iterator[pa.RecordBatch]:
    """The rows whose keys are wanted."""
    for batch in _batches(path, columns):
        for key, values in rules:
            batch = batch.filter(pc.is_in(batch.column(key), value_set=values))  # noqa: PLW2901 - what is left of it
        yield batch


def _distinct(path: Path, column: str, *rules: _Rule) -> _Column:
    """The distinct values of a column in the rows whose keys are wanted."""
    columns = list(dict.fromkeys([column, *(key for key, _ in rules)]))
    parts = [batch.column(column).unique() for batch in _filtered(path, columns, *rules)]
    kind = pq.read_schema(path).field(column).type
    return pa.chunked_array(parts, kind).unique()


def _rebatched(batches: Iterator[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows, `rows` of them in each batch but the last: a filter leaves crumbs."""
    pending_batches: list[pa.RecordBatch] = []
    pending_rows = 0
    for batch in batches:
        pending_batches.append(batch)
        pending_rows += batch.num_rows
        if pending_rows >= rows:
            whole = pa.Table.from_batches(pending_batches).combine_chunks()
            cut = pending_rows - pending_rows % rows
            yield from _typed(whole.slice(0, cut), schema, rows)
            pending_batches, pending_rows = whole.slice(cut).to_batches(), pending_rows - cut
    if pending_rows:
        yield from _typed(pa.Table.from_batches(pending_batches).combine_chunks(), schema, rows)


def _typed(table: pa.Table, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    return iter(table.cast(schema).to_batches(max_chunksize=rows))
