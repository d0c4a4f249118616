"""The fence around the dollars of a code: what counts is who has them, not how often they are written."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets.lake.fences import FENCES_SQL, MIN_FENCED_CONTRACTS
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import in_network_file, item, price, publish, tins

_CHEAP, _DEAR, _FAR = list(range(1, 81)), list(range(81, 101)), 101


def _visits(rates: list[tuple[list[int], list[Document]]]) -> Document:
    return in_network_file(tins(_FAR), [item("99213", [*rates, ([_FAR], [price(100_000)])])])


_LAYOUTS = {
    "one set": _visits([(_CHEAP, [price(100)]), *(([number], [price(2_000)]) for number in _DEAR)]),
    "a row for each": _visits([([n], [price(100 if n in _CHEAP else 2_000)]) for n in (*_CHEAP, *_DEAR)]),
    "repeated": _visits([*[(_CHEAP, [price(100)])] * 40, *(([number], [price(2_000)]) for number in _DEAR)]),
}


def _outside(connection: duckdb.DuckDBPyConnection) -> list[tuple[Decimal]]:
    return connection.execute("SELECT DISTINCT dollars FROM rates_flagged WHERE is_outside_fence").fetchall()


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_the_fence_is_the_same_in_every_layout(layout: str, tmp_path: Path) -> None:
    """80 TINs at 100 dollars and 20 at 2,000: both quartiles are 100, so that the 2,000 are as far as the 100,000."""
    publish(tmp_path / "lake", "a", _LAYOUTS[layout])
    with connect(tmp_path / "lake") as connection:
        (fence,) = connection.execute(f"SELECT lower_fence, upper_fence FROM ({FENCES_SQL})").fetchall()

        assert (22.313, 448.169) == pytest.approx(fence, abs=0.001)
        assert {(Decimal(2_000),), (Decimal(100_000),)} == set(_outside(connection))


def test_a_tin_with_several_amounts_has_one_vote(tmp_path: Path) -> None:
    """40 TINs have 100 dollars; one has a hundred amounts from 5,000 on, which do not move the quartiles."""
    several = [price(5_000 + number) for number in range(100)]
    document = in_network_file(
        tins(41), [item("99213", [*(([number], [price(100)]) for number in range(1, 41)), ([41], several)])]
    )
    publish(tmp_path / "lake", "a", document)
    with connect(tmp_path / "lake") as connection:
        assert 100 == len(_outside(connection))


@pytest.mark.parametrize(("contracts", "is_judged"), [(MIN_FENCED_CONTRACTS, True), (MIN_FENCED_CONTRACTS - 1, False)])
def test_rows_do_not_make_up_for_contracts(contracts: int, is_judged: bool, tmp_path: Path) -> None:
    """Each price is written three times; a fence takes 40 contracts."""
    of_each = [([number], [price(100 + number)] * 3) for number in range(1, contracts + 1)]
    publish(tmp_path / "lake", "a", in_network_file(tins(contracts), [item("99213", of_each)]))
    with connect(tmp_path / "lake") as connection:
        judged = connection.execute("SELECT count(is_outside_fence) > 0 FROM rates_flagged").fetchall()

    assert [(is_judged,)] == judged
