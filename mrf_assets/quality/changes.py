"""Month over month: what changed between the two latest periods of a network, and whether it drifted.

Two prices are the same one, a month apart, if all but the amount agrees: arrangement, code, type, class, setting,
places of service, modifiers, contents of a bundle, and the providers. Providers are compared by their TINs, the
parties of a contract: file ids, set ids and group ids may all be new each month, and an NPI that joins a TIN's
group changes no price. Amounts that stand in both months match first; what is left of one contract is paired in
the order of the amounts.

<lake>/reference/rate_changes/network_id=<key>/rate_changes.parquet    `schema.RATE_CHANGES`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from mrf_assets.errors import QueryError, SettingError, StoreError
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.reference_tables import write_table
from mrf_assets.quality.lake_rules import audit_catalog
from mrf_assets.quality.network_rules import Check, CheckResult
from mrf_assets.schema import RATE_CHANGES
from mrf_assets.settings import Settings

_ROWS_AT_ONCE = 50_000
_MAX_SHIFTS = 20

# Prices are grouped by a number for their conditions, which are few: benchmarks/NOTES.md, "Rules and changes".
_SCALARS = (
    "negotiation_arrangement", "billing_code_type", "severity_of_illness", "negotiated_type", "rate_unit",
    "billing_class", "setting",
)  # fmt: skip
_LISTS = ("service_codes", "billing_code_modifiers", "bundled_codes", "covered_services")
_CONDITIONS = ", ".join((*_SCALARS, *_LISTS))
_RANKED = ", ".join((*_SCALARS, "places", "modifiers", "contents"))
_SAME_CONDITIONS = " AND ".join(f"raw.{name} IS NOT DISTINCT FROM c.{name}" for name in (*_SCALARS, *_LISTS))
_CHANGES_SQL = f"""WITH members AS (
    SELECT DISTINCT period, file_id, provider_group_id,
        concat(tin_type, ':', coalesce(tin_value, CAST(npi AS VARCHAR))) AS tin
    FROM providers_history
    WHERE network_id = $network AND period IN ($before, $now)
),
sets AS (
    SELECT period, file_id, provider_set_id, list_sort(list(DISTINCT tin)) AS all_tins,
        hash(all_tins) AS parties, len(all_tins) AS tins, all_tins[:5] AS first_tins
    FROM provider_sets_history
    JOIN members USING (period, file_id, provider_group_id)
    WHERE network_id = $network
    GROUP BY period, file_id, provider_set_id
),
raw AS (
    SELECT period = $now AS is_now, period, file_id, provider_set_id, billing_code, negotiated_rate, {_CONDITIONS}
    FROM rates_history
    WHERE network_id = $network AND period IN ($before, $now)
),
conditions AS (
    SELECT *, dense_rank() OVER (ORDER BY {_RANKED}) AS condition
    FROM (
        SELECT *,
            list_sort(list_distinct(coalesce(service_codes, []))) AS places,
            list_sort(list_distinct(coalesce(billing_code_modifiers, []))) AS modifiers,
            hash(bundled_codes, covered_services) AS contents
        FROM (SELECT DISTINCT {_CONDITIONS} FROM raw)
    )
),
once AS (
    SELECT
        billing_code, condition, parties, negotiated_rate, bool_or(is_now) AS is_now, any_value(tins) AS tins,
        any_value(first_tins) AS first_tins,
        -- as one value: the id of a set means nothing but in its file
        min({{'file_id': file_id, 'provider_set_id': provider_set_id}}) AS named_set
    FROM raw
    JOIN conditions c ON {_SAME_CONDITIONS}
    LEFT JOIN sets USING (period, file_id, provider_set_id)
    GROUP BY billing_code, condition, parties, negotiated_rate
    HAVING bool_and(is_now) = bool_or(is_now)
),
placed AS (
    SELECT *,
        row_number() OVER (PARTITION BY billing_code, condition, parties, is_now ORDER BY negotiated_rate) AS place
    FROM once
),
paired AS (
    SELECT
        billing_code, condition, parties, place,
        max(negotiated_rate) FILTER (NOT is_now) AS previous_rate,
        max(negotiated_rate) FILTER (is_now) AS rate,
        coalesce(any_value(tins), 0) AS tins, any_value(first_tins) AS first_tins,
        any_value(named_set) FILTER (NOT is_now) AS previous_set, any_value(named_set) FILTER (is_now) AS named_set
    FROM placed
    GROUP BY billing_code, condition, parties, place
)
SELECT
    $network AS network_id, $now AS period, $before AS previous_period,
    CASE WHEN rate IS NULL THEN 'removed' WHEN previous_rate IS NULL THEN 'added' ELSE 'changed' END AS change,
    negotiation_arrangement, billing_code_type, billing_code, severity_of_illness, negotiated_type, rate_unit,
    billing_class, setting, places AS service_codes, modifiers AS billing_code_modifiers,
    previous_rate, rate, rate - previous_rate AS difference,
    CASE WHEN previous_rate > 0 THEN CAST(rate AS DOUBLE) / CAST(previous_rate AS DOUBLE) END AS ratio,
    CAST(tins AS INTEGER) AS tins, first_tins,
    previous_set.file_id AS previous_file_id, previous_set.provider_set_id AS previous_provider_set_id,
    named_set.file_id AS file_id, named_set.provider_set_id AS provider_set_id
FROM paired
JOIN (SELECT DISTINCT ON (condition) * FROM conditions) USING (condition)
ORDER BY billing_code_type, billing_code, change, previous_rate, rate, billing_class"""  # noqa: S608 - constants

_TWO_LATEST = """(
    SELECT network_id, period, row_number() OVER (PARTITION BY network_id ORDER BY period DESC) AS age
    FROM networks QUALIFY age <= 2
)"""
_MEDIANS_SQL = f"""SELECT * FROM (
    SELECT network_id, billing_code_type, billing_code,
        median(dollars) FILTER (age = 2) AS previous_median, median(dollars) FILTER (age = 1) AS median
    FROM rates_history JOIN {_TWO_LATEST} USING (network_id, period)
    WHERE dollars > 0
    GROUP BY network_id, billing_code_type, billing_code
) WHERE previous_median IS NOT NULL AND median IS NOT NULL"""  # noqa: S608 - constants
_SHIFT = "greatest(median / previous_median, previous_median / median) - 1"


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
    "drift_codes_share": _count_rule("drift_of_codes", "codes", "rates", "DISTINCT (billing_code_type, billing_code)"),
    "drift_groups_share": _count_rule(
        "drift_of_groups", "provider groups", "providers", "DISTINCT (file_id, provider_group_id)"
    ),
    "drift_median_share": Check(
        name="drift_of_medians",
        table=RATE_CHANGES.name,
        severity="warn",
        explanation="Of at most 5 % of codes, the median of dollars moved by more than the set share since the "
        "period before.",
        sql=f"""SELECT * FROM ({_MEDIANS_SQL}) WHERE {_SHIFT} > $threshold""",  # noqa: S608 - constants
        population_sql=f"SELECT network_id, count(*) AS rows FROM ({_MEDIANS_SQL}) GROUP BY network_id",  # noqa: S608 - the same
        tolerated_share=0.05,
    ),
}
DRIFT_CHECKS = tuple(_DRIFT_CHECKS.values())  # without thresholds


def drift_checks(settings: Settings) -> list[Check]:
    """The rules of drift with the thresholds of the settings; for `lake_rules.audit_catalog`."""
    return [replace(check, threshold=getattr(settings, name)) for name, check in _DRIFT_CHECKS.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeShift:
    """How the median of one code moved."""

    billing_code_type: str | None
    billing_code: str | None
    previous_median_dollars: float
    median_dollars: float

    @property
    def ratio(self) -> float:
        """Now to before."""
        return self.median_dollars / self.previous_median_dollars


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed in one network."""

    network_id: str
    path: Path
    period: str | None = None  # None: fewer than two periods are published
    previous_period: str | None = None
    added: int = 0  # prices
    removed: int = 0
    raised: int = 0
    lowered: int = 0
    median_ratio: float | None = None  # of the prices that changed, now to before
    shifts: Sequence[CodeShift] = ()  # the codes whose medians moved most, at most 20
    drift: Sequence[CheckResult] = ()

    @property
    def rows(self) -> int:
        """Of the table."""
        return self.added + self.removed + self.raised + self.lowered


def changes_path(output_dir: Path, network_id: str) -> Path:
    """Where the table of a network stands."""
    key = network_id.replace("=", "%3D")
    return output_dir / "reference" / RATE_CHANGES.name / f"network_id={key}" / f"{RATE_CHANGES.name}.parquet"


def write_changes(settings: Settings, network_id: str) -> Changes:
    """Compare the two latest periods of a network and write `schema.RATE_CHANGES`, empty where there is one period.

    Raises:
        SettingError: The network is not published.
        StoreError, QueryError: It cannot be read or written, or memory does not suffice.
    """
    root = settings.output_dir.absolute()
    path = changes_path(root, network_id)
    with connect(root, memory_mb=settings.query_memory_mb, networks=[network_id]) as connection:
        periods = [period for (period,) in connection.execute(_PERIODS_SQL).fetchall()]
        if not periods:
            raise SettingError("network", f"{network_id} is not published in {root}; run it first")
        if len(periods) == 1:
            write_table(path, RATE_CHANGES.arrow, [])
            return Changes(network_id=network_id, path=path)
        now, before = periods
        try:
            write_table(path, RATE_CHANGES.arrow, _changed_rows(connection, network_id, before, now))
            changes = _with_counts(
                connection, Changes(network_id=network_id, path=path, period=now, previous_period=before)
            )
            return replace(changes, drift=audit_catalog(connection, checks=drift_checks(settings))[network_id])
        except duckdb.OutOfMemoryException as error:
            raise QueryError(RATE_CHANGES.name, f"needs more memory ({error}); raise MRF_QUERY_MEMORY_MB") from error
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise StoreError(network_id, f"a file cannot be read ({error}); ask again") from error


_PERIODS_SQL = "SELECT period FROM networks ORDER BY period DESC LIMIT 2"


def _changed_rows(
    connection: duckdb.DuckDBPyConnection, network_id: str, before: str, now: str
) -> Iterator[pa.RecordBatch]:
    parameters = {"network": network_id, "before": before, "now": now}
    for batch in connection.sql(_CHANGES_SQL, params=parameters).to_arrow_reader(_ROWS_AT_ONCE):
        yield batch.cast(RATE_CHANGES.arrow)


def _with_counts(connection: duckdb.DuckDBPyConnection, changes: Changes) -> Changes:
    counts = connection.execute(
        """SELECT count(*) FILTER (change = 'added'), count(*) FILTER (change = 'removed'),
            count(*) FILTER (change = 'changed' AND difference > 0),
            count(*) FILTER (change = 'changed' AND difference < 0), median(ratio)
        FROM read_parquet($path, hive_partitioning = false)""",
        {"path": pattern_of(changes.path)},
    ).fetchone()
    assert counts is not None
    added, removed, raised, lowered, ratio = counts
    shifts = connection.execute(
        f"""SELECT billing_code_type, billing_code, previous_median, median FROM ({_MEDIANS_SQL})
        WHERE median <> previous_median ORDER BY {_SHIFT} DESC, billing_code LIMIT {_MAX_SHIFTS}"""  # noqa: S608 - constants
    ).fetchall()
    return replace(
        changes,
        added=added,
        removed=removed,
        raised=raised,
        lowered=lowered,
        median_ratio=ratio,
        shifts=[
            CodeShift(
                billing_code_type=kind,
                billing_code=code,
                previous_median_dollars=float(previous),
                median_dollars=float(median),
            )
            for kind, code, previous, median in shifts
        ],
    )
