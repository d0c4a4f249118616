"""What whitelists would keep of what is published, worked out anew from the documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mrf_assets.ingest.published_prices import published_prices
from mrf_assets.settings import Settings
from mrf_assets.whitelist import CodeWhitelist, TinWhitelist, Whitelists
from mrf_assets_tests.small_lake import Lake, Price, make_lake

_CODES = CodeWhitelist(frozenset({"0510"}), frozenset({("CPT", "99213")}))
_TINS = TinWhitelist(frozenset({"123456701", "123456703"}))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Networks of one and of two periods."""
    return make_lake(tmp_path_factory.mktemp("prices"))


def _has_code(price: Price) -> bool:
    return price.code in {("RC", "510"), ("CPT", "99213")}


def _has_tin(price: Price) -> bool:
    return any(tin in _TINS.values for _, tin, _ in price.holders)


@pytest.mark.parametrize(
    ("wanted", "is_kept"),
    [
        (Whitelists(codes=_CODES, tins=None), _has_code),
        (Whitelists(codes=None, tins=_TINS), _has_tin),
        (Whitelists(codes=_CODES, tins=_TINS), lambda price: _has_code(price) and _has_tin(price)),
    ],
    ids=["codes", "tins", "both"],
)
def test_the_prices_of_the_latest_period_are_judged(
    lake: Lake, wanted: Whitelists, is_kept: Callable[[Price], bool]
) -> None:
    """As a run would keep them, by network; one that is not published has none."""
    found = published_prices(Settings(output_dir=lake.root), ["t~a", "t~twin", "t~none"], wanted)

    expected = {
        name: (len(prices), sum(map(is_kept, prices)))
        for name in ("t~a", "t~twin")
        if (prices := [price for price in lake.latest() if price.network == name])
    }
    assert expected == {each.network_id: (each.prices, each.kept_prices) for each in found}
    assert all(0 < kept < prices for prices, kept in expected.values())


def test_nothing_is_published_in_an_empty_folder(tmp_path: Path) -> None:
    """And nothing is written."""
    assert [] == published_prices(Settings(output_dir=tmp_path / "lake"), ["a"], Whitelists(codes=_CODES, tins=None))
    assert [] == list(tmp_path.iterdir())
