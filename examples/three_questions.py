"""Three questions of real life, answered in Python over what is published: `python examples/three_questions.py`.

    1. What does one scan cost in each network, and how far apart are they?
    2. Which groups of providers hold the dearest contract for it, and what would the median network pay?
    3. What got dearer since last month?

Without an argument it makes a small made-up payer of four networks and two months in a temporary folder; with the
path of an output folder it asks that one: `python examples/three_questions.py mrf_output 99213`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

# The tests' factory is used from a checkout; it is in no wheel.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.queries import shipped
from mrf_assets.quality.changes import write_changes
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import document, render

CODES = [("CPT", "70450"), ("CPT", "99213"), ("CPT", "73721"), ("HCPCS", "G0463"), ("MS-DRG", "470")]
ASKED = "70450"
NETWORKS = ("amber", "birch", "cedar", "dune")
BEFORE, NOW = "2026-10", "2026-11"
RISE = 1.04  # of every price of the made-up payer, in a month

# Prices are ranked before they are joined to providers, so that none counts more for being held by many.
DEAREST = """WITH dearest AS (
    SELECT network_id, period, file_id, price_number, dollars, billing_class FROM rates_flagged
    WHERE billing_code = $code AND dollars > 0 AND NOT is_implausible
    ORDER BY dollars DESC LIMIT 3
),
medians AS (
    SELECT median(median) AS usual FROM (
        SELECT network_id, median(dollars) AS median FROM rates WHERE billing_code = $code AND dollars > 0 GROUP BY ALL
    )
)
SELECT network_id, dollars, billing_class, list_sort(list(DISTINCT tin_value))[:3] AS tins,
    count(DISTINCT npi) AS npis, any_value(usual) AS usual
FROM dearest
JOIN rates_by_npi USING (network_id, period, file_id, price_number, dollars, billing_class)
CROSS JOIN medians
GROUP BY network_id, file_id, price_number, dollars, billing_class
ORDER BY dollars DESC"""
DEARER = """SELECT network_id, count(*) FILTER (difference > 0) AS raised, count(*) FILTER (difference < 0) AS lowered,
    median(ratio) AS ratio
FROM rate_changes
WHERE change = 'changed' AND rate_unit = 'dollars'
GROUP BY network_id ORDER BY ratio DESC, network_id"""

console = Console(highlight=False)


def main(arguments: Sequence[str]) -> None:
    """Ask an output folder, or one that is made for the purpose."""
    if arguments:
        ask(Path(arguments[0]), arguments[1] if len(arguments) > 1 else ASKED)
        return
    with tempfile.TemporaryDirectory() as scratch:
        ask(make_lake(Path(scratch)), ASKED)


def ask(lake: Path, code: str) -> None:
    """Print the three answers."""
    with connect(lake) as connection:
        networks = connection.execute("SELECT network_id FROM networks WHERE is_latest ORDER BY 1").fetchall()
        cost_by_network(connection, code)
        dearest_contracts(connection, code)
    for (network,) in networks:
        write_changes(Settings(output_dir=lake), network)
    with connect(lake) as connection:  # a connection shows what was there when it was made
        dearer_since(connection)


def cost_by_network(connection: duckdb.DuckDBPyConnection, code: str) -> None:
    """The first question is a shipped query: each price once, units apart."""
    query = shipped("price_distribution")
    values = query.bind({"billing_code": code}, {"billing_code", "billing_code_type"})
    alike = (
        "rate_unit = 'dollars' AND billing_class = 'professional' AND coalesce(setting, 'outpatient') = 'outpatient'"
    )
    columns = "network_id, prices, p10, median, p90, npis"
    found = connection.sql(query.sql, params=values).filter(alike).project(columns).order("median DESC").fetchall()
    _print(f"1. {code}, professional, outpatient: dollars by network", columns.split(", "), found)
    if found:
        console.print(f"The dearest network's median is {found[0][3] / found[-1][3]:.1f} times the cheapest one's.\n")


def dearest_contracts(connection: duckdb.DuckDBPyConnection, code: str) -> None:
    """The second joins prices to providers, and leaves out what is implausible."""
    rows = connection.execute(DEAREST, {"code": code}).fetchall()
    shown = [
        (network, f"{dollars:,.2f}", kind, ", ".join(tins), npis, f"{dollars / usual:.1f}x")
        for network, dollars, kind, tins, npis, usual in rows
    ]
    columns = ("network_id", "dollars", "billing_class", "TINs", "NPIs", "of the usual median")
    _print(f"2. {code}: the dearest contracts", columns, shown)


def dearer_since(connection: duckdb.DuckDBPyConnection) -> None:
    """The third compares the two latest months of each network."""
    rows = [(network, up, down, f"{ratio:.3f}") for network, up, down, ratio in connection.execute(DEARER).fetchall()]
    _print("3. Since last month", ("network_id", "raised", "lowered", "median change"), rows)


def make_lake(folder: Path) -> Path:
    """Two months of a made-up payer; in the second, every price of all networks but one rises by 4 %."""
    for number, network in enumerate(NETWORKS):
        for period in (BEFORE, NOW):
            made = document(seed=number, schema="v2", codes=CODES, groups=6, rates_per_item=4, prices_per_rate=3)
            for item in made["in_network"]:
                for rate in item["negotiated_rates"]:
                    for price in rate["negotiated_prices"]:
                        rises = period == NOW and network != NETWORKS[-1]
                        price["negotiated_rate"] = round(float(price["negotiated_rate"]) * (RISE if rises else 1), 2)
            source = folder / f"{network}-{period}.json"
            source.write_bytes(render(made))
            identity = NetworkIdentity(rule="explicit", rule_version=1, scope="demo", raw_id=network, period=period)
            task = FileTask(address=Address(str(source)), network_id=f"demo~{network}", identity=identity)
            ingest(task.network_id, [task], Settings(output_dir=folder / "lake")).require_published()
    return folder / "lake"


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row))
    console.print(table, markup=False)


if __name__ == "__main__":
    main(sys.argv[1:])
