"""The quality rules of the directory, as SQL, and the figures that are plotted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.quality.network_rules import Check, CheckResult
from mrf_assets.schema import PROVIDER_DIRECTORY

_SAMPLE_ROWS = 5
_BINS = 10
_STALE_DAYS = 90  # NPPES is updated daily, the bulk file monthly

DIRECTORY_CHECKS: tuple[Check, ...] = (
    Check(
        name="unique_npi",
        table="provider_directory",
        severity="error",
        explanation="An NPI stands in the directory once.",
        sql="SELECT npi, count(*) AS rows FROM provider_directory GROUP BY npi HAVING count(*) > 1",
    ),
    Check(
        name="npis_looked_up",
        table="provider_directory",
        severity="warn",
        explanation="At least 95 % of the NPIs were looked up; materialize npi_registry again for the rest.",
        sql="SELECT npi, rates FROM provider_directory WHERE status IS NULL ORDER BY rates DESC",
        population_sql="SELECT count(*) FROM provider_directory",
        tolerated_share=0.05,
    ),
    Check(
        name="npis_known_to_nppes",
        table="provider_directory",
        severity="warn",
        explanation="At most 1 % of the NPIs were never issued; a payer that makes them up shows here.",
        sql="SELECT npi, rates FROM provider_directory WHERE status = 'not_found' ORDER BY rates DESC",
        population_sql="SELECT count(*) FROM provider_directory WHERE status IS NOT NULL",
        tolerated_share=0.01,
    ),
    Check(
        name="deactivated_npis",
        table="provider_directory",
        severity="warn",
        explanation="At most 2 % of the NPIs are withdrawn: prices of providers that are gone (ghost rates).",
        sql="SELECT npi, rates, deactivation_date FROM provider_directory "
        "WHERE status = 'deactivated' ORDER BY rates DESC",
        population_sql="SELECT count(*) FROM provider_directory WHERE status IS NOT NULL",
        tolerated_share=0.02,
    ),
    Check(
        name="names_filled",
        table="provider_directory",
        severity="warn",
        explanation="At least 99 % of the NPIs in service have a name.",
        sql="SELECT npi FROM provider_directory WHERE status = 'matched' AND provider_name IS NULL",
        population_sql="SELECT count(*) FROM provider_directory WHERE status = 'matched'",
        tolerated_share=0.01,
    ),
    Check(
        name="taxonomy_filled",
        table="provider_directory",
        severity="warn",
        explanation="At least 99 % of the NPIs in service have a specialty.",
        sql="SELECT npi FROM provider_directory WHERE status = 'matched' AND primary_taxonomy_code IS NULL",
        population_sql="SELECT count(*) FROM provider_directory WHERE status = 'matched'",
        tolerated_share=0.01,
    ),
    Check(
        name="fresh",
        table="provider_directory",
        severity="warn",
        explanation=f"No entry is older than {_STALE_DAYS} days; give npi_registry a max_age_days.",
        sql=f"SELECT npi, fetched_at FROM provider_directory WHERE fetched_at < now() - INTERVAL {_STALE_DAYS} DAY",  # noqa: S608 - a constant
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFigures:
    """What is worth a plot."""

    rows: int
    statuses: dict[str, int]
    fill_rates: dict[str, float]  # of the NPIs in service
    confidences: dict[str, int]  # tenth of `name_confidence` -> NPIs


def audit_directory(path: Path) -> tuple[list[CheckResult], DirectoryFigures]:
    """Apply the rules to the directory, and count its figures."""
    with duckdb.connect(config={"memory_limit": "512MB"}) as connection:
        connection.read_parquet(pattern_of(path)).create_view("provider_directory")
        return [_apply(connection, check) for check in DIRECTORY_CHECKS], _figures(connection)


def _apply(connection: duckdb.DuckDBPyConnection, check: Check) -> CheckResult:
    offending = _one(connection, f"SELECT count(*) FROM ({check.sql})")  # noqa: S608 - rules of this module
    cursor = connection.execute(f"FROM ({check.sql}) LIMIT {_SAMPLE_ROWS}")
    names = [column[0] for column in cursor.description or ()]
    sample = "\n".join(json.dumps(dict(zip(names, row, strict=True)), default=str) for row in cursor.fetchall())
    population = _one(connection, check.population_sql) if check.population_sql else None
    return CheckResult(check=check, offending_rows=offending, population=population, sample=sample)


def _figures(connection: duckdb.DuckDBPyConnection) -> DirectoryFigures:
    statuses = connection.execute(
        "SELECT coalesce(status, 'not looked up'), count(*) FROM provider_directory GROUP BY 1 ORDER BY 1"
    ).fetchall()
    names = PROVIDER_DIRECTORY.arrow.names
    counts = ", ".join(f"count({name}) / greatest(count(*), 1)" for name in names)
    shares = connection.execute(
        f"SELECT {counts} FROM provider_directory WHERE status = 'matched'"  # noqa: S608 - names of `schema`
    ).fetchone()
    tenths = connection.execute(
        f"SELECT least(floor(name_confidence * {_BINS}), {_BINS - 1}), count(*) FROM provider_directory "  # noqa: S608 - constants
        "WHERE name_confidence IS NOT NULL GROUP BY 1"
    ).fetchall()
    rows_of_tenth = {int(tenth): int(count) for tenth, count in tenths}
    return DirectoryFigures(
        rows=_one(connection, "SELECT count(*) FROM provider_directory"),
        statuses=dict(statuses),
        fill_rates={name: round(share, 4) for name, share in zip(names, shares or (), strict=True)},
        confidences={
            f"{tenth / _BINS:.1f}-{(tenth + 1) / _BINS:.1f}": rows_of_tenth.get(tenth, 0) for tenth in range(_BINS)
        },
    )


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row: tuple[Any, ...] | None = connection.execute(sql).fetchone()
    assert row is not None
    return int(row[0])
