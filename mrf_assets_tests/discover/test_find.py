"""Portals over plain HTTP, on a real server: families, pages, refusals, bounds, manners."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.discover import Discovered, Discovery, Portal, PortalResult, Selection
from mrf_assets.discover.find import plain_options
from mrf_assets.errors import MissingExtra, SettingError
from mrf_assets.fetch.rate import HostGate
from mrf_assets.settings import DiscoverySettings, Settings
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import gzipped, index, plans, render
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.portal_server import (
    INDEX,
    RATES,
    SECRET,
    SIGNED,
    data,
    healthsparq,
    led_to,
    link_page,
    listing_of_azure,
    listing_of_s3,
    page,
)

_TODAY = dt.date(2026, 11, 22)
_FAST = 10_000.0  # questions a second: these tests ask one host
_SPARQ = "/acme-egress.nophi.kyruushsq.com/prd/mrf/ACME_I/GOLD"


@pytest.fixture(name="server")
def _server() -> Iterator[MrfServer]:
    with MrfServer() as server:
        yield server


def look(*urls: str, settings: Settings | None = None, **given: Any) -> Discovered:  # noqa: ANN401 - of Discovery or DiscoverySettings
    """Look at portals without a browser."""
    ours: dict[str, Any] = {
        name: given.pop(name) for name in ("selection", "open_url", "on_result", "use_browser") if name in given
    }
    looking = DiscoverySettings(**{"scraper_rate_per_second": _FAST, "scraper_timeout_seconds": 60.0} | given)
    discovery = Discovery(settings or Settings(max_retries=0), looking, today=_TODAY, **({"use_browser": False} | ours))
    return asyncio.run(discovery.run([Portal(url=url) for url in urls]))


def addresses(found: Discovered | PortalResult) -> list[str]:
    """What was found, in order."""
    return [file.url for file in found.files]


def reasons(found: Discovered) -> str:
    """Why there is no more."""
    return "; ".join(result.reason for result in found.results)


def test_links_of_a_page_are_found(server: MrfServer) -> None:
    """Relative ones from the page, signed ones whole, once each."""
    url = link_page(server, "/prices/page.html", [INDEX, f"/x/{RATES}{SIGNED}".replace("&", "&amp;"), INDEX])

    found = look(url)

    assert [server.url(f"/prices/{INDEX}"), server.url(f"/x/{RATES}{SIGNED}")] == addresses(found)
    assert ["table_of_contents", "in_network"] == [file.kind for file in found.files]
    assert {"links": 2} == found.ways
    assert {"found": 1} == found.statuses
    assert ["/robots.txt", "/prices/page.html"] == [request.path for request in server.requests]


def test_links_are_taken_from_where_a_redirect_led(server: MrfServer) -> None:
    """As browsers do."""
    link_page(server, "/legal/mrf/page.html")
    server.always("/mrf", Answer(status=302, headers={"Location": "/legal/mrf/page.html"}))

    assert [server.url(f"/legal/mrf/{INDEX}")] == addresses(look(server.url("/mrf")))


def test_a_family_is_asked_before_the_page(server: MrfServer) -> None:
    """HealthSparq: one question, and the portal itself, which wants a session, is left alone."""
    healthsparq(server)
    portal = server.url("/app/public/#/one/insurerCode=ACME_I&brandCode=GOLD/machine-readable")

    found = look(portal, open_url=led_to(server))

    assert 3 == len(found.files)
    assert {"healthsparq": 3} == found.ways
    assert 1 == server.count(f"{_SPARQ}/latest_metadata.json")
    assert 0 == server.count("/app/public/")


def test_a_family_that_moved_costs_one_question(server: MrfServer) -> None:
    """The page is read all the same, and what was guessed is no failure."""
    portal = server.url("/app/public/?insurerCode=ACME_I&brandCode=GOLD")
    link_page(server, "/app/public/")

    found = look(portal, open_url=led_to(server))

    assert [server.url(f"/app/public/{INDEX}")] == addresses(found)
    assert {"healthsparq": "nothing", "links": "found"} == {way.way: way.status for way in found.results[0].ways}


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(
            ("/static/mrf/latest.json", {"mrfs": [{"kind": "TOC", "files": [{"url": f"/{INDEX}"}]}]}), id="cigna"
        ),
        pytest.param(("/content/dam/bcbs/mrf/si-filelist.json", [{"url": f"/{INDEX}", "ein": "1"}]), id="hcsc"),
        pytest.param(("/api/v1/uhc/blobs/", {"blobs": [{"name": INDEX, "downloadUrl": f"/{INDEX}"}]}), id="uhc"),
        pytest.param(("/pricing/2026-11_List.txt", f"/{INDEX}\n"), id="kaiser"),
    ],
)
def test_a_list_that_a_page_refers_to_is_read(server: MrfServer, listed: tuple[str, Any]) -> None:
    """Whatever the host is called."""
    path, content = listed
    data(server, path, content)

    assert [server.url(f"/{INDEX}")] == addresses(look(page(server, "/", f'<script>x = "{path}"</script>')))


def test_pages_of_a_listing_are_read_to_the_last(server: MrfServer) -> None:
    """S3 gives a thousand names at a time."""
    answers = [listing_of_s3("1_index.json", token="a"), listing_of_s3("2_index.json")]
    server.script("/", *(Answer(body=it.encode(), headers={"Content-Type": "application/xml"}) for it in answers))

    found = look(server.url("/?list-type=2"))

    assert [server.url("/1_index.json"), server.url("/2_index.json")] == addresses(found)
    assert ["list-type=2", "list-type=2&continuation-token=a"] == [it.query for it in server.requests_of("/")]


def test_a_listing_without_end_is_read_to_a_bound(server: MrfServer) -> None:
    """Each page names another one; the rest is told."""
    pages = [listing_of_azure(f"{number}_index.json", marker=f"m{number}") for number in range(101)]
    server.script("/c", *(Answer(body=it.encode()) for it in pages))

    found = look(server.url("/c?restype=container&comp=list"))

    assert 100 == server.count("/c")
    assert 100 == len(found.files)
    assert "more lists or pages of lists were not read" in reasons(found)


def test_an_index_may_stand_for_a_portal(server: MrfServer) -> None:
    """Its beginning is read, and no more: this one has no end."""

    def stream() -> Iterator[bytes]:
        yield render(index([(f"https://x.example/{RATES}", plans(1))]))
        while True:
            yield b" " * (1 << 20)

    server.always("/november", Answer(stream=stream))

    found = look(server.url("/november"))

    assert [(server.url("/november"), "table_of_contents")] == [(file.url, file.kind) for file in found.files]


def test_the_newest_month_that_is_there_is_taken(server: MrfServer) -> None:
    """October's, where November's is not there yet; that it is not is no failure."""
    body = render(index([(f"https://x.example/{RATES}", plans(1))]))
    for month in ("09", "10"):
        server.put(f"/2026-{month}-01_acme_index.json", body)

    found = look(server.url("/{yyyy}-{mm}-01_acme_index.json"))

    assert [server.url("/2026-10-01_acme_index.json")] == addresses(found)
    assert 0 == server.count("/2026-09-01_acme_index.json")


@pytest.mark.parametrize("status", [401, 403, 409, 406, 440, 451])
def test_a_refusal_is_a_status_with_a_way_out(server: MrfServer, status: int) -> None:
    """What a person can do: open it, and hand over the index."""
    url = page(server, "/portal", "Access denied", status=status)

    found = look(url)

    assert {"blocked": 1} == found.statuses
    assert f"HTTP {status}" in reasons(found)
    assert "--input" in reasons(found)
    assert 1 == server.count("/portal")


def test_programs_stay_away_where_robots_txt_says_so(server: MrfServer) -> None:
    """Nothing but robots.txt is asked for, and that once."""
    data(server, "/robots.txt", "User-agent: *\nDisallow: /private/\n", "text/plain")
    link_page(server, "/open")

    found = look(server.url("/private/a"), server.url("/private/b"), server.url("/open"))

    assert {"blocked": 2, "found": 1} == found.statuses
    assert "robots.txt of 127.0.0.1 asks programs to stay away" in reasons(found)
    assert {"/robots.txt": 1, "/open": 1} == server.counts()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"\xef\xbb\xbfUser-agent: *\nDisallow: /\n", "blocked"),
        (b"User-agent: *\nDisallow: /*\n", "blocked"),
        (b"User-agent: *\nDisallow: /*.html$\n", "blocked"),
        (gzip.compress(b"User-agent: *\nDisallow: /\n", mtime=0), "blocked"),
        (zlib.compress(b"User-agent: *\nDisallow: /\n"), "blocked"),
        (gzip.compress(b"User-agent: *\nDisallow: /\n", mtime=0)[:-20], "found"),
        (b"User-agent: *\nDisallow: /\nAllow: /mrf/\n", "found"),
        (b"User-agent: *\nDisallow: /mrf/good.htm$\n", "found"),
    ],
)
def test_robots_txt_is_read_as_its_rfc_says(server: MrfServer, text: bytes, status: str) -> None:
    """Wildcards, ends, the longest rule; behind a byte order mark, and packed."""
    data(server, "/robots.txt", text, "text/plain")

    assert {status: 1} == look(link_page(server, "/mrf/good.html")).statuses


@pytest.mark.parametrize(
    "pack",
    [
        zlib.compress,
        gzipped,
        lambda page: gzipped(page, members=3),
        lambda page: gzipped(page) + b"\r\n",
        lambda page: gzipped(page) + b"x" * 200_000,
    ],
    ids=["zlib", "gzip", "members", "bytes behind", "many bytes behind"],
)
def test_a_page_is_read_however_it_is_compressed(server: MrfServer, pack: Callable[[bytes], bytes]) -> None:
    """Some servers compress what nobody asked to be compressed."""
    page = b"<html>" + b" " * 9_000 + f'<a href="{INDEX}">files</a></html>'.encode()
    data(server, "/mrf", pack(page), "text/html")

    assert {"found": 1} == look(server.url("/mrf")).statuses


def test_a_redirect_to_a_host_that_says_no_is_a_no(server: MrfServer) -> None:
    """What it would have answered is not read."""
    with MrfServer() as other:
        data(other, "/robots.txt", "User-agent: *\nDisallow: /\n", "text/plain")
        server.always("/mrf", Answer(status=302, headers={"Location": link_page(other)}))

        found = look(server.url("/mrf"))

    assert {"blocked": 1} == found.statuses
    assert "asks programs to stay away" in reasons(found)


@pytest.mark.parametrize("text", ["Crawl-delay: \u00b2\nUser-agent: *\nCrawl-delay: \u00b2", "\x00\xff", "a" * 600_000])
def test_a_robots_txt_that_is_none_asks_for_nothing(server: MrfServer, text: str) -> None:
    """Whatever it holds."""
    data(server, "/robots.txt", text.encode("utf-8", "replace"), "text/plain")

    assert {"found": 1} == look(link_page(server)).statuses


def test_one_portal_that_fails_stops_no_other(server: MrfServer) -> None:
    """Each has its own result, in the order of the portals."""
    server.always("/cut", Answer(body=b"<html>" * 100, cut_after=10, send_length=True))
    server.always("/broken", Answer(status=500))

    found = look(
        server.url("/gone"), link_page(server), server.url("/broken"), server.url("/cut"), page(server, "/empty", "")
    )

    assert ["failed", "found", "failed", "failed", "nothing"] == [result.status for result in found.results]
    assert "HTTP 404" in found.results[0].reason
    assert "HTTP 500" in found.results[2].reason


def test_a_portal_that_says_nothing_is_given_up(server: MrfServer) -> None:
    """After the time for a page."""
    server.hold(server.put("/silent", b"x" * 10).removeprefix(server.base_url), 0)

    found = look(server.url("/silent"), scraper_timeout_seconds=0.3)

    assert ["failed"] == [result.status for result in found.results]


def test_a_page_without_end_is_read_to_a_bound(server: MrfServer) -> None:
    """64 MiB of it arrive at most, unpacked too; memory is bounded."""

    def stream() -> Iterator[bytes]:
        yield f'<html><a href="{INDEX}">'.encode()
        for _ in range(200):
            yield b" " * (1 << 20)

    server.always("/huge", Answer(stream=stream))
    bomb = gzip.compress(f'<html><a href="{INDEX}">'.encode() + b" " * (200 << 20), 9)
    server.put("/bomb", bomb)

    found = look(server.url("/huge"), server.url("/bomb"))

    assert {"found": 2} == found.statuses
    assert 2 == reasons(found).count("the rest was not read")


def test_private_addresses_are_refused_where_that_is_set(server: MrfServer) -> None:
    """The rule of downloads holds here, too."""
    found = look(link_page(server), settings=Settings(max_retries=0, refuse_private_addresses=True))

    assert {"failed": 1} == found.statuses
    assert "private address" in reasons(found)
    assert not server.requests


def test_what_is_collected_may_be_narrowed(server: MrfServer) -> None:
    """By kind and by text; that all was left out is told."""
    url = link_page(server, hrefs=["a_index.json", "b_index.json", RATES, "mrf.pdf"])

    kinds = look(url, selection=Selection(kinds=frozenset({"table_of_contents"}), match="B_"))
    documents = look(url, selection=Selection(kinds=frozenset({"document"})))
    none = look(url, selection=Selection(match="zzz"))
    bounded = look(url, selection=Selection(most_files=2))

    assert [server.url("/b_index.json")] == addresses(kinds)
    assert [server.url("/mrf.pdf")] == addresses(documents)
    assert {"nothing": 1} == none.statuses
    assert "none of the 4 addresses is of a wanted kind" in reasons(none)
    assert 2 == len(bounded.files)
    assert "1 more than 2 are left out" in reasons(bounded)


def test_results_show_no_signature(server: MrfServer) -> None:
    """Of a portal that is signed, and of what it names."""
    link_page(server, "/signed", [f"/{INDEX}{SIGNED}"])

    found = look(server.url(f"/signed{SIGNED}"), server.url(f"/gone{SIGNED}"))

    assert SECRET in addresses(found)[0]
    shown = [(it.portal.shown, it.reason, [file.shown for file in it.files]) for it in found.results]
    assert SECRET not in repr(shown)


def test_portals_are_looked_at_side_by_side(server: MrfServer) -> None:
    """As many as the pool has places: each waits for the others here."""
    urls = [link_page(server, f"/{number}") for number in range(3)]
    together = threading.Barrier(3)

    def stream() -> Iterator[bytes]:
        together.wait(timeout=20)
        yield b"<html>"

    for number in range(3):
        server.always(f"/{number}", Answer(stream=stream))

    assert {"nothing": 3} == look(*urls, scraper_pool_size=3).statuses


def test_each_result_is_told_as_it_comes(server: MrfServer) -> None:
    """For whoever looks on."""
    told: list[PortalResult] = []

    found = look(link_page(server), server.url("/gone"), on_result=told.append)

    assert sorted(told, key=lambda it: it.portal.url) == sorted(found.results, key=lambda it: it.portal.url)


def test_a_host_is_asked_once_a_second() -> None:
    """From the first question on, whatever downloads of the same host may do."""
    gate = plain_options(Settings(), DiscoverySettings()).gate
    slower = plain_options(Settings(host_start_rate_per_second=0.5), DiscoverySettings()).gate

    assert isinstance(gate, HostGate)
    assert isinstance(slower, HostGate)
    assert (1.0, False) == (gate.limits.start_rate_per_second, gate.limits.adaptive)
    assert 0.5 == slower.limits.start_rate_per_second


def test_the_pace_is_kept_from_the_first_question_on(tmp_path: Path) -> None:
    """Robots.txt and two pages are three starts: by the clock of the gate two seconds."""
    slept: list[float] = []
    now = [1_000.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    polite = plain_options(Settings(), DiscoverySettings()).gate
    assert isinstance(polite, HostGate)
    gate = HostGate(tmp_path / "hosts", polite.limits, now=lambda: now[0], sleep=sleep)
    for _ in range(3):
        with gate.slot("p.example"):
            pass

    assert pytest.approx(2.0, abs=0.1) == sum(slept)


def _without_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Playwright is not installed."""
    monkeypatch.setattr("mrf_assets.discover.browser.find_spec", lambda _name: None)


def test_without_playwright_the_plain_ways_work(server: MrfServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a portal without links says what would help."""
    _without_browser(monkeypatch)

    found = look(link_page(server), page(server, "/app", "<script></script>"), use_browser=True)

    assert ["found", "nothing"] == [result.status for result in found.results]
    assert "pip install 'mrf_assets[browser]'" in found.results[1].reason


@pytest.mark.parametrize("mode", ["parallel_all", "scraping_only"])
def test_without_playwright_a_mode_that_needs_it_is_one_error(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked for."""
    _without_browser(monkeypatch)

    with pytest.raises(MissingExtra, match=r"pip install 'mrf_assets\[browser\]'"):
        look("https://p.example/", discovery_mode=mode, use_browser=True)


def test_scraping_only_without_a_browser_contradicts_itself() -> None:
    """It says which to leave out."""
    with pytest.raises(SettingError, match="--no-browser"):
        look("https://p.example/", discovery_mode="scraping_only")


def test_a_chromium_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    """In any mode, for somebody named it."""
    with pytest.raises(SettingError, match="is no program that can be run"):
        look("https://p.example/", chromium=tmp_path / "chromium", use_browser=True)


@pytest.mark.parametrize("host", ["ho%5Bst", "h%E2%84%80"])
def test_an_address_that_is_half_a_host_is_told(server: MrfServer, host: str) -> None:
    """Who takes its escapes apart has a ValueError; the page's other files are found."""
    url = link_page(server, hrefs=[INDEX, f"http://{host}/latest.json"])

    found = look(url)

    assert [server.url(f"/{INDEX}")] == addresses(found)
    assert "cannot or must not be followed" in reasons(found)


def test_a_bug_costs_one_portal(server: MrfServer) -> None:
    """Its result has the kind of error, and no text of it, which may have a signature."""

    def opener(address: Address) -> Any:  # noqa: ANN401 - an Opener
        if "/bug" in address.real:
            raise KeyError(SECRET)
        return led_to(server)(address)

    found = look(server.url("/bug"), link_page(server), open_url=opener)

    assert ["failed", "found"] == [result.status for result in found.results]
    assert "KeyError" in reasons(found)
    assert SECRET not in reasons(found)


def test_a_page_does_not_choose_what_is_read_at_home(server: MrfServer, tmp_path: Path) -> None:
    """A list of our own disk, which a page names, stays closed."""
    (tmp_path / "latest.json").write_text(f'["https://x.example/{INDEX}"]')
    base = f'<base href="file://{tmp_path}/"><a href="latest.json">x</a>'

    found = look(page(server, "/a", f'<a href="file://{tmp_path}/latest.json">x</a>'), page(server, "/b", base))

    assert [] == addresses(found)


def test_a_guess_that_is_refused_is_no_refusal_of_the_portal(server: MrfServer) -> None:
    """S3 and CloudFront say 403 of what is missing; and a list that a page names is another host's business."""
    portal = server.url("/app/public/?insurerCode=ACME_I&brandCode=GOLD")
    server.always(f"{_SPARQ}/latest_metadata.json", Answer(status=403))
    server.always("/x/latest.json", Answer(status=403))
    page(server, "/app/public/", '<a href="/x/latest.json">x</a>')

    found = look(portal, open_url=led_to(server))

    assert {"healthsparq": "nothing", "links": "nothing", "browser": "nothing"} == {
        way.way: way.status for way in found.results[0].ways
    }
    assert 2 == reasons(found).count("HTTP 403, access refused")


def test_notes_have_an_end(server: MrfServer) -> None:
    """Ten of them, and how many more."""
    url = page(server, "/", "".join(f'<a href="/{number}/latest.json">x</a>' for number in range(30)))

    found = look(url)

    assert 10 == reasons(found).count("HTTP 404")
    assert "and 20 more" in reasons(found)


def test_a_host_that_asks_for_a_long_pause_is_not_waited_for(server: MrfServer) -> None:
    """The next portal of that host has a result, too."""
    server.always("/busy", Answer(status=429, headers={"Retry-After": "600"}))
    link_page(server, "/next")

    found = look(server.url("/busy"), server.url("/next"), scraper_timeout_seconds=0.1, enable_parallel_scraping=False)

    assert "failed" == found.results[1].status
    assert "the host asks to wait" in found.results[1].reason
    assert 0 == server.count("/next")


def test_lists_that_drip_have_an_end(server: MrfServer) -> None:
    """All lists of a portal share its time; what was not read is told."""
    paths = [f"/{number}/latest.json" for number in range(99)]
    for path in paths:
        server.always(path, Answer(body=b" " * 1_000_000, drip_seconds=0.001))
    url = page(server, "/", "".join(f'<a href="{path}">x</a>' for path in paths))

    found = look(url, scraper_timeout_seconds=0.1)

    assert "there is no time left" in reasons(found)
    assert 0 == server.count(paths[-1])


def test_who_stops_a_look_does_not_wait_for_answers(server: MrfServer) -> None:
    """Ctrl-C in the middle of an answer that never ends; the test's own time limit is the bound."""
    gate = server.hold(server.put("/slow", b"<html>" + b" " * 200_000).removeprefix(server.base_url), 100_000)
    looking = DiscoverySettings(scraper_rate_per_second=_FAST, scraper_timeout_seconds=600.0)
    discovery = Discovery(Settings(max_retries=0, read_timeout_seconds=600.0), looking, use_browser=False)

    async def stopped() -> None:
        run = asyncio.ensure_future(discovery.run([Portal(url=server.url("/slow"))]))
        await asyncio.to_thread(gate.reached.wait)
        run.cancel()
        await asyncio.wait([run])
        assert run.cancelled()

    asyncio.run(stopped())

    assert not gate.released.is_set()
