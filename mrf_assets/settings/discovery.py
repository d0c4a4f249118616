"""How payers' portals are searched: nothing of it changes a row."""

from __future__ import annotations

from enum import StrEnum

from mrf_assets.settings.model import DAY_SECONDS, MAX_WORKERS, SettingsModel, setting
from mrf_assets.settings.paths import MachinePath

MAX_WATCHED = 100  # found indexes of one portal, unless somebody says more: payers have one for each employer


class DiscoveryMode(StrEnum):
    """Which ways are taken when; see `mrf_assets.discover.find`."""

    intelligent = "intelligent"
    parallel_all = "parallel_all"
    scraping_only = "scraping_only"


class DiscoverySettings(SettingsModel):
    """Discovery on portals."""

    portals: MachinePath | None = setting(
        None, "A list of portals, for the asset and for `mrf discover` without any.", flag="--input"
    )
    discovery_mode: DiscoveryMode = setting(DiscoveryMode.intelligent, "Which ways are taken when.", flag="--mode")
    chromium: MachinePath | None = setting(
        None, "Program of the browser.", absent="the Chromium on PATH, else Playwright's"
    )
    chromium_sandbox: bool | None = setting(None, "Whether Chromium's sandbox is used.", absent="true, for root false")
    enable_parallel_scraping: bool = setting(True, "Several portals and pages at a time; false: one.")
    scraper_pool_size: int = setting(
        4, "Portals, and pages in the browser, at a time.", flag="--max-parallel", ge=1, le=MAX_WORKERS
    )
    scraper_rate_per_second: float = setting(1.0, "Most pages and questions of one host in a second.", gt=0)
    scraper_timeout_seconds: float = setting(
        30.0,
        "Seconds for one page; twice as much for one question, four times for all of one way.",
        gt=0,
        le=DAY_SECONDS,
    )
    scraper_pages_per_context: int = setting(
        25, "Pages after which a context of the browser is replaced, for pages leak memory.", ge=1
    )
