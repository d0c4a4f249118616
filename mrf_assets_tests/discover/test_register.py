"""Found indexes in the registry of those that are watched."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from hypothesis import given, strategies as st

from mrf_assets.discover import FoundFile, Portal, PortalResult, WayResult, watch_found
from mrf_assets.discover.register import index_name
from mrf_assets.watch.registry import add_index, read_registry

_NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
_NOVEMBER = "https://files.acme.example/2026-11-01_acme_index.json?Expires=1&Signature=a"
_DECEMBER = "https://files.acme.example/2026-12-01_acme_index.json?Expires=2&Signature=b"


def found(*urls: str, payer: str = "Acme Health", kind: str = "table_of_contents") -> list[PortalResult]:
    """What one portal names."""
    files = tuple(FoundFile(url=url, kind=kind, way="links") for url in urls)  # type: ignore[arg-type]  # a kind
    portal = Portal(url="https://www.acme.example/mrf", payer=payer)
    ways = (WayResult(way="links", status="found", files=files),)
    return [PortalResult(portal=portal, ways=ways, files=files, found_at=_NOW, seconds=0.0)]


def test_indexes_are_registered_with_their_payer(tmp_path: Path) -> None:
    """With the address as it is; files that are no index are not."""
    registry = tmp_path / "indexes.toml"

    watched = watch_found([*found(_NOVEMBER), *found("https://x/2_in-network.json", kind="in_network")], registry)

    (index,) = read_registry(registry)
    assert (_NOVEMBER, "Acme Health") == (index.url.real, index.payer)
    assert index.name.startswith("files-acme-example-acme-index-")
    assert (1, 0, 0) == (len(watched.new_indexes), len(watched.moved_indexes), watched.unchanged_indexes)


def test_next_months_address_takes_the_place_of_this_months(tmp_path: Path) -> None:
    """Whatever was set stays; looked at again, nothing is done."""
    registry = tmp_path / "indexes.toml"
    (november,) = watch_found(found(_NOVEMBER), registry).new_indexes
    add_index(registry, november.name, {"priority": "HIGH"}, replace=True)

    moved = watch_found(found(_DECEMBER), registry)
    again = watch_found(found(_DECEMBER), registry)

    (index,) = read_registry(registry)
    assert (november.name, _DECEMBER, "HIGH") == (index.name, index.url.real, index.priority.name)
    assert (0, 1, 0) == (len(moved.new_indexes), len(moved.moved_indexes), moved.unchanged_indexes)
    assert (0, 0, 1) == (len(again.new_indexes), len(again.moved_indexes), again.unchanged_indexes)


def test_an_index_with_another_name_keeps_it(tmp_path: Path) -> None:
    """Registered by hand; its new signature is taken."""
    registry = tmp_path / "indexes.toml"
    add_index(registry, "mine", {"url": _NOVEMBER.replace("=a", "=old"), "payer": "Me"})

    watch_found(found(_NOVEMBER), registry)

    (index,) = read_registry(registry)
    assert ("mine", "Me", _NOVEMBER) == (index.name, index.payer, index.url.real)


def test_of_two_months_the_later_is_watched(tmp_path: Path) -> None:
    """A portal may show both."""
    registry = tmp_path / "indexes.toml"

    watch_found(found(_DECEMBER, _NOVEMBER), registry)

    assert [_DECEMBER] == [index.url.real for index in read_registry(registry)]


def test_indexes_by_the_thousand_are_left_out(tmp_path: Path) -> None:
    """Payers have one for each employer; none of them is registered, all others are, and it says what to do."""
    registry = tmp_path / "indexes.toml"
    many = [f"https://files.acme.example/2026-11-01_{ein}_index.json" for ein in range(3)]

    watched = watch_found([*found(*many), *found(_NOVEMBER)], registry, most=2)

    (told,) = watched.skipped_portals
    assert "names 3 indexes" in told
    assert "--match" in told
    assert [_NOVEMBER] == [index.url.real for index in read_registry(registry)]
    assert 3 == len(watch_found(found(*many), registry, most=3).new_indexes)


def test_hundreds_of_indexes_are_registered_in_one_go(tmp_path: Path) -> None:
    """The file is written once: once for each takes minutes, more than the test's own time limit."""
    registry = tmp_path / "indexes.toml"
    urls = [f"https://files.acme.example/2026-11-01_{ein}_index.json" for ein in range(2_000)]

    assert 2_000 == len(watch_found(found(*urls), registry, most=2_000).new_indexes)
    assert sorted(urls) == [index.url.real for index in read_registry(registry)]


def test_a_payer_without_a_printable_name_has_one(tmp_path: Path) -> None:
    """The registry takes no other."""
    registry = tmp_path / "indexes.toml"

    watch_found(found(_NOVEMBER, payer="\x1b\x07"), registry)

    assert ["unknown payer"] == [index.payer for index in read_registry(registry)]


@given(st.from_regex(r"[A-Za-z0-9]{1,70}\.example", fullmatch=True), st.text())
def test_any_address_has_a_name_that_the_registry_takes(host: str, path: str) -> None:
    """And two addresses that differ in more than their dates have two."""
    url = f"https://{host}/{path}_index.json".replace("#", "")
    name = index_name(url)

    assert 63 >= len(name)
    assert name[0].isalnum()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name != index_name(f"{url}y")
