"""The numbers of the report, out of the catalog, the rules and the manifest. Looks are the page's matter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from mrf_assets.batches.manifest import MANIFEST_NAME
from mrf_assets.errors import QueryError, SettingError, StoreError
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.hints import code_hints
from mrf_assets.lake.store import Store
from mrf_assets.quality import check_networks
from mrf_assets.quality.changes import Changes, write_changes
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.report.providers import Providers, read_providers
from mrf_assets.settings import Settings, StatisticRules

_MAX_SPREADS = 12


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is published of one network."""

    network_id: str
    entity: str | None
    period: str
    periods: int
    files: int
    prices: int
    codes: int
    groups: int
    npis: int
    plans: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPrices:
    """The statistic of one network for one code, bill type and site, as the view `code_statistics` has it."""

    network_id: str
    contracts: int  # that are comparable
    published: int  # those that a gate stopped included
    npis: int
    median: float | None  # dollars; None where it is refused
    p10: float | None
    p25: float | None
    p75: float | None
    p90: float | None
    refused_because: str | None
    cautions: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeQuestion:
    """What a statistic is asked for."""

    code_family: str
    code: str
    severity: str | None
    bill_type: str
    site: str

    @property
    def title(self) -> str:
        """How people call it."""
        severity = f", severity {self.severity}" if self.severity else ""
        site = "" if self.site == "any" else f", {self.site}"
        return f"{self.code_family} {self.code}{severity}, {self.bill_type}{site}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePrices(CodeQuestion):
    """All networks for one question: those with a median first, the highest of them at the top."""

    networks: Sequence[NetworkPrices]
    not_compared_because: str | None  # why networks are not compared; None where they are, or none has a median

    @property
    def measured(self) -> Sequence[NetworkPrices]:
        """Those that have a median."""
        return [it for it in self.networks if it.median is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread(CodeQuestion):
    """How far the networks' medians for one question are apart; copies of one network count once."""

    networks: int  # of different contents
    p25: float  # of the medians
    p75: float

    @property
    def ratio(self) -> float:
        """The upper quarter's median to the lower quarter's."""
        return self.p75 / self.p25


@dataclass(frozen=True, slots=True)
class Run:
    """How the last run of one network went."""

    network_id: str
    status: str
    seconds: float | None
    end_time: str | None
    is_unchanged: bool
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that the page shows."""

    coverage: Sequence[Coverage]
    code_prices: Sequence[CodePrices]
    hints: Sequence[str]  # of codes that were asked for, and are in no price
    spreads: Sequence[Spread]  # the widest first
    changes: Sequence[Changes]  # of the networks with two periods
    checks: dict[str, list[CheckResult]]  # by network
    runs: Sequence[Run]  # the slowest first
    rules: StatisticRules
    providers: Providers | None  # of the whole folder, whichever networks are shown; None: nobody was looked up


_COVERAGE_SQL = """SELECT
    n.network_id, f.entity, n.period, p.periods, f.files, coalesce(r.prices, 0), coalesce(r.codes, 0),
    coalesce(g.groups, 0), coalesce(g.npis, 0), coalesce(l.plans, 0)
FROM networks n
JOIN (SELECT network_id, count(*) AS periods FROM networks GROUP BY ALL) p USING (network_id)
JOIN (
    SELECT network_id, any_value(reporting_entity_name) AS entity, count(*) AS files FROM files GROUP BY network_id
) f USING (network_id)
LEFT JOIN (
    SELECT network_id, count(*) AS prices, count(DISTINCT (billing_code_type, billing_code)) AS codes
    FROM rates GROUP BY network_id
) r USING (network_id)
LEFT JOIN (
    SELECT network_id, count(DISTINCT (file_id, provider_group_id)) AS groups, count(DISTINCT npi) AS npis
    FROM providers GROUP BY network_id
) g USING (network_id)
LEFT JOIN (
    SELECT network_id, count(DISTINCT (plan_id_type, plan_id, plan_name)) AS plans FROM plans GROUP BY network_id
) l USING (network_id)
WHERE n.is_latest
ORDER BY n.network_id"""
# One pass over all contracts; what follows asks its rows.
_STATISTICS_SQL = "CREATE TEMP TABLE statistics_of_codes AS FROM code_statistics"
_COMPARISONS_SQL = "CREATE TEMP TABLE comparisons_of_codes AS FROM code_comparisons"
_QUESTION = "code_family, code, severity, bill_type, site"
# What no network has a median for comes last, with its reasons.
_TOP_CODES_SQL = f"""SELECT {_QUESTION}
FROM statistics_of_codes
WHERE code_family IS NOT NULL AND code IS NOT NULL
    AND (len($codes) = 0 OR list_contains($codes, code) OR (
        (code_family = 'RC' OR code_family LIKE '%DRG') AND list_contains($codes, ltrim(code, '0'))
    ))
GROUP BY {_QUESTION}
ORDER BY count(DISTINCT content) FILTER (median IS NOT NULL) DESC, sum(contracts) DESC, {_QUESTION}
LIMIT $most"""  # noqa: S608 - constants
_PRICES_SQL = """SELECT network_id, contracts, published, npis, median, p10, p25, p75, p90, refused_because, cautions
FROM statistics_of_codes
WHERE code_family = $code_family AND code = $code AND severity IS NOT DISTINCT FROM $severity
    AND bill_type = $bill_type AND site = $site
ORDER BY median DESC NULLS LAST, network_id"""
_COMPARISON_SQL = """SELECT refused_because
FROM comparisons_of_codes
WHERE code_family = $code_family AND code = $code AND severity IS NOT DISTINCT FROM $severity
    AND bill_type = $bill_type AND site = $site"""
# The ratio of quarters says more than that of two ends.
_VOTED = ", ".join(f"v.{name}" for name in _QUESTION.split(", "))
_SAME_VOTER = " AND ".join(f"v.{name} IS NOT DISTINCT FROM s.{name}" for name in (*_QUESTION.split(", "), "network_id"))
_SPREADS_SQL = f"""SELECT {_VOTED}, count(*) AS networks, quantile_cont(CAST(median AS DOUBLE), 0.25) AS p25,
    quantile_cont(CAST(median AS DOUBLE), 0.75) AS p75
FROM (SELECT {_QUESTION}, unnest(voters) AS network_id FROM comparisons_of_codes WHERE refused_because IS NULL) v
JOIN (SELECT {_QUESTION}, network_id, median FROM statistics_of_codes) s ON {_SAME_VOTER}
GROUP BY {_VOTED}
ORDER BY p75 / p25 DESC, {_VOTED}
LIMIT $most"""  # noqa: S608 - constants


def read_figures(settings: Settings, networks: Sequence[str], codes: Sequence[str], most_codes: int) -> Figures:
    """The figures of some networks, by default of all. The changes since the month before are made on the way.

    `codes` are the codes whose prices are shown, for all their bill types and sites; by default those that most
    networks have a median for, `most_codes` of them.

    Raises:
        SettingError: Nothing, or a network that is asked for, is not published.
        MrfError: As its class says.
    """
    root = settings.output_dir.absolute()
    selection = sorted(set(networks)) or None
    try:
        with connect(
            root, memory_mb=settings.query_memory_mb, networks=selection, rules=settings.statistic_rules
        ) as connection:
            coverage = [Coverage(*row) for row in connection.execute(_COVERAGE_SQL).fetchall()]
            _require(coverage, networks, root)
            connection.execute(_STATISTICS_SQL)
            connection.execute(_COMPARISONS_SQL)
            code_prices, hints = _code_prices(connection, codes, most_codes), code_hints(connection, codes)
            spreads = [Spread(**row) for row in _rows(connection, _SPREADS_SQL, {"most": _MAX_SPREADS})]
    except duckdb.OutOfMemoryException as error:
        raise QueryError("report", f"needs more memory ({error}); raise --memory-mb") from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(str(root), f"a file cannot be read ({error}); run it again") from error
    return Figures(
        coverage=coverage,
        code_prices=code_prices,
        hints=hints,
        spreads=spreads,
        changes=[write_changes(settings, it.network_id) for it in coverage if it.periods > 1],
        checks=check_networks(settings, networks),
        rules=settings.statistic_rules,
        providers=read_providers(root),
        runs=_runs(root / MANIFEST_NAME, {it.network_id for it in coverage} if networks else None),
    )


def _require(coverage: Sequence[Coverage], networks: Sequence[str], root: Path) -> None:
    if missing := sorted(set(networks) - {it.network_id for it in coverage}):
        names = ", ".join(Store(root).networks()) or "none"
        raise SettingError("network", f"{', '.join(missing)} is not published in {root}; there are: {names}")
    if not coverage:
        raise SettingError("--output-dir", f"nothing is published in {root}; run `mrf run` first")


def _code_prices(connection: duckdb.DuckDBPyConnection, codes: Sequence[str], most: int) -> list[CodePrices]:
    limit = None if codes else most  # what is asked for is shown, however many rows it has
    wanted = [code.strip().upper() for code in codes]
    questions = _rows(connection, _TOP_CODES_SQL, {"codes": wanted, "most": limit})
    return [
        CodePrices(
            **question,
            networks=[NetworkPrices(**_in_dollars(row)) for row in _rows(connection, _PRICES_SQL, question)],
            not_compared_because=next(
                (row["refused_because"] for row in _rows(connection, _COMPARISON_SQL, question)), None
            ),
        )
        for question in questions
    ]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = connection.execute(sql, dict(parameters))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _in_dollars(row: Mapping[str, Any]) -> dict[str, Any]:
    """Amounts as floats, for charts."""
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _runs(path: Path, networks: set[str] | None) -> list[Run]:
    """One per network, out of its manifest entries; none where no batch was run here."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["extractions"]
        runs = {
            entry["network_id"]: Run(
                entry["network_id"],
                entry["status"],
                entry["duration_seconds"],
                entry["extraction_timestamp"],
                bool(entry["unchanged"]),
                entry["error"],
            )
            for entry in entries
        }
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(str(path), f"is no manifest ({error!r}); export it again with `mrf manifest`") from error
    return sorted(
        (run for run in runs.values() if networks is None or run.network_id in networks),
        key=lambda run: (-(run.seconds or 0), run.network_id),
    )
