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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import duckdb
import pyarrow as pa

from mrf_assets.errors import ListFileError, QueryError, SettingError, StoreError
from mrf_assets.files import atomic_write
from mrf_assets.lake.comparability import STATISTIC_RULES, question_macros_sql, rules_sql
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.generations import published_files
from mrf_assets.lake.layouts import (
    Layout,
    Locate,
    layout_of,
    layout_of_derived,
    literal,
    one_line,
    path_literal,
    select_changes,
    select_directory,
    select_set_tins,
    select_table,
)
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.lake.view import Docs, View, table_docs
from mrf_assets.lake.views import (
    FLAGGED,
    NETWORKS,
    OF_COMPARED,
    PROVIDER_TAXONOMIES,
    TAXONOMY_CODES,
    VIEWS,
)
from mrf_assets.schema import (
    MEMBERSHIP_CHANGES,
    PROVIDER_DIRECTORY as DIRECTORY,
    RATE_CHANGES,
    SET_TINS,
    STORED_TABLES,
    Table,
)
from mrf_assets.settings import StatisticRules, machine_path

logger = logging.getLogger(__name__)

CATALOG_NAME = "catalog.duckdb"
# The oldest that DuckDB 1.0 to 1.4 read; they refuse what DuckDB 2 writes by default.
_STORAGE_VERSION = "v1.0.0"
# A missing file is all that DuckDB can report of an old catalog: its path says what to do.
_REMEDY = "this-catalog-is-out-of-date.run-mrf-catalog-again"
_NO_GHOSTS = (
    "No ghost rates are judged here: give `mrf catalog --taxonomy-codes FILE`, and materialize provider_directory."
)
_ROOT = "lake_root"  # the macro with the place that the paths of a catalog for elsewhere begin with


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
    rules: StatisticRules | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection to what is published now; nothing is written below `output_dir`.

    `memory_mb` bounds what DuckDB takes; what does not fit waits in the system's temporary folder.
    `taxonomy_codes` is a CSV of the columns of the view of that name, by default the one that `write_catalog` was
    given last; `networks` narrows the views to some; by `rules` statistics are made and refused, by default by those
    of the settings' defaults.

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
        codes = None if taxonomy_codes is None else Path(taxonomy_codes)
        define_views(connection, Path(output_dir), codes, networks, rules=rules)
    except BaseException:
        connection.close()
        raise
    return connection


def write_catalog(
    output_dir: Path | str,
    taxonomy_codes: Path | str | None = None,
    *,
    root: str | None = None,
    rules: StatisticRules | None = None,
) -> Catalog:
    """Write `<output_dir>/catalog.duckdb`, replacing it in one step; who reads the old one may go on.

    DuckDB from 1.0 on opens it. With `root` its views read the same files below that path, where the output folder
    is moved, copied or mounted. `taxonomy_codes` are kept with the output folder: later catalogs and connections use
    them until others are given. `rules` as in `connect`.

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
            catalog = _write_database(Path(folder) / CATALOG_NAME, output_dir.absolute(), root, rules)
            shutil.copyfile(Path(folder) / CATALOG_NAME, partial)
    except (OSError, duckdb.IOException) as error:
        raise StoreError(
            str(output_dir), f"has no room for the catalog ({error}); check the folder, its owner and its disk"
        ) from error
    return Catalog(networks=catalog.networks, periods=catalog.periods, files=catalog.files, path=path)


def _write_database(path: Path, output_dir: Path, root: str | None, rules: StatisticRules | None) -> Catalog:
    def here(file: Path) -> str:
        return path_literal(output_dir / ".mrf" / _REMEDY / ".." / ".." / file.relative_to(output_dir))

    def elsewhere(file: Path) -> str:
        return f"{_ROOT}() || {literal('/' + pattern_of(file.relative_to(output_dir)))}"

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {literal(str(path))} AS written (STORAGE_VERSION '{_STORAGE_VERSION}')")
        connection.execute("USE written")
        if root is None:
            return define_views(connection, output_dir, locate=here, rules=rules)
        # DuckDB makes no view over files that are not there: the place changes when the views are made.
        connection.execute(f"CREATE MACRO {_ROOT}() AS {path_literal(output_dir)}")
        catalog = define_views(connection, output_dir, locate=elsewhere, retained=False, rules=rules)
        connection.execute(f"CREATE OR REPLACE MACRO {_ROOT}() AS {literal(pattern_of(root.rstrip('/')))}")
        return catalog


def define_views(
    connection: duckdb.DuckDBPyConnection,
    output_dir: Path,
    taxonomy_codes: Path | None = None,
    networks: Sequence[str] | None = None,
    *,
    locate: Locate | None = None,
    retained: bool = True,
    rules: StatisticRules | None = None,
) -> Catalog:
    """Make all views in a database, with their comments.

    `retained` reads files where they stay for the grace time, else where they are published.
    """
    locate = locate or path_literal
    stored_codes = Reference(output_dir).taxonomy_codes
    taxonomy_codes = stored_codes if taxonomy_codes is None and stored_codes.exists() else taxonomy_codes
    files = published_files(output_dir.absolute(), networks, retained=retained)
    latest_periods: dict[str, str] = {}
    for file in files:
        latest_periods[file.network_id] = max(file.period, latest_periods.get(file.network_id, ""))
    periods = sorted({(file.network_id, file.period) for file in files})
    with _refusals(output_dir):
        connection.execute("BEGIN")
        all_files = [(layout_of(file), file) for file in files]
        for table in STORED_TABLES.values():
            select = partial(select_table, table) if table is not SET_TINS else select_set_tins
            of_table = [it for it in all_files if table is SET_TINS or it[1].table == table.name]
            current = [(layout, file) for layout, file in of_table if file.period == latest_periods[file.network_id]]
            of_today = "Of the latest published period of each network."
            _create_view(
                connection,
                table.name,
                select(current, locate),
                f"{table.grain} {of_today}",
                table_docs(table),
            )
            history = f"{table.name}_history"
            of_all = "Of every published period: say which, or group by it."
            _create_view(connection, history, select(of_table, locate), f"{table.grain} {of_all}", table_docs(table))
        for table in (RATE_CHANGES, MEMBERSHIP_CHANGES):
            _create_changes(connection, output_dir.absolute() / "reference" / table.name, table, locate)
        directory = Reference(output_dir.absolute()).directory
        types = layout_of_derived(directory, "materialize provider_directory again") if directory.exists() else None
        source = None if types is None else locate(directory)
        _create_taxonomies(connection, source, taxonomy_codes)
        _create_view(connection, DIRECTORY.name, select_directory(source, types), DIRECTORY.grain, _docs_of(DIRECTORY))
        connection.execute(f"CREATE TABLE {STATISTIC_RULES.name} AS {rules_sql(rules or StatisticRules())}")
        _comment(connection, "TABLE", STATISTIC_RULES.name, STATISTIC_RULES.grain, STATISTIC_RULES.columns)
        for macro in question_macros_sql():
            connection.execute(macro)
        _create_networks(connection, periods, latest_periods)
        for view in VIEWS:
            _create_view(connection, view.name, view.sql, view.grain, view.columns)
        if taxonomy_codes is None or source is None:
            _comment(connection, "VIEW", FLAGGED, f"{_grain_of(FLAGGED)} {_NO_GHOSTS}", {})
        connection.execute("COMMIT")
    return Catalog(networks=len(latest_periods), periods=len(periods), files=len(files))


@contextmanager
def _refusals(output_dir: Path) -> Iterator[None]:
    """DuckDB opens one file of each view; what it says of it has the file's name."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise QueryError("the views", f"need more memory ({one_line(error)}); raise MRF_QUERY_MEMORY_MB") from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(
            str(output_dir), f"a published file cannot be read ({one_line(error)}); ingest its network again"
        ) from error


def _create_networks(
    connection: duckdb.DuckDBPyConnection, periods: Sequence[tuple[str, str]], latest_periods: dict[str, str]
) -> None:
    rows = pa.table(
        {
            "network_id": pa.array([network for network, _ in periods], pa.string()),
            "period": pa.array([period for _, period in periods], pa.string()),
            "is_latest": pa.array([latest_periods[network] == period for network, period in periods], pa.bool_()),
        }
    )
    _create_table(connection, NETWORKS, rows)


def _create_table(connection: duckdb.DuckDBPyConnection, view: View, rows: pa.Table) -> None:
    connection.register("_listed", rows)
    connection.execute(f"CREATE TABLE {view.name} AS SELECT * FROM _listed")  # noqa: S608 - a constant
    connection.unregister("_listed")
    _comment(connection, "TABLE", view.name, view.grain, view.columns)


def _create_changes(connection: duckdb.DuckDBPyConnection, folder: Path, table: Table, locate: Locate) -> None:
    """Over the files that are there now; one that is written anew is replaced in one step."""
    paths: dict[Layout, list[str]] = {}
    for path in sorted(folder.glob(f"network_id=*/{table.name}.parquet")):
        if (layout := layout_of_derived(path, "run `mrf changes` for its network")) is not None:
            paths.setdefault(layout, []).append(locate(path))
    selects = [select_changes(table, *of_one) for of_one in paths.items()]
    sql = "\nUNION ALL\n".join(selects or [f"{select_changes(table, (), ())} WHERE false"])
    _create_view(connection, table.name, sql, f"{table.grain} {OF_COMPARED}", _docs_of(table))


def _create_taxonomies(connection: duckdb.DuckDBPyConnection, directory: str | None, codes: Path | None) -> None:
    _create_table(connection, TAXONOMY_CODES, _read_taxonomies(codes))
    sql = "SELECT CAST(NULL AS BIGINT) AS npi, CAST(NULL AS VARCHAR) AS taxonomy WHERE false"
    if directory is not None:
        codes_sql = "unnest(list_distinct(list_append(coalesce(taxonomy_codes, []), primary_taxonomy_code)))"
        rows = f"SELECT npi, {codes_sql} AS taxonomy FROM read_parquet({directory})"  # noqa: S608 - a literal
        sql = f"SELECT npi, taxonomy FROM ({rows}) WHERE taxonomy IS NOT NULL"  # noqa: S608 - the same
    _create_view(connection, PROVIDER_TAXONOMIES.name, sql, PROVIDER_TAXONOMIES.grain, PROVIDER_TAXONOMIES.columns)


def _keep_taxonomies(source: Path, target: Path) -> None:
    _read_taxonomies(source)
    if source.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as partial:
            shutil.copyfile(source, partial)


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
            if missing_columns := set(schema.names) - set(rows.fieldnames or ()):
                raise ListFileError(
                    str(path), f"has no column {', '.join(sorted(missing_columns))}; name all three in its head"
                )
            codes = [{name: (row[name] or "").strip().upper() for name in schema.names} for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ListFileError(str(path), f"cannot be read ({error}); check the path, and that it is a CSV") from error
    if incomplete := [number for number, row in enumerate(codes, 2) if not all(row.values())]:
        raise ListFileError(str(path), f"lacks a value in line {incomplete[0]}; fill all three columns")
    return pa.Table.from_pylist(codes, schema=schema)


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, sql: str, grain: str, columns: Docs) -> None:
    connection.execute(f"CREATE VIEW {name} AS {sql}")
    _comment(connection, "VIEW", name, grain, columns)


def _comment(connection: duckdb.DuckDBPyConnection, kind: str, name: str, grain: str, columns: Docs) -> None:
    connection.execute(f"COMMENT ON {kind} {name} IS {literal(grain)}")
    for column, doc in columns.items():
        connection.execute(f"COMMENT ON COLUMN {name}.{column} IS {literal(doc)}")


def _docs_of(table: Table) -> Docs:
    return {column.name: column.doc for column in table.columns}
