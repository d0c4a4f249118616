"""Portals in a real Chromium; skipped where none is installed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from mrf_assets.discover import (
    PAGE_KINDS,
    BrowserOptions,
    BrowserPool,
    Discovery,
    FoundFile,
    PageAnswer,
    PageFailure,
    PageFound,
    PageKind,
    Portal,
    PortalResult,
    check_browser,
)
from mrf_assets.errors import SettingError
from mrf_assets.settings import DiscoveryMode, DiscoverySettings, Settings
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.portal_server import INDEX, SECRET, SIGNED, data, link_page, page, script_page

_Given = TypeVar("_Given")
_LONG_SECONDS = 60.0  # a busy machine must not fail a test


@lru_cache
def _chromium() -> Path | None:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return None if found is None else Path(found)


@pytest.fixture(name="server")
def _server() -> Iterator[MrfServer]:
    if _chromium() is None:
        pytest.skip("no Chromium is installed")
    with MrfServer() as server:
        yield server


def options(**given: object) -> BrowserOptions:
    """Of a browser that may run as root."""
    sandboxed: dict[str, object] = {"sandbox": os.geteuid() != 0, "timeout_seconds": _LONG_SECONDS}
    return BrowserOptions(**({"executable": _chromium()} | sandboxed | given))  # type: ignore[arg-type]  # fields of it


def in_pool(work: Callable[[BrowserPool], Awaitable[_Given]], **given: object) -> _Given:
    """What some work with a pool gives."""

    async def run() -> _Given:
        async with BrowserPool(options(**given)) as pool:
            return await work(pool)

    return asyncio.run(run())


def paths(answer: PageAnswer) -> list[str]:
    """What was found, without host and signature."""
    assert isinstance(answer, PageFound), answer
    return sorted("/" + file.shown.split("/", 3)[3] for file in answer.files)


def children(name: str) -> list[psutil.Process]:
    """Processes below this one with that word in their command line."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Visited:
    """Many pages, looked at once, four at a time."""

    server: MrfServer
    found: dict[str, dict[PageKind, PageAnswer]]
    log: str

    def paths(self, path: str, kind: PageKind) -> list[str]:
        """What was found on a page, in one way."""
        return paths(self.found[self.server.url(path)][kind])

    def failure(self, path: str) -> PageFailure:
        """Why a page named nothing."""
        failures = set(self.found[path if "://" in path else self.server.url(path)].values())
        (answer,) = failures
        assert isinstance(answer, PageFailure)
        return answer


@pytest.fixture(scope="module", name="visited")
def _visited() -> Iterator[Visited]:
    if _chromium() is None:
        pytest.skip("no Chromium is installed")
    go = "location.href = ['/dl/2026-11-01', 'pressed', 'index.json.gz'].join('_')"
    pops = "window.open(['/pop', 'index.json'].join('_'))"
    with MrfServer() as server:
        link_page(server, "/framed", ["/framed_index.json"])
        urls = [
            script_page(server),
            page(server, "/asks", '<script>fetch("/asked" + "_index.json").catch(() => 0)</script>'),
            page(server, "/press", f'<button onclick="{go}">Download</button><button>Help</button>'),
            page(server, "/pop", f'<button onclick="{pops}">Index</button>'),
            page(
                server,
                "/frame",
                """<iframe src="/framed"></iframe><iframe srcdoc="<a href='in_index.json'>"></iframe>""",
            ),
            page(server, "/film", '<img src="/a.png"><video src="/b.mp4"></video><script>fetch("/data")</script>'),
            page(server, "/refused", "no", status=403),
            page(server, "/challenge", '<iframe src="/_Incapsula_Resource?x"></iframe>'),
            server.url(f"/gone{SIGNED}"),
            "http://127.0.0.1:1/",
        ]
        log, told = logging.getLogger("mrf_assets"), list[str]()
        handler = logging.Handler()
        handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]  # caplog is for one test
        log.addHandler(handler)
        try:
            found = in_pool(lambda pool: pool.scrape(urls))
        finally:
            log.removeHandler(handler)
        yield Visited(server=server, found=found, log="\n".join(told))


def test_what_scripts_draw_is_found(visited: Visited) -> None:
    """The page as a person sees it."""
    assert ["/mrf/2026-11-01_acme-drawn_index.json"] == visited.paths("/app", "links")


def test_what_scripts_are_answered_is_found(visited: Visited) -> None:
    """The list behind the page."""
    assert ["/mrf/2026-11-01_acme_index.json"] == visited.paths("/app", "network")


def test_what_a_page_asks_for_is_found(visited: Visited) -> None:
    """By its script, by a press on a button, in a window of its own."""
    assert ["/asked_index.json"] == visited.paths("/asks", "network")
    assert ["/dl/2026-11-01_pressed_index.json.gz"] == visited.paths("/press", "downloads")
    assert ["/pop_index.json"] == visited.paths("/pop", "downloads")


def test_frames_are_part_of_a_page(visited: Visited) -> None:
    """With addresses relative to themselves, or to the page that they are written in."""
    assert ["/framed_index.json", "/in_index.json"] == visited.paths("/frame", "links")


def test_no_file_no_picture_and_no_film_is_fetched(visited: Visited) -> None:
    """Their addresses are all that is wanted."""
    fetched = visited.server.counts()

    assert not [path for path in fetched if path.endswith(("index.json", ".gz", ".png", ".mp4"))]
    assert 1 == fetched["/data"]


def test_failures_are_values(visited: Visited) -> None:
    """Each portal has its own."""
    assert ("blocked", "HTTP 403") == (visited.failure("/refused").status, visited.failure("/refused").reason[:8])
    assert "whether a person looks" in visited.failure("/challenge").reason
    assert "blocked" == visited.failure("/challenge").status
    assert "HTTP 404, which is no page; check the address" == visited.failure(f"/gone{SIGNED}").reason
    assert "failed" == visited.failure("http://127.0.0.1:1/").status


def test_failures_are_logged_per_kind_and_without_signatures(visited: Visited) -> None:
    """One line each."""
    for kind in PAGE_KINDS:
        assert f"{visited.server.url('/refused')}: {kind}: HTTP 403" in visited.log
    assert SECRET not in visited.log


def test_we_say_what_we_are(visited: Visited) -> None:
    """A program, its name, and a browser without a window."""
    (request,) = visited.server.requests_of("/app")

    assert "compatible; mrf_assets/" in request.headers["user-agent"]
    assert "HeadlessChrome/" in request.headers["user-agent"]


def test_a_page_that_takes_its_renderer_down_takes_nobody_else(server: MrfServer) -> None:
    """Its context goes with it; the one Chromium goes on, and the next page gets a new context."""
    held = server.hold("/held", 0)
    data(server, "/crashing", "<html><script>fetch('/held')</script>", "text/html")
    server.put("/held", b"x")

    def kill_renderers() -> None:
        held.reached.wait()
        for process in children("--type=renderer"):
            process.send_signal(signal.SIGSEGV)
        held.release()

    async def work(pool: BrowserPool) -> tuple[PageAnswer, PageAnswer, int, int]:
        killer = threading.Thread(target=kill_renderers)
        killer.start()
        crashed = (await pool.scrape([server.url("/crashing")], ["links"]))[server.url("/crashing")]["links"]
        killer.join()
        after = link_page(server)
        sound = (await pool.scrape([after], ["links"]))[after]["links"]
        return crashed, sound, pool.stats.crashes, pool.stats.launches

    crashed, sound, crashes, launches = in_pool(work, max_parallel=1)

    assert isinstance(crashed, PageFailure)
    assert "brought its browser down" in crashed.reason
    assert [f"/{INDEX}"] == paths(sound)
    assert (1, 1) == (crashes, launches)


def test_a_chromium_that_is_gone_is_started_again(server: MrfServer) -> None:
    """And the pages that it took with it are looked at once more."""
    held = server.hold("/held", 0)
    server.put("/held", b"x")
    url = page(server, "/page", f'<a href="{INDEX}">x</a><script>fetch("/held")</script>')

    def kill_browser() -> None:
        held.reached.wait()
        for process in children("--headless"):
            process.kill()
        held.release()

    async def work(pool: BrowserPool) -> tuple[PageAnswer, int]:
        killer = threading.Thread(target=kill_browser)
        killer.start()
        answer = (await pool.scrape([url], ["links"]))[url]["links"]
        killer.join()
        return answer, pool.stats.launches

    answer, launches = in_pool(work)

    assert [f"/{INDEX}"] == paths(answer)
    assert 2 == launches


def test_a_page_that_never_ends_is_given_up(server: MrfServer) -> None:
    """A script that computes for ever, after the time for a page; the pool goes on with the next."""
    busy = page(server, "/busy", "<script>setTimeout(() => { while (true) {} }, 0)</script>")
    sound = link_page(server)

    async def work(pool: BrowserPool) -> list[PageAnswer]:
        return [(await pool.scrape([url], ["links"]))[url]["links"] for url in (busy, sound)]

    given_up, found = in_pool(work, timeout_seconds=4.0, max_parallel=1)

    assert isinstance(given_up, PageFailure)
    assert "was not there within 4 s" in given_up.reason
    assert isinstance(found, PageFound)


def test_contexts_are_shared_forgotten_and_made_anew(server: MrfServer, caplog: pytest.LogCaptureFixture) -> None:
    """Three pages in turn, one of them not there: two a context, one Chromium, and no cookie goes on to the next."""
    urls = [page(server, f"/{status}", "x", status=status, Set_Cookie="who=me; Path=/") for status in (200, 404, 202)]

    async def work(pool: BrowserPool) -> tuple[list[set[PageKind]], dict[str, int | float]]:
        asked: list[PageKind] = ["links", "network", "links"]
        kinds = [set((await pool.scrape([url], [kind]))[url]) for url, kind in zip(urls, asked, strict=True)]
        return kinds, pool.stats.as_facts()

    with caplog.at_level(logging.INFO, "mrf_assets"):
        kinds, facts = in_pool(work, pages_per_context=2)

    assert [{"links"}, {"network"}, {"links"}] == kinds
    assert (3, 2, 1, 1) == tuple(facts[it] for it in ("pages", "contexts_made", "contexts_recycled", "launches"))
    assert not [request for request in server.requests if "cookie" in request.headers]
    assert "Enabled parallel scraping with 4 concurrent scrapers" in caplog.text


def test_what_a_page_stores_is_forgotten(server: MrfServer) -> None:
    """A second portal of the same origin, in the same context, sees nothing of the first."""
    stores = "localStorage.who = 'me'; indexedDB.open('who'); sessionStorage.who = 'me'"
    sees = """indexedDB.databases().then(all => {
        const link = document.createElement("a");
        link.href = `/${localStorage.who}-${sessionStorage.who}-${all.length}_index.json`;
        document.body.append(link);
    })"""
    urls = [page(server, "/stores", f"<script>{stores}</script>"), page(server, "/sees", f"<script>{sees}</script>")]

    async def work(pool: BrowserPool) -> tuple[PageAnswer, int]:
        for url in urls:
            found = await pool.scrape([url], ["links"])
        return found[urls[1]]["links"], pool.stats.contexts_made

    answer, contexts = in_pool(work)

    assert ["/undefined-undefined-0_index.json"] == paths(answer)
    assert 1 == contexts


def results(*urls: str, mode: str) -> list[PortalResult]:
    """What becomes of portals."""
    looking = DiscoverySettings(
        discovery_mode=DiscoveryMode(mode), scraper_rate_per_second=1_000.0, scraper_timeout_seconds=_LONG_SECONDS
    )
    discovery = Discovery(Settings(max_retries=0), looking)
    return list(asyncio.run(discovery.run([Portal(url=url) for url in urls])).results)


def drawn_list(server: MrfServer) -> str:
    """A page whose script draws a link to a list."""
    data(server, "/mrf/latest.json", [f"/{INDEX}"])
    draws = "document.body.innerHTML = `<a href='/mrf/${'latest'}.json'>x</a><a href='s3://b/a_index.json'>x</a>`"
    return page(server, "/", f"<script>{draws}</script>")


def test_lists_that_a_drawn_page_refers_to_are_read(server: MrfServer) -> None:
    """Over plain HTTP, where scripts did not."""
    (result,) = results(drawn_list(server), mode="intelligent")

    assert [server.url(f"/{INDEX}")] == [file.url for file in result.files]
    assert "1 address(es) cannot or must not be followed" in result.reason


def test_what_the_browser_alone_leaves_out_is_told(server: MrfServer) -> None:
    """Lists; and pages of a host that a page leads to, and that programs are to stay away from."""
    with MrfServer() as other:
        data(other, "/robots.txt", "User-agent: *\nDisallow: /\n", "text/plain")
        server.always("/leads", Answer(status=302, headers={"Location": link_page(other)}))
        listed, led = results(drawn_list(server), server.url("/leads"), mode="scraping_only")

    assert ["nothing", "blocked"] == [listed.status, led.status]
    assert "1 list(s) were not read" in listed.reason
    assert "robots.txt asks programs to stay away" in led.reason


def test_no_more_pages_than_places_are_open_at_a_time(server: MrfServer) -> None:
    """Two of three wait for each other here; the third comes when a place is free."""
    together = threading.Barrier(2)

    def stream() -> Iterator[bytes]:
        together.wait(timeout=_LONG_SECONDS)
        yield b"<html>x"

    urls = [server.url(f"/{number}") for number in range(4)]
    for number in range(4):
        server.always(f"/{number}", Answer(stream=stream, headers={"Content-Type": "text/html"}))

    found = in_pool(lambda pool: pool.scrape(urls, ["links"]), max_parallel=2)

    assert all(isinstance(answers["links"], PageFound) for answers in found.values())
    assert 2 == server.peak_concurrency


def test_private_addresses_are_refused_where_that_is_set(server: MrfServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a portal, from a page, and behind a redirect, which Chromium follows by itself; 127.0.0.1 counts as public.

    NO_PROXY, which most machines with proxies have, is no proxy by itself.
    """
    monkeypatch.setenv("no_proxy", "intern.example")
    with socket.create_server(("127.0.0.2", 0)) as private:
        private.setblocking(False)
        inside = f"http://127.0.0.2:{private.getsockname()[1]}/inside"
        server.always("/leads", Answer(status=302, headers={"Location": inside}))
        asks = page(server, "/asks", f'<a href="{INDEX}">x</a><script>fetch("{inside}").catch(() => 0)</script>')

        async def run() -> dict[str, dict[PageKind, PageAnswer]]:
            given = options(refuse_private_addresses=True)
            async with BrowserPool(given, is_private=lambda address: address != "127.0.0.1") as pool:
                return await pool.scrape([inside, server.url("/leads"), asks])

        found = asyncio.run(run())

        for url in (inside, server.url("/leads")):
            answer = found[url]["links"]
            assert isinstance(answer, PageFailure)
            assert "leads to a private address" in answer.reason
        network = found[asks]["network"]
        assert [f"/{INDEX}"] == paths(found[asks]["links"])
        assert isinstance(network, PageFound)
        assert "1 request(s) to private addresses were refused" in network.note
        with pytest.raises(BlockingIOError):
            private.accept()


def look(*urls: str, mode: str) -> dict[str, list[FoundFile]]:
    """What each portal's ways find."""
    looking = DiscoverySettings(
        discovery_mode=DiscoveryMode(mode),
        scraper_rate_per_second=1_000.0,
        chromium_sandbox=None,
        scraper_timeout_seconds=_LONG_SECONDS,
    )
    discovery = Discovery(Settings(max_retries=0), looking)
    found = asyncio.run(discovery.run([Portal(url=url) for url in urls]))
    return {result.portal.url: list(result.files) for result in found.results}


@pytest.mark.parametrize(
    ("mode", "ways", "requests"),
    [
        ("intelligent", {"/links": {"links"}, "/app": {"browser"}}, {"/links": 1, "/app": 2}),
        ("parallel_all", {"/links": {"links"}, "/app": {"browser"}}, {"/links": 2, "/app": 2}),
        ("scraping_only", {"/links": {"browser"}, "/app": {"browser"}}, {"/links": 1, "/app": 1}),
    ],
)
def test_each_mode_goes_its_ways(
    server: MrfServer, mode: str, ways: dict[str, set[str]], requests: dict[str, int]
) -> None:
    """The browser where it is needed, at once with the others, or alone."""
    link_page(server)
    script_page(server)

    found = look(server.url("/links"), server.url("/app"), mode=mode)

    assert ways == {url.removeprefix(server.base_url): {file.way for file in files} for url, files in found.items()}
    assert requests == {path: server.count(path) for path in requests}


def test_a_browser_does_not_come_back_after_a_no(server: MrfServer) -> None:
    """Where the plain question was refused."""
    refused = page(server, "/refused", "no", status=403)

    assert {refused: []} == look(refused, mode="intelligent")
    assert 1 == server.count("/refused")


def test_robots_txt_is_for_the_browser_too(server: MrfServer) -> None:
    """It is a program's."""
    data(server, "/robots.txt", "User-agent: *\nDisallow: /\n", "text/plain")

    assert {link_page(server): []} == look(server.url("/links"), mode="scraping_only")
    assert {"/robots.txt": 1} == server.counts()


def test_a_program_that_is_no_chromium_is_one_error(server: MrfServer) -> None:
    """With what to do."""
    with pytest.raises(SettingError, match="does not start"):
        in_pool(lambda pool: pool.scrape([link_page(server)]), executable=Path("/bin/false"))


def test_the_chromium_on_the_path_is_taken(server: MrfServer) -> None:
    """Unless one is named."""
    del server
    assert _chromium() == check_browser(None)
    assert Path("/bin/true") == check_browser(Path("/bin/true"))


def test_the_settings_say_how_the_browser_is_started(server: MrfServer) -> None:
    """Its places, its sandbox, its time."""
    del server
    looking = DiscoverySettings(scraper_pool_size=7, scraper_timeout_seconds=9.0, scraper_pages_per_context=3)
    given = BrowserOptions.of(looking, refuse_private_addresses=True)
    alone = BrowserOptions.of(looking.changed(enable_parallel_scraping=False), refuse_private_addresses=False)
    bare = BrowserOptions.of(looking.changed(chromium_sandbox=True), refuse_private_addresses=False)

    assert (7, 9.0, 3, True) == (
        given.max_parallel, given.timeout_seconds, given.pages_per_context, given.refuse_private_addresses,
    )  # fmt: skip
    assert (1, True) == (alone.max_parallel, bare.sandbox)
    assert (os.geteuid() != 0) == given.sandbox
