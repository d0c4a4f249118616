"""Three questions of real life, answered in Python over what is published: `python examples/three_questions.py`.

    1. What does one scan cost in each network, and how far apart are they?
    2. Who has the dearest contracts for it, and how far are they from what the median network pays?
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
from mrf_assets.quality.changes import Changes, write_changes
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import document, render

CODES = [("CPT", "70450"), ("CPT", "99213"), ("CPT", "73721"), ("HCPCS", "G0463"), ("MS-DRG", "470")]
ASKED = "70450"
NETWORKS = ("amber", "birch", "cedar", "dune")
BEFORE, NOW = "2026-10", "2026-11"
RISE = 1.04  # of every price of the made-up payer, in a month

COSTS = """SELECT network_id, contracts, published, median, refused_because FROM code_statistics
WHERE code_family = family_of('CPT') AND code = code_of('CPT', $code) AND bill_type = 'professional'
    AND site = 'nonfacility'
ORDER BY median DESC NULLS LAST, network_id"""
DEAREST = """WITH medians AS (
    SELECT median(median) AS usual
    FROM code_statistics
    WHERE code_family = family_of('CPT') AND code = code_of('CPT', $code) AND bill_type = 'professional'
        AND site = 'nonfacility'
)
SELECT network_id, tin_value, npis, typical, typical / usual
FROM contract_rates
CROSS JOIN medians
WHERE code_family = family_of('CPT') AND code = code_of('CPT', $code) AND bill_type = 'professional'
    AND site IN ('nonfacility', 'any') AND component = 'base' AND price_basis = 'dollars' AND NOT is_conditional
    AND negotiated_type <> 'derived' AND amounts = 1
ORDER BY typical DESC NULLS LAST, network_id, tin_value
LIMIT 3"""
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
    dearer_since([write_changes(Settings(output_dir=lake), network) for (network,) in networks])


def cost_by_network(connection: duckdb.DuckDBPyConnection, code: str) -> None:
    """The first question is about contracts: each has one vote, or a reason why it has none."""
    rows = connection.execute(COSTS, {"code": code}).fetchall()
    shown = [
        (network, contracts, f"{published:,}", refusal if median is None else f"{median:,.2f}")
        for network, contracts, published, median, refusal in rows
    ]
    columns = ("network_id", "comparable contracts", "of", "median in dollars")
    _print(f"1. {code}, professional, in an office", columns, shown)
    if len(medians := [median for *_, median, _ in rows if median is not None]) > 1:
        console.print(f"The dearest network's median is {medians[0] / medians[-1]:.1f} times the cheapest one's.\n")


def dearest_contracts(connection: duckdb.DuckDBPyConnection, code: str) -> None:
    """The second names them, beside the median of the networks for the same service and site."""
    rows = connection.execute(DEAREST, {"code": code}).fetchall()
    shown = [
        (network, tin, npis, f"{dollars:,.2f}", f"{ratio:.1f}x" if ratio else "no median")
        for network, tin, npis, dollars, ratio in rows
    ]
    _print(f"2. {code}: the dearest contracts", ("network_id", "TIN", "NPIs", "dollars", "of the usual median"), shown)


def dearer_since(changes: Sequence[Changes]) -> None:
    """The third compares the two latest months of each network, TIN by TIN; the view rate_changes has the rows."""
    rows = [
        (it.network_id, f"{it.raised:,}", f"{it.lowered:,}", f"{it.compared:,}", f"{it.median_ratio:.3f}")
        for it in changes
        if it.median_ratio is not None
    ]
    _print("3. Since last month, by TIN", ("network_id", "raised", "lowered", "of", "median change"), rows)


def make_lake(folder: Path) -> Path:
    """Two months of a made-up payer; in the second, every price of all networks but one rises by 4 %."""
    for number, network in enumerate(NETWORKS):
        for period in (BEFORE, NOW):
            made = document(seed=number, schema="v2", codes=CODES, groups=40, rates_per_item=60, prices_per_rate=3)
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
