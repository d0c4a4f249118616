"""The CSV of what was found."""

from __future__ import annotations

import csv
import datetime as dt
from functools import partial
from pathlib import Path

import pytest

from mrf_assets.discover import FoundFile, Portal, PortalResult, WayResult, write_found
from mrf_assets.errors import StoreError
from mrf_assets.fetch import open_url
from mrf_assets.sources import SourceCounts, read_csv
from mrf_assets_tests.portal_server import INDEX, RATES, SECRET, SIGNED

_NOW = dt.datetime(2026, 11, 22, 11, 30, tzinfo=dt.UTC)


def result(*files: FoundFile, reason: str = "", payer: str = "Acme") -> PortalResult:
    """One portal's."""
    portal = Portal(url=f"https://p.example/mrf{SIGNED}", payer=payer)
    way = WayResult(way="links", status="found" if files else "blocked", reason=reason, files=files)
    return PortalResult(portal=portal, ways=(way,), files=files, found_at=_NOW, seconds=1.0)


def rates(name: str = RATES) -> FoundFile:
    """A signed address."""
    return FoundFile(url=f"https://x.example/{name}{SIGNED}", kind="in_network", way="links")


def test_each_file_is_a_row_and_so_is_a_portal_without_any(tmp_path: Path) -> None:
    """With its reason."""
    path = tmp_path / "new" / "found.csv"

    count = write_found([result(rates()), result(reason="HTTP 403")], path)

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    shared = {"payer": "Acme", "portal": "https://p.example/mrf", "found_at": "2026-11-22T11:30:00+00:00"}
    named = {"file_url": f"https://x.example/{RATES}{SIGNED}", "kind": "in_network", "way": "links"}
    assert 1 == count
    assert [
        {**named, **shared, "status": "found", "reason": ""},
        {**dict.fromkeys(named, ""), **shared, "status": "blocked", "reason": "links: HTTP 403"},
    ] == rows


def test_a_reason_is_told_once_and_has_an_end(tmp_path: Path) -> None:
    """A page that brings up ten thousand of them fills no disk, and no cell that `csv` refuses to read."""
    path = tmp_path / "found.csv"
    write_found([result(rates(), rates("2.json"), reason="x" * 200_000), result(reason="y" * 200_000)], path)

    with path.open(newline="") as file:
        found = [row["reason"] for row in csv.DictReader(file)]

    assert ["", ""] == found[:2]
    assert "links: yyy" in found[2]
    assert 2_100 > len(found[2])


def test_what_was_found_can_be_run(tmp_path: Path) -> None:
    """`mrf run --source csv` takes the rates, signatures and all; of all other rows it says what to do with them."""
    path = tmp_path / "found.csv"
    others = [
        FoundFile(url=f"https://x.example/{INDEX}", kind="table_of_contents", way="links"),
        FoundFile(url="https://x.example/a_allowed-amounts.json", kind="allowed_amounts", way="links"),
    ]
    second = rates("2026-11_302_42B0_in-network-rates.json.gz")
    write_found([result(rates(), *others, second), result(reason="HTTP 403")], path)
    counts = SourceCounts()

    tasks = list(read_csv(str(path), partial(open_url), counts=counts))

    assert ["bcbsa~302_42a0", "bcbsa~302_42b0"] == [task.network_id for task in tasks]
    assert SECRET in tasks[0].address.real
    assert 1 == counts.allowed_amount_files
    assert [
        "line 3: is a table_of_contents and no rates; ingest it with --source index",
        "line 6: names no file: links: HTTP 403",
    ] == [str(problem) for problem in counts.problems]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds signatures; also where it takes the place of one that was not."""
    path = tmp_path / "found.csv"
    path.write_text("old")
    path.chmod(0o644)

    write_found([result(rates())], path)

    assert 0o600 == path.stat().st_mode & 0o777
    assert SECRET in path.read_text()


@pytest.mark.parametrize("payer", ["=HYPERLINK(1)", "+1", "-1", "@x", '=1,"2\n3'])
def test_no_cell_is_a_formula(tmp_path: Path, payer: str) -> None:
    """For spreadsheets; each row stays on one line."""
    path = tmp_path / "found.csv"
    write_found([result(rates(), payer=payer)], path)

    lines = path.read_text().splitlines()
    (row,) = csv.DictReader(lines)

    assert 2 == len(lines)
    assert row["payer"].startswith("'")


def test_no_cell_turns_the_direction_of_writing(tmp_path: Path) -> None:
    """The address keeps its meaning, with escapes; all else is for people alone."""
    path = tmp_path / "found.csv"
    file = FoundFile(url="https://x.example/a\u202egz.nosj.json\u200b", kind="in_network", way="links")
    write_found([result(file, payer="Ac\u2066me"), result(reason="said \x1b[31m\u202eno")], path)

    with path.open(newline="", encoding="utf-8") as written:
        first, second = csv.DictReader(written)
    assert ("https://x.example/a%E2%80%AEgz.nosj.json%E2%80%8B", "Ac�me") == (first["file_url"], first["payer"])
    assert "links: said �[31m�no" == second["reason"]


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    """With the file's name."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be written"):
        write_found([], tmp_path / "file" / "found.csv")
