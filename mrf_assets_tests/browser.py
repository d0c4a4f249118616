"""A real browser, and the Dagster UI in it; skipped where no Chromium is installed."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Error as PageError, Locator, Page, expect, sync_playwright

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_LAUNCH = '"operationName":"Launch'  # of Dagster's mutations: a backfill, runs, a re-execution
PAGE_MILLISECONDS = 45_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ui:
    """The UI in a browser."""

    base_url: str
    page: Page
    errors: list[PageError] = field(default_factory=list)

    def open(self, path: str, *shown: str | re.Pattern[str]) -> None:
        """Go to a page and wait until it shows every one of these texts.

        Dagster's pages come piece by piece: what one text's arrival promises for the next is nothing.
        """
        self.page.goto(self.base_url + path)
        self.see(*shown)

    def click(self, text: str) -> None:
        """Click what has this text and can be seen; of several, what came last lies on top."""
        self.page.get_by_text(text).locator("visible=true").last.click()

    def launch(self, button: Locator) -> None:
        """Click what launches runs, and leave the page once Dagster has answered.

        A page that is open asks Dagster and draws what it hears all the time, which takes a core from the runs.
        """
        with self.page.expect_response(lambda answer: _LAUNCH in (answer.request.post_data or "")):
            button.click()
        self.page.goto("about:blank")

    def see(self, *texts: str | re.Pattern[str]) -> None:
        """Wait until the page shows every one of these texts."""
        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text, use_inner_text=True, timeout=PAGE_MILLISECONDS)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(_BROWSERS)} is installed")
    with (
        sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=found, args=_FLAGS)) as browser,
    ):
        yield browser


def opened(browser: Browser, base_url: str) -> Ui:
    """One page of the UI; what goes wrong in it is kept."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(PAGE_MILLISECONDS)
    ui = Ui(base_url=base_url, page=page)
    page.on("pageerror", lambda error: ui.errors.append(error))  # noqa: PLW0108 - Playwright marks what it is given
    return ui
