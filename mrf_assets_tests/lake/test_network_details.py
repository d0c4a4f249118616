"""Whose the networks are, and what is known of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import mrf_assets.lake
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.schema import PROVIDER_DIRECTORY
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import group, in_network_file, item, npi, price, publish, tins
from mrf_assets_tests.table_rows import batch

BEFORE, LATEST = "2026-10", "2026-11"
ENTITIES = {
    "AETNA HEALTH INC.": "aetna",
    "Aetnalike Mutual": "aetnalike-mutual",
    "BlueCross BlueShield of Tennessee, Inc.": "bcbs-tennessee",
    "Blue Cross and Blue Shield of Kansas City": "bcbs-kansas-city",
    "Blue Cross & Blue Shield of Kansas": "bcbs-kansas",
    "California Physicians' Service": "blue-shield-california",
    "Zebra TPA": "zebra-tpa",
}


def _file(entity: str, month: str = LATEST, last_tin: int = 2) -> Document:
    document = in_network_file(tins(last_tin), [item("99213", [([1], [price(5)])])], month)
    return {**document, "reporting_entity_name": entity}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A network of each entity, and one of two periods; no directory."""
    root = tmp_path_factory.mktemp("details") / "lake"
    for number, entity in enumerate(ENTITIES):
        publish(root, f"t~{number}", _file(entity))
    publish(root, "t~0", _file("Aetna Life", BEFORE, last_tin=9), BEFORE)
    with connect(root) as connection:
        yield connection


def test_an_entity_belongs_to_the_payer_that_its_name_begins_with(lake: duckdb.DuckDBPyConnection) -> None:
    """In whole words, the longest first; an unknown entity is a payer of its own."""
    found = lake.execute("SELECT reporting_entity_name, payer_id FROM network_details").fetchall()

    assert dict(found) == ENTITIES


def test_a_payer_has_its_legal_entities_and_networks(lake: duckdb.DuckDBPyConnection) -> None:
    """Of the latest periods alone."""
    found = lake.execute("FROM payers WHERE payer_id IN ('aetna', 'zebra-tpa') ORDER BY payer_id").fetchall()

    kinds = ["health insurance issuer"]
    assert [
        ("aetna", "CVS Health (Aetna)", ["AETNA HEALTH INC."], kinds, 1),
        ("zebra-tpa", None, ["Zebra TPA"], kinds, 1),
    ] == found


def test_a_network_has_one_row_of_its_latest_period(lake: duckdb.DuckDBPyConnection) -> None:
    """With its first period, and sizes that the months before do not swell; without a directory it has no states."""
    sql = """SELECT period, first_period, periods, display_name, display_name_source, files, plans, tins, npis, states
    FROM network_details WHERE network_id = 't~0'"""

    assert [(LATEST, BEFORE, 2, "PPO", "network_name", 1, 0, 2, 4, [])] == lake.execute(sql).fetchall()


def test_a_network_without_a_name_has_that_of_its_address(tmp_path: Path) -> None:
    """Schema 1 names no network; of several names that of most groups is shown, and how many more there are."""
    nameless, several = _file("A"), _file("B", last_tin=3)
    for reference in nameless["provider_references"]:
        del reference["network_name"]
    for reference, names in zip(several["provider_references"], (["Gold"], ["Silver"], ["Silver"]), strict=True):
        reference["network_name"] = names
    publish(tmp_path / "lake", "nameless", nameless)
    publish(tmp_path / "lake", "several", several)

    with connect(tmp_path / "lake") as connection:
        found = connection.execute("SELECT display_name, display_name_source FROM network_details ORDER BY network_id")
        assert [("t nameless", "rule"), ("Silver and 1 more", "network_name")] == found.fetchall()


def test_a_state_is_that_of_a_tenth_of_the_npis(tmp_path: Path) -> None:
    """One practice of twenty elsewhere makes no state of the network."""
    root = tmp_path / "lake"
    members = [npi(number) for number in range(1, 21)]
    rates = [item("99213", [([1], [price(5)])])]
    publish(root, "t~a", in_network_file({1: [group(1, members)]}, rates))
    rows = [
        {"npi": member, "rates": 1, "networks": 1, "practice_state": "AK" if member == members[0] else "OH"}
        for member in members
    ]
    write_table(Reference(root).directory, PROVIDER_DIRECTORY.arrow, [batch(PROVIDER_DIRECTORY, *rows)])

    with connect(root) as connection:
        assert [(["OH"],)] == connection.execute("SELECT states FROM network_details").fetchall()


def test_the_shipped_payers_have_one_name_for_each_id() -> None:
    """And no name twice; quotes would be read as SQL."""
    path = Path(mrf_assets.lake.__file__).with_name("payers.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert len({row["payer_id"] for row in rows}) == len({(row["payer_id"], row["payer_name"]) for row in rows})
    assert len(rows) == len({row["name_begins"].upper() for row in rows})
    assert not [row for row in rows if set("".join(row.values())) & set("'\"\\")]
