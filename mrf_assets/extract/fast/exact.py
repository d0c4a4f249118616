"""A piece of JSON -> the values that the reference reader would see: exact numbers, duplicate keys, offsets.

`json` of the standard library is quick and knows no offsets; ijson knows them. What `json` refuses,
ijson decides, so a piece is malformed here exactly when it is for the reference reader.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from mrf_assets.errors import MalformedJson, TruncatedFile
from mrf_assets.extract.interface import ReadCounts
from mrf_assets.extract.oracle.cursor import Cursor
from mrf_assets.extract.values import Json, Obj
from mrf_assets.settings import CONTAINER_VALUES, Limits
from mrf_assets.stream.json_offsets import OffsetEvent, events_with_offsets

Segment = tuple[int, bytes]  # byte offset in the file, text

# Whoever found the piece saw to its limits.
_BOUNDED = Limits(max_nesting_depth=200, max_element_bytes=1 << 62, max_element_values=1 << 62)
_MAX_BRACKETS = 60  # that many cannot be nested too deep


class NotQuiteJsonError(ValueError):
    """The quick parser cannot tell what the reference reader would see; ask `located`."""


class _Quick(threading.local):
    """`json` with exact numbers, `Obj` for objects and duplicate keys counted."""

    def __init__(self) -> None:
        self.duplicates = 0
        decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_float=Decimal, parse_constant=_refuse)
        self.decode = decoder.decode

    def _object(self, pairs: list[tuple[str, Json]]) -> Obj:
        obj = Obj(-1)
        obj.update(pairs)
        self.duplicates += len(pairs) - len(obj)
        return obj


def _refuse(constant: str) -> Json:
    raise NotQuiteJsonError(constant)


_QUICK = _Quick()


def quick(text: bytes, *, shallow: bool = False) -> tuple[Json, int]:
    """The value and its number of duplicate keys; offsets of objects are not known.

    `shallow` promises that nothing is nested deeper than the reference reader takes.

    Raises:
        NotQuiteJsonError: Malformed, or unusual.
    """
    if not shallow and text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        raise NotQuiteJsonError("deep")
    _QUICK.duplicates = 0
    try:
        value = _QUICK.decode(text.decode())
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise NotQuiteJsonError(str(error)) from None
    return value, _QUICK.duplicates


def is_crowded(text: bytes, limits: Limits) -> bool:
    """Whether a piece may have a quarter of the values that one element may have, or more.

    The quick parsers take three times as much memory for a value as the reference reader, which also counts.
    """
    most = limits.max_element_values
    if 2 * len(text) <= most:  # no text has more than `[[[[` has: CONTAINER_VALUES for two bytes
        return False
    # A value is the first in its brackets, or stands behind a comma.
    return 4 * (text.count(b",") + CONTAINER_VALUES * (text.count(b"[") + text.count(b"{"))) >= most


def located(segments: Sequence[Segment], url: str, counts: ReadCounts, limits: Limits = _BOUNDED) -> Json:
    """The value that the segments make up, with byte offsets; duplicate keys go to the counts.

    Raises:
        MalformedJson: With its offset in the file.
        LimitExceeded: It has more values than one element may have.
    """
    cursor = Cursor(located_events(segments, url), url, limits)
    value = cursor.value(cursor.next(), counts)
    cursor.finish()
    return value


def located_members(segments: Sequence[Segment], url: str, counts: ReadCounts) -> list[tuple[str, Json]]:
    """The members of the object that the segments make up, doubles too; doubles inside of values go to the counts."""
    cursor = Cursor(located_events(segments, url), url, _BOUNDED)
    cursor.next()
    members = [(key, cursor.value(cursor.next(), counts)) for key in cursor.members()]
    cursor.finish()
    return members


def located_elements(
    segments: Sequence[Segment], url: str, counts: ReadCounts, limits: Limits = _BOUNDED
) -> list[Json]:
    """The elements of the list that the segments make up, with byte offsets.

    Raises:
        MalformedJson: With its offset in the file.
        LimitExceeded: One of them has more values than it may have.
    """
    cursor = Cursor(located_events(segments, url), url, limits)
    elements = [cursor.value(element, counts) for element in cursor.elements(cursor.next())]
    cursor.finish()
    return elements


def located_events(segments: Iterable[Segment], url: str, *, is_whole: bool = True) -> Iterator[OffsetEvent]:
    """Events of ijson over segments of a file, with offsets in the file.

    Raises:
        MalformedJson: Also where the segments end too early, if they are whole values.
        TruncatedFile: They end too early, and need not be whole.
    """
    starts, offsets = list[int](), list[int]()

    def blocks() -> Iterator[bytes]:
        length = 0
        for offset, text in segments:
            if text:  # ijson takes an empty block for the end
                starts.append(length)
                offsets.append(offset)
                length += len(text)
                yield text

    def in_file(place: int) -> int:
        nth = bisect_right(starts, place) - 1
        return offsets[nth] + place - starts[nth] if nth >= 0 else place

    try:
        for place, event, value in events_with_offsets(blocks(), url, _BOUNDED):
            yield in_file(place), event, value
    except MalformedJson as error:
        raise MalformedJson(url, in_file(error.byte_offset), error.reason) from None
    except TruncatedFile as error:
        if not is_whole:
            raise
        raise MalformedJson(url, in_file(error.byte_offset), "a value ends too early") from None


def members(segments: Sequence[Segment], url: str) -> tuple[list[tuple[str, Json]], int]:
    """The members of the object that the segments make up, doubles too, and how many doubles are inside of them.

    Raises:
        MalformedJson: With its offset in the file.
    """
    text = b"".join(part for _, part in segments)
    try:
        pairs, duplicates = _QUICK_MEMBERS.members(text)
    except NotQuiteJsonError:
        counts = ReadCounts()
        return located_members(segments, url, counts), counts.repairs["duplicate_key"]
    return pairs, duplicates


class _QuickMembers(_Quick):
    """Keeps the members of the outermost object as they came."""

    def __init__(self) -> None:
        super().__init__()
        self._last: list[tuple[str, Json]] = []

    def _object(self, pairs: list[tuple[str, Json]]) -> Obj:
        self._last = pairs
        return super()._object(pairs)

    def members(self, text: bytes) -> tuple[list[tuple[str, Json]], int]:
        if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
            raise NotQuiteJsonError("deep")
        self.duplicates = 0
        try:
            outermost = self.decode(text.decode())
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise NotQuiteJsonError(str(error)) from None
        assert isinstance(outermost, Obj)
        return self._last, self.duplicates - (len(self._last) - len(outermost))


_QUICK_MEMBERS = _QuickMembers()
