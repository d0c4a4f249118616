"""The addresses in the text of a page."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mrf_assets.discover.links import read_page

_BASE = "https://p.example/prices/page.html"


def _found(text: str, base: str = _BASE) -> list[str]:
    return list(read_page(text, base, "links").files)


@pytest.mark.parametrize(
    "text",
    [
        '<a href="/mrf/a_index.json">x</a>',
        "<a href='/mrf/a_index.json'>x</a>",
        "<a href=/mrf/a_index.json>x</a>",
        "<A HREF = /mrf/a_index.json>x</A>",
        '<base href="https://p.example/mrf/"><a href="a_index.json">x</a>',
        '<a href="javascript:void(0)" data-key="https://p.example/mrf/a_index.json">x</a>',
        '<script>const toc = "/mrf/a_index.json";</script>',
        '<script>const o = {"toc":"https:\\/\\/p.example\\/mrf\\/a_index.json"};</script>',
        '<script>x = "{\\"toc\\":\\"/mrf/a_index.json\\"}"</script>',
        "<p>Copy https://p.example/mrf/a_index.json into your browser</p>",
        '<p title="a b"href="/mrf/a_index.json">',
    ],
)
def test_an_address_is_found_wherever_it_stands(text: str) -> None:
    """In attributes with and without quotes, in scripts, in plain text."""
    assert ["https://p.example/mrf/a_index.json"] == _found(text)


def test_relative_addresses_are_taken_from_the_page() -> None:
    """As browsers do."""
    assert ["https://p.example/prices/a_index.json"] == _found('<a href="a_index.json">x</a>')


def test_signatures_come_out_whole() -> None:
    """Pages write `&` as an entity, scripts as an escape."""
    url = "https://p.example/a_index.json?Expires=1&Signature=b~c__&Key-Pair-Id=d"

    assert [url] == _found(f'<a href="{url.replace("&", "&amp;")}">x</a>')
    assert [url] == _found(f'<script>x="{url.replace("&", chr(92) + "u0026")}"</script>')


def test_spaces_in_names_are_escaped() -> None:
    """CareFirst has them; what is escaped already stays as it is."""
    assert ["https://p.example/a%20b%2Fc_index.json"] == _found('<a href="/a b%2Fc_index.json">x</a>')


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/a_index.json",
        "s3://bucket/a_index.json",
        "https://user:password@p.example/a_index.json",
        "file:///etc/latest.json",
        "s3://internal-bucket/latest.json",
        "https://user:password@p.example/latest.json",
    ],
)
def test_an_address_that_must_not_be_followed_is_counted(href: str) -> None:
    """Of our own disk, of a store that our credentials open, with somebody's password."""
    reading = read_page(f'<a href="{href}">x</a>', _BASE, "links")

    assert not reading.files
    assert not reading.more
    assert reading.unusable


@pytest.mark.parametrize(
    "href",
    ["javascript:get('a_index.json')", "data:application/json,a_index.json", "mailto:a_index.json", "#a_index.json"],
)
def test_what_is_no_address_is_none(href: str) -> None:
    """Scripts, data, mail and places in the page."""
    assert [] == _found(f'<a href="{href}">x</a>')


def test_lists_of_known_families_are_to_be_read() -> None:
    """A page that refers to one names what is in it."""
    text = """<script>a="/static/mrf/latest.json"; b='/content/dam/bcbs/mrf/si-filelist.json'</script>
        <a href="2026-11_List.txt">all files</a> <a href="/mrf/MRF_URL-301-202611.txt">x</a>"""

    assert [
        "https://p.example/static/mrf/latest.json",
        "https://p.example/content/dam/bcbs/mrf/si-filelist.json",
        "https://p.example/prices/2026-11_List.txt",
        "https://p.example/mrf/MRF_URL-301-202611.txt",
    ] == list(read_page(text, _BASE, "links").more)


@pytest.mark.parametrize("piece", ['"', '"a/', "<a ", "<!--", "href=", "https://", "\\", "<base href='", "=", "&#"])
def test_a_page_of_one_thing_over_and_over_is_read_in_one_go(piece: str) -> None:
    """What takes a parser of HTML the square of its length; the test's own time limit is the bound."""
    assert [] == _found(piece * (1_000_000 // len(piece)))


@given(st.text(alphabet=st.sampled_from("a_index.json/:\"'<>=&\\u0026 #?@[]%\ud800\x00\n")) | st.text())
def test_whatever_a_page_holds_comes_out_fit_to_be_asked(text: str) -> None:
    """An address of the web on one line, or nothing."""
    for url in _found(f'<a href="{text}">{text}</a>'):
        assert url.startswith(("http://", "https://"))
        assert url.isascii()
        assert url.isprintable()
