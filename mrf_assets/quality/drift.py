"""Whether a network moved further than the settings allow since the period before."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from mrf_assets.errors import QueryError, StoreError
from mrf_assets.lake.contract_rates import contracts_sql
from mrf_assets.quality.network_rules import Check
from mrf_assets.schema import RATE_CHANGES
from mrf_assets.settings import Settings

_TWO_LATEST = """(
    SELECT network_id, period, row_number() OVER (PARTITION BY network_id ORDER BY period DESC) AS age
    FROM networks QUALIFY age <= 2
)"""
_PREVIOUS = (
    f"(SELECT * FROM rates_history SEMI JOIN (SELECT * FROM {_TWO_LATEST} WHERE age = 2) USING (network_id, period))"  # noqa: S608 - constants
)
_STRATUM = "network_id, code_family, code, severity, bill_type, site"
_PLAIN = "price_basis = 'dollars' AND component = 'base' AND NOT is_conditional AND negotiated_type <> 'derived'"
_CONTRACTS_AT_ONCE = 4_000_000  # 1 GB holds them
_FAN_OUT = f"""SELECT coalesce(sum(tins), 0)
FROM (SELECT network_id, period, file_id, provider_set_id FROM rates WHERE {_PLAIN})
JOIN (
    SELECT network_id, period, file_id, provider_set_id, count(*) AS tins FROM set_tins GROUP BY ALL
) USING (network_id, period, file_id, provider_set_id)"""  # noqa: S608 - constants
_SAME_STRATUM = " AND ".join(f"n.{name} IS NOT DISTINCT FROM b.{name}" for name in _STRATUM.split(", "))


def _medians(name: str, parties: str, rates: str, where: str) -> str:
    """The median of plain dollars over contracts, a code at a time, where there are enough of them."""
    return f"""SELECT {_STRATUM}, median(typical) AS {name}
FROM ({contracts_sql(parties, f"{_PLAIN} AND {where}", rates)})
GROUP BY {_STRATUM}
HAVING count(typical) >= (SELECT min_contracts FROM statistic_rules)"""  # noqa: S608 - constants


def _both_months(where: str) -> str:
    return f"""SELECT n.*, previous_median
FROM ({_medians("median", "set_tins", "rates", where)}) n
JOIN ({_medians("previous_median", "set_tins_history", _PREVIOUS, where)}) b ON {_SAME_STRATUM}
WHERE previous_median > 0 AND median > 0"""  # noqa: S608 - constants


MEDIANS = "months_medians"  # what `measure_medians` makes
SHIFT = "greatest(median / previous_median, previous_median / median) - 1"


def measure_medians(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table of both months' medians, which the rules of drift and the shifts of codes go over.

    Raises:
        QueryError, StoreError: Memory does not suffice, or a file cannot be read.
    """
    try:
        (contracts,) = connection.execute(_FAN_OUT).fetchone() or (0,)
        parts = 1 + int(contracts) // _CONTRACTS_AT_ONCE
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {MEDIANS} AS {_both_months('false')}")
        for part in range(parts):
            where = f"hash(code) % {parts} = {part}"
            connection.execute(f"INSERT INTO {MEDIANS} {_both_months(where)}")
    except duckdb.OutOfMemoryException as error:
        raise QueryError("drift_of_medians", f"needs more memory ({error}); raise MRF_QUERY_MEMORY_MB") from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(
            "drift_of_medians", f"a file cannot be read ({error}); ask again, or ingest its network again"
        ) from error


def _count_rule(name: str, what: str, table: str, expression: str) -> Check:
    return Check(
        name=name,
        table=RATE_CHANGES.name,
        severity="warn",
        explanation=f"The number of {what} moved by no more than the set share since the period before.",
        sql=f"""SELECT * FROM (
    SELECT network_id, count({expression}) FILTER (age = 2) AS before, count({expression}) FILTER (age = 1) AS now
    FROM {table}_history JOIN {_TWO_LATEST} USING (network_id, period)
    GROUP BY network_id
)
WHERE before > 0 AND network_id IN (SELECT network_id FROM networks GROUP BY ALL HAVING count(*) > 1)
    AND abs(now - before) > $threshold * before""",  # noqa: S608 - constants
    )


_DRIFT_CHECKS = {  # setting of the threshold -> rule
    "drift_rows_share": _count_rule("drift_of_rows", "prices", "rates", "*"),
    "drift_codes_share": _count_rule("drift_of_codes", "codes", "rates", "DISTINCT (code_family, code)"),
    # TINs, because payers divide provider groups differently every month.
    "drift_tins_share": _count_rule("drift_of_tins", "TINs", "providers", "DISTINCT (tin_type, tin_value)"),
    "drift_median_share": Check(
        name="drift_of_medians",
        table=RATE_CHANGES.name,
        severity="warn",
        explanation="Of at most 5 % of codes (a bill type and site at a time), the median of contracts in dollars "
        "moved by more than the set share since the period before.",
        sql=f"SELECT * FROM {MEDIANS} WHERE {SHIFT} > $threshold",  # noqa: S608 - constants
        population_sql=f"SELECT network_id, count(*) AS rows FROM {MEDIANS} GROUP BY network_id",  # noqa: S608 - the same
        tolerated_share=0.05,
    ),
}
DRIFT_CHECKS = tuple(_DRIFT_CHECKS.values())  # without thresholds


def drift_checks(settings: Settings) -> list[Check]:
    """The rules with the thresholds of the settings; for `audit_catalog`, after `measure_medians`."""
    return [replace(check, threshold=getattr(settings, name)) for name, check in _DRIFT_CHECKS.items()]
