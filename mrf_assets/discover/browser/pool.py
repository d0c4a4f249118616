"""One Chromium and some contexts that portals take in turn: what a browser for each page would cost is paid once.

A context is a browser profile of its own (cookies, storage), forgotten when it is given back and made anew after
`pages_per_context` pages. A Chromium that is gone is started again, and the portals that it took with it are looked
at once more. benchmarks/RESULTS.md, "Discovery", has what that saves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from mrf_assets.discover.browser import BrowserOptions, user_agent
from mrf_assets.discover.browser.page import RendererCrashed, VisitBroke, VisitFailed
from mrf_assets.discover.browser.proxy import GuardedProxy
from mrf_assets.discover.browser.visit import Manners, Visit
from mrf_assets.discover.values import PAGE_KINDS, PageAnswer, PageFailure, PageFound, PageKind
from mrf_assets.errors import SettingError
from mrf_assets.fetch import OPEN_GATE, Gate
from mrf_assets.text import printable
from mrf_assets.urls import host_of
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import is_private_address, is_private_host

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Playwright, Request

logger = logging.getLogger(__name__)

_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",  # of Chromium's own, past the way out of a page
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",  # the one way out that passes a proxy by
)
_TOLD_SECONDS = 1.0  # until the end of a browser is told behind that of its page
_CLOSE_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class ScraperStats:
    """What a pool did so far."""

    pages: int = 0  # looked at, those in vain included
    pages_found: int = 0  # of them, those that named files
    pages_blocked: int = 0
    pages_failed: int = 0
    crashes: int = 0  # of pages
    launches: int = 0  # of Chromium
    contexts_made: int = 0
    contexts_recycled: int = 0  # after their number of pages, or because they broke
    requests_aborted: int = 0  # for files, pictures and private addresses
    page_seconds: float = 0.0

    def as_facts(self) -> dict[str, int | float]:
        """By name, with the mean time of a page."""
        mean = round(self.page_seconds / self.pages, 3) if self.pages else 0.0
        return asdict(self) | {"page_seconds": round(self.page_seconds, 3), "mean_page_seconds": mean}


@dataclass(eq=False)
class _Slot:
    """Without slots: Playwright marks the method that it calls."""

    browser: Browser
    context: BrowserContext
    is_guarded: bool = False  # its way out refuses private addresses
    pages: int = 0
    origins: set[str] = field(default_factory=set)  # of documents: who may have stored something
    has_third_party_frames: bool = False  # frames of other origins, whose storage is not cleared by their origin alone

    def on_request(self, request: Request) -> None:
        """Note whose documents the context shows."""
        from playwright.async_api import Error  # noqa: PLC0415 - optional

        if not request.is_navigation_request():
            return
        origin = _origin(request.url)
        self.origins.add(origin)
        with contextlib.suppress(Error):  # a page that is just opened has no frame yet
            frame = request.frame
            self.has_third_party_frames |= frame.parent_frame is not None and origin != _origin(frame.page.url)


class BrowserPool:
    """Use as an async context manager; nothing is started before the first page."""

    def __init__(
        self,
        options: BrowserOptions,
        gate: Gate = OPEN_GATE,
        *,
        is_private: Callable[[str], bool] = is_private_address,
        may_read: Callable[[str, bool], bool] = lambda _url, _is_from_stranger: True,
    ) -> None:
        self.options = options
        self.stats = ScraperStats()
        self._is_private = is_private  # of numeric addresses
        self._proxy: GuardedProxy | None = None
        self._manners = Manners(
            gate=gate, is_refused=self._is_refused, timeout_seconds=options.timeout_seconds, may_read=may_read
        )
        self._places: asyncio.Semaphore | None = None
        self._idle: list[_Slot] = []
        self._starting = asyncio.Lock()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self._idle:
            await _close_context(slot.context)
        self._idle.clear()
        if self._browser is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._browser.close(), _CLOSE_SECONDS)
        if self._playwright is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._playwright.stop(), _CLOSE_SECONDS)
        if self._proxy is not None:
            await self._proxy.__aexit__(None, None, None)

    def enable_parallel_mode(self, max_parallel: int) -> None:
        """Look at so many pages at a time; to be said before the first, else it is `options.max_parallel`."""
        self._places = asyncio.Semaphore(max_parallel)
        if max_parallel > 1:
            logger.info("Enabled parallel scraping with %d concurrent scrapers", max_parallel)

    @asynccontextmanager
    async def context(self, *, is_guarded: bool = False) -> AsyncIterator[BrowserContext]:
        """A context for one page; waits until one is free. An error inside of the block ends the context's life.

        One that is guarded connects to no private address.

        Raises:
            SettingError: Chromium does not start.
        """
        if self._places is None:
            self.enable_parallel_mode(self.options.max_parallel)
        assert self._places is not None
        async with self._places:
            slot = await self._taken(is_guarded=is_guarded)
            is_sound = False
            try:
                yield slot.context
                is_sound = True
            finally:
                slot.pages += 1
                await self._give_back(slot, is_sound=is_sound)

    async def scrape(
        self, portals: Iterable[str], kinds: Iterable[PageKind] = PAGE_KINDS
    ) -> dict[str, dict[PageKind, PageAnswer]]:
        """Look at each portal in each way; what went wrong stands in place of what was found, and is logged.

        Args:
            portals: Addresses of pages.
            kinds: `links` (in the page as scripts left it), `network` (in the answers that scripts got, and what they
                asked for), `downloads` (what the page, or a press on its buttons, would have downloaded).
        """
        page_kinds, addresses = frozenset(kinds), list(dict.fromkeys(portals))
        answers = await asyncio.gather(*(self._scrape_one(url, page_kinds) for url in addresses))
        return dict(zip(addresses, answers, strict=True))

    async def _scrape_one(self, url: str, kinds: frozenset[PageKind]) -> dict[PageKind, PageAnswer]:
        start = time.monotonic()
        answers = await self._visit(url, kinds)
        if answers is None:  # Chromium went down meanwhile, maybe for another's page
            answers = await self._visit(url, kinds)
        if answers is None:
            reason = "the browser went down with it, twice; look at it in another one"
            answers = dict.fromkeys(kinds, PageFailure(status="failed", reason=reason))
        self._count(url, answers, time.monotonic() - start)
        return answers

    async def _visit(self, url: str, kinds: frozenset[PageKind]) -> dict[PageKind, PageAnswer] | None:
        """What a page gives; None where the browser as a whole is gone."""
        from playwright.async_api import Error  # noqa: PLC0415 - optional

        is_guarded = self._is_guarded(url)
        try:
            async with self.context(is_guarded=is_guarded) as context:
                browser = context.browser
                try:
                    return await Visit(context, url, self._manners, is_guarded).go(kinds)
                except VisitBroke:
                    raise  # out of the context, which ends with it
                except VisitFailed as failure:
                    return _failed(failure, kinds)
        except VisitFailed as failure:
            self.stats.crashes += isinstance(failure, RendererCrashed)
            return None if browser is not None and await _went_down(browser, failure) else _failed(failure, kinds)
        except Error:
            return None

    def _count(self, url: str, answers: Mapping[PageKind, PageAnswer], seconds: float) -> None:
        stats = self.stats
        failures = {kind: answer for kind, answer in answers.items() if isinstance(answer, PageFailure)}
        stats.pages += 1
        stats.page_seconds += seconds
        stats.pages_found += any(isinstance(each, PageFound) and each.files for each in answers.values())
        stats.pages_blocked += any(each.status == "blocked" for each in failures.values())
        stats.pages_failed += any(each.status == "failed" for each in failures.values())
        stats.requests_aborted = self._manners.aborted_requests
        for kind, failure in failures.items():
            logger.warning("%s: %s: %s", Address(url), kind, printable(failure.reason))

    def _is_guarded(self, url: str) -> bool:
        """Whether the page at an address must not lead to private ones: it is a stranger's, unless it is private."""
        setting = self.options.refuse_private_addresses
        return not is_private_host(host_of(url)) if setting is None else setting

    def _is_refused(self, url: str) -> bool:
        """Whether a host is known to be private: it is written as such, or a connection to it was refused."""
        host = host_of(url).strip("[]")
        if self._proxy is not None and host in self._proxy.refused_hosts:
            return True
        try:
            return self._is_private(host)
        except ValueError:  # a name; which machine that is shows when it is connected to
            return False

    # --- browser and contexts ---------------------------------------------------------------

    async def _taken(self, *, is_guarded: bool) -> _Slot:
        browser = await self._running()
        self._idle = [slot for slot in self._idle if slot.browser is browser]
        if slot := next((slot for slot in self._idle if slot.is_guarded == is_guarded), None):
            self._idle.remove(slot)
            return slot
        self.stats.contexts_made += 1
        context = await browser.new_context(
            proxy={"server": await self._way_out()} if is_guarded else None,
            user_agent=user_agent(browser.version),
            accept_downloads=False,
            service_workers="block",  # their requests would pass us by
            java_script_enabled=True,
        )
        context.set_default_timeout(self.options.timeout_seconds * 1000)
        slot = _Slot(browser, context, is_guarded)
        context.on("request", slot.on_request)
        return slot

    async def _give_back(self, slot: _Slot, *, is_sound: bool) -> None:
        is_fresh = slot.pages < self.options.pages_per_context and not slot.has_third_party_frames
        if is_sound and is_fresh and slot.browser.is_connected() and await _forget(slot):
            self._idle.append(slot)
            return
        self.stats.contexts_recycled += 1
        if not await _close_context(slot.context) and slot.browser is self._browser:
            # It does not answer any more; the next page starts another.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(slot.browser.close(), _CLOSE_SECONDS)

    async def _running(self) -> Browser:
        async with self._starting:
            if self._browser is None or not self._browser.is_connected():
                if self._browser is not None:
                    logger.warning("Chromium is gone, and is started again")
                self._browser = await self._launch()
            return self._browser

    async def _way_out(self) -> str:
        """The address of the proxy that refuses private addresses."""
        async with self._starting:
            if self._proxy is None:
                # Chromium reads the proxies of the environment by itself only where it is given none.
                proxies = getproxies()
                beyond = {
                    scheme: url for scheme in ("http", "https") if (url := proxies.get(scheme) or proxies.get("all"))
                }
                guard = GuardedProxy(self._is_private, beyond=beyond, bypasses=proxy_bypass)
                self._proxy = await guard.__aenter__()
            return self._proxy.url

    async def _launch(self) -> Browser:
        from playwright.async_api import Error, async_playwright  # noqa: PLC0415 - optional

        if self._playwright is None:
            self._playwright = await async_playwright().start()
        self.stats.launches += 1
        executable = self.options.executable
        try:
            return await self._playwright.chromium.launch(
                executable_path=executable,
                args=list(_FLAGS),
                chromium_sandbox=self.options.sandbox,
                handle_sigint=False,  # the command line ends us, and we end it
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error:
            raise SettingError(
                "MRF_CHROMIUM",
                f"{executable or 'Chromium'} does not start; run it with --headless --dump-dom about:blank to see why "
                "(in a container without user namespaces, MRF_CHROMIUM_SANDBOX=false)",
            ) from None


async def _went_down(browser: Browser, failure: VisitFailed) -> bool:
    """Whether the browser as a whole is gone; that its page is gone may be told before."""
    if browser.is_connected() and isinstance(failure, VisitBroke):
        disconnection = asyncio.Event()
        browser.once("disconnected", lambda _browser: disconnection.set())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(disconnection.wait(), _TOLD_SECONDS)
    return not browser.is_connected()


def _failed(failure: VisitFailed, kinds: Iterable[PageKind]) -> dict[PageKind, PageAnswer]:
    return dict.fromkeys(kinds, PageFailure(status=failure.status, reason=failure.reason))


def _origin(url: str) -> str:
    return urlunsplit((*urlsplit(url)[:2], "", "", ""))


async def _forget(slot: _Slot) -> bool:
    """Make a context as good as new; False where that takes too long."""
    from playwright.async_api import Error  # noqa: PLC0415 - optional

    context = slot.context

    async def clean() -> None:
        # Pages first: what they ask for while nobody looks would be let through. One shows nothing, and clears up.
        pages = context.pages or [await context.new_page()]
        await asyncio.gather(*(page.close() for page in pages[1:]))
        await pages[0].goto("about:blank")
        session = await context.new_cdp_session(pages[0])
        for origin in sorted(slot.origins):
            await session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        await pages[0].close()
        await context.unroute_all(behavior="wait")
        await context.clear_cookies()

    try:
        await asyncio.wait_for(clean(), _CLOSE_SECONDS)
    except (Error, TimeoutError):
        return False
    slot.origins.clear()
    return True


async def _close_context(context: BrowserContext) -> bool:
    """Whether it went."""
    try:
        await asyncio.wait_for(context.close(), _CLOSE_SECONDS)
    except TimeoutError:
        return False
    except Exception:  # noqa: BLE001 - of a browser that is gone
        return True
    return True
