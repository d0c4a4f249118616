"""One portal in one context: the page as a person's browser shows it, and the files that it names or asks for.

Files are noted by their address and never fetched: what a page asks for that looks like one is aborted. Pictures,
videos and fonts are not fetched either. What a page may not do: open other pages, keep a service worker, download.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mrf_assets.discover.answers import read_portal_answer
from mrf_assets.discover.browser.page import (
    MAX_TEXT,
    RendererCrashed,
    VisitBroke,
    VisitFailed,
    answer_or_failure,
    browser_reason,
    close_page,
    playwright_error,
    text_of_frame,
    within,
)
from mrf_assets.discover.kinds import kind_of
from mrf_assets.discover.links import PageReading, read_page
from mrf_assets.discover.plain_http import BY_HAND
from mrf_assets.discover.values import (
    BROWSER_WAY,
    FoundFile,
    PageAnswer,
    PageFailure,
    PageFound,
    PageKind,
)
from mrf_assets.errors import FetchError
from mrf_assets.fetch import Gate
from mrf_assets.fetch.rate import retry_after_seconds
from mrf_assets.fetch.rate.async_slot import host_slot
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import PRIVATE

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Download, Page, Request, Response, Route

logger = logging.getLogger(__name__)

_REFUSAL_STATUSES = frozenset({401, 403, 406, 407, 409, 429, 440, 451})
_NOT_FETCHED = frozenset({"image", "media", "font"})
_MAX_FRAMES = 20
_MAX_ANSWERS = 50  # of scripts, that are read
_CLOSED_ERROR = "TargetClosedError"  # Playwright's, which it does not export: page, context or browser is gone
_MAX_ANSWER_BYTES = 32 << 20
_MAX_CLICKS = 10
_MAX_POPUPS = 10
_MAX_FILES = 20_000  # that a page asks for, by whatever way
_SETTLE_SHARE = 0.4  # of the time for a page, that scripts get to fill it
_CLICK_SECONDS = 2.0
_ANSWER_SECONDS, _LAST_ANSWER_SECONDS = 0.5, 6.0  # for a file to be asked for after a press
_DECIDE_SECONDS = 2.0
_DATA_TYPES = re.compile(r"json|xml|text/plain")
_CHALLENGES = re.compile(r"_Incapsula_Resource|/cdn-cgi/challenge-platform|cf-chl-|px-captcha|captcha-delivery\.com")
_CLICKABLE = (
    "button:visible, [role=button]:visible, a:not([href]):visible, a[href='#']:visible, a[href^='javascript:']:visible"
)
_WORTH_A_CLICK = re.compile(
    r"\bindex|table of contents|in.network|machine.readable|\bmrf|download|transparency|allowed amount", re.IGNORECASE
)


@dataclass(slots=True, kw_only=True)
class Manners:
    """How a visit behaves; shared by all of a pool."""

    gate: Gate
    is_refused: Callable[[str], bool]  # whether the host of an address is of our own network
    timeout_seconds: float
    # Whether a host lets programs read an address, and whether a stranger names that; blocks.
    may_read: Callable[[str, bool], bool] = lambda _url, _is_from_stranger: True
    aborted_requests: int = 0  # requests for files, pictures and private addresses


@dataclass
class Visit:
    """One page of one portal; `go` once. Without slots: Playwright marks the methods that it calls."""

    context: BrowserContext
    url: str
    manners: Manners
    is_guarded: bool = False  # what the page names must not be of our own network
    _network: PageReading = field(default_factory=PageReading.empty)
    _downloads: PageReading = field(default_factory=PageReading.empty)
    _answers: list[Response] = field(default_factory=list)
    _unread_answers: int = 0  # answers of scripts
    _is_clicking: bool = False
    _refused_addresses: int = 0
    _popups: int = 0
    _redirect_target: str = ""  # by the last redirect of a page
    _undecided: set[str] = field(default_factory=set)  # requests for files that are not aborted yet
    _all_decided: asyncio.Event = field(default_factory=asyncio.Event)
    _has_turn: asyncio.Event = field(default_factory=asyncio.Event)
    _has_seen_file: asyncio.Event = field(default_factory=asyncio.Event)
    _page_answers: dict[PageKind, PageAnswer] = field(default_factory=dict)
    _closing: set[asyncio.Future[None]] = field(default_factory=set)

    async def go(self, kinds: frozenset[PageKind]) -> dict[PageKind, PageAnswer]:
        """Look at the page in those ways.

        Raises:
            VisitBroke: The page is gone, or does not come to an end; its context should go, too.
            VisitFailed: It could not be loaded.
        """
        page = await self.context.new_page()
        crash = asyncio.get_running_loop().create_future()

        def on_crash(_page: Page) -> None:
            if not crash.done():
                crash.set_result(None)

        page.on("crash", on_crash)
        self.context.on("request", self._on_seen)
        visit = asyncio.ensure_future(self._look(page, kinds))
        turn = asyncio.ensure_future(self._has_turn.wait())
        try:
            # Its time begins with its turn: others of the host may be first.
            await asyncio.wait({visit, crash, turn}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(
                {visit, crash}, timeout=self.manners.timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if crash.done():
                raise RendererCrashed
            if not visit.done():
                seconds = self.manners.timeout_seconds
                reason = f"was not there within {seconds:g} s; raise MRF_SCRAPER_TIMEOUT_SECONDS"
                if not self._page_answers:
                    raise VisitBroke("failed", reason)
                return dict.fromkeys(kinds, PageFailure(status="failed", reason=reason)) | self._page_answers
            visit.result()
            return self._page_answers
        finally:
            self.context.remove_listener("request", self._on_seen)
            turn.cancel()
            visit.cancel()
            with contextlib.suppress(BaseException):
                await visit

    async def _look(self, page: Page, kinds: frozenset[PageKind]) -> None:
        page.on("response", self._on_response)
        page.on("download", self._on_download)
        page.on("popup", self._on_popup)
        await self.context.route("**/*", self._on_request)
        await self._load(page)
        await self._settle(page, _SETTLE_SHARE)
        looks: dict[PageKind, Callable[[Page], Awaitable[PageAnswer]]] = {
            "links": self._links,
            "network": self._of_network,
            "downloads": self._of_downloads,
        }
        for kind in (kind for kind in looks if kind in kinds):
            self._page_answers[kind] = await answer_or_failure(looks[kind](page))
        await self._decide()
        if not any(isinstance(each, PageFound) and each.files for each in self._page_answers.values()):
            await self._raise_challenge(page)

    async def _load(self, page: Page) -> None:
        from playwright.async_api import Error  # noqa: PLC0415 - optional

        try:
            async with host_slot(self.manners.gate, self.url) as slot:
                self._has_turn.set()
                # `go` bounds it: with the same bound the browser's own error may come first, and says less.
                answer = await page.goto(self.url, wait_until="domcontentloaded", timeout=0)
                if answer is not None:
                    asked_seconds = retry_after_seconds(answer.headers.get("retry-after"))
                    slot.answered(answer.status, retry_after_seconds=asked_seconds)
        except Error as error:
            failed = VisitBroke if type(error).__name__ == _CLOSED_ERROR else VisitFailed
            raise failed("failed", self._why_not_loaded(error)) from None
        except FetchError as error:  # its turn did not come
            raise VisitFailed("failed", error.reason) from None
        if answer is None:
            return
        if answer.url != self.url and not await asyncio.to_thread(self.manners.may_read, answer.url, self.is_guarded):
            raise VisitFailed("blocked", f"leads to a page that robots.txt asks programs to stay away from; {BY_HAND}")
        if answer.status in _REFUSAL_STATUSES:
            raise VisitFailed("blocked", f"HTTP {answer.status}, access refused; {BY_HAND}")
        if not answer.ok:
            raise VisitFailed("failed", f"HTTP {answer.status}, which is no page; check the address")

    def _why_not_loaded(self, error: Exception) -> str:
        if self.is_guarded and any(map(self.manners.is_refused, (self.url, self._redirect_target))):
            return PRIVATE
        return browser_reason(error)

    async def _settle(self, page: Page, share: float) -> None:
        """Give scripts time, until the network is silent."""
        from playwright.async_api import TimeoutError as Late  # noqa: PLC0415 - optional

        with contextlib.suppress(Late):  # some pages never are: what is there is looked at
            await page.wait_for_load_state("networkidle", timeout=self.manners.timeout_seconds * share * 1000)

    async def _decide(self) -> None:
        """Wait until what was asked for is aborted: a page that is closed with a request under way lets it through."""
        self._all_decided.clear()
        if self._undecided:
            await within(self._all_decided, _DECIDE_SECONDS)

    # --- what the page does -----------------------------------------------------------------

    def _on_popup(self, popup: Page) -> None:
        """What it asks for counts; it is closed with the visit, or at once where there are many."""
        self._popups += 1
        if self._popups > _MAX_POPUPS:
            closing = asyncio.ensure_future(close_page(popup))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _on_seen(self, request: Request) -> None:
        """Of popups, too; before `_on_request` decides on it."""
        is_redirect = request.redirected_from is not None  # which Chromium follows, and `_on_request` never sees
        if request.is_navigation_request() and is_redirect:
            self._redirect_target = request.url
        if self._is_of_file(request.url):
            if not is_redirect:
                self._undecided.add(request.url)
            self._has_seen_file.set()
            self._note_file(self._downloads if request.is_navigation_request() else self._network, request.url)

    def _is_of_file(self, url: str) -> bool:
        return kind_of(url) not in (None, "document") and url != self.url

    async def _on_request(self, route: Route) -> None:
        request = route.request
        with contextlib.suppress(playwright_error()):  # the page is gone meanwhile
            logger.debug("%s: asks for %s", Address(self.url), Address(request.url))
            if self._may_be_fetched(request):
                await route.continue_()
            else:
                self.manners.aborted_requests += 1
                await route.abort("aborted")  # after which the page that asked stays; others put an error in its place
        self._undecided.discard(request.url)
        if not self._undecided:
            self._all_decided.set()

    def _may_be_fetched(self, request: Request) -> bool:
        url = request.url
        if request.resource_type in _NOT_FETCHED or not url.lower().startswith(("http://", "https://")):
            return False
        if self._is_of_file(url):
            return False
        if self._is_clicking and request.is_navigation_request():
            return False  # a button that leads to another page
        if self.is_guarded and self.manners.is_refused(url):
            self._refused_addresses += 1
            return False
        return True

    def _note_file(self, reading: PageReading, url: str) -> None:
        if len(reading.files) < _MAX_FILES:
            reading.add(url, self.url, BROWSER_WAY)
        else:
            reading.note = f"asks for more than {_MAX_FILES} files; the rest is left out"

    def _on_response(self, response: Response) -> None:
        kind = response.headers.get("content-type", "")
        if response.request.resource_type in ("xhr", "fetch") and _DATA_TYPES.search(kind):
            if len(self._answers) < _MAX_ANSWERS:
                self._answers.append(response)
            else:
                self._unread_answers += 1

    def _on_download(self, download: Download) -> None:
        self._note_file(self._downloads, download.url)

    # --- what is looked at ------------------------------------------------------------------

    async def _links(self, page: Page) -> PageAnswer:
        files: dict[str, FoundFile] = {}
        notes: dict[str, None] = {}
        more: dict[str, None] = {}
        for frame in page.frames[:_MAX_FRAMES]:
            try:
                text = await text_of_frame(frame)
            except playwright_error():
                if frame is page.main_frame:
                    raise
                notes["a frame went away before it was read"] = None
                continue
            base = frame.url if frame.url.startswith("http") else page.url  # about:srcdoc is its page's
            reading = await asyncio.to_thread(read_page, text, base, BROWSER_WAY)
            files |= reading.files
            if len(text) >= MAX_TEXT:
                notes[f"a page is longer than {MAX_TEXT} characters, the rest was not read"] = None
            more |= reading.more
            _add_notes(reading, notes)
        if len(page.frames) > _MAX_FRAMES:
            notes[f"{len(page.frames) - _MAX_FRAMES} frames were not read"] = None
        return PageFound(files=tuple(files.values()), note="; ".join(notes), more=self._unasked(more))

    async def _of_network(self, page: Page) -> PageAnswer:
        del page
        notes: dict[str, None] = {}
        more: dict[str, None] = {}
        files = dict(self._network.files)
        unread_answers = self._unread_answers
        for response in tuple(self._answers):
            size = response.headers.get("content-length", "0")
            if not size.isdecimal() or int(size[:12]) > _MAX_ANSWER_BYTES:
                unread_answers += 1
                continue
            try:
                body = await response.body()
            except playwright_error():  # Chromium keeps no more than some 20 MB of one
                unread_answers += 1
                continue
            reading = await asyncio.to_thread(read_portal_answer, response.url, body[:_MAX_ANSWER_BYTES], BROWSER_WAY)
            files |= reading.files
            more |= reading.more
            _add_notes(reading, notes)
        if unread_answers:
            notes[f"{unread_answers} answer(s) of scripts were too many or too long, and not read"] = None
        if self._refused_addresses:
            notes[f"{self._refused_addresses} request(s) to private addresses were refused"] = None
        if self._network.note:
            notes[self._network.note] = None
        return PageFound(files=tuple(files.values()), note="; ".join(notes), more=self._unasked(more))

    def _unasked(self, lists: Iterable[str]) -> tuple[str, ...]:
        """Lists that the page's own scripts did not ask for."""
        answered_urls = {response.url for response in self._answers}
        return tuple(url for url in lists if url not in answered_urls)

    async def _of_downloads(self, page: Page) -> PageAnswer:
        if not self._downloads.files and not self._network.files:
            await self._click(page)
        return PageFound(files=tuple(self._downloads.files.values()), note=self._downloads.note)

    async def _click(self, page: Page) -> None:
        """Press what looks as if it gave a file; what it asks for is noted, and goes nowhere."""
        self._is_clicking = True
        buttons = page.locator(_CLICKABLE).filter(has_text=_WORTH_A_CLICK)
        count = min(await buttons.count(), _MAX_CLICKS)
        for number in range(count):
            self._has_seen_file.clear()
            try:
                await buttons.nth(number).click(timeout=_CLICK_SECONDS * 1000, no_wait_after=True)
            except playwright_error():  # covered, or gone
                continue
            is_last = number + 1 == count  # a later press may be faster than what an earlier one asked for
            await within(self._has_seen_file, _LAST_ANSWER_SECONDS if is_last else _ANSWER_SECONDS)
        for url, file in self._network.files.items():
            self._downloads.files.setdefault(url, file)

    async def _raise_challenge(self, page: Page) -> None:
        if _CHALLENGES.search(await text_of_frame(page.main_frame)):
            raise VisitFailed("blocked", f"the page asks whether a person looks at it; {BY_HAND}")


def _add_notes(reading: PageReading, notes: dict[str, None]) -> None:
    """What is odd about an answer, into the notes of all."""
    if reading.note:
        notes[reading.note] = None
    if reading.unusable:
        notes[f"{reading.unusable} address(es) cannot or must not be followed"] = None
