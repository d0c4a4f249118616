r"""Lone surrogates in the text of JSON, replaced before any parser meets them.

Half a pair such as `\ud83d` is no character, and parsers differ: yajl makes a question mark of a high one and
refuses a whole file for a low one. U+FFFD, the replacement character, has an escape of the same length, so
offsets stay true.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

_HEX = b"[0-9a-fA-F]"
_HIGH = rb"\\u[dD][89abAB]" + _HEX * 2
_LOW = rb"\\u[dD][c-fC-F]" + _HEX * 2
# Escape by escape, so that an escaped backslash is passed over as one. It begins with a letter that can be searched
# for: with a look behind instead, a block with one emoji took 40 times as long.
_SURROGATES = re.compile(rb"%b%b|(%b|%b)|\\[^u]" % (_HIGH, _LOW, _HIGH, _LOW), re.DOTALL)
_REPLACEMENT = rb"\ufffd"


def _begun(parts: list[bytes]) -> bytes:
    pattern = b""
    for part in reversed(parts):
        pattern = b"(?:%b%b)?" % (part, pattern)
    return pattern


_PAIR = [b"u", b"[dD]", b"[89abAB]", _HEX, _HEX, rb"\\", b"u", b"[dD]", b"[c-fC-F]", _HEX, _HEX]
_LOW_HALF = [b"u", b"[dD]", b"[c-fC-F]", _HEX]
# At the end of a block: what may become a pair or a half, and a whole pair, whose second half would match alone.
_OPEN_ESCAPE = re.compile(rb"\\(?:%b|%b)\Z" % (_begun(_PAIR), _begun(_LOW_HALF)))
_MAX_OPEN_ESCAPE = 1 + len(_PAIR)


def mended(blocks: Iterable[bytes], repairs: Counter[str]) -> Iterator[bytes]:
    """The same bytes with U+FFFD for each lone surrogate, which `repairs` counts; no block is empty."""
    rest = b""
    for block in blocks:
        text = rest + block
        cut = _safe_cut(text)
        text, rest = text[:cut], text[cut:]
        if text:
            yield _mended(text, repairs)
    if rest:
        yield _mended(rest, repairs)


def _safe_cut(text: bytes) -> int:
    """Up to where the text may be looked at without what follows."""
    open_escape = _OPEN_ESCAPE.search(text[-_MAX_OPEN_ESCAPE:])
    if open_escape is None:
        return len(text)
    start = len(text) - len(open_escape.group())
    before = text[:start]
    return start - (len(before) - len(before.rstrip(b"\\"))) % 2


def _mended(text: bytes, repairs: Counter[str]) -> bytes:
    if b"\\" not in text or not (rb"\ud" in text or rb"\uD" in text):
        return text
    lone = 0

    def mend(match: re.Match[bytes]) -> bytes:
        nonlocal lone
        if match[1] is None:
            return match[0]
        lone += 1
        return _REPLACEMENT

    text = _SURROGATES.sub(mend, text)
    if lone:
        repairs["lone_surrogate"] += lone
    return text
