"""JSON events with byte offsets, out of ijson's push parser.

ijson tells events without positions. Its parser is therefore fed in pieces that end with
an opening brace: the event that a piece ends with is that brace's, at a known offset.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

import ijson

from mrf_assets.errors import MalformedJson, TruncatedFile

Event = tuple[int, str, Any]  # byte offset (exact for start_map, else of the brace that follows), event, value

_LONGEST_PIECE = 4 << 20  # a stretch without any brace is handed over at this length
_ARROW_COLUMN = 40  # where yajl's message points to
_BOM = b"\xef\xbb\xbf"


def json_events(blocks: Iterable[bytes], url: str) -> Iterator[Event]:
    """Yield `(byte_offset, event, value)`; a byte order mark is skipped and told as the event `byte_order_mark`.

    Raises:
        TruncatedFile: The JSON ended before its closing bracket.
        MalformedJson: Anything else that is not JSON, with the offset in decompressed bytes.
    """
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events)
    offset = 0  # of the first byte not yet sent
    for piece in _pieces(blocks):
        if not offset and piece.startswith(_BOM):
            yield 0, "byte_order_mark", None
            offset, piece = len(_BOM), piece[len(_BOM) :]  # noqa: PLW2901 - the rest of the piece is the piece
        try:
            parser.send(piece)
        except ijson.JSONError as error:
            message = str(error)
            raise MalformedJson(url, offset + _error_position(message, piece), _first_line(message)) from None
        except (ArithmeticError, UnicodeDecodeError, ValueError, SystemError) as error:
            # ijson gets into these over numbers beyond Decimal's and int's limits and lone surrogates.
            raise MalformedJson(url, offset, f"a number or text that cannot be held: {type(error).__name__}") from None
        offset += len(piece)
        for event, value in events:
            yield offset - 1, event, value
        del events[:]
    try:
        parser.close()
    except ijson.JSONError:
        raise TruncatedFile(url, offset, "the JSON") from None


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut after every opening brace, inside strings too: an extra cut does no harm."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"{")
        for piece in whole:
            yield piece + b"{"
        if len(rest) > _LONGEST_PIECE:
            yield rest
            rest = b""
    if rest:
        yield rest


def _first_line(message: str) -> str:
    return message.removeprefix("b'").removeprefix('b"').partition("\n")[0].partition("\\n")[0].strip()


def _error_position(message: str, piece: bytes) -> int:
    """Where in the piece yajl's message points; 0 where it cannot be told."""
    shown = ast.literal_eval(message) if message.startswith(("b'", 'b"')) else message.encode()
    lines = shown.split(b"\n")
    if len(lines) < 2:  # noqa: PLR2004 - a message without a picture
        return 0
    before, context = lines[1][:_ARROW_COLUMN].lstrip(), lines[1].strip()
    found = re.sub(rb"[\r\n]", b" ", piece).rfind(context)
    return found + len(before) if found >= 0 else 0
