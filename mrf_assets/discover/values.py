"""What is looked for on portals, and what comes out."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from mrf_assets.urls import host_of
from mrf_assets.urls.address import Address

Kind = Literal["table_of_contents", "in_network", "allowed_amounts", "reference", "document"]
Status = Literal["found", "nothing", "blocked", "failed"]
PageKind = Literal["links", "network", "downloads"]  # of what a page in a browser shows

KINDS: tuple[Kind, ...] = get_args(Kind)
STATUSES: tuple[Status, ...] = get_args(Status)
PAGE_KINDS: tuple[PageKind, ...] = get_args(PageKind)
MAX_FILES = 200_000  # of one portal; UHC's names 86,514
BROWSER_WAY = "browser"
PAGE_WAY = "links"
_CODES = re.compile(r"(insurerCode|brandCode)=([A-Za-z0-9_-]{1,60})")
_LONGEST_REASON = 2_000  # characters; a cell of a CSV takes 131,072


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """One page of a payer, or one address that names its files."""

    url: str = field(repr=False)  # may be signed; `{yyyy}` and `{mm}` stand for the month
    payer: str = ""  # for people; empty: the host

    @property
    def shown(self) -> str:
        """The address as it may be told."""
        return str(Address(self.url))

    @property
    def payer_name(self) -> str:
        """The payer, or the host where nobody said who that is; with the codes of insurer and brand, if it has any."""
        return self.payer or " ".join((host_of(self.url), *self.codes.values()))

    @property
    def codes(self) -> dict[str, str]:
        """HealthSparq's `insurerCode` and `brandCode`, which tell its portals apart."""
        return dict(_CODES.findall(self.url))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is collected of all that a portal names."""

    kinds: frozenset[Kind] = frozenset({"table_of_contents", "in_network", "allowed_amounts", "reference"})
    match: str = ""  # only addresses with this text, in any case
    most_files: int = MAX_FILES  # of one portal

    def has(self, file: FoundFile) -> bool:
        """Whether a file is collected."""
        return file.kind in self.kinds and self.match.casefold() in file.shown.casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """One address that a portal names. The file behind it was not opened."""

    url: str = field(repr=False)  # may be signed: a secret
    kind: Kind
    way: str  # a profile's name, "links" or "browser"

    @property
    def shown(self) -> str:
        """The address as it may be told."""
        return str(Address(self.url))


@dataclass(frozen=True, slots=True, kw_only=True)
class WayResult:
    """What one way of looking gave."""

    way: str
    status: Status
    reason: str = ""  # for a person; no secret in it
    files: tuple[FoundFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalResult:
    """What all ways gave for one portal; a failure is a value, too."""

    portal: Portal
    ways: tuple[WayResult, ...]
    files: tuple[FoundFile, ...]  # each file once; what an earlier way found has its name
    found_at: dt.datetime
    seconds: float

    @property
    def status(self) -> Status:
        """Found, if any way found something; else the worst that happened."""
        statuses = {way.status for way in self.ways}
        if self.files:
            return "found"
        return next((status for status in ("blocked", "failed") if status in statuses), "nothing")

    @property
    def reason(self) -> str:
        """Why there is no more; empty where all went well."""
        text = "; ".join(dict.fromkeys(f"{way.way}: {way.reason}" for way in self.ways if way.reason))
        return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFound:
    """What one kind of looking at a page gave."""

    files: tuple[FoundFile, ...]
    note: str = ""
    more: tuple[str, ...] = ()  # addresses of lists that the page refers to, and that were not read


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFailure:
    """Why one kind of looking gave nothing: a value, no error."""

    status: Status  # blocked or failed
    reason: str


PageAnswer = PageFound | PageFailure


def merged(files: Iterable[FoundFile], selection: Selection) -> tuple[tuple[FoundFile, ...], str]:
    """Each wanted file once, the first mention of it; and what there is to say about the rest."""
    files_by_url: dict[str, FoundFile] = {}
    surplus = 0
    for file in files:
        if not selection.has(file) or file.shown in files_by_url:
            continue
        if len(files_by_url) >= selection.most_files:
            surplus += 1
            continue
        files_by_url[file.shown] = file
    return tuple(files_by_url.values()), f"{surplus} more than {selection.most_files} are left out" if surplus else ""
