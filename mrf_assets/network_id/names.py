"""An address -> its parts: stem, date, part, folders; the same for every payer.

What a stem means is `families`' business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mrf_assets.urls import canonical_url, file_name, host_of, is_remote, local_path

_YEAR, _MONTH, _DAY = r"20\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
# Plan numbers of six digits look like YYYYMM, so that form counts as a date only where it is a whole folder.
_DATE = rf"{_YEAR}-{_MONTH}(?:-{_DAY})?|{_YEAR}{_MONTH}{_DAY}"
_LEADING_DATE = re.compile(rf"\A(?:PRD_)?({_DATE})(?:[_\-. ]+|\Z)")
INNER_DATE = re.compile(rf"(?<![0-9A-Za-z])({_DATE})(?![0-9A-Za-z])")
_DATE_FOLDER = re.compile(rf"(?:{_DATE}|{_YEAR}{_MONTH})\Z")
_SUFFIX = re.compile(r"(?i)\.(?:json|jsonl|ndjson|csv|xml|txt|zip|7z|gz|gzip|bz2|xz|zst|tar|tgz)\Z")
_PART = re.compile(r"_0*([1-9]\d{0,6})_of_0*([1-9]\d{0,6})(?=[_.]|\Z)")
IN_NETWORK = re.compile(r"in[-_ ]?network")  # of names in lower case, as the next
ALLOWED_AMOUNTS = re.compile(r"allowed[-_ ]?amounts?|out[-_ ]?of[-_ ]?network")
_TENANT = re.compile(r"(?:\A|[/.])([0-9A-Za-z-]+)-egress\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A URL's file name, taken apart."""

    url: str  # canonical
    stem: str  # without suffixes, leading date and part
    stamp: str | None  # the date as published, which gave the period
    period: str | None
    part: int = 1
    parts: int = 1

    @property
    def tenant(self) -> str | None:
        """The payer whose folder of a HealthSparq host this is: one host serves them all."""
        match = _TENANT.search(self.url)
        return match.group(1).lower() if match else None

    @property
    def publisher(self) -> str:
        """Tenant, else host, else `local`: the narrowest scope that an address by itself gives."""
        return self.tenant or host_of(self.url) or "local"


def names_allowed_amounts(url: str) -> bool:
    """Whether a file is called as CMS has allowed-amounts files called, and not as in-network files are."""
    name = file_name(canonical_url(url)).lower()
    return bool(ALLOWED_AMOUNTS.search(name)) and not IN_NETWORK.search(name)


def folders(url: str) -> list[str]:
    """Host and folders of a URL, or the folders of a path."""
    path = url.partition("://")[2].partition("?")[0] if is_remote(url) else str(local_path(url))
    return path.split("/")[:-1]


def period_of(stamp: str) -> str:
    """YYYY-MM of a date as published."""
    digits = stamp.replace("-", "")
    return f"{digits[:4]}-{digits[4:6]}"


def take_apart(url: str) -> Name:
    """What an address says by itself; never fails."""
    url = canonical_url(url)
    stem = file_name(url).strip()
    while (shorter := _SUFFIX.sub("", stem)) != stem:
        stem = shorter
    if leading := _LEADING_DATE.match(stem):
        stamp, stem = leading.group(1), stem[leading.end() :]
    else:
        stamp = next(filter(_DATE_FOLDER.match, reversed(folders(url))), None)
    part = parts = 1
    match = _PART.search(stem)
    if match and int(match.group(1)) <= int(match.group(2)):
        part, parts = int(match.group(1)), int(match.group(2))
        stem = stem[: match.start()] + stem[match.end() :]
    return Name(url=url, stem=stem, stamp=stamp, period=period_of(stamp) if stamp else None, part=part, parts=parts)


def undated(address: str) -> str:
    """An address as it is next month: without dates and parts."""
    segments = ["" if _DATE_FOLDER.match(it) else INNER_DATE.sub("", it) for it in address.split("/")]
    return _PART.sub("", "/".join(segments))
