"""The bytes of an index -> JSON events, with errors that say at which byte.

Events are ijson's `(event, value)`; what they mean is `index`'s business, decompression `stream`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import ijson

from mrf_assets.errors import EmptyFile, MalformedJson, TruncatedFile
from mrf_assets.sources.tally import SourceTally

Event = tuple[str, Any]

_BOM = b"\xef\xbb\xbf"
_PARSE_BYTES = 1 << 16  # pieces small enough to say where the JSON breaks


@contextmanager
def json_events(blocks: Iterator[bytes], url: str, tally: SourceTally) -> Iterator[Iterator[Event]]:
    """Events of one JSON value; what goes wrong while they are taken is told with its place.

    A byte order mark is dropped and counted.

    Raises:
        EmptyFile: No byte.
        MalformedJson, TruncatedFile: With the byte of the decompressed file.
    """
    source = _Bytes(blocks)
    if source.has_mark:
        tally.repairs["byte_order_mark"] += 1
    try:
        yield iter(ijson.basic_parse(source))
    except ijson.JSONError as error:
        if source.ended and not source.begin:
            raise EmptyFile(url, "the index is empty; download it again") from None
        if source.ended:
            raise TruncatedFile(url, source.begin, "the JSON of the index") from None
        message = error.args[0]  # bytes where what it quotes is no UTF-8
        lines = (message if isinstance(message, bytes) else message.encode("utf-8", "backslashreplace")).split(b"\n")
        raise MalformedJson(url, source.begin + _offset(lines, source.piece), lines[0].decode()) from None


class _Bytes:
    """What the parser reads, with a count, so that an error can be found again."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        head = b""
        while len(head) < len(_BOM) and (block := next(blocks, b"")):
            head += block
        self.has_mark = head.startswith(_BOM)
        self.begin, self.piece, self.ended = 0, _BOM if self.has_mark else b"", False  # the mark counts as read
        self._pieces = _cut(chain([head.removeprefix(_BOM)], blocks))

    def read(self, size: int, /) -> bytes:
        """The next piece, whatever its size."""
        if size == 0:  # ijson asks whether these are bytes
            return b""
        self.begin += len(self.piece)
        self.piece = next(self._pieces, b"")
        self.ended = not self.piece
        return self.piece


def _cut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for begin in range(0, len(block), _PARSE_BYTES):
            yield block[begin : begin + _PARSE_BYTES]


def _offset(message: list[bytes], piece: bytes) -> int:
    """Where in the piece yajl stumbled: it quotes up to 30 bytes before the place and says nothing else."""
    if len(message) < 3 or b"(right here)" not in message[2]:  # noqa: PLR2004 - message, quote, arrow
        return 0
    before = message[1][: message[2].index(b"^")].lstrip()
    text = piece.replace(b"\n", b" ").replace(b"\r", b" ")
    found = text.find(before)
    unique = found >= 0 and text.find(before, found + 1) < 0
    return found + len(before) if unique else 0
