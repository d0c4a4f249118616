"""What is published, as documented views of DuckDB: in a connection, or in one file.

The views list files of `generations`, each network and period out of one publication. A
republication changes nothing for them while the grace time lasts; later a query ends with an
error, and the catalog is made again. What the views are stands in `views`.

A published file that cannot be read is an error, for numbers without it would be wrong. A derived one
(rate_changes of a network, provider_directory) is left out with a warning that names it and says how it is made
anew: it must not keep people from all else.
"""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import ListFileError, QueryError, SettingError, StoreError
from mrf_assets.files import atomic_write
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.generations import PublishedFile, published_files
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.lake.views import (
    CHANGES,
    DERIVED,
    FLAGGED,
    NETWORKS,
    PLACE,
    PROVIDER_TAXONOMIES,
    TAXONOMY_CODES,
    VIEWS,
    Docs,
    View,
    table_docs,
)
from mrf_assets.schema import PROVIDER_DIRECTORY as DIRECTORY, RATE_CHANGES, TABLES, Table
from mrf_assets.settings import machine_path

logger = logging.getLogger(__name__)

CATALOG_NAME = "catalog.duckdb"
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
# The oldest that DuckDB 1.0 to 1.4 read; they refuse what DuckDB 2 writes by default.
_STORAGE_VERSION = "v1.0.0"
# A missing file is all that DuckDB can report of an old catalog: its path says what to do.
_REMEDY = "this-catalog-is-out-of-date.run-mrf-catalog-again"
_NO_GHOSTS = (
    "No ghost rates are judged here: give `mrf catalog --taxonomy-codes FILE`, and materialize provider_directory."
)
_ROOT = "lake_root"  # the macro with the place that the paths of a catalog for elsewhere begin with
_Layout = tuple[tuple[str, str], ...]  # (column, Arrow type)
_Locate = Callable[[Path], str]  # a file of the output folder -> its path as SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What a catalog shows."""

    networks: int
    periods: int  # of all networks together
    files: int  # of all tables
    path: Path | None = None


def connect(
    output_dir: Path | str,
    *,
    memory_mb: int | None = None,
    threads: int | None = None,
    taxonomy_codes: Path | str | None = None,
    networks: Sequence[str] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection to what is published now; nothing is written below `output_dir`.

    `memory_mb` bounds what DuckDB takes; what does not fit waits in the system's temporary folder.
    `taxonomy_codes` is a CSV of the columns of the view of that name, by default the one that `write_catalog` was
    given last; `networks` narrows the views to some.

    Raises:
        SettingError: There is no such folder.
        StoreError: Something that is published cannot be read.
        ListFileError: `taxonomy_codes` cannot be read.
        QueryError: `memory_mb` is not enough for the views alone.
    """
    if not machine_path("output_dir", output_dir).is_dir():
        raise SettingError(
            "output_dir",
            f"nothing is published in {output_dir}, there is no such folder; correct the path, or run `mrf run` first",
        )
    config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(Path(gettempdir(), "mrf_duckdb"))}
    if memory_mb is not None:
        config["memory_limit"] = f"{memory_mb}MB"
    if threads is not None:
        config["threads"] = threads
    connection = duckdb.connect(config=config)
    try:
        define_views(connection, Path(output_dir), None if taxonomy_codes is None else Path(taxonomy_codes), networks)
    except BaseException:
        connection.close()
        raise
    return connection


def write_catalog(
    output_dir: Path | str, taxonomy_codes: Path | str | None = None, *, root: str | None = None
) -> Catalog:
    """Write `<output_dir>/catalog.duckdb`, replacing it in one step; who reads the old one may go on.

    DuckDB from 1.0 on opens it. With `root` its views read the same files below that path, where the output folder
    is moved, copied or mounted. `taxonomy_codes` are kept with the output folder: later catalogs and connections use
    them until others are given.

    Raises:
        ListFileError: `taxonomy_codes` cannot be read.
        StoreError: The folder cannot be written, or something that is published cannot be read.
    """
    output_dir = machine_path("output_dir", output_dir)
    path, state = output_dir / CATALOG_NAME, output_dir / ".mrf"
    try:
        if taxonomy_codes is not None:
            _keep_taxonomies(Path(taxonomy_codes), Reference(output_dir).taxonomy_codes)
        (state / _REMEDY).mkdir(parents=True, exist_ok=True)
        # In a folder of its own: DuckDB puts its log elsewhere where a path holds a `?`.
        with atomic_write(path, state) as partial, TemporaryDirectory(prefix="mrf_catalog-") as folder:
            made = _write_database(Path(folder) / CATALOG_NAME, output_dir.absolute(), root)
            shutil.copyfile(Path(folder) / CATALOG_NAME, partial)
    except (OSError, duckdb.IOException) as error:
        raise StoreError(
            str(output_dir), f"has no room for the catalog ({error}); check the folder, its owner and its disk"
        ) from error
    return Catalog(networks=made.networks, periods=made.periods, files=made.files, path=path)


def _write_database(path: Path, output_dir: Path, root: str | None) -> Catalog:
    def here(file: Path) -> str:
        return _path_literal(output_dir / ".mrf" / _REMEDY / ".." / ".." / file.relative_to(output_dir))

    def elsewhere(file: Path) -> str:
        return f"{_ROOT}() || {_literal('/' + pattern_of(file.relative_to(output_dir)))}"

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {_literal(str(path))} AS written (STORAGE_VERSION '{_STORAGE_VERSION}')")
        connection.execute("USE written")
        if root is None:
            return define_views(connection, output_dir, locate=here)
        # DuckDB makes no view over files that are not there: the place changes when the views are made.
        connection.execute(f"CREATE MACRO {_ROOT}() AS {_path_literal(output_dir)}")
        made = define_views(connection, output_dir, locate=elsewhere, held=False)
        connection.execute(f"CREATE OR REPLACE MACRO {_ROOT}() AS {_literal(pattern_of(root.rstrip('/')))}")
        return made


def define_views(
    connection: duckdb.DuckDBPyConnection,
    output_dir: Path,
    taxonomy_codes: Path | None = None,
    networks: Sequence[str] | None = None,
    *,
    locate: _Locate | None = None,
    held: bool = True,
) -> Catalog:
    """Make all views in a database, with their comments.

    `held` reads files where they stay for the grace time, else where they are published.
    """
    locate = locate or _path_literal
    kept = Reference(output_dir).taxonomy_codes
    taxonomy_codes = kept if taxonomy_codes is None and kept.exists() else taxonomy_codes
    files = published_files(output_dir.absolute(), networks, held=held)
    latest: dict[str, str] = {}
    for file in files:
        latest[file.network_id] = max(file.period, latest.get(file.network_id, ""))
    periods = sorted({(file.network_id, file.period) for file in files})
    with _refusals(output_dir):
        connection.execute("BEGIN")
        for table in TABLES.values():
            of_table = [(_layout_of(file), file) for file in files if file.table == table.name]
            current = [(layout, file) for layout, file in of_table if file.period == latest[file.network_id]]
            of_today = "Of the latest published period of each network."
            _create_view(
                connection, table.name, _union(table, current, locate), f"{table.grain} {of_today}", table_docs(table)
            )
            history = f"{table.name}_history"
            of_all = "Of every published period: say which, or group by it."
            _create_view(
                connection, history, _union(table, of_table, locate), f"{table.grain} {of_all}", table_docs(table)
            )
        _create_changes(connection, output_dir.absolute() / "reference" / CHANGES.name, locate)
        directory = Reference(output_dir.absolute()).directory
        had = _layout_of_derived(directory, "materialize provider_directory again") if directory.exists() else None
        source = None if had is None else locate(directory)
        _create_taxonomies(connection, source, taxonomy_codes)
        _create_view(connection, DIRECTORY.name, _directory(source, had), DIRECTORY.grain, _docs_of(DIRECTORY))
        for view in VIEWS:
            _create_view(connection, view.name, view.sql, view.grain, view.columns)
        if taxonomy_codes is None or source is None:
            _comment(connection, "VIEW", FLAGGED, f"{_grain_of(FLAGGED)} {_NO_GHOSTS}", {})
        _create_networks(connection, periods, latest)
        connection.execute("COMMIT")
    return Catalog(networks=len(latest), periods=len(periods), files=len(files))


@contextmanager
def _refusals(output_dir: Path) -> Iterator[None]:
    """DuckDB opens one file of each view; what it says of it has the file's name."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise QueryError("the views", f"need more memory ({_line(error)}); raise MRF_QUERY_MEMORY_MB") from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(
            str(output_dir), f"a published file cannot be read ({_line(error)}); ingest its network again"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _create_networks(
    connection: duckdb.DuckDBPyConnection, periods: Sequence[tuple[str, str]], latest: dict[str, str]
) -> None:
    rows = pa.table(
        {
            "network_id": pa.array([network for network, _ in periods], pa.string()),
            "period": pa.array([period for _, period in periods], pa.string()),
            "is_latest": pa.array([latest[network] == period for network, period in periods], pa.bool_()),
        }
    )
    _create_table(connection, NETWORKS, rows)


def _create_table(connection: duckdb.DuckDBPyConnection, view: View, rows: pa.Table) -> None:
    connection.register("_listed", rows)
    connection.execute(f"CREATE TABLE {view.name} AS SELECT * FROM _listed")  # noqa: S608 - a constant
    connection.unregister("_listed")
    _comment(connection, "TABLE", view.name, view.grain, view.columns)


def _create_changes(connection: duckdb.DuckDBPyConnection, folder: Path, locate: _Locate) -> None:
    """Over the files that are there now; one that is written anew is replaced in one step."""
    paths: dict[_Layout, list[str]] = {}
    for path in sorted(folder.glob(f"network_id=*/{CHANGES.name}.parquet")):
        if (layout := _layout_of_derived(path, "run `mrf changes` for its network")) is not None:
            paths.setdefault(layout, []).append(locate(path))
    selected = [_select_changes(*of_one) for of_one in paths.items()]
    sql = "\nUNION ALL\n".join(selected or [f"{_select_changes((), ())} WHERE false"])
    _create_view(connection, CHANGES.name, sql, CHANGES.grain, CHANGES.columns)


def _select_changes(layout: _Layout, paths: Sequence[str]) -> str:
    columns = ", ".join(_converted(it.name, it.type, dict(layout)) for it in RATE_CHANGES.columns)
    source = f" FROM read_parquet([{', '.join(paths)}], hive_partitioning = false)" if paths else ""
    return f"SELECT {columns}{source}"


def _create_taxonomies(connection: duckdb.DuckDBPyConnection, directory: str | None, codes: Path | None) -> None:
    _create_table(connection, TAXONOMY_CODES, _read_taxonomies(codes))
    sql = "SELECT CAST(NULL AS BIGINT) AS npi, CAST(NULL AS VARCHAR) AS taxonomy WHERE false"
    if directory is not None:
        listed = "unnest(list_distinct(list_append(coalesce(taxonomy_codes, []), primary_taxonomy_code)))"
        rows = f"SELECT npi, {listed} AS taxonomy FROM read_parquet({directory})"  # noqa: S608 - a literal
        sql = f"SELECT npi, taxonomy FROM ({rows}) WHERE taxonomy IS NOT NULL"  # noqa: S608 - the same
    _create_view(connection, PROVIDER_TAXONOMIES.name, sql, PROVIDER_TAXONOMIES.grain, PROVIDER_TAXONOMIES.columns)


def _keep_taxonomies(given: Path, kept: Path) -> None:
    _read_taxonomies(given)
    if given.resolve() != kept.resolve():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as partial:
            shutil.copyfile(given, partial)


def _grain_of(name: str) -> str:
    return next(view.grain for view in VIEWS if view.name == name)


def _read_taxonomies(path: Path | None) -> pa.Table:
    """The user's table: NUCC's names of columns and codes are not ours to ship."""
    schema = pa.schema([(name, pa.string()) for name in TAXONOMY_CODES.columns])
    if path is None:
        return schema.empty_table()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := set(schema.names) - set(rows.fieldnames or ()):
                raise ListFileError(
                    str(path), f"has no column {', '.join(sorted(missing))}; name all three in its head"
                )
            listed = [{name: (row[name] or "").strip().upper() for name in schema.names} for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ListFileError(str(path), f"cannot be read ({error}); check the path, and that it is a CSV") from error
    if incomplete := [number for number, row in enumerate(listed, 2) if not all(row.values())]:
        raise ListFileError(str(path), f"lacks a value in line {incomplete[0]}; fill all three columns")
    return pa.Table.from_pylist(listed, schema=schema)


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, sql: str, grain: str, columns: Docs) -> None:
    connection.execute(f"CREATE VIEW {name} AS {sql}")
    _comment(connection, "VIEW", name, grain, columns)


def _comment(connection: duckdb.DuckDBPyConnection, kind: str, name: str, grain: str, columns: Docs) -> None:
    connection.execute(f"COMMENT ON {kind} {name} IS {_literal(grain)}")
    for column, doc in columns.items():
        connection.execute(f"COMMENT ON COLUMN {name}.{column} IS {_literal(doc)}")


def _union(table: Table, files: Iterable[tuple[_Layout, PublishedFile]], locate: _Locate) -> str:
    """SQL of a table's rows in files that may have been written with other columns or types."""
    paths: dict[_Layout, list[str]] = {}
    for layout, file in files:
        paths.setdefault(layout, []).append(locate(file.path))
    return "\nUNION ALL\n".join(_select(table, *of_one) for of_one in paths.items()) if paths else _nothing(table)


def _select(table: Table, layout: _Layout, paths: Sequence[str]) -> str:
    """An older layout gets null for what it lacks, and today's types."""
    had = dict(layout)
    sources = [
        column.name if had.get(column.name) == str(column.type) else _converted(column.name, column.type, had)
        for column in table.columns
    ]
    derived = [f"{it.sql} AS {name}" for name, it in DERIVED.get(table.name, {}).items()]
    listed = ", ".join(paths)
    inner = f"SELECT {', '.join((*PLACE, *sources))}, file_row_number FROM read_parquet([{listed}], {_HIVE})"  # noqa: S608 - names of `schema`, paths as literals
    columns = ", ".join((*PLACE, *(column.name for column in table.columns), *derived))
    return f"SELECT {columns} FROM ({inner})"  # noqa: S608 - the same


def _converted(name: str, kind: pa.DataType, had: dict[str, str]) -> str:
    return f"CAST({name if name in had else 'NULL'} AS {_sql_type(kind)}) AS {name}"


def _nothing(table: Table) -> str:
    columns = ", ".join(f"CAST(NULL AS {_sql_type(column.type)}) AS {column.name}" for column in table.columns)
    derived = "".join(f", {it.sql} AS {name}" for name, it in DERIVED.get(table.name, {}).items())
    place = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in PLACE)
    inner = f"SELECT {place}, {columns}, CAST(NULL AS BIGINT) AS file_row_number WHERE false"
    return f"SELECT * EXCLUDE (file_row_number){derived} FROM ({inner})"  # noqa: S608 - names of `schema`


def _directory(path: str | None, layout: _Layout | None) -> str:
    """SQL of the provider directory; of no rows where there is none."""
    source = "(SELECT 1) WHERE false" if path is None else f"read_parquet({path})"
    columns = ", ".join(_converted(column.name, column.type, dict(layout or ())) for column in DIRECTORY.columns)
    return f"SELECT {columns} FROM {source}"  # noqa: S608 - names of `schema`, the path as a literal


def _docs_of(table: Table) -> Docs:
    return {column.name: column.doc for column in table.columns}


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


def _layout(schema: pa.Schema) -> _Layout:
    return tuple((field.name, str(field.type)) for field in schema)


_LAYOUTS = {table.name: _layout(table.arrow) for table in TABLES.values()}


def _layout_of(file: PublishedFile) -> _Layout:
    if file.is_of_this_layout:
        return _LAYOUTS[file.table]
    try:
        return _layout(pq.read_schema(file.path))
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(str(file.path), f"cannot be read ({error}); ingest its network again") from error


def _layout_of_derived(path: Path, remedy: str) -> _Layout | None:
    """None, with a warning, for a file that cannot be read."""
    try:
        return _layout(pq.read_schema(path))
    except (OSError, pa.ArrowInvalid) as error:
        logger.warning("%s cannot be read and is left out (%s); %s", path, _line(error), remedy)
    return None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _path_literal(path: Path) -> str:
    return _literal(pattern_of(path))
