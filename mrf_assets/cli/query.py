"""`mrf catalog` and `mrf query`: what is published, asked from the command line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import click
import duckdb
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from mrf_assets.cli.options import (
    MEMORY,
    PUBLISHED_DIR,
    RAW_TEXT_HELP,
    TAXONOMY_OPTION,
    LocalPath,
    from_flags,
    named_values,
)
from mrf_assets.errors import ListFileError, QueryError, SettingError, StoreError
from mrf_assets.files import as_store_error, atomic_write
from mrf_assets.lake.catalog import connect, write_catalog
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.hints import code_hints, network_hints
from mrf_assets.lake.queries import Query, names, parse, shipped
from mrf_assets.lake.store import Store
from mrf_assets.settings import Settings, machine_path
from mrf_assets.text import disarmed, printable, printable_json, printable_lines, row_writer
from mrf_assets.whitelist import read_code_whitelist

_PATH = LocalPath()
_ROWS_AT_ONCE = 10_000
_MAX_ROWS = 1_000  # of a table on the console
_PIPED_WIDTH = 1_000  # characters
_CENTS = 2  # decimals
_TEXT = r"'(?:[^']|'')*'"
_COMPARISON = re.compile(
    rf"(?<![$\w])(network_id|billing_code)\s*(?:=|IN\s*\()\s*({_TEXT}(?:\s*,\s*{_TEXT})*)", re.IGNORECASE
)
_FILES = ("whitelist", "reference")  # parameters of shipped queries that name a file
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_FORMATS = ("table", "csv", "json", "parquet")


@click.command("catalog")
@PUBLISHED_DIR
@TAXONOMY_OPTION
@click.option(
    "--root",
    type=_PATH,
    help="Where the output folder will be when the catalog is read, if it is moved or copied.  [default: where it is]",
)
def catalog_command(output_dir: Path | None, taxonomy_codes: Path | None, root: Path | None) -> None:
    """Write catalog.duckdb: documented views over what is published, for DuckDB from 1.0 on."""
    settings = from_flags(Settings, output_dir=output_dir, taxonomy_codes=taxonomy_codes)
    folder = settings.output_dir.absolute()
    if not Store(folder).networks():
        raise SettingError("--output-dir", f"nothing is published in {settings.output_dir}; run `mrf run` first")
    catalog = write_catalog(
        folder, settings.taxonomy_codes, root=None if root is None else str(root), rules=settings.statistic_rules
    )
    click.echo(
        f"{catalog.path}: {catalog.networks:,} network(s), {catalog.periods:,} period(s), {catalog.files:,} file(s)"
    )


@click.command("query")
@click.argument("sql", required=False)
@click.option("--file", "file", type=_PATH, help="A file with the SQL.")
@click.option("--name", "name", help="A shipped query; --list shows them.")
@click.option("--list", "listed", is_flag=True, help="The shipped queries and their parameters.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="The value of a $name of the SQL.")
@click.option("--format", "form", type=click.Choice(_FORMATS), help="[default: by the end of --output, else table]")
@click.option("--output", type=_PATH, help="Write the answer there.  [default: print it]")
@click.option("--raw-text", is_flag=True, help=RAW_TEXT_HELP)
@PUBLISHED_DIR
@TAXONOMY_OPTION
@MEMORY
def query_command(form: str | None, output: Path | None, listed: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ask what is published: SQL over the views of docs/data_dictionary.md, or a shipped query.

    JSON is one object a line.
    """
    if listed:
        _print_queries()
        return
    query = _query_of(flags["sql"], flags["file"], flags["name"])
    form = form or (output.suffix.removeprefix(".") if output else "table")
    if form not in _FORMATS:
        raise SettingError("--output", f"ends with none of .csv, .json and .parquet: {output}; give --format, too")
    if form == "parquet" and output is None:
        raise SettingError("--format", "parquet needs a file; give --output")
    settings = from_flags(
        Settings,
        output_dir=flags["output_dir"],
        query_memory_mb=flags["query_memory_mb"],
        taxonomy_codes=flags["taxonomy_codes"],
    )
    with (
        _as_package_errors(query.name),
        connect(
            settings.output_dir,
            memory_mb=settings.query_memory_mb,
            taxonomy_codes=settings.taxonomy_codes,
            rules=settings.statistic_rules,
        ) as connection,
    ):
        if not connection.execute("SELECT * FROM networks LIMIT 1").fetchall():
            click.echo(f"Nothing is published in {settings.output_dir}.", err=True)
        parameters = query.bind(named_values("--param", flags["params"]), _parameters(query))
        for hint in _hints(connection, query, parameters):
            click.echo(f"Hint: {printable(hint)}", err=True)
        if flags["name"] is not None and "whitelist" in parameters:
            read_code_whitelist(Path(parameters["whitelist"]))  # SQL cannot tell a code from a formula
        if flags["name"] is not None:
            parameters |= {
                name: pattern_of(machine_path("--param", parameters[name])) for name in _FILES if name in parameters
            }
        if form == "parquet" and output is not None:
            _write_parquet(connection.sql(query.sql, params=parameters), output)
        elif form == "csv":
            _write_csv(connection.execute(query.sql, parameters), output, raw_text=flags["raw_text"])
        else:
            _WRITERS[form](connection.execute(query.sql, parameters), output)


def _query_of(sql: str | None, file: Path | None, name: str | None) -> Query:
    if sum(it is not None for it in (sql, file, name)) != 1:
        raise SettingError("query", "give one of: SQL, --file and --name (--list shows the shipped queries)")
    if name is not None:
        return shipped(name)
    if file is None:
        return parse("the query", sql or "")
    try:
        return parse(str(file), file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ListFileError(str(file), f"cannot be read ({error}); check the path") from error


def _hints(connection: duckdb.DuckDBPyConnection, query: Query, parameters: Mapping[str, str]) -> list[str]:
    """What is said of networks and codes that are asked for, as a value or in the SQL, and not published."""
    values: dict[str, list[str]] = {"network_id": [], "billing_code": []}
    for column, literals in _COMPARISON.findall(query.sql):
        values[column.lower()] += [text.replace("''", "'") for text in _LITERAL.findall(literals)]
    for column in values:
        values[column] += filter(None, [parameters.get(column)])
    return [*network_hints(connection, values["network_id"]), *code_hints(connection, values["billing_code"])]


def _parameters(query: Query) -> set[str]:
    statements = duckdb.extract_statements(query.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError(query.name, f"holds {len(statements)} statement(s); ask with one SELECT")
    return set(statements[0].named_parameters)


@contextmanager
def _as_package_errors(name: str) -> Iterator[None]:
    """What DuckDB refuses is told in one line."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise QueryError(name, f"needs more memory ({_line(error)}); raise --memory-mb, or ask for less") from error
    except duckdb.IOException as error:
        raise StoreError(
            name, f"a file cannot be read ({_line(error)}); ask again if its network was replaced"
        ) from error
    except duckdb.Error as error:
        raise QueryError(name, f"{_line(error)}; docs/data_dictionary.md has the views and columns") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _rows(answer: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := answer.fetchmany(_ROWS_AT_ONCE):
        yield from rows


def _columns(answer: duckdb.DuckDBPyConnection) -> list[str]:
    return [column[0] for column in answer.description or ()]


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    """The file, visible when it is whole, or the console."""
    if output is None:
        yield sys.stdout
        return
    with _whole(output) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    try:
        with atomic_write(output) as partial:
            yield partial
    except OSError as error:
        raise as_store_error(output, error) from error


def _write_table(answer: duckdb.DuckDBPyConnection, output: Path | None) -> None:
    table, more = Table(), False
    for column in _columns(answer):
        table.add_column(printable(column), overflow="fold")
    for number, row in enumerate(_rows(answer)):
        if more := number == _MAX_ROWS:
            break
        table.add_row(*(printable(_shown(value)) for value in row))
    with _opened(output) as file:
        console = Console(file=file, markup=False, emoji=False, highlight=False)
        if not console.is_terminal:
            console.width = _PIPED_WIDTH
        console.print(table)
    if more:
        click.echo(f"The first {_MAX_ROWS:,} rows; --format csv, json or parquet has all.", err=True)


def _write_csv(answer: duckdb.DuckDBPyConnection, output: Path | None, *, raw_text: bool) -> None:
    def cell(value: object) -> str:
        if raw_text:
            return _plain(value)
        text = printable_lines(_plain(value))
        return disarmed(text) if isinstance(value, str) else text

    with _opened(output) as file:
        write = row_writer(file)
        write(map(cell, _columns(answer)))
        for row in _rows(answer):
            write(map(cell, row))


def _write_json(answer: duckdb.DuckDBPyConnection, output: Path | None) -> None:
    names = _columns(answer)
    with _opened(output) as file:
        for row in _rows(answer):
            file.write(printable_json({name: _json_value(it) for name, it in zip(names, row, strict=True)}) + "\n")


def _write_parquet(answer: duckdb.DuckDBPyRelation, output: Path) -> None:
    batches = answer.to_arrow_reader(_ROWS_AT_ONCE)
    with _whole(output) as partial, pq.ParquetWriter(partial, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


_WRITERS: Mapping[str, Callable[[duckdb.DuckDBPyConnection, Path | None], None]] = {
    "table": _write_table,
    "json": _write_json,
}


def _shown(value: object) -> str:
    """One cell for people: amounts exact, without the zeros behind cents (`85.0000000000` is 85.00)."""
    if not isinstance(value, Decimal):
        return _plain(value)
    whole, point, decimals = _plain(value).partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(min(_CENTS, len(decimals)), '0')}" if point else whole


def _plain(value: object) -> str:
    """One cell: empty for null, JSON for lists and structs."""
    if value is None:
        return ""
    return json.dumps(_json_value(value), ensure_ascii=False) if isinstance(value, list | dict) else _text(value)


def _text(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)  # str(0.0000000000) is 0E-10


def _json_value(value: object) -> object:
    """Amounts stay exact, as text: a float would round them."""
    if isinstance(value, list):
        return [_json_value(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _json_value(each) for key, each in value.items()}
    return value if value is None or isinstance(value, str | int | float) else _text(value)


def _print_queries() -> None:
    for name in names():
        query = shipped(name)
        click.echo(f"{name}: {query.question}")
        for it in query.parameters:
            default = "" if it.default is None else f" [{it.default}]"
            click.echo(f"    --param {it.name}={default}  {it.doc}")
