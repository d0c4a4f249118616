"""Files of any layout -> SQL that reads them with today's columns."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import StoreError
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.generations import PublishedFile
from mrf_assets.lake.set_tins import set_tins_sql
from mrf_assets.lake.view import DERIVED, PLACE
from mrf_assets.schema import (
    PROVIDER_DIRECTORY as DIRECTORY,
    PROVIDER_SETS,
    PROVIDERS,
    SET_TINS,
    STORED_TABLES,
    Table,
)

logger = logging.getLogger(__name__)

_HIVE = "hive_partitioning = true, hive_types = {'network_id': VARCHAR, 'period': VARCHAR}, file_row_number = true"
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}
Layout = tuple[tuple[str, str], ...]  # (column, Arrow type)
Locate = Callable[[Path], str]  # a file of the output folder -> its path as SQL


def one_line(error: Exception) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())


def select_changes(table: Table, layout: Layout, paths: Sequence[str]) -> str:
    """SQL of a table of changes in files of one layout; without files, of one row of nulls."""
    columns = ", ".join(_converted(it.name, it.type, dict(layout)) for it in table.columns)
    source = f" FROM read_parquet([{', '.join(paths)}], hive_partitioning = false)" if paths else ""
    return f"SELECT {columns}{source}"


def select_table(table: Table, files: Iterable[tuple[Layout, PublishedFile]], locate: Locate) -> str:
    """SQL of a table's rows in files that may have been written with other columns or types."""
    paths: dict[Layout, list[str]] = {}
    for layout, file in files:
        paths.setdefault(layout, []).append(locate(file.path))
    return "\nUNION ALL\n".join(_select(table, *of_one) for of_one in paths.items()) if paths else _nothing(table)


def select_set_tins(files: Sequence[tuple[Layout, PublishedFile]], locate: Locate) -> str:
    """SQL of `schema.SET_TINS`: read where it was published, and computed for periods that are older than it."""
    by_table: dict[str, list[tuple[Layout, PublishedFile]]] = {name: [] for name in STORED_TABLES}
    parts: Counter[tuple[str, str]] = Counter()
    for layout, file in files:
        by_table[file.table].append((layout, file))
        parts[file.network_id, file.period] += {SET_TINS.name: 1, PROVIDERS.name: -1}.get(file.table, 0)
    selects = []
    if stored := [it for it in by_table[SET_TINS.name] if not parts[it[1].network_id, it[1].period]]:
        selects.append(select_table(SET_TINS, stored, locate))
    sources = [
        [it for it in by_table[table.name] if parts[it[1].network_id, it[1].period]]
        for table in (PROVIDERS, PROVIDER_SETS)
    ]
    if all(sources):
        providers, provider_sets = (
            f"({select_table(table, of_table, locate)})"
            for table, of_table in zip((PROVIDERS, PROVIDER_SETS), sources, strict=True)
        )
        selects.append(set_tins_sql(providers, provider_sets, ", ".join((*PLACE, "file_id"))))
    return "\nUNION ALL\n".join(f"({it})" for it in selects) if selects else _nothing(SET_TINS)


def _select(table: Table, layout: Layout, paths: Sequence[str]) -> str:
    """An older layout gets null for what it lacks, and today's types."""
    types = dict(layout)
    sources = [
        column.name if types.get(column.name) == str(column.type) else _converted(column.name, column.type, types)
        for column in table.columns
    ]
    derived_columns = [f"{it.sql} AS {name}" for name, it in DERIVED.get(table.name, {}).items()]
    path_list = ", ".join(paths)
    inner = f"SELECT {', '.join((*PLACE, *sources))}, file_row_number FROM read_parquet([{path_list}], {_HIVE})"  # noqa: S608 - names of `schema`, paths as literals
    columns = ", ".join((*PLACE, *(column.name for column in table.columns), *derived_columns))
    return f"SELECT {columns} FROM ({inner})"  # noqa: S608 - the same


def _converted(name: str, kind: pa.DataType, types: dict[str, str]) -> str:
    return f"CAST({name if name in types else 'NULL'} AS {_sql_type(kind)}) AS {name}"


def _nothing(table: Table) -> str:
    columns = ", ".join(f"CAST(NULL AS {_sql_type(column.type)}) AS {column.name}" for column in table.columns)
    derived_columns = "".join(f", {it.sql} AS {name}" for name, it in DERIVED.get(table.name, {}).items())
    place = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in PLACE)
    inner = f"SELECT {place}, {columns}, CAST(NULL AS BIGINT) AS file_row_number WHERE false"
    return f"SELECT * EXCLUDE (file_row_number){derived_columns} FROM ({inner})"  # noqa: S608 - names of `schema`


def select_directory(path: str | None, layout: Layout | None) -> str:
    """SQL of the provider directory; of no rows where there is none."""
    source = "(SELECT 1) WHERE false" if path is None else f"read_parquet({path})"
    columns = ", ".join(_converted(column.name, column.type, dict(layout or ())) for column in DIRECTORY.columns)
    return f"SELECT {columns} FROM {source}"  # noqa: S608 - names of `schema`, the path as a literal


def _sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of a type of `schema`."""
    if isinstance(kind, pa.MapType):
        return f"MAP({_sql_type(kind.key_type)}, {_sql_type(kind.item_type)})"
    if isinstance(kind, pa.ListType):
        return f"{_sql_type(kind.value_type)}[]"
    if isinstance(kind, pa.StructType):
        return f"STRUCT({', '.join(f'{field.name} {_sql_type(field.type)}' for field in kind)})"
    if isinstance(kind, pa.Decimal128Type):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _SQL_TYPES[kind]


def _layout(schema: pa.Schema) -> Layout:
    return tuple((field.name, str(field.type)) for field in schema)


_LAYOUTS = {table.name: _layout(table.arrow) for table in STORED_TABLES.values()}


def layout_of(file: PublishedFile) -> Layout:
    """The columns of a published file. A file is opened only if its name says that it has another layout."""
    if file.is_of_this_layout:
        return _LAYOUTS[file.table]
    try:
        return _layout(pq.read_schema(file.path))
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(str(file.path), f"cannot be read ({error}); ingest its network again") from error


def layout_of_derived(path: Path, remedy: str) -> Layout | None:
    """None, with a warning, for a file that cannot be read."""
    try:
        return _layout(pq.read_schema(path))
    except (OSError, pa.ArrowInvalid) as error:
        logger.warning("%s cannot be read and is left out (%s); %s", path, one_line(error), remedy)
    return None


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def path_literal(path: Path) -> str:
    """A path as SQL, whatever signs are in it."""
    return literal(pattern_of(path))
