"""JSON events with byte offsets, out of ijson's push parser.

ijson tells events without positions. Its parser is therefore fed in pieces that end with
an opening brace: the event that a piece ends with is that brace's, at a known offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import ijson

from mrf_assets.errors import MalformedJson, TruncatedFile
from mrf_assets.settings import Limits
from mrf_assets.stream.yajl_errors import error_position

OffsetEvent = tuple[int, str, Any]  # byte offset (exact for start_map, else of the brace that follows), event, value

# A stretch without any brace is cut: a piece of [[[[ has an event of 100 bytes in each of its bytes. Not into small
# pieces: with each one the parser looks again at all of a text or number that goes on.
_LONGEST_PIECE = 1 << 18
_STEPS = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
_DEFAULT_LIMITS = Limits()
_BOM = b"\xef\xbb\xbf"


def events_with_offsets(blocks: Iterable[bytes], url: str, limits: Limits = _DEFAULT_LIMITS) -> Iterator[OffsetEvent]:
    """Yield `(byte_offset, event, value)`; a byte order mark is skipped and told as the event `byte_order_mark`.

    The parser holds a text until its end, so a stretch without any bracket has a bound, wherever it stands.

    Raises:
        TruncatedFile: The JSON ended before its closing bracket.
        MalformedJson: Anything else that is not JSON, with the offset in decompressed bytes.
        LimitExceeded: Nested too deep, or a stretch without any bracket is too long.
    """
    depth = last_bracket = 0  # where about it was
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events)
    offset = 0  # of the first byte not yet sent
    for piece in _pieces(blocks):
        if not offset and piece.startswith(_BOM):
            yield 0, "byte_order_mark", None
            offset, piece = len(_BOM), piece[len(_BOM) :]  # noqa: PLW2901 - the rest of the piece is the piece
            if not piece:  # ijson takes an empty piece for the end
                continue
        _parse(parser, piece, offset, url)
        offset += len(piece)
        for event, value in events:
            if step := _STEPS.get(event):
                depth, last_bracket = depth + step, offset
                if depth > limits.max_nesting_depth:
                    raise limits.too_deep(url, offset - 1)
            yield offset - 1, event, value
        del events[:]
        if offset - last_bracket > limits.max_element_bytes:
            raise limits.too_long(url, last_bracket)
    try:
        parser.close()
    except ijson.JSONError:
        raise TruncatedFile(url, offset, "the JSON") from None
    for event, value in events:  # a bare number is known to be whole at the end alone
        yield offset - 1, event, value


class _Nothing:
    """Takes events, and keeps none."""

    def send(self, event: object) -> None:
        """Forget it."""


def check_json(blocks: Iterable[bytes], url: str) -> None:
    """Raise as `events_with_offsets` does where the blocks are no JSON, three times as fast: no event is looked at.

    Raises:
        TruncatedFile: The JSON ended before its closing bracket.
        MalformedJson: Anything else that is not JSON, with the offset in the blocks.
    """
    parser, offset = ijson.basic_parse_coro(_Nothing()), 0
    for piece in _pieces(blocks):
        _parse(parser, piece, offset, url)
        offset += len(piece)
    try:
        parser.close()
    except ijson.JSONError:
        raise TruncatedFile(url, offset, "the JSON") from None


def _parse(parser: Any, piece: bytes, offset: int, url: str) -> None:  # noqa: ANN401 - of ijson, which has no types
    try:
        parser.send(piece)
    except ijson.JSONError as error:
        place, reason = error_position(error, piece)
        raise MalformedJson(url, offset + place, reason) from None
    except (ArithmeticError, UnicodeDecodeError, ValueError, SystemError) as error:
        # ijson gets into these over numbers beyond Decimal's and int's limits and lone surrogates.
        raise MalformedJson(url, offset, f"a number or text that cannot be held: {type(error).__name__}") from None


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut after every opening brace, inside strings too: an extra cut does no harm."""
    rest = b""
    for block in chain.from_iterable(map(_cut, blocks)):
        *whole, rest = (rest + block).split(b"{")
        for piece in whole:
            yield from _cut(piece + b"{")
        if len(rest) > _LONGEST_PIECE:
            yield from _cut(rest)
            rest = b""
    if rest:
        yield rest


def _cut(piece: bytes) -> Iterator[bytes]:
    if len(piece) <= _LONGEST_PIECE:
        yield piece
        return
    for begin in range(0, len(piece), _LONGEST_PIECE):
        yield piece[begin : begin + _LONGEST_PIECE]
