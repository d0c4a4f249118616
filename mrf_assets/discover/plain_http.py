"""The ways over plain HTTP: what a portal's family is known to answer, and the page itself.

Requests are `fetch`'s, with its manners, redirects, bounds and private addresses; what is read is `answers`'.
Blocks: call it in threads.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote, urlsplit

from mrf_assets.discover.answers import itself, read_portal_answer
from mrf_assets.discover.deadline import Deadline, Patience
from mrf_assets.discover.families import Candidate, candidates, is_template
from mrf_assets.discover.links import PageReading
from mrf_assets.discover.robots import Robots, robots_refused
from mrf_assets.discover.values import MAX_FILES, PAGE_WAY, FoundFile, Portal, Status, WayResult
from mrf_assets.errors import (
    AccessRefused,
    HttpStatusError,
    MrfError,
    NotFoundAtSource,
    RobotsRefused,
    UnsupportedContent,
    UnsupportedUrl,
)
from mrf_assets.stream.decompress import is_zlib
from mrf_assets.stream.raw_file import Opener, RawFile
from mrf_assets.urls.address import Address

logger = logging.getLogger(__name__)

BY_HAND = "open it in a browser, and give the index to `mrf run --source index --input`"
_MAX_BYTES = 64 << 20  # of one answer; UHC's list of 86,514 blobs has 31 MB
_HEAD_BYTES = 1 << 16  # enough to know an index by
MAX_QUESTIONS = 100  # of one way: lists that name lists, pages of listings (S3's have 1,000 names each)
_MAX_WAITING = 1_000  # lists that are known and not asked for yet
_MAX_NOTES = 10  # of one way
_GZIP = b"\x1f\x8b"
_GZIP_OR_ZLIB = 47  # of zlib's wbits
# Not there, or not for us: no failure of what was guessed (S3 and CloudFront say 403 of what is missing) or is named.
_OF_GUESSES: tuple[type[MrfError], ...] = (NotFoundAtSource, AccessRefused)
_OF_NAMED = (*_OF_GUESSES, RobotsRefused)
_REFUSALS = re.compile(r"\AHTTP (?:406|407|429|440|451)\b")  # beside 401, 403 and 409: programs, sessions, countries


@dataclass(slots=True)
class _Findings:
    """One way while it is gone."""

    way: str
    files: dict[str, FoundFile]
    notes: dict[str, None]
    status: Status = "nothing"
    further_notes: int = 0

    def failed(self, error: MrfError, *, expected_errors: tuple[type[MrfError], ...]) -> None:
        """Note why an address gave nothing; some errors of guesses are no more than a note."""
        status, reason = status_of(error)
        if isinstance(error, expected_errors):
            reason = reason.partition("; ")[0]
        elif self.status != "blocked":
            self.status = status
        self.note(reason)

    def note(self, text: str) -> None:
        """Keep it for a person; of many, the first ones and their number."""
        if text in self.notes:
            return
        if len(self.notes) < _MAX_NOTES:
            self.notes[text] = None
        else:
            self.further_notes += 1

    def take(self, reading: PageReading) -> None:
        """What one answer named, as far as there is room."""
        for url, file in reading.files.items():
            if len(self.files) >= MAX_FILES and url not in self.files:
                self.note(f"names more than {MAX_FILES} files; the rest is left out")
                break
            self.files[url] = file
        if reading.note:
            self.note(reading.note)
        if reading.unusable:
            self.note(f"{reading.unusable} address(es) cannot or must not be followed")

    @property
    def result(self) -> WayResult:
        """What came of it."""
        status: Status = "found" if self.files else self.status
        notes = [*self.notes, *([f"and {self.further_notes} more"] if self.further_notes else [])]
        return WayResult(way=self.way, status=status, reason="; ".join(notes), files=tuple(self.files.values()))


def status_of(error: MrfError) -> tuple[Status, str]:
    """Whether an error is a no or a failure, and the words for a person."""
    reason = str(error)
    if isinstance(error, RobotsRefused | AccessRefused):
        return "blocked", f"{reason.partition('; ')[0]}; {BY_HAND}"
    if isinstance(error, HttpStatusError) and _REFUSALS.match(error.reason):
        return "blocked", f"{reason.partition('; ')[0]}; {BY_HAND}"
    return "failed", reason


class PlainLooks:
    """Looks at portals over plain HTTP.

    Args:
        open_url: Of addresses that the user names.
        open_named: Of those that portals name.
        robots: What hosts ask of programs.
        patience: How long.
        today: Which month an address with a month in it is asked for.
    """

    def __init__(
        self, open_url: Opener, open_named: Opener, robots: Robots, patience: Patience, today: dt.date
    ) -> None:
        self._open_url, self._open_named = open_url, open_named
        self._robots, self._patience, self._today = robots, patience, today

    def families(self, portal: Portal) -> list[WayResult]:
        """One result for each known family that the portal's address is of."""
        questions: dict[str, list[Candidate]] = {}
        for candidate in candidates(portal.url, self._today):
            questions.setdefault(candidate.way, []).append(candidate)
        return [self._look(way, of_way, are_guesses=True) for way, of_way in questions.items()]

    def page(self, portal: Portal) -> WayResult | None:
        """What the portal's own page names; None for a template, which is no page."""
        if is_template(portal.url):
            return None
        return self._look(PAGE_WAY, [Candidate(portal.url, PAGE_WAY)], are_guesses=False)

    def lists(self, urls: Iterable[str], way: str, *, are_from_stranger: bool) -> WayResult:
        """What the lists name that a page refers to."""
        candidates_of_page = [Candidate(url, way) for url in urls]
        return self._look(way, candidates_of_page, are_guesses=True, are_from_stranger=are_from_stranger)

    def _look(
        self, way: str, questions: Iterable[Candidate], *, are_guesses: bool, are_from_stranger: bool = False
    ) -> WayResult:
        findings, asked_urls = _Findings(way, {}, {}), set[str]()
        queue = deque((candidate, are_from_stranger) for candidate in questions)
        first, unread_lists, deadline = len(queue), 0, self._patience.deadline()
        while queue:
            candidate, is_from_stranger = queue.popleft()
            if candidate.url in asked_urls:
                continue
            if len(asked_urls) >= MAX_QUESTIONS or deadline.is_over:
                unread_lists += len(queue) + 1
                break
            asked_urls.add(candidate.url)
            is_named = len(asked_urls) > first
            try:
                reading, is_private = self._read(candidate, deadline, is_from_stranger=is_from_stranger)
            except MrfError as error:
                findings.failed(error, expected_errors=_OF_NAMED if is_named else _OF_GUESSES if are_guesses else ())
                continue
            findings.take(reading)
            if candidate.enough and reading.files:
                break
            room = max(0, _MAX_WAITING - len(queue))
            unread_lists += max(0, len(reading.more) - room)
            queue.extend((Candidate(url, way), not is_private) for url in islice(reading.more, room))
        if unread_lists:
            why = ": there is no time left; raise MRF_SCRAPER_TIMEOUT_SECONDS" if deadline.is_over else ""
            findings.note(f"{unread_lists} more lists or pages of lists were not read{why}")
        return findings.result

    def _read(self, candidate: Candidate, deadline: Deadline, *, is_from_stranger: bool) -> tuple[PageReading, bool]:
        """What one address names, and whether it is of our own network, which may name more of that.

        Raises:
            RobotsRefused: Programs are not welcome there, or where it leads to.
            FetchError: As `fetch` says.
            UnsupportedUrl: It is not of the web; what strangers write never opens our own disk or a store.
            UnsupportedContent: A damaged gzip.
        """
        address = Address(candidate.url)
        if not _is_of_web(candidate.url):
            raise UnsupportedUrl(address, "is no address of the web; check who named it")
        if not self._robots.allow(address, is_from_stranger=is_from_stranger):
            raise robots_refused(address)
        opener = self._open_named if is_from_stranger else self._open_url
        logger.debug("%s is asked for (%s)", address, candidate.way)
        with opener(address) as raw:
            # A fake of tests has no redirects to tell.
            final_address: Address = getattr(raw, "final_address", address)
            is_led = final_address != address
            if is_led and not self._robots.allow(
                final_address, is_from_stranger=is_from_stranger or not raw.is_private
            ):
                raise robots_refused(final_address)
            body = _Body(raw, deadline)
            if (file := itself(candidate.url, body.head(), candidate.way)) is not None:
                return PageReading({file.url: file}, {}), raw.is_private
            whole = body.whole()
        reading = read_portal_answer(final_address.real, whole, candidate.way)
        if body.is_cut and not reading.note:
            reading.note = f"{final_address} is longer than {_MAX_BYTES >> 20} MiB, the rest was not read"
        return reading, raw.is_private


def _is_of_web(url: str) -> bool:
    """Whether it can be asked, escapes in the host undone as well: `http://ho%5Bst/` is half an IPv6 address."""
    try:
        parts = urlsplit(unquote(url))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class _Body:
    """One answer, decompressed and bounded, whatever its sender says."""

    def __init__(self, raw: RawFile, deadline: Deadline) -> None:
        self._raw, self._deadline, self._data = raw, deadline, b""
        self._unzip: zlib._Decompress | None = None
        self.is_cut = False
        self._is_at_end = False

    def head(self) -> bytes:
        """The first bytes."""
        self._fill(_HEAD_BYTES)
        return self._data[:_HEAD_BYTES]

    def whole(self) -> bytes:
        """All of it, or as much as is read."""
        self._fill(_MAX_BYTES)
        self.is_cut = not self._is_at_end
        return self._data

    def _fill(self, size: int) -> None:
        pieces = [self._data]
        missing = size - len(self._data)
        while missing > 0 and not self._is_at_end:
            self._deadline.check(self._raw.url)
            piece = self._piece(missing)
            pieces.append(piece)
            missing -= len(piece)
        self._data = b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        unzip = self._unzip
        if unzip is not None and unzip.unconsumed_tail:
            return self._unzipped(unzip, unzip.unconsumed_tail, size)
        if unzip is not None and unzip.eof:
            return self._behind(unzip.unused_data, size)
        raw = self._raw.read(min(size, 1 << 16))
        if not raw:
            self._is_at_end = True
            return b""
        if unzip is None and not self._data and (raw.startswith(_GZIP) or is_zlib(raw)):
            unzip = self._unzip = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        return raw if unzip is None else self._unzipped(unzip, raw, size)

    def _behind(self, data: bytes, size: int) -> bytes:
        """The next member of a gzip; anything else behind its end is no part of the answer."""
        data = data or self._raw.read(min(size, 1 << 16))
        if not data.startswith(_GZIP):
            self._is_at_end = True
            return b""
        unzip = self._unzip = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        return self._unzipped(unzip, data, size)

    def _unzipped(self, unzip: zlib._Decompress, data: bytes, size: int) -> bytes:
        try:
            return unzip.decompress(data, size)
        except zlib.error:
            raise UnsupportedContent(self._raw.url, "is damaged where it is compressed; download it again") from None
