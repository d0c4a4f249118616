"""When two networks are the same: whatever a payer's way of writing, and however little they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import (
    group,
    hospital_price,
    in_network_file,
    item,
    price,
    publish,
    tins,
)

Rates = list[tuple[list[int], list[Document]]]
_LOW, _HIGH, _SHARED = price(100), price(200), price(55)
_OTHER: Rates = [([4], [price(7)])]


def _visits(rates: Rates, groups: dict[int, list[Document]] | None = None) -> Document:
    """The rates of one code, and another code that is always alike."""
    return in_network_file(groups or tins(4), [item("99213", rates), item("99214", _OTHER)])


SAME = {
    "one_row": _visits([([1, 2], [_LOW, _SHARED]), ([3], [_HIGH, _SHARED])]),
    "split": _visits([([1], [_LOW]), ([2], [_LOW]), ([3], [_HIGH]), ([2, 1, 3], [_SHARED])]),
    "repeated": _visits([([1, 2], [_LOW, _SHARED]), ([3], [_HIGH, _SHARED]), ([2], [_LOW, _SHARED])]),
    "overlapping": _visits([([1, 2], [_LOW, _SHARED]), ([2, 3], [_SHARED]), ([3], [_HIGH])]),
    "reordered": in_network_file(
        dict(reversed(tins(4).items())),
        [item("99214", _OTHER), item("99213", [([3], [_SHARED, _HIGH]), ([2, 1], [_SHARED, _LOW])])],
    ),
    "numbered_anew": _visits(
        [([11, 12], [_LOW, _SHARED]), ([13], [_HIGH, _SHARED])],
        {4: [group(4)], 11: [group(1)], 12: [group(2)], 13: [group(3)]},
    ),
    "one_reference": _visits(
        [([1], [_LOW, _SHARED]), ([3], [_HIGH, _SHARED])],
        {1: [group(1), group(2)], 3: [group(3)], 4: [group(4)]},
    ),
    "under_the_other_type": in_network_file(
        tins(4),
        [item("99213", [([1, 2], [_LOW, _SHARED]), ([3], [_HIGH, _SHARED])], "HCPCS"), item("99214", _OTHER)],
    ),
}
OTHER_TINS = {
    "swapped": _visits([([1, 3], [_LOW]), ([2], [_HIGH]), ([1, 2, 3], [_SHARED])]),
    "one_more": _visits([([1, 2], [_LOW, _SHARED]), ([3, 4], [_HIGH]), ([3], [_SHARED])]),
    "nobody": _visits([([], [_LOW, _HIGH, _SHARED])]),
}
OTHER_PRICES = {
    "a_cent": _visits([([1, 2], [price(100.01), _SHARED]), ([3], [_HIGH, _SHARED])]),
    "a_site": _visits([([1, 2], [price(100, service_code=["22"]), _SHARED]), ([3], [_HIGH, _SHARED])]),
    "a_type": _visits([([1, 2], [price(100, "fee schedule"), _SHARED]), ([3], [_HIGH, _SHARED])]),
    "a_modifier": _visits([([1, 2], [price(100, billing_code_modifier=["RR"]), _SHARED]), ([3], [_HIGH, _SHARED])]),
    "a_class": _visits([([1, 2], [hospital_price(100), _SHARED]), ([3], [_HIGH, _SHARED])]),
    "one_price_less": _visits([([1, 2], [_LOW, _SHARED]), ([3], [_SHARED])]),
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """One network for each way of writing, and one whose month before was the same as all of them."""
    root = tmp_path_factory.mktemp("contents") / "lake"
    for network, document in (SAME | OTHER_TINS | OTHER_PRICES).items():
        publish(root, network, document)
    publish(root, "a_cent", {**SAME["one_row"], "last_updated_on": "2026-10-01"}, "2026-10")
    with connect(root) as connection:
        yield connection


def _ids(lake: duckdb.DuckDBPyConnection, column: str, networks: Sequence[str]) -> set[Any]:
    rows = lake.execute(
        f"SELECT {column} FROM network_contents WHERE list_contains($networks, network_id)", {"networks": networks}
    )
    return {found for (found,) in rows.fetchall()}


@pytest.mark.parametrize("network", SAME)
def test_a_way_of_writing_makes_no_other_network(lake: duckdb.DuckDBPyConnection, network: str) -> None:
    """Split, merged, repeated, reordered, numbered anew: prices and TINs are the same."""
    for column in ("content_id", "content_party_id"):
        assert 1 == len(_ids(lake, column, ["one_row", network]))


@pytest.mark.parametrize("network", OTHER_TINS)
def test_other_tins_are_another_party(lake: duckdb.DuckDBPyConnection, network: str) -> None:
    """The prices alone are the same."""
    assert 1 == len(_ids(lake, "content_id", ["one_row", network]))
    assert 2 == len(_ids(lake, "content_party_id", ["one_row", network]))


@pytest.mark.parametrize("network", OTHER_PRICES)
def test_one_other_price_is_another_content(lake: duckdb.DuckDBPyConnection, network: str) -> None:
    """However little it differs; a month before does not count."""
    for column in ("content_id", "content_party_id"):
        assert 2 == len(_ids(lake, column, ["one_row", network]))


def test_each_network_names_the_first_of_its_equals(lake: duckdb.DuckDBPyConnection) -> None:
    """The first itself, and those without an equal, name none."""
    found = lake.execute("SELECT network_id, networks, same_as FROM network_contents").fetchall()

    first = min(SAME)
    equals = {network: (len(SAME), None if network == first else first) for network in SAME}
    others = dict.fromkeys((*OTHER_TINS, *OTHER_PRICES), (1, None))
    assert equals | others == {network: (networks, same_as) for network, networks, same_as in found}


def test_a_price_counts_once(lake: duckdb.DuckDBPyConnection) -> None:
    """Whoever has it, and as often as it is written."""
    assert {4} == _ids(lake, "prices", list(SAME))
