"""A list of portals."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mrf_assets.discover import Portal, read_portals
from mrf_assets.errors import SourceProblems
from mrf_assets.fetch import open_url

_read = partial(read_portals, open_url=open_url)


def _list(folder: Path, text: str) -> str:
    path = folder / "portals.txt"
    path.write_text(text)
    return str(path)


def test_a_list_has_one_portal_a_line(tmp_path: Path) -> None:
    """`#` begins a comment; each portal once, those that were named first."""
    listed = _list(tmp_path, "# payers\nhttps://a.example/mrf\n\nhttps://b.example\nhttps://a.example/mrf\n")

    assert ["https://b.example", "https://a.example/mrf"] == [
        portal.url for portal in _read(["https://b.example"], listed)
    ]


def test_a_csv_names_the_payers(tmp_path: Path) -> None:
    """Columns by name, in any order; without a payer it is the host."""
    listed = _list(tmp_path, 'payer,portal_url\n"Acme, Inc.",https://a.example/mrf\n,https://b.example/mrf\n')

    found = _read([], listed)

    assert (Portal(url="https://a.example/mrf", payer="Acme, Inc."), Portal(url="https://b.example/mrf")) == found
    assert ["Acme, Inc.", "b.example"] == [portal.payer_name for portal in found]


def test_portals_of_one_page_are_told_apart_by_their_codes() -> None:
    """HealthSparq has them behind the #, of which no server hears."""
    urls = [
        f"https://a.healthsparq.com/app/public/#/one/insurerCode=A_I&brandCode={brand}/machine-readable"
        for brand in "XYX"
    ]

    portals = _read(urls, None)

    assert urls[:2] == [portal.url for portal in portals]
    assert ["a.healthsparq.com A_I X", "a.healthsparq.com A_I Y"] == [portal.payer_name for portal in portals]


def test_a_month_may_be_left_open() -> None:
    """Braces are no error."""
    url = "https://a.example/{yyyy}-{mm}-01_acme_index.json"

    assert (Portal(url=url),) == _read([url], None)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """With lines; secrets are not."""
    listed = _list(
        tmp_path, "ftp://a.example/x\nhttps://b.example/ok\n/etc/passwd\nhttps://[x?sig=S3cr3t\nhttps://a:port/\n"
    )

    with pytest.raises(SourceProblems) as raised:
        _read([], listed)

    assert ["line 1", "line 3", "line 4", "line 5"] == [problem.where for problem in raised.value.problems]
    assert "S3cr3t" not in str(raised.value)


def test_a_line_without_end_is_a_problem(tmp_path: Path) -> None:
    """One line of it is shown."""
    with pytest.raises(SourceProblems, match=r"line 2: .* is longer than 8192 characters"):
        _read([], _list(tmp_path, "portal_url\nhttps://a.example/" + "a" * 200_000))


def test_no_portal_is_a_problem(tmp_path: Path) -> None:
    """It says how to name one."""
    with pytest.raises(SourceProblems, match="MRF_PORTALS"):
        _read([], None)
    with pytest.raises(SourceProblems, match="names no portal"):
        _read([], _list(tmp_path, "# none\n"))
