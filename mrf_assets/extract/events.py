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
_ARROW_COLUMN, _SHOWN_BYTES = 40, 30  # where yajl's message points to, and how much it shows on each side
_ARROW = b"                     (right here) ------^\n"
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
            if not piece:  # ijson takes an empty piece for the end
                continue
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
    for event, value in events:  # a bare number is known to be whole at the end alone
        yield offset - 1, event, value


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
    """Where in the piece yajl's message points; 0 where it cannot be told.

    Its picture is a line of up to 30 bytes before the place and 30 from there, the place in
    column 40, line breaks as spaces. A NUL ends the picture, and the line of the arrow follows at once.
    """
    shown = ast.literal_eval(message) if message.startswith(("b'", 'b"')) else message.encode()
    picture = shown.partition(b"\n")[2].removesuffix(_ARROW).removesuffix(b"\n")
    text = re.sub(rb"[\r\n]", b" ", piece).partition(b"\0")[0]
    for place in range(_SHOWN_BYTES + 1):
        if picture == b" " * (_ARROW_COLUMN - place) + text[: place + _SHOWN_BYTES]:
            return min(place, len(piece))
    found = text.find(picture[_ARROW_COLUMN - _SHOWN_BYTES :])
    return min(found + _SHOWN_BYTES, len(piece)) if picture and found >= 0 else 0
