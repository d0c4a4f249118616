"""`mrf discover`: what a person says and sees."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from mrf_assets.cli.app import main
from mrf_assets.watch.registry import read_registry
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.portal_server import INDEX, RATES, SECRET, SIGNED, link_page, page


class Mrf(Protocol):
    """`mrf discover` in this process."""

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors."""


@pytest.fixture(name="mrf")
def _mrf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mrf:
    """The command without a browser, in a folder of its own, as fast as it goes."""
    for name, value in {
        "DAGSTER_HOME": str(tmp_path / "home"),
        "MRF_OUTPUT_DIR": str(tmp_path / "lake"),
        "MRF_SCRAPER_RATE_PER_SECOND": "10000",
        "MRF_MAX_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(["discover", "--no-browser", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(name="server")
def _server() -> Iterator[MrfServer]:
    with MrfServer() as server:
        link_page(server, "/mrf", [f"{INDEX}{SIGNED}".replace("&", "&amp;"), RATES])
        yield server


def test_indexes_are_found_told_and_written(mrf: Mrf, server: MrfServer, tmp_path: Path) -> None:
    """Signatures stand in the file, and nowhere else."""
    code, out, err = mrf(server.url("/mrf"), "--output", "found.csv")

    assert 0 == code
    assert f"table_of_contents  {server.url(f'/{INDEX}')}  [links]" in out
    assert "1 table_of_contents, 1 in_network" in out
    assert "Portals: 1 (1 found); addresses: 2" in out
    with (tmp_path / "found.csv").open(newline="") as file:
        assert [server.url(f"/{INDEX}{SIGNED}"), server.url(f"/{RATES}")] == [
            row["file_url"] for row in csv.DictReader(file)
        ]
    assert SECRET not in out + err


def test_a_portal_without_files_is_exit_code_one(mrf: Mrf, server: MrfServer) -> None:
    """The others are told all the same, and what a person can do."""
    refused = page(server, "/refused", "no", status=403)

    code, out, _ = mrf(server.url("/mrf"), refused)

    assert 1 == code
    assert "✅" in out
    assert f"⛔ {refused}: blocked" in out
    assert "`mrf run --source index --input`" in out


def test_machines_read_json_lines(mrf: Mrf, server: MrfServer) -> None:
    """One per portal, and nothing else on stdout."""
    code, out, _ = mrf("--json", server.url("/mrf"), "--match", "INDEX")

    (line,) = map(json.loads, out.splitlines())
    assert 0 == code
    assert ("found", {"links": "found"}) == (line["status"], line["ways"])
    assert [{"url": server.url(f"/{INDEX}"), "kind": "table_of_contents", "way": "links"}] == line["found"]


def test_portals_come_out_of_a_list_or_of_the_settings(
    mrf: Mrf, server: MrfServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--input`, else MRF_PORTALS."""
    listed = tmp_path / "portals.csv"
    listed.write_text(f"portal_url,payer\n{server.url('/mrf')},Acme Health\n")

    given = mrf("--input", str(listed), "--json")
    monkeypatch.setenv("MRF_PORTALS", str(listed))
    set_once = mrf("--json")

    assert ["Acme Health", "Acme Health"] == [json.loads(told[1])["payer"] for told in (given, set_once)]


def test_found_indexes_are_watched_when_asked(mrf: Mrf, server: MrfServer, tmp_path: Path) -> None:
    """As `mrf index add` does, once."""
    first = mrf(server.url("/mrf"), "--watch")
    second = mrf(server.url("/mrf"), "--watch")

    assert "1 new, 0 with a new address, 0 as before" in first[1]
    assert "0 new, 0 with a new address, 1 as before" in second[1]
    assert [server.url(f"/{INDEX}{SIGNED}")] == [
        it.url.real for it in read_registry(tmp_path / "home" / "indexes.toml")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "MRF_PORTALS"),
        (("ftp://x.example/",), "is no portal"),
        (("--input", "missing.txt"), "--input"),
        (("https://x.example/", "--mode", "scraping_only"), "--no-browser"),
        (("https://x.example/", "--no-collect-toc", "--no-collect-files"), "at least one kind"),
        (("https://x.example/", "--mode", "stealth"), "--mode"),
    ],
)
def test_what_cannot_be_used_is_exit_code_two(mrf: Mrf, arguments: tuple[str, ...], told: str) -> None:
    """One error, before anything is asked for."""
    code, _, err = mrf(*arguments)

    assert 2 == code
    assert told in err
    assert "Traceback" not in err
