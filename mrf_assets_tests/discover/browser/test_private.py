"""A stranger's page in a real Chromium names machines of our own network: by default no connection is made to one.

The Internet is an `MrfServer` that is the proxy of the environment; the machine inside listens on loopback.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from mrf_assets.discover import BrowserOptions, BrowserPool, Discovery, PageFailure, PageFound, Portal
from mrf_assets.discover.values import PageAnswer, PageKind
from mrf_assets.settings import DiscoveryMode, DiscoverySettings, Settings
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.portal_server import INDEX, data, link_page, page

_PUBLIC = "http://portal.example"
_PAGE_SECONDS = 15.0  # some pages never come to rest
_HOSTS = ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]")
# {} is an address of a machine inside, without its scheme.
_ASKS = {
    "fetch": "<script>fetch('http://{}/inside').catch(() => 0)</script>",
    "posts": "<script>fetch('http://{}/inside', {{method: 'POST', mode: 'no-cors'}}).catch(() => 0)</script>",
    "beacon": "<script>navigator.sendBeacon('http://{}/inside', 'x')</script>",
    "socket": "<script>new WebSocket('ws://{}/inside')</script>",
    "events": "<script>new EventSource('http://{}/inside')</script>",
    "worker": (
        "<script>new Worker(URL.createObjectURL(new Blob(["
        "\"fetch('http://{}/inside', {{mode: 'no-cors'}}).catch(() => 0)\"])))</script>"
    ),
    "script": "<script src='http://{}/inside'></script>",
    "image": "<img src='http://{}/inside'>",
    "style": "<link rel=stylesheet href='http://{}/inside'>",
    "frame": "<iframe src='http://{}/inside'></iframe>",
    "object": "<object data='http://{}/inside'></object>",
    "prefetch": "<link rel=prefetch href='http://{}/inside'>",
    "preconnect": "<link rel=preconnect href='http://{}/inside'>",
    "popup": "<script>window.open('http://{}/inside')</script>",
    "https": "<script>fetch('https://{}/inside').catch(() => 0)</script>",
}
_GOES = {
    "refresh": "<meta http-equiv=refresh content='0;url=http://{}/inside'>",
    "location": "<script>location = 'http://{}/inside'</script>",
    "form": "<form method=post action='http://{}/inside'></form><script>document.forms[0].submit()</script>",
}


@lru_cache
def _chromium() -> Path | None:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return None if found is None else Path(found)


@pytest.fixture
def inside() -> Iterator[MrfServer]:
    """A machine of our own network."""
    if _chromium() is None:
        pytest.skip("no Chromium is installed")
    with MrfServer({"/inside": b"secret"}) as server:
        yield server


@pytest.fixture(params=["", "127.0.0.1,localhost"], ids=["all by the proxy", "our own network without it"])
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MrfServer]:
    """A machine of the Internet."""
    with MrfServer() as server:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, server.base_url)
        monkeypatch.setenv("no_proxy", request.param)
        yield server


def _scraped(urls: list[str], *, refuse_private_addresses: bool | None = None) -> dict[str, dict[PageKind, PageAnswer]]:
    options = BrowserOptions(
        executable=_chromium(),
        sandbox=os.geteuid() != 0,
        timeout_seconds=_PAGE_SECONDS,
        refuse_private_addresses=refuse_private_addresses,
    )

    async def run() -> dict[str, dict[PageKind, PageAnswer]]:
        async with BrowserPool(options) as pool:
            return await pool.scrape(urls, ["links"])

    return asyncio.run(run())


def test_whatever_a_page_asks_for_no_private_address_is_connected_to(inside: MrfServer, outside: MrfServer) -> None:
    """In each way in which a page can ask, and by each spelling; what it says otherwise is found.

    Five ways on a page: each page is a second of CPU.
    """
    ways, urls = list(_ASKS.values()), list[str]()
    for start in range(0, len(ways), 5):
        asks = "".join(way.format(f"{host}:{inside.port}") for way in ways[start : start + 5] for host in _HOSTS)
        page(outside, f"/asks{start}", f'<a href="{INDEX}">x</a>{asks}')
        urls.append(f"{_PUBLIC}/asks{start}")

    found = _scraped(urls)

    assert 0 == inside.connections
    assert [] == [url for url in urls if not isinstance(found[url]["links"], PageFound)]
    assert [] == [request for request in outside.requests if str(inside.port) in request.headers["host"]]


def test_wherever_a_page_goes_it_goes_to_no_private_address(inside: MrfServer, outside: MrfServer) -> None:
    """By itself, and by a redirect, which Chromium follows without a question."""
    urls = []
    for number, host in enumerate(_HOSTS[:2]):
        for name, template in _GOES.items():
            page(outside, f"/{name}{number}", template.format(f"{host}:{inside.port}"))
            urls.append(f"{_PUBLIC}/{name}{number}")
        target = f"http://{host}:{inside.port}/inside"
        outside.always(f"/redirect{number}", Answer(status=302, headers={"Location": target}))
        urls.append(f"{_PUBLIC}/redirect{number}")

    found = _scraped(urls)

    assert 0 == inside.connections
    redirects = [found[url]["links"] for url in urls if "/redirect" in url]
    assert all(isinstance(answer, PageFailure) for answer in redirects)
    assert {"leads to a private address, which is refused"} == {
        answer.reason.partition(";")[0] for answer in redirects if isinstance(answer, PageFailure)
    }


@pytest.mark.parametrize("outside", [""], indirect=True)
def test_a_page_of_our_own_network_opens_no_door_to_a_strangers(inside: MrfServer, outside: MrfServer) -> None:
    """Both in one pool, at a time and in turn: each has its own way out."""
    ours = page(inside, "/ours", f"<script>fetch('{inside.url('/inside')}').catch(() => 0)</script>")
    page(outside, "/theirs", f"<script>fetch('{inside.url('/inside')}?theirs').catch(() => 0)</script>")
    options = BrowserOptions(executable=_chromium(), sandbox=os.geteuid() != 0, timeout_seconds=_PAGE_SECONDS)

    async def run() -> None:
        async with BrowserPool(options) as pool:
            await pool.scrape([ours, f"{_PUBLIC}/theirs"])
            for url in (ours, f"{_PUBLIC}/theirs", ours):
                await pool.scrape([url])

    asyncio.run(run())

    assert 3 == len(inside.requests_of("/inside"))
    assert [] == [request for request in inside.requests if request.query == "theirs"]


@pytest.mark.parametrize("outside", [""], indirect=True)
def test_what_is_allowed_is_connected_to(
    inside: MrfServer, outside: MrfServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same page, where the user says so."""
    monkeypatch.delenv("http_proxy")
    monkeypatch.delenv("https_proxy")
    asks = page(outside, "/asks", f"<script>fetch('{inside.url('/inside')}').catch(() => 0)</script>")

    _scraped([asks], refuse_private_addresses=False)
    assert 1 == inside.count("/inside")
    _scraped([asks], refuse_private_addresses=True)
    assert 1 == inside.count("/inside")


@pytest.mark.parametrize("outside", [""], indirect=True)
@pytest.mark.parametrize("mode", ["scraping_only", "intelligent"])
def test_nothing_of_a_strangers_portal_is_asked_for_inside(
    inside: MrfServer, outside: MrfServer, mode: DiscoveryMode
) -> None:
    """Neither the lists that its drawn page names, nor their robots.txt; and no address inside is found."""
    data(inside, "/latest.json", {"files": [{"location": f"/{INDEX}"}]})
    link_page(outside, "/portal", [inside.url("/latest.json"), inside.url(f"/{INDEX}"), f"/{INDEX}"])
    looking = DiscoverySettings(
        discovery_mode=mode,
        scraper_rate_per_second=1_000.0,
        chromium=_chromium(),
        chromium_sandbox=os.geteuid() != 0,
        scraper_timeout_seconds=_PAGE_SECONDS,
    )
    discovery = Discovery(Settings(max_retries=0), looking)

    found = asyncio.run(discovery.run([Portal(url=f"{_PUBLIC}/portal")]))

    assert [f"{_PUBLIC}/{INDEX}"] == [file.url for file in found.files]
    assert 0 == inside.connections
