"""Prices by contract: one vote for each TIN, however the payer writes it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import (
    ein,
    group,
    hospital_price,
    in_network_file,
    item,
    npi,
    price,
    publish,
    tins,
)

OF_80, OF_20 = list(range(1, 81)), list(range(81, 101))


def _visits(rates: list[tuple[list[int], list[Document]]]) -> Document:
    return in_network_file(tins(100), [item("99213", rates)])


LAYOUTS = {
    "one_set": _visits([(OF_80, [price(100)]), *(([number], [price(200)]) for number in OF_20)]),
    "row_by_row": _visits([([number], [price(100 if number in OF_80 else 200)]) for number in range(1, 101)]),
    "repeated": _visits([*[(OF_80, [price(100)])] * 40, *(([number], [price(200)]) for number in OF_20)]),
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same contracts in three layouts, and one network with all kinds of conditions."""
    root = tmp_path_factory.mktemp("contracts") / "lake"
    for name, document in LAYOUTS.items():
        publish(root, f"t~{name}", document)
    publish(root, "t~rich", _rich())
    with connect(root) as connection:
        yield connection


def _rich() -> Document:
    """One TIN for each question."""
    whole_tin: Document = {"npi": [0], "tin": {"type": "ein", "value": ein(13)}}
    named_by_npi: Document = {"npi": [npi(1)], "tin": {"type": "npi", "value": str(npi(1))}}
    in_two_groups = [group(15, [npi(1), npi(2)]), group(15, [npi(2), npi(3)])]
    visits = [price(90), price(70, service_code=["22"]), price(40, billing_code_modifier=["26"])]
    rental, purchase = (price(rate, billing_code_modifier=[word]) for rate, word in ((45, "RR"), (700, "NU")))
    return in_network_file(
        tins(12) | {13: [whole_tin], 14: [named_by_npi], 15: in_two_groups},
        [
            item("99213", [([1], visits)]),
            item("99214", [([2], [price(50, "fee schedule"), price(60), price(80, "derived")])]),
            item("99215", [([3], [price(0), price(55, "fee schedule")])]),
            item("99216", [([4], [price(0.01), price(0)])]),
            item("E0601", [([5], [rental, purchase])], "HCPCS"),
            item("70551", [([6], [price(300, billing_class="both")])]),
            item("470", [([7], [hospital_price(24_000, billing_class="both")])], "MS-DRG"),
            item("77777", [([8], [price(10), price(30), price(20)]), ([8], [price(30)])]),
            item("A-1", [([9], [price(5)])], "LOCAL", name="Room"),
            item("A-1", [([9], [price(7)])], "LOCAL", name="Board"),
            item("88888", [([13], [price(11)]), ([14], [price(12)]), ([15], [price(13)])]),
            item("99217", [([10], [price(20), price(30, additional_information="Lesser of billed charges")])]),
            item("99218", [([11], [price(40, "percentage"), price(41, "per diem")])]),
        ],
    )  # fmt: skip


def _rows(lake: duckdb.DuckDBPyConnection, columns: str, code: str, order: str = "ALL") -> list[tuple[Any, ...]]:
    sql = f"SELECT {columns} FROM contract_rates WHERE network_id = 't~rich' AND code = ? ORDER BY {order}"
    return lake.execute(sql, [code]).fetchall()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_contracts_are_the_same_votes_in_every_layout(lake: duckdb.DuckDBPyConnection, layout: str) -> None:
    """Price rows are 21, 100 and 60, and their medians 200, 100 and 100."""
    sql = "SELECT count(*), median(typical), sum(npis) FROM contract_rates WHERE network_id = ? AND code = '99213'"

    assert (100, Decimal(100), 200) == lake.execute(sql, [f"t~{layout}"]).fetchone()


def test_component_and_site_are_contracts_of_their_own(lake: duckdb.DuckDBPyConnection) -> None:
    """Neither is a price of the whole in the office."""
    assert [("26", "nonfacility", 40), ("base", "facility", 70), ("base", "nonfacility", 90)] == _rows(
        lake, "component, site, typical", "99213"
    )


def test_what_was_negotiated_counts_before_a_schedule_and_what_was_derived(lake: duckdb.DuckDBPyConnection) -> None:
    """A provider may rightly have all three for one code."""
    assert [("negotiated", 1, 60)] == _rows(lake, "negotiated_type, amounts, typical", "99214")


def test_an_amount_of_zero_gives_way_to_one_that_can_be_used(lake: duckdb.DuckDBPyConnection) -> None:
    """Whatever its type."""
    assert [("fee schedule", 55, None)] == _rows(lake, "negotiated_type, typical, unusable", "99215")


def test_a_contract_without_a_usable_amount_says_why(lake: duckdb.DuckDBPyConnection) -> None:
    """It has no typical amount, and takes part in no median."""
    assert [(None, 0, "zero")] == _rows(lake, "typical, lowest, unusable", "99216")


def test_rental_and_purchase_are_two_contracts(lake: duckdb.DuckDBPyConnection) -> None:
    """Both are `other` modifiers."""
    assert [(["NU"], 700), (["RR"], 45)] == _rows(lake, "modifiers, typical", "E0601")


def test_a_price_of_both_classes_counts_in_either(lake: duckdb.DuckDBPyConnection) -> None:
    """As the same price on both claim forms."""
    assert [("outpatient", 300), ("professional", 300)] == _rows(lake, "bill_type, typical", "70551")


def test_a_drg_of_both_classes_is_inpatient_alone(lake: duckdb.DuckDBPyConnection) -> None:
    """No professional bills a DRG."""
    assert [("inpatient", 24_000)] == _rows(lake, "bill_type, typical", "470")


def test_several_amounts_count_once_each(lake: duckdb.DuckDBPyConnection) -> None:
    """30 stands twice; typical is the median of the distinct ones."""
    assert [(3, 10, 20, 30, 4)] == _rows(lake, "amounts, lowest, typical, highest, rows", "77777")


def test_the_payers_own_codes_are_told_apart_by_their_names(lake: duckdb.DuckDBPyConnection) -> None:
    """One code stands for two services."""
    assert [("BOARD", 7), ("ROOM", 5)] == _rows(lake, "own_name, typical", "A-1")


def test_a_conditional_price_is_no_plain_one(lake: duckdb.DuckDBPyConnection) -> None:
    """It is a contract of its own."""
    assert [(False, 20), (True, 30)] == _rows(lake, "is_conditional, typical", "99217")


def test_units_are_contracts_of_their_own(lake: duckdb.DuckDBPyConnection) -> None:
    """A percentage and a per diem have their types."""
    assert [("dollars per day", "per diem", 41), ("percent", "percentage", 40)] == _rows(
        lake, "price_basis, negotiated_type, typical", "99218"
    )


def test_npis_of_one_tin_count_once_a_set(lake: duckdb.DuckDBPyConnection) -> None:
    """Also where they stand in two of its groups; a whole TIN has none."""
    assert [
        ("ein", ein(13), 0, True, 11),
        ("npi", str(npi(1)), 1, False, 12),
        ("ein", ein(15), 3, False, 13),
    ] == _rows(lake, "tin_type, tin_value, npis, is_whole_tin, typical", "88888", "typical")


def test_an_npi_without_a_tin_is_a_party_of_its_own(tmp_path: Path) -> None:
    """Payers leave the TIN out of some groups."""
    no_tin: Document = {"npi": [npi(4), npi(5)], "tin": {"type": "ein", "value": ""}}
    publish(tmp_path / "lake", "t~a", in_network_file({1: [no_tin]}, [item("99213", [([1], [price(9)])])]))

    with connect(tmp_path / "lake") as connection:
        found = connection.execute("SELECT tin_type, tin_value, typical FROM contract_rates ORDER BY ALL").fetchall()
    assert [("npi", str(npi(4)), 9), ("npi", str(npi(5)), 9)] == found


def test_a_lake_without_stored_tins_has_the_same_contracts(tmp_path: Path) -> None:
    """As one that was published before they were stored; another network's publication leaves it as it is."""
    root = tmp_path / "lake"
    for network in ("t~a", "t~b"):
        publish(root, network, _rich())
    with connect(root) as connection:
        expected = connection.execute("FROM contract_rates ORDER BY ALL").fetchall()
    for path in [*root.rglob("set_tins-*")]:
        if "network_id=t~b" in str(path):
            path.unlink()

    with connect(root) as connection:
        assert expected == connection.execute("FROM contract_rates ORDER BY ALL").fetchall()
        assert 2 == len(connection.execute("SELECT DISTINCT network_id FROM set_tins").fetchall())


def test_without_a_directory_there_are_no_facilities(lake: duckdb.DuckDBPyConnection) -> None:
    """Which NPIs are organizations is not known then."""
    assert [] == lake.execute("FROM facility_rates").fetchall()
