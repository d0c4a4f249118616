"""Which Chromium there is, and whether it can be driven. Both are optional; all else works without them.

No driver binary is needed: Playwright speaks to the Chromium that is installed (`MRF_CHROMIUM`, else the one on PATH,
else the one that `playwright install chromium` brings).

page     what is asked of a page, and why one could not be looked at
visit    one page in one context
proxy    the browser's way out, where private addresses are refused
pool     one Chromium, some contexts
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from mrf_assets.errors import MissingExtra, SettingError
from mrf_assets.settings import DiscoverySettings

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ROOT = 0


_DEFAULTS = DiscoverySettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserOptions:
    """How the browser is started, and how much is asked of it."""

    executable: Path | None = None  # None: Playwright's own
    sandbox: bool = True
    max_parallel: int = _DEFAULTS.scraper_pool_size  # contexts, each with one page at a time
    pages_per_context: int = (
        _DEFAULTS.scraper_pages_per_context
    )  # then the context is replaced, because pages leak memory
    timeout_seconds: float = _DEFAULTS.scraper_timeout_seconds  # of one page, all kinds together
    refuse_private_addresses: bool | None = None  # True: all; None: those that portals name; False: none

    @classmethod
    def of(cls, settings: DiscoverySettings, *, refuse_private_addresses: bool | None) -> BrowserOptions:
        """What the settings stand for.

        Raises:
            MissingExtra: There is no Playwright.
            SettingError: There is no Chromium; it says what to install.
        """
        sandbox = settings.chromium_sandbox
        return cls(
            executable=check_browser(settings.chromium),
            # Chromium refuses to run its sandbox as root.
            sandbox=os.geteuid() != _ROOT if sandbox is None else sandbox,
            max_parallel=settings.scraper_pool_size if settings.enable_parallel_scraping else 1,
            pages_per_context=settings.scraper_pages_per_context,
            timeout_seconds=settings.scraper_timeout_seconds,
            refuse_private_addresses=refuse_private_addresses,
        )


def check_browser(chromium: Path | None) -> Path | None:
    """The Chromium to start; None is Playwright's own. Starts nothing.

    Raises:
        MissingExtra: There is no Playwright.
        SettingError: There is no Chromium; it says what to install.
    """
    if find_spec("playwright") is None:
        raise MissingExtra("a browser", "Playwright", "browser", "look without one: --no-browser")
    if chromium is not None:
        executable = shutil.which(chromium)
        if executable is None:
            raise SettingError("MRF_CHROMIUM", f"{chromium} is no program that can be run; name a Chromium or Chrome")
        return Path(executable)
    if executable := next(filter(None, map(shutil.which, _NAMES)), None):
        return Path(executable)
    if not _playwrights_own():
        raise SettingError(
            "MRF_CHROMIUM",
            "there is no Chromium on PATH; install one (apt-get install chromium, or `playwright install chromium`), "
            "name it with MRF_CHROMIUM, or look without one: --no-browser",
        )
    return None


def _playwrights_own() -> bool:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - optional

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


def user_agent(browser_version: str) -> str:
    """What we say we are: a program, ours, in a browser without a window."""
    return f"Mozilla/5.0 (compatible; mrf_assets/{version('mrf_assets')}; HeadlessChrome/{browser_version})"
