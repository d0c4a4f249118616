"""From a payer's portal to the addresses of its indexes and files.

Read it in the order in which data flows:

    values        what is looked for, and what comes out: `FoundFile`, `PortalResult`
    portals       a list of portals -> addresses
    kinds         an address -> what kind of file it is the address of, if of any
    links         the text of a page -> the addresses in it
    answers       what a server answered (HTML, JSON, a listing, a list) -> files, and where more of them are named
    families      a portal's address -> addresses that its family is known to answer
    robots        what a host asks of programs
    deadline      deadlines of a look, and how it is stopped
    plain_http    those addresses and the page, over plain HTTP: `fetch`, with its manners and bounds
    browser       the page as people see it, in Chromium
    find          the modes: which way is taken when
    register      what was found -> the registry of watched indexes
    found_csv     the same -> a CSV

All of it comes from strangers. Addresses may be signed: an `Address` shows what may be shown; the CSV and the
registry have the real ones, and are readable by their owner alone. Nothing here hides what it is: where a host says no,
to programs (robots.txt) or to us, the answer is the status `blocked`, and a person goes and gets the index.
"""

from mrf_assets.discover.browser import BrowserOptions, check_browser
from mrf_assets.discover.browser.pool import BrowserPool, ScraperStats
from mrf_assets.discover.find import Discovered, Discovery, discover
from mrf_assets.discover.found_csv import write_found
from mrf_assets.discover.portals import read_portals
from mrf_assets.discover.register import watch_found
from mrf_assets.discover.values import (
    KINDS,
    PAGE_KINDS,
    STATUSES,
    FoundFile,
    Kind,
    PageAnswer,
    PageFailure,
    PageFound,
    PageKind,
    Portal,
    PortalResult,
    Selection,
    Status,
    WayResult,
)

__all__ = [
    "KINDS",
    "PAGE_KINDS",
    "STATUSES",
    "BrowserOptions",
    "BrowserPool",
    "Discovered",
    "Discovery",
    "FoundFile",
    "Kind",
    "PageAnswer",
    "PageFailure",
    "PageFound",
    "PageKind",
    "Portal",
    "PortalResult",
    "ScraperStats",
    "Selection",
    "Status",
    "WayResult",
    "check_browser",
    "discover",
    "read_portals",
    "watch_found",
    "write_found",
]
