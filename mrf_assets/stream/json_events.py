"""The bytes of an index -> JSON events, with errors that say at which byte.

Events are ijson's `(event, value)`; what they mean is `index_json`'s business, decompression `decompress`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import ijson

from mrf_assets.errors import EmptyFile, MalformedJson, TruncatedFile
from mrf_assets.settings import Limits
from mrf_assets.stream.surrogates import mended
from mrf_assets.stream.yajl_errors import error_position

Event = tuple[str, Any]

_BOM = b"\xef\xbb\xbf"
_PARSE_BYTES = 1 << 16  # pieces small enough to say where the JSON breaks


class TooDeepError(Exception):
    """Whoever takes the events has seen too many brackets inside of each other."""


@contextmanager
def json_events(blocks: Iterator[bytes], url: str, repairs: Counter[str], limits: Limits) -> Iterator[Iterator[Event]]:
    """Events of one JSON value; what goes wrong while they are taken is told with its place.

    A byte order mark is dropped and counted in `repairs`, as lone surrogates are.

    Raises:
        EmptyFile: No byte.
        MalformedJson, TruncatedFile: With the byte of the decompressed file.
        LimitExceeded: A text or number is too long; nested too deep, where the taker says so.
    """
    source = _Bytes(mended(blocks, repairs))
    if source.has_mark:
        repairs["byte_order_mark"] += 1
    try:
        yield _parsed(source, url, limits)
    except TooDeepError:
        raise limits.too_deep(url, source.begin) from None
    except ijson.JSONError as error:
        if source.has_ended and not source.begin:
            raise EmptyFile(url, "the index is empty; download it again") from None
        if source.has_ended:
            raise TruncatedFile(url, source.begin, "the JSON of the index") from None
        place, reason = error_position(error, source.piece)
        raise MalformedJson(url, source.begin + place, reason) from None


def _parsed(source: _Bytes, url: str, limits: Limits) -> Iterator[Event]:
    """The events; the parser holds a text until its end, so there must be some from time to time."""
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events)
    silent_from = 0
    while piece := source.next_piece():
        try:
            parser.send(piece)
        except (ArithmeticError, UnicodeDecodeError, ValueError, SystemError) as error:
            if isinstance(error, ijson.JSONError):
                raise
            reason = f"a number or text that cannot be held: {type(error).__name__}"
            raise MalformedJson(url, source.begin, reason) from None
        if events:
            silent_from, source.piece_bytes = source.begin + len(piece), _PARSE_BYTES
            yield from events
            del events[:]
            continue
        # With each piece the parser looks again at all of a text that goes on.
        source.piece_bytes *= 2
        if source.begin + len(piece) - silent_from > limits.max_element_bytes:
            raise limits.too_long(url, silent_from)
    parser.close()
    yield from events


class _Bytes:
    """What the parser reads, with a count, so that an error can be found again."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        head = b""
        while len(head) < len(_BOM) and (block := next(blocks, b"")):
            head += block
        self.has_mark = head.startswith(_BOM)
        self.begin, self.piece, self.has_ended = 0, _BOM if self.has_mark else b"", False  # the mark counts as read
        self.piece_bytes = _PARSE_BYTES  # of the next ones
        self._pieces = self._cut(chain([head.removeprefix(_BOM)], blocks))

    def next_piece(self) -> bytes:
        """The next piece; none at the end."""
        self.begin += len(self.piece)
        self.piece = next(self._pieces, b"")
        self.has_ended = not self.piece
        return self.piece

    def _cut(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            begin = 0
            while begin < len(block):
                end = begin + self.piece_bytes
                yield block[begin:end]
                begin = end
