"""Where and why ijson's parser, yajl, stumbled: it says so in a picture, and in nothing else."""

from __future__ import annotations

import re

import ijson

_ARROW_COLUMN, _SHOWN_BYTES = 40, 30  # where yajl's message points to, and how much it shows on each side
_ARROW = b"                     (right here) ------^\n"


def error_position(error: ijson.JSONError, piece: bytes) -> tuple[int, str]:
    """(place in the piece that was parsed last, reason); 0 where it cannot be told, as in long runs of spaces.

    The picture is a line of up to 30 bytes before the place and 30 from there, the place in column
    40, line breaks as spaces. A NUL ends the picture, and the line of the arrow follows at once.
    """
    message = error.args[0]  # bytes where what it quotes is no UTF-8
    message_bytes = message if isinstance(message, bytes) else str(message).encode("utf-8", "backslashreplace")
    reason, _, rest = message_bytes.partition(b"\n")
    return _place(rest.removesuffix(_ARROW).removesuffix(b"\n"), piece), reason.decode("utf-8", "replace").strip()


def _place(picture: bytes, piece: bytes) -> int:
    text = re.sub(rb"[\r\n]", b" ", piece).partition(b"\0")[0]
    if not picture:
        return 0
    if len(picture) < _ARROW_COLUMN + _SHOWN_BYTES:  # the text ends within the picture
        return min(len(text) + _ARROW_COLUMN - len(picture), len(piece))
    places = [
        place
        for place in range(_SHOWN_BYTES)
        if picture == b" " * (_ARROW_COLUMN - place) + text[: place + _SHOWN_BYTES]
    ]
    pattern = picture[_ARROW_COLUMN - _SHOWN_BYTES :]
    index = text.find(pattern)
    while index >= 0 and len(places) < 2:  # noqa: PLR2004 - two are too many to tell
        places.append(index + _SHOWN_BYTES)
        index = text.find(pattern, index + 1)
    return places[0] if len(places) == 1 else 0
