"""What is asked of a page of Chromium, and why one could not be looked at."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from mrf_assets.discover.values import (
    PageAnswer,
    PageFailure,
    Status,
)

if TYPE_CHECKING:
    from playwright.async_api import Frame, Page

MAX_TEXT = 8 << 20  # characters of one frame
_CLOSE_SECONDS = 5.0
_ERROR = re.compile(r"net::(ERR_[A-Z_]+)")
# The text of a frame as its scripts have left it, cut where it is too long; a page may have put its own functions here,
# so whatever comes is a stranger's text.
_TEXT_OF_FRAME = "most => { const d = document.documentElement; return d ? d.outerHTML.slice(0, most) : ''; }"


class VisitFailed(Exception):
    """The page could not be looked at; its context is as good as before."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class VisitBroke(VisitFailed):
    """The page could not be looked at, and its context should go."""


class RendererCrashed(VisitBroke):
    """The process that draws the page is gone."""

    def __init__(self) -> None:
        super().__init__("failed", "the page brought its browser down; try it in another one")


async def within(event: asyncio.Event, seconds: float) -> None:
    """Wait for it, for so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def text_of_frame(frame: Frame) -> str:
    """The text of a frame, cut where it is too long."""
    text: Any = await frame.evaluate(_TEXT_OF_FRAME, MAX_TEXT)
    return text[:MAX_TEXT] if isinstance(text, str) else ""


async def answer_or_failure(answer: Awaitable[PageAnswer]) -> PageAnswer:
    """What it gives; an error of the browser as a value."""
    try:
        return await answer
    except playwright_error() as error:
        return PageFailure(status="failed", reason=browser_reason(error))


async def close_page(page: Page) -> None:
    """Close a page; one that does not close in time is left to its context."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(page.close(), _CLOSE_SECONDS)


def playwright_error() -> type[Exception]:
    """Playwright's base of errors."""
    from playwright.async_api import Error  # noqa: PLC0415 - optional

    return Error


def browser_reason(error: Exception) -> str:
    """Why a page could not be had. Playwright's texts hold addresses with their signatures."""
    match = _ERROR.search(str(error))
    if match is None:
        return f"could not be looked at ({type(error).__name__}); try again"
    reason = match[1].removeprefix("ERR_").replace("_", " ").lower()
    return f"could not be loaded ({reason}); check the address and the network"
