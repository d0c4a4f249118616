"""The page of the NPPES bulk files: which month and which weeks it lists."""

from __future__ import annotations

import datetime as dt
import re
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from mrf_assets.errors import NotFoundAtSource
from mrf_assets.urls import host_of, is_remote
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import is_private_host

_NAME = r"\ANPPES_Data_Dissemination_"


_MONTHLY = re.compile(rf"{_NAME}([A-Z][a-z]+)_(\d{{4}})(?:_V(\d{{1,4}}))?\.zip\Z", re.IGNORECASE | re.ASCII)


_WEEKLY = re.compile(rf"{_NAME}\d{{6}}_(\d{{6}})_Weekly(?:_V(\d{{1,4}}))?\.zip\Z", re.IGNORECASE | re.ASCII)


_SCHEMES = ("http://", "https://")


_MONTHS = {dt.date(2000, month, 1).strftime("%B").lower(): month for month in range(1, 13)}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class BulkFile:
    """One file of the page; the newest compares as the greatest."""

    until: dt.date  # of a week its last day, of a month its first
    version: int
    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkListing:
    """What of the page is of use: the newest month, and the weeks that are listed beside it."""

    monthly: BulkFile
    weekly: tuple[BulkFile, ...]

    @property
    def files(self) -> tuple[BulkFile, ...]:
        """The month first."""
        return (self.monthly, *self.weekly)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]


def read_listing(page: bytes, page_url: str) -> BulkListing:
    """The files that a page lists; one that came over the web may name http(s) alone, neither our disk nor a store.

    Raises:
        NotFoundAtSource: It lists no monthly file.
    """
    links = _Links()
    with suppress(AssertionError):  # of html.parser for odd declarations; what came before counts
        links.feed(page.decode("utf-8", errors="replace"))
    monthly: list[BulkFile] = []
    weekly: dict[dt.date, BulkFile] = {}
    for link in links.hrefs:
        try:
            url = urljoin(page_url, link)
            name = PurePosixPath(unquote(urlsplit(url).path)).name
        except ValueError:
            continue
        if is_remote(page_url) and not (url.lower().startswith(_SCHEMES) and _may_name(page_url, url)):
            continue
        if (match := _MONTHLY.match(name)) and (first := _month_begin(match[1], match[2])):
            monthly.append(BulkFile(until=first, version=int(match[3] or 1), name=name, url=url))
        elif (match := _WEEKLY.match(name)) and (last := _week_end(match[1])):
            file = BulkFile(until=last, version=int(match[2] or 1), name=name, url=url)
            weekly[last] = max(file, weekly.get(last, file))
    if not monthly:
        raise NotFoundAtSource(
            Address(page_url),
            "lists no NPPES_Data_Dissemination_<Month>_<Year>.zip over http(s); check MRF_NPI_FILES_URL",
        )
    return BulkListing(monthly=max(monthly), weekly=tuple(weekly[last] for last in sorted(weekly)))


def _may_name(page_url: str, url: str) -> bool:
    """A page over the web names no private address, unless it has one itself."""
    return is_private_host(host_of(page_url)) or not is_private_host(host_of(url))


def _month_begin(month: str, year: str) -> dt.date | None:
    try:
        return dt.date(int(year), _MONTHS[month.lower()], 1)
    except (KeyError, ValueError):
        return None


def _week_end(text: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text, "%m%d%y").replace(tzinfo=dt.UTC).date()
    except ValueError:
        return None
