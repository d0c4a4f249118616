"""Applies `network_rules` to the tables of one network and period, in memory that is bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir

import duckdb
import pyarrow as pa

from mrf_assets.errors import StoreError
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.quality.network_rules import CHECKS, Check, CheckResult
from mrf_assets.schema import FILES, TABLES
from mrf_assets.whitelist import CodeWhitelist

_SAMPLE_ROWS = 5
_WHITELIST_COLUMNS = ("billing_code_type", "billing_code", "matched_type", "matched_code")
# DuckDB takes 80 % of the machine's memory for itself, and several networks are audited at a time.
_MEMORY_MB = 256  # beside a reader, in a process of 400 MB
# Each takes its share of that: with 64 of them 2.5 M rows of providers did not fit (benchmarks/NOTES.md, "Audit").
_MAX_THREADS = 4
_SMALL_BYTES = 16 << 20  # of tables: one thread is as soon done with them as several, and takes less CPU


def audit(
    tables: Mapping[str, Sequence[Path]],
    codes: CodeWhitelist | None,
    checks: Iterable[Check] = CHECKS,
    spill_dir: Path | None = None,
    memory_mb: int = _MEMORY_MB,
) -> list[CheckResult]:
    """Apply rules to the parquet files of one network and period.

    `tables` names the files of each table of `schema`; `codes` is what `whitelist_coverage` wants;
    in `spill_dir` waits what is too much for memory (default: the system's folder), which `memory_mb` bounds.

    Raises:
        StoreError: DuckDB ran out of memory or disk, or the files cannot be read.
    """
    size_bytes = sum(path.stat().st_size for paths in tables.values() for path in paths)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory_mb}MB",
        "threads": min(os.cpu_count() or 1, _MAX_THREADS) if size_bytes > _SMALL_BYTES else 1,
        "temp_directory": str(spill_dir or gettempdir()),
    }
    try:
        with duckdb.connect(config=config) as connection:
            for name in TABLES:
                rows = connection.read_parquet([pattern_of(path) for path in tables[name]])
                # A row for each file of the network, which a dozen rules look at.
                rows.create(name) if name == FILES.name else rows.create_view(name)
            connection.register("code_whitelist", _whitelist_table(codes))
            return [_apply(connection, check) for check in checks]
    except (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InvalidInputException) as error:
        folder = str(tables[next(iter(TABLES))][0].parent)
        raise StoreError(folder, f"cannot be audited ({error}); free disk space or memory and run it again") from error


def _whitelist_table(codes: CodeWhitelist | None) -> pa.Table:
    rows = [] if codes is None else codes.spellings()
    columns = zip(*rows, strict=True) if rows else [()] * len(_WHITELIST_COLUMNS)
    return pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(_WHITELIST_COLUMNS, columns, strict=True)}
    )


def _apply(connection: duckdb.DuckDBPyConnection, check: Check) -> CheckResult:
    parameters = {} if check.threshold is None else {"threshold": check.threshold}
    offending = _count(connection, f"SELECT count(*) FROM ({check.sql})", parameters)  # noqa: S608 - rules of `network_rules`
    sample = ""
    if offending:
        rows = connection.execute(f"SELECT * FROM ({check.sql}) LIMIT {_SAMPLE_ROWS}", parameters)  # noqa: S608 - the same
        names = [column[0] for column in rows.description or ()]
        sample = "\n".join(json.dumps(dict(zip(names, row, strict=True)), default=str) for row in rows.fetchall())
    population = _count(connection, check.population_sql, {}) if check.population_sql else None
    return CheckResult(check=check, offending_rows=offending, population=population, sample=sample)


def _count(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, float]) -> int:
    row = connection.execute(sql, parameters).fetchone()
    assert row is not None
    return int(row[0])
