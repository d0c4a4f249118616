"""Month over month: what changed between the two latest periods of a network, by TIN, and whether it drifted.

<lake>/reference/rate_changes/network_id=<key>/rate_changes.parquet                 `schema.RATE_CHANGES`
<lake>/reference/membership_changes/network_id=<key>/membership_changes.parquet     `schema.MEMBERSHIP_CHANGES`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from mrf_assets.errors import QueryError, SettingError, StoreError
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.reference_tables import write_table
from mrf_assets.quality.drift import MEDIANS, SHIFT, drift_checks, measure_medians
from mrf_assets.quality.lake_rules import audit_catalog
from mrf_assets.quality.month_pairs import compare_months
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.schema import MEMBERSHIP_CHANGES, RATE_CHANGES, Table
from mrf_assets.settings import Settings

_ROWS_AT_ONCE = 50_000
_MAX_SHIFTS = 20
SAME, CHANGED, METHOD_CHANGED, NOT_PAIRED = "same", "changed", "method changed", "not paired"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeShift:
    """How the median of one code moved, over contracts in dollars."""

    code_family: str
    code: str
    bill_type: str
    site: str
    previous_median_dollars: float
    median_dollars: float

    @property
    def ratio(self) -> float:
        """Now to before."""
        return self.median_dollars / self.previous_median_dollars

    @property
    def title(self) -> str:
        """How people call it."""
        return f"{self.code_family} {self.code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed in one network. Counts are of TIN-prices: one TIN's price for one code and its conditions."""

    network_id: str
    path: Path
    period: str | None = None  # None: fewer than two periods are published
    previous_period: str | None = None
    refused_because: str | None = None  # why the months were not compared
    note: str | None = None  # what a reader of the comparison must know
    counts: Mapping[str, int] = field(default_factory=dict)  # `same` and the words of `change` -> TIN-prices
    raised: int = 0  # of those that changed
    lowered: int = 0
    dollar_changes: int = 0  # those that changed from more than 0 dollars to dollars
    median_ratio: float | None = None  # of these, now to before
    joined: int = 0  # NPIs, each under its TIN
    left: int = 0
    rows: int = 0  # of rate_changes
    shifts: Sequence[CodeShift] = ()  # the codes whose medians moved most, at most 20
    drift: Sequence[CheckResult] = ()

    @property
    def compared(self) -> int:
        """TIN-prices that stand in both months."""
        return sum(self.counts.get(word, 0) for word in (SAME, CHANGED, METHOD_CHANGED, NOT_PAIRED))

    def count(self, *words: str) -> int:
        """TIN-prices to which any of these happened."""
        return sum(self.counts.get(word, 0) for word in words)


def changes_path(output_dir: Path, network_id: str, table: Table = RATE_CHANGES) -> Path:
    """Where a network's table stands."""
    key = network_id.replace("=", "%3D")
    return output_dir / "reference" / table.name / f"network_id={key}" / f"{table.name}.parquet"


def write_changes(settings: Settings, network_id: str) -> Changes:
    """Compare the two latest periods of a network and write both tables, empty where nothing can be compared.

    Raises:
        SettingError: The network is not published.
        StoreError, QueryError: It cannot be read or written, or memory does not suffice.
    """
    root = settings.output_dir.absolute()
    rules = settings.statistic_rules
    with connect(root, memory_mb=settings.query_memory_mb, networks=[network_id], rules=rules) as connection:
        periods = [period for (period,) in connection.execute(_PERIODS_SQL).fetchall()]
        if not periods:
            raise SettingError("network", f"{network_id} is not published in {root}; run it first")
        changes = Changes(network_id=network_id, path=changes_path(root, network_id))
        try:
            if len(periods) > 1:
                now, before = periods
                changes = replace(changes, period=now, previous_period=before)
                changes = replace(changes, refused_because=_refusal(connection, before, now, rules.max_months_apart))
            if changes.period is None or changes.refused_because is not None:
                for table in (RATE_CHANGES, MEMBERSHIP_CHANGES):
                    write_table(changes_path(root, network_id, table), table.arrow, [])
                return changes
            return _compared(connection, changes, settings)
        except duckdb.OutOfMemoryException as error:
            raise QueryError(RATE_CHANGES.name, f"needs more memory ({error}); raise MRF_QUERY_MEMORY_MB") from error
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise StoreError(network_id, f"a file cannot be read ({error}); ask again") from error


_PERIODS_SQL = "SELECT period FROM networks ORDER BY period DESC LIMIT 2"
_WHITELISTS_SQL = """SELECT count(*)
FROM (SELECT DISTINCT code_whitelist_sha256, tin_whitelist_sha256 FROM files_history WHERE period IN ($before, $now))"""
_MONTHS_SQL = "SELECT datediff('month', CAST($before || '-01' AS DATE), CAST($now || '-01' AS DATE))"
_CHANGES_SQL = """SELECT
    $network AS network_id, $now AS period, $before AS previous_period, change,
    CASE WHEN change IN ('changed', 'method changed') THEN paired_by END AS paired_by,
    code_family, code, severity, own_name, negotiation_arrangement, billing_class, stated_setting AS setting, site,
    modifiers,
    befores[1].rate_unit AS previous_rate_unit, nows[1].rate_unit AS rate_unit,
    befores[1].negotiated_type AS previous_negotiated_type, nows[1].negotiated_type AS negotiated_type,
    CASE WHEN len(befores) = 1 THEN befores[1].rate END AS previous_rate,
    CASE WHEN len(nows) = 1 THEN nows[1].rate END AS rate,
    CASE WHEN change = 'changed' THEN nows[1].rate - befores[1].rate END AS difference,
    CASE WHEN change = 'changed' AND befores[1].rate > 0
        THEN CAST(nows[1].rate AS DOUBLE) / CAST(befores[1].rate AS DOUBLE) END AS ratio,
    CASE WHEN len(befores) > 1 OR change = 'not paired' THEN [each.rate for each in befores] END AS previous_amounts,
    CASE WHEN len(nows) > 1 OR change = 'not paired' THEN [each.rate for each in nows] END AS amounts,
    CASE WHEN first_tins = ['0'] THEN 0 ELSE tins END AS tins,
    CASE WHEN first_tins <> ['0'] THEN first_tins END AS first_tins
FROM price_pairs
WHERE change <> 'same'
ORDER BY code_family, code, change, previous_rate, rate, billing_class, site"""
_MEMBERS = """SELECT DISTINCT tin_type, tin_value, npi FROM providers_history WHERE period = """
_MEMBERSHIP_SQL = f"""SELECT $network AS network_id, $now AS period, $before AS previous_period, *
FROM (
    SELECT 'joined' AS change, * FROM ({_MEMBERS}$now EXCEPT {_MEMBERS}$before)
    UNION ALL
    SELECT 'left', * FROM ({_MEMBERS}$before EXCEPT {_MEMBERS}$now)
)
ORDER BY tin_value, npi, change"""  # noqa: S608 - a constant
_COUNTS_SQL = """SELECT change, CAST(sum(tins) AS BIGINT) FROM price_pairs GROUP BY change"""
_MOVED_SQL = """SELECT
    CAST(coalesce(sum(tins) FILTER (nows[1].rate > befores[1].rate), 0) AS BIGINT),
    CAST(coalesce(sum(tins) FILTER (nows[1].rate < befores[1].rate), 0) AS BIGINT)
FROM price_pairs WHERE change = 'changed'"""
# Each TIN-price counts once: a change that many TINs share has their weight.
_RATIO_SQL = """WITH ratios AS (
    SELECT CAST(nows[1].rate AS DOUBLE) / CAST(befores[1].rate AS DOUBLE) AS ratio, sum(tins) AS weight
    FROM price_pairs
    WHERE change = 'changed' AND befores[1].rate_unit = 'dollars' AND befores[1].rate > 0
    GROUP BY ratio
)
SELECT CAST(max(total) AS BIGINT), min(ratio) FILTER (so_far >= total / 2)
FROM (SELECT *, sum(weight) OVER (ORDER BY ratio) AS so_far, sum(weight) OVER () AS total FROM ratios)"""


def _refusal(connection: duckdb.DuckDBPyConnection, before: str, now: str, most_months: int) -> str | None:
    months = {"before": before, "now": now}
    (whitelists,) = connection.execute(_WHITELISTS_SQL, months).fetchone() or (0,)
    if whitelists > 1:
        return "No trend: the months were read with different whitelists; ingest both with the same one."
    (apart,) = connection.execute(_MONTHS_SQL, months).fetchone() or (0,)
    if apart > most_months:
        return f"No trend: {before} and {now} are {apart} months apart, {most_months} are the most that are compared."
    return None


def _compared(connection: duckdb.DuckDBPyConnection, changes: Changes, settings: Settings) -> Changes:
    root = settings.output_dir.absolute()
    assert changes.period is not None
    assert changes.previous_period is not None
    months = {"network": changes.network_id, "before": changes.previous_period, "now": changes.period}
    compare_months(connection, changes.previous_period, changes.period)
    rows = write_table(changes.path, RATE_CHANGES.arrow, _batches(connection, _CHANGES_SQL, months, RATE_CHANGES))
    write_table(
        changes_path(root, changes.network_id, MEMBERSHIP_CHANGES),
        MEMBERSHIP_CHANGES.arrow,
        _batches(connection, _MEMBERSHIP_SQL, months, MEMBERSHIP_CHANGES),
    )
    members = connection.execute(
        f"SELECT count(*) FILTER (change = 'joined'), count(*) FILTER (change = 'left') FROM ({_MEMBERSHIP_SQL})",  # noqa: S608 - a constant
        months,
    ).fetchone()
    raised, lowered = connection.execute(_MOVED_SQL).fetchone() or (0, 0)
    dollar_changes, ratio = connection.execute(_RATIO_SQL).fetchone() or (0, None)
    (is_stated_once,) = connection.execute("SELECT one_month_states_it FROM month_settings").fetchone() or (False,)
    changes = replace(
        changes,
        counts=dict(connection.execute(_COUNTS_SQL).fetchall()),
        raised=raised,
        lowered=lowered,
        dollar_changes=dollar_changes or 0,
        median_ratio=ratio,
        joined=members[0] if members else 0,
        left=members[1] if members else 0,
        rows=rows,
    )
    if is_stated_once:
        note = (
            "The months state their conditions differently (schema 1 and 2): the setting is left out; "
            f"{changes.compared:,} prices compare."
        )
        changes = replace(changes, note=note)
    connection.execute("DROP TABLE price_pairs")
    measure_medians(connection)
    drift = audit_catalog(connection, checks=drift_checks(settings))[changes.network_id]
    return replace(changes, shifts=_shifts(connection), drift=drift)


def _batches(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, str], table: Table
) -> Iterator[pa.RecordBatch]:
    for batch in connection.sql(sql, params=dict(parameters)).to_arrow_reader(_ROWS_AT_ONCE):
        yield batch.cast(table.arrow)


def _shifts(connection: duckdb.DuckDBPyConnection) -> list[CodeShift]:
    rows = connection.execute(
        f"""SELECT code_family, code, bill_type, site, previous_median, median FROM {MEDIANS}
        WHERE median <> previous_median ORDER BY {SHIFT} DESC, code, bill_type, site LIMIT {_MAX_SHIFTS}"""  # noqa: S608 - constants
    ).fetchall()
    return [
        CodeShift(
            code_family=family,
            code=code,
            bill_type=bill_type,
            site=site,
            previous_median_dollars=float(previous),
            median_dollars=float(median),
        )
        for family, code, bill_type, site, previous, median in rows
    ]
