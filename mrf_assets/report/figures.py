"""The numbers of the report, out of the catalog, the rules and the manifest. Looks are the page's matter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from mrf_assets.settings import Settings

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


@dataclass(frozen=True, slots=True)
class NetworkPrices:
    """Dollars of one network for one code and class."""

    network_id: str
    prices: int
    p10: float
    p25: float
    median: float
    p75: float
    p90: float


@dataclass(frozen=True, slots=True)
class CodePrices:
    """Dollars of all networks for one code and class, the highest median first."""

    billing_code_type: str | None
    billing_code: str | None
    billing_class: str | None
    networks: Sequence[NetworkPrices]

    @property
    def title(self) -> str:
        """How people call it."""
        return f"{self.billing_code_type or '?'} {self.billing_code or '?'}, {self.billing_class or 'no class'}"


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the networks' medians for one code and class are apart."""

    billing_code_type: str | None
    billing_code: str | None
    billing_class: str | None
    networks: int
    lowest_median: float
    highest_median: float

    @property
    def title(self) -> str:
        """How people call it."""
        return f"{self.billing_code_type or '?'} {self.billing_code or '?'}, {self.billing_class or 'no class'}"

    @property
    def ratio(self) -> float:
        """Highest to lowest."""
        return self.highest_median / self.lowest_median


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
# Revenue codes stand for very different services; they are shown where they are asked for.
_TOP_CODES_SQL = """SELECT billing_code_type, billing_code, billing_class
FROM rates
WHERE dollars > 0 AND CASE WHEN len($codes) = 0 THEN billing_code_type IS DISTINCT FROM 'RC'
    ELSE list_contains($codes, billing_code) END
GROUP BY billing_code_type, billing_code, billing_class
ORDER BY count(DISTINCT network_id) DESC, count(*) DESC, billing_code, billing_code_type, billing_class
LIMIT $most"""
_PRICES_SQL = """SELECT network_id, count(*),
    quantile_cont(CAST(dollars AS DOUBLE), [0.1, 0.25, 0.5, 0.75, 0.9]) AS quantiles
FROM rates
WHERE dollars > 0 AND billing_code_type IS NOT DISTINCT FROM $kind AND billing_code IS NOT DISTINCT FROM $code
    AND billing_class IS NOT DISTINCT FROM $class
GROUP BY network_id
ORDER BY quantiles[3] DESC, network_id"""
_SPREADS_SQL = """SELECT billing_code_type, billing_code, billing_class, count(*), min(median), max(median)
FROM (
    SELECT network_id, billing_code_type, billing_code, billing_class, median(CAST(dollars AS DOUBLE)) AS median
    FROM rates
    WHERE dollars > 0 AND billing_code_type IS DISTINCT FROM 'RC'
    GROUP BY network_id, billing_code_type, billing_code, billing_class
)
GROUP BY billing_code_type, billing_code, billing_class
HAVING count(*) > 1
ORDER BY max(median) / min(median) DESC, billing_code, billing_code_type
LIMIT $most"""


def read_figures(settings: Settings, networks: Sequence[str], codes: Sequence[str], most_codes: int) -> Figures:
    """The figures of some networks, by default of all. The changes since the month before are made on the way.

    `codes` are the codes whose prices are shown, in all their types and classes; by default those that most networks
    have, `most_codes` of them.

    Raises:
        SettingError: Nothing, or a network that is asked for, is not published.
        MrfError: As its class says.
    """
    root = settings.output_dir.absolute()
    selection = sorted(set(networks)) or None
    try:
        with connect(root, memory_mb=settings.query_memory_mb, networks=selection) as connection:
            coverage = [Coverage(*row) for row in connection.execute(_COVERAGE_SQL).fetchall()]
            _require(coverage, networks, root)
            code_prices, hints = _code_prices(connection, codes, most_codes), code_hints(connection, codes)
            spreads = [Spread(*row) for row in connection.execute(_SPREADS_SQL, {"most": _MAX_SPREADS}).fetchall()]
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
    rows = connection.execute(_TOP_CODES_SQL, {"codes": list(codes), "most": limit}).fetchall()
    return [
        CodePrices(
            kind,
            code,
            billing_class,
            [
                NetworkPrices(network_id, count, *quantiles)
                for network_id, count, quantiles in connection.execute(
                    _PRICES_SQL, {"kind": kind, "code": code, "class": billing_class}
                ).fetchall()
            ],
        )
        for kind, code, billing_class in rows
    ]


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
