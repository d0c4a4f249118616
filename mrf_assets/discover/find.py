"""The modes: which way of looking is taken when.

    intelligent     what the portal's family is known to answer; then the page over plain HTTP; then, if nothing was
                    found and there is one, a browser
    parallel_all    all of these at once
    scraping_only   the browser alone

A portal that fails is a result like any other, and stops no other.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from mrf_assets.discover.browser import BrowserOptions
from mrf_assets.discover.browser.pool import BrowserPool, ScraperStats
from mrf_assets.discover.deadline import Patience
from mrf_assets.discover.families import is_template
from mrf_assets.discover.plain_http import MAX_QUESTIONS, PlainLooks, status_of
from mrf_assets.discover.robots import Robots, robots_refused
from mrf_assets.discover.values import (
    BROWSER_WAY,
    PAGE_KINDS,
    PAGE_WAY,
    FoundFile,
    PageAnswer,
    PageFailure,
    PageFound,
    Portal,
    PortalResult,
    Selection,
    Status,
    WayResult,
    merged,
)
from mrf_assets.errors import MissingExtra, SettingError
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.fetch.rate import host_gate
from mrf_assets.settings import DiscoverySettings, Settings
from mrf_assets.stream.raw_file import Opener
from mrf_assets.urls import host_of
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import is_private_host

logger = logging.getLogger(__name__)

_RETRIES = 1  # a page that does not answer twice is a result
_WAY_SHARE = 4.0  # of the time for a page: for all questions of one way
_WHOLE_SHARE = 2.0  # of the time for a page: for one question with its redirects and retries


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What became of all portals, in their order."""

    results: tuple[PortalResult, ...]
    scraper: ScraperStats | None  # None: no browser was started

    @property
    def files(self) -> tuple[FoundFile, ...]:
        """All that was found; a file that two portals name is there twice."""
        return tuple(chain.from_iterable(result.files for result in self.results))

    @property
    def statuses(self) -> Counter[Status]:
        """Portals by status."""
        return Counter(result.status for result in self.results)

    @property
    def ways(self) -> Counter[str]:
        """Files by the way on which they were found."""
        return Counter(file.way for file in self.files)

    @property
    def kinds(self) -> Counter[str]:
        """Files by kind."""
        return Counter(file.kind for file in self.files)


def plain_options(settings: Settings, discovery: DiscoverySettings) -> FetchOptions:
    """How portals are asked over plain HTTP: as all downloads are, once a second, and with less patience."""
    rate = min(
        discovery.scraper_rate_per_second, settings.host_start_rate_per_second or discovery.scraper_rate_per_second
    )
    # Not adaptive: that lets the first three requests of a host start at once.
    polite = settings.changed(host_start_rate_per_second=rate, adaptive_rate_limiting=False)
    seconds = discovery.scraper_timeout_seconds
    return FetchOptions.of(settings, gate=host_gate(polite)).changed(
        connect_timeout_seconds=min(settings.connect_timeout_seconds, seconds),
        read_timeout_seconds=min(settings.read_timeout_seconds, seconds),
        total_timeout_seconds=min(settings.total_timeout_seconds, _WHOLE_SHARE * seconds),
        max_retries=min(settings.max_retries, _RETRIES),
    )


def discover(
    portals: Sequence[Portal],
    settings: Settings,
    discovery: DiscoverySettings,
    *,
    selection: Selection | None = None,
    use_browser: bool = True,
    on_result: Callable[[PortalResult], None] | None = None,
) -> Discovered:
    """Look at the portals, `scraper_pool_size` at a time.

    Raises:
        SettingError: A browser is needed for this mode, and there is none; at once.
    """
    return asyncio.run(
        Discovery(settings, discovery, selection=selection, use_browser=use_browser, on_result=on_result).run(portals)
    )


class Discovery:
    """One look at a number of portals; `run` once.

    Args:
        open_url: In place of `fetch`, for tests.
        today: Which month an address with a month in it is asked for.
    """

    def __init__(
        self,
        settings: Settings,
        discovery: DiscoverySettings,
        *,
        selection: Selection | None = None,
        use_browser: bool = True,
        on_result: Callable[[PortalResult], None] | None = None,
        open_url: Opener | None = None,
        today: dt.date | None = None,
    ) -> None:
        self._mode = discovery.discovery_mode
        self._selection, self._on_result = selection or Selection(), on_result
        self._at_a_time = discovery.scraper_pool_size if discovery.enable_parallel_scraping else 1
        self._patience = _patience_of(discovery)
        options = plain_options(settings, discovery)
        options = options.changed(gate=self._patience.gate(options.gate), wait=self._patience.wait)
        self._is_private_left_out = settings.refuse_private_addresses is not False
        opener = self._patience.opener(open_url or partial(_open_url, options=options))
        stranger_opener = self._patience.opener(open_url or partial(_open_url, options=options.named_by(stranger=True)))
        self._robots = Robots(opener, stranger_opener)
        today = today or dt.datetime.now(tz=dt.UTC).date()
        self._plain = PlainLooks(opener, stranger_opener, self._robots, self._patience, today)
        self._no_browser = "" if use_browser else "a browser was not asked for"
        self._pool: BrowserPool | None = None
        if use_browser:
            self._pool = self._browser_pool(settings, discovery, options)

    def _browser_pool(
        self, settings: Settings, discovery: DiscoverySettings, options: FetchOptions
    ) -> BrowserPool | None:
        try:
            browser = BrowserOptions.of(discovery, refuse_private_addresses=settings.refuse_private_addresses)
        except (MissingExtra, SettingError) as error:
            if self._mode != "intelligent" or discovery.chromium is not None:
                raise
            self._no_browser = str(error)
            return None
        return BrowserPool(browser, options.gate, may_read=self._may_read)

    def _may_read(self, url: str, is_from_stranger: bool) -> bool:
        return self._robots.allow(Address(url), is_from_stranger=is_from_stranger)

    async def run(self, portals: Sequence[Portal]) -> Discovered:
        """Look at all of them."""
        if self._pool is None and self._mode == "scraping_only":
            raise SettingError("mode", "scraping_only is the browser's, and --no-browser forbids it; leave out one")
        # Each portal may wait in two threads, and its page for its turn in a third.
        threads = ThreadPoolExecutor(4 * self._at_a_time, thread_name_prefix="discovery")
        asyncio.get_running_loop().set_default_executor(threads)
        try:
            if self._pool is None:
                return Discovered(results=await self._all(portals), scraper=None)
            async with self._pool as pool:
                results = await self._all(portals)
            return Discovered(results=results, scraper=pool.stats if pool.stats.launches else None)
        finally:
            self._patience.stop()  # asyncio waits for its threads, whatever ended this

    async def _all(self, portals: Sequence[Portal]) -> tuple[PortalResult, ...]:
        places = asyncio.Semaphore(self._at_a_time)

        async def one(portal: Portal) -> PortalResult:
            async with places:
                result = await self._looked(portal)
            if self._on_result is not None:
                self._on_result(result)
            return result

        return tuple(await asyncio.gather(*map(one, portals)))

    async def _looked(self, portal: Portal) -> PortalResult:
        """What a portal gives; a bug that its pages bring to light costs this portal, and none of the others."""
        start = time.monotonic()
        try:
            return await self._look(portal)
        except SettingError:
            raise
        except Exception as error:  # noqa: BLE001 - the texts of errors hold addresses and their signatures
            *_, last = traceback.extract_tb(error.__traceback__)
            reason = f"could not be read ({type(error).__name__}); open it in a browser, and report the portal"
            logger.error("%s: %s, raised in %s:%s", portal.shown, reason, last.filename, last.lineno)  # noqa: TRY400
            way = WayResult(way="discovery", status="failed", reason=reason)
            now = dt.datetime.now(tz=dt.UTC)
            return PortalResult(portal=portal, ways=(way,), files=(), found_at=now, seconds=time.monotonic() - start)

    async def _look(self, portal: Portal) -> PortalResult:
        start = time.monotonic()
        ways = await {
            "intelligent": self._one_after_the_other,
            "parallel_all": self._all_at_once,
            "scraping_only": self._browser_alone,
        }[self._mode](portal)
        # In a thread: UHC's 86,514 addresses take seconds, in which the other portals go on.
        ways = [self._without_private(portal, way) for way in ways]
        named_files = [file for way in ways for file in way.files]
        files, note = await asyncio.to_thread(merged, named_files, self._selection)
        if named_files and not files and not note:
            note = f"none of the {len(named_files)} addresses is of a wanted kind, or has the wanted text"
        if note:
            ways = [*ways, WayResult(way="selection", status="nothing", reason=note)]
        return PortalResult(
            portal=portal,
            ways=tuple(ways),
            files=files,
            found_at=dt.datetime.now(tz=dt.UTC),
            seconds=time.monotonic() - start,
        )

    def _without_private(self, portal: Portal, way: WayResult) -> WayResult:
        """What a public portal names, without what is of our own network: the next command would ask for it."""
        if not self._is_private_left_out or is_private_host(host_of(portal.url)):
            return way
        files = tuple(file for file in way.files if not is_private_host(host_of(file.url)))
        if len(files) == len(way.files):
            return way
        note = f"{len(way.files) - len(files)} private address(es) are left out"
        status: Status = "found" if files else "nothing"
        return replace(way, files=files, status=status, reason="; ".join(filter(None, (way.reason, note))))

    async def _one_after_the_other(self, portal: Portal) -> list[WayResult]:
        ways = await asyncio.to_thread(self._plain.families, portal)
        if not any(way.files for way in ways) and (page := await asyncio.to_thread(self._plain.page, portal)):
            ways.append(page)
        # Who says no means a browser, too; of what was guessed, the portal has said nothing.
        if not any(way.files or (way.way == PAGE_WAY and way.status == "blocked") for way in ways):
            ways += await self._browser_alone(portal)
        return ways

    async def _all_at_once(self, portal: Portal) -> list[WayResult]:
        families, page, browser = await asyncio.gather(
            asyncio.to_thread(self._plain.families, portal),
            asyncio.to_thread(self._plain.page, portal),
            self._browser_alone(portal),
        )
        return [*families, *([page] if page else []), *browser]

    async def _browser_alone(self, portal: Portal) -> list[WayResult]:
        if is_template(portal.url):
            return []
        if self._pool is None:
            return [WayResult(way=BROWSER_WAY, status="nothing", reason=f"not looked at: {self._no_browser}")]
        if not await asyncio.to_thread(self._robots.allow, Address(portal.url)):
            status, reason = status_of(robots_refused(Address(portal.url)))
            return [WayResult(way=BROWSER_WAY, status=status, reason=reason)]
        try:
            answers = (await self._pool.scrape([portal.url]))[portal.url]
        except SettingError as error:  # Chromium does not start
            if self._mode != "intelligent":
                raise
            return [WayResult(way=BROWSER_WAY, status="failed", reason=str(error))]
        way = _way_of([answers[kind] for kind in PAGE_KINDS])
        lists = _lists_of(answers.values())
        if lists and self._mode == "scraping_only":
            note = f"{len(lists)} list(s) were not read; look in the mode intelligent"
            return [replace(way, reason="; ".join(filter(None, (way.reason, note))))]
        return [way, await asyncio.to_thread(self._read_lists, lists, portal)] if lists else [way]

    def _read_lists(self, lists: Iterable[str], portal: Portal) -> WayResult:
        is_public = not is_private_host(host_of(portal.url))
        return self._plain.lists(lists, BROWSER_WAY, are_from_stranger=is_public)


def _patience_of(discovery: DiscoverySettings) -> Patience:
    """As the time for a page is; what is waited to keep the pace is on top, for that is our own wish."""
    seconds, pace_seconds = discovery.scraper_timeout_seconds, 1 / discovery.scraper_rate_per_second
    return Patience(
        way_seconds=_WAY_SHARE * seconds + MAX_QUESTIONS * pace_seconds,
        turn_seconds=_WHOLE_SHARE * seconds + 4 * discovery.scraper_pool_size * pace_seconds,
    )


def _lists_of(answers: Iterable[PageAnswer]) -> list[str]:
    """Lists that the page refers to, and has not asked for itself."""
    return list(dict.fromkeys(chain.from_iterable(each.more for each in answers if isinstance(each, PageFound))))


def _way_of(answers: Sequence[PageAnswer]) -> WayResult:
    """One result of all that a page was looked at for."""
    files = chain.from_iterable(answer.files for answer in answers if isinstance(answer, PageFound))
    failures = [answer for answer in answers if isinstance(answer, PageFailure)]
    notes = [answer.reason if isinstance(answer, PageFailure) else answer.note for answer in answers]
    unique_files = tuple({file.url: file for file in files}.values())
    status: Status = "nothing"
    if unique_files:
        status = "found"
    elif failures:
        status = "blocked" if any(failure.status == "blocked" for failure in failures) else "failed"
    return WayResult(
        way=BROWSER_WAY, status=status, reason="; ".join(dict.fromkeys(filter(None, notes))), files=unique_files
    )


_open_url = open_url  # the parameter of that name hides it
