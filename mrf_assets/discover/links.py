"""The text of a page -> the addresses in it: in attributes, scripts and plain text.

Not by a parser of HTML: the standard library's takes the square of a page's length for `<a <a <a ...` (1 MB: minutes,
Python 3.11.7), and what payers' pages hold in scripts and `data-` attributes no parser would find. The patterns here
look at each character a bounded number of times.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from mrf_assets.discover.kinds import kind_of
from mrf_assets.discover.values import MAX_FILES, FoundFile
from mrf_assets.sources.locations import Unusable, usable_location

_LONGEST = 8_192  # characters of an address; signed ones have some 700
# Overlapping, for the quote that ends one text may be taken for the beginning of another.
_QUOTED_TEXT = re.compile(rf"""(=[ \n\t]?)?\\?["'](?=([^"'<>\n\r\t\\]{{4,{_LONGEST}}})\\?["'])""")
_BARE_ATTRIBUTE = re.compile(rf"""(?i)\b(?:href|src)[ ]?=[ ]?([^\s"'<>=]{{4,{_LONGEST}}})""")
_ADDRESS = re.compile(rf"""(?i)\bhttps?:/{{2}}([^\s"'<>\\]{{4,{_LONGEST}}})""")
_BASE = re.compile(r"""(?i)<base[ ]{1,9}href[ ]?=[ ]?["']([^"'<>\s]{1,2000})["']""")
_JS_ESCAPES = re.compile(r"\\(?:/|u002[fF]|u0026|u003[dD])")
_JS_UNESCAPED = {"\\/": "/", "\\u002f": "/", "\\u0026": "&", "\\u003d": "="}
# Lists of files that pages of known families refer to.
_LISTS = re.compile(
    r"(?i)/(?:latest|latest_metadata|[\w-]{0,40}file-?list)\.json\Z"  # Cigna, HealthSparq, HCSC
    r"|/api/v\d/[a-z]{2,10}/blobs/?\Z"  # UHC, Optum
    r"|/(?:MRF_URL[\w-]{0,40}|[\w-]{0,40}_List)\.txt\Z"  # Highmark, Kaiser
)


@dataclass(slots=True)
class PageReading:
    """What one answer named; grows while it is read."""

    files: dict[str, FoundFile]
    more: dict[str, None]  # addresses of lists and of further pages of this one
    unusable: int = 0  # addresses of files that must not or cannot be followed
    note: str = ""  # what is odd about the answer, for a person

    @classmethod
    def empty(cls) -> PageReading:
        """Nothing yet."""
        return cls({}, {})

    def add(self, location: str, base: str, way: str, kind: str | None = None) -> None:
        """Take what may be the address of a file; everything else is passed over."""
        url = address(location, base)
        if url is None:
            return
        url_kind = kind_of(url)
        is_list = url_kind is None and kind is None
        if is_list and not _LISTS.search(urlsplit(url).path):
            return
        if not _is_followed(url, base):
            self.unusable += 1
        elif len(self.files) + len(self.more) >= MAX_FILES:
            self.note = f"names more than {MAX_FILES} files and lists; the rest is left out"
        elif is_list:
            self.more.setdefault(url)
        else:
            self.files.setdefault(url, FoundFile(url=url, kind=kind or url_kind, way=way))  # type: ignore[arg-type]  # one is


def address(location: str, base: str) -> str | None:
    """The absolute address of what a page calls it; None where it is none."""
    if len(location) > _LONGEST:
        return None
    try:
        url = urljoin(base, location.strip())
        if urlsplit(url).scheme not in ("http", "https", "file", "s3", "gs", "az"):
            return None  # javascript:, mailto:, data: and the like are no addresses of files
        return quote(url, safe="!#$%&'()*+,/:;=?@[]~")  # spaces and letters of all languages; what is escaped stays
    except ValueError:  # brackets that do not match, halves of characters
        return None


def _is_followed(url: str, base: str) -> bool:
    """Whether an address may be asked one day: of the web, and without anybody's name or password."""
    try:
        usable_location(url, base)
        return url.lower().startswith(("http://", "https://")) and "@" not in urlsplit(url).netloc
    except (Unusable, ValueError):
        return False


def read_page(text: str, base: str, way: str) -> PageReading:
    """The files and lists that the text of a page at `base` names."""
    reading = PageReading.empty()
    if base_tag := _BASE.search(text):
        base = address(html.unescape(base_tag[1]), base) or base
    for location in _locations(text):
        reading.add(location, base, way)
    return reading


def _locations(text: str) -> Iterator[str]:
    text = _JS_ESCAPES.sub(lambda match: _JS_UNESCAPED[match[0].lower()], text)
    for match in _QUOTED_TEXT.finditer(text):
        # A bare name is an address in an attribute alone: bundles of scripts are full of "package.json".
        if match[1] or "/" in match[2]:
            yield html.unescape(match[2])
    for match in _BARE_ATTRIBUTE.finditer(text):
        yield html.unescape(match[1])
    for match in _ADDRESS.finditer(text):
        yield html.unescape(match[0])
