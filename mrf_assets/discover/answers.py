"""What a server answered -> the files that it names, and where more of them are named. By shape, never by host.

A page is HTML, JSON (HealthSparq's metadata, UHC's blobs, Cigna's `latest.json`, HCSC's list), a listing of a
container in XML (Azure, S3) or a list of addresses in plain text (Kaiser, Highmark).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from xml.parsers import expat

from mrf_assets.discover.kinds import kind_of
from mrf_assets.discover.links import PageReading, address, read_page
from mrf_assets.discover.values import FoundFile, Kind
from mrf_assets.errors import MrfError
from mrf_assets.settings import Limits
from mrf_assets.stream.json_events import TooDeepError, json_events
from mrf_assets.urls.address import Address

_ARCHIVES = (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c")
_BOM = b"\xef\xbb\xbf"
_LONGEST_TEXT = 8_192  # characters of a name or address
_MAX_FIELDS = 64  # of one object of a list
_MAX_TEXT_BYTES = 2 << 20
_MAX_DEPTH = 32
_MAX_PAGE_BYTES = 8 << 20  # of HTML
_NEXT_PAGES = {"NextMarker": "marker", "NextContinuationToken": "continuation-token"}
_LISTING = re.compile(rb"<(?:\w+:)?(EnumerationResults|ListBucketResult)[\s>]")
_HEALTHSPARQ_KINDS: dict[str, Kind] = {
    "TABLE_OF_CONTENTS": "table_of_contents",
    "IN_NETWORK_RATES": "in_network",
    "ALLOWED_AMOUNTS": "allowed_amounts",
}
_CIGNA_KINDS: dict[str, Kind] = {"TOC": "table_of_contents"}


def read_portal_answer(url: str, body: bytes, way: str) -> PageReading:
    """What the answer of `url` names; whatever it is, reading it ends, and what is odd becomes a note.

    Args:
        url: Where it was found, redirects followed; relative addresses are taken from there.
        body: Decompressed; may be the beginning alone.
        way: Of the files that are found.
    """
    head = body[:4096].removeprefix(_BOM).lstrip()
    if head.startswith((b"{", b"[")):
        return _read_json(url, body, way)
    if _LISTING.search(head):
        return _read_listing(url, body, way)
    if head.startswith(b"<"):
        text = body[:_MAX_PAGE_BYTES].decode("utf-8", "replace")
        reading = read_page(text, url, way)
        if len(body) > _MAX_PAGE_BYTES:
            reading.note = f"the page is longer than {_MAX_PAGE_BYTES >> 20} MiB, the rest was not read"
        return reading
    return _read_list(url, body, way)


def itself(url: str, head: bytes, way: str) -> FoundFile | None:
    """The file at `url`, if it is an index or rates itself and no list of them; its first 64 kB tell."""
    kind = _kind_of_archive(url) if head.startswith(_ARCHIVES) else _kind_of_json(head)
    return None if kind is None else FoundFile(url=url, kind=kind, way=way)


def _kind_of_archive(url: str) -> Kind | None:
    """What is packed is not looked into: names are all there is to go by. Spreadsheets are zips, too."""
    kind = kind_of(url)
    return None if kind == "document" else kind


def _kind_of_json(head: bytes) -> Kind | None:
    text = head.removeprefix(_BOM).lstrip()
    if not text.startswith(b"{"):
        return None
    if b'"reporting_structure"' in text:
        return "table_of_contents"
    if b'"reporting_entity_name"' not in text:
        return None
    if b'"out_of_network"' in text:
        return "allowed_amounts"
    # Of rates, whole references may come before the first price.
    return "in_network" if b'"in_network"' in text or b'"provider_references"' in text else None


# --- JSON ---------------------------------------------------------------------------------------


def _read_json(url: str, body: bytes, way: str) -> PageReading:
    reading = PageReading.empty()
    if (file := itself(url, body[: 1 << 16], way)) is not None:
        reading.files[url] = file
        return reading
    try:
        for record, above in _objects(url, body):
            _take_object(reading, record, above, url, way)
    except MrfError as error:  # cut off, or no JSON from some byte on: what was named before counts
        reading.note = str(error)
    return reading


def _take_object(reading: PageReading, record: dict[str, str], above: dict[str, str], url: str, way: str) -> None:
    """The files that one object names: by the fields of a known family, else by any text that looks like an address."""
    if location := record.get("filePath"):  # HealthSparq; relative to the folder of its metadata
        kind = _HEALTHSPARQ_KINDS.get(record.get("fileSchema", ""))
        reading.add(location, url, way, kind)
    elif location := record.get("downloadUrl"):  # UHC and Optum; the name says what it is
        reading.add(location, url, way, kind_of(f"https://blob/{record.get('name', '')}"))
    elif (location := record.get("url")) and (kind := _CIGNA_KINDS.get(above.get("kind", ""))):
        reading.add(location, url, way, kind)
    else:
        for text in record.values():
            if "/" in text or ("." in text and kind_of(address(text, url) or "") is not None):
                reading.add(text, url, way)


def _objects(url: str, body: bytes) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The texts of each object and those of the object around it; arrays of texts come as objects, too."""
    stack: list[dict[str, str]] = [{}]
    key = ""
    limits = Limits(max_element_bytes=_MAX_TEXT_BYTES)
    try:
        with json_events(iter([body]), str(Address(url)), Counter(), limits) as events:
            for event, value in events:
                if event == "map_key":
                    key = value[:_LONGEST_TEXT]
                elif event == "start_map":
                    stack.append({})
                    if len(stack) > _MAX_DEPTH:
                        raise TooDeepError
                elif event == "end_map":
                    yield stack.pop(), stack[-1]
                elif event == "string" and len(value) <= _LONGEST_TEXT:
                    yield from _kept(stack, key, value)
    except MrfError:  # of what broke off, all that were not closed
        yield from ((record, {}) for record in reversed(stack))
        raise
    yield stack[0], {}


def _kept(stack: list[dict[str, str]], key: str, value: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Put a text into its object; a second one of that key (an array) is an object by itself."""
    if key in stack[-1] or len(stack[-1]) >= _MAX_FIELDS:
        yield {key: value}, stack[-1]
    else:
        stack[-1][key] = value


# --- listings of containers ---------------------------------------------------------------------


class _NoListing(Exception):
    """XML that is no listing."""


class _Listing:
    """The names in an XML listing. No document type is let in, so no entity expands."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.next_page: dict[str, str] = {}  # what to ask for beside the rest of the query
        self.is_truncated = False  # S3's word for a listing that goes on
        self._path: list[str] = []
        self._text = ""
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_: Any) -> None:  # noqa: ANN401 - as expat calls it
        raise _NoListing("a document type, which no listing has")

    def _start(self, name: str, _attributes: object) -> None:
        self._path.append(name.rpartition(":")[2])
        self._text = ""
        if len(self._path) > _MAX_DEPTH:
            raise _NoListing("elements inside of each other without end")

    def _characters(self, text: str) -> None:
        if len(self._text) <= _LONGEST_TEXT:
            self._text += text

    def _end(self, _name: str) -> None:
        path = tuple(self._path[-2:])
        self._path.pop()
        if path in (("Contents", "Key"), ("Blob", "Name")):  # S3; Azure
            self.names.append(self._text)
        elif path[-1] in _NEXT_PAGES and self._text:
            self.next_page = {_NEXT_PAGES[path[-1]]: self._text}
        elif path[-1] == "IsTruncated":
            self.is_truncated = self._text.strip().lower() == "true"
        self._text = ""


def _read_listing(url: str, body: bytes, way: str) -> PageReading:
    reading, listing = PageReading.empty(), _Listing()
    try:
        listing.parser.Parse(body, True)
    except (expat.ExpatError, _NoListing) as error:  # cut off, or no XML from some place on: names before it count
        reading.note = f"the listing breaks off ({error})"
    # `encoding="gb18030"` is a ValueError of expat, one that nobody knows a LookupError.
    except (ValueError, LookupError):
        reading.note = "the listing is in an encoding that is not read; open it in a browser"
    parts = urlsplit(url)
    folder = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", ""))
    signature = _signature(parts.query)
    for name in listing.names:
        reading.add(f"./{quote(name.lstrip('/'))}{signature}", folder, way)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    next_page = listing.next_page
    if not next_page and listing.is_truncated and listing.names and "list-type" not in query:
        next_page = {"marker": listing.names[-1]}  # S3's first version tells it where a delimiter was asked for, only
    if next_page:
        query |= next_page
        reading.more[urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))] = None
    elif listing.is_truncated and not reading.note:
        reading.note = "the listing goes on, and does not say where; its other names were not read"
    return reading


def _signature(query: str) -> str:
    """The shared access signature of an Azure container, which opens its blobs as well."""
    if "sig=" not in query:
        return ""
    listing = {"restype", "comp", "prefix", "marker", "maxresults", "delimiter", "include"}
    parameters = [pair for pair in query.split("&") if pair.partition("=")[0].lower() not in listing]
    return "?" + "&".join(parameters)


# --- lists --------------------------------------------------------------------------------------


def _read_list(url: str, body: bytes, way: str) -> PageReading:
    """A list in plain text, an address or a name in each line; further columns are passed over."""
    reading = PageReading.empty()
    for line in body.decode("utf-8", "replace").splitlines():
        for text in re.split(r"[,\t|]", line[:_LONGEST_TEXT], maxsplit=8):
            if location := text.strip().strip("\"'"):
                reading.add(location, url, way)
    return reading
