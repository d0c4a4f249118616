"""Lone surrogates become U+FFFD, whatever the blocks; everything else stays."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from mrf_assets.stream.surrogates import mended
from mrf_assets_tests.conftest import blocks_of

_HIGH, _LOW, _LONE = rb"\ud83d", rb"\ude00", "lone_surrogate"


def _mended(text: bytes, block_bytes: int = 1 << 16) -> tuple[bytes, int]:
    repairs = Counter[str]()
    blocks = list(mended(blocks_of(text, block_bytes), repairs))
    assert all(blocks)
    return b"".join(blocks), repairs[_LONE]


@pytest.mark.parametrize(
    ("count", "expected", "text"),
    [
        (0, b"", b""),
        (0, rb"caf\u00e9 \ud7ff \ue000", rb"caf\u00e9 \ud7ff \ue000"),
        (0, _HIGH + _LOW, _HIGH + _LOW),
        (1, rb"\ufffd", _HIGH),
        (1, rb"\ufffd", _LOW),
        (1, rb"\ufffd", rb"\uD83D"),
        (1, rb"a\ufffd end", rb"a\ud83d end"),
        (2, rb"\ufffd\ufffd", _LOW + _HIGH),
        (1, rb"\ufffd" + _HIGH + _LOW, _HIGH + _HIGH + _LOW),
        (1, _HIGH + _LOW + rb"\ufffd", _HIGH + _LOW + _LOW),
        (1, rb"\ufffd\u0041", rb"\ud83d\u0041"),
        (1, rb"\ufffd\\", rb"\ud83d\\"),
        (0, rb"\\ud83d", rb"\\ud83d"),
        (1, rb"\\\ufffd", rb"\\\ud83d"),
        (1, rb"\"\ufffd\"", rb"\"\ud83d\""),
        (0, rb"\ud8", rb"\ud8"),
        (0, rb"\ud83x", rb"\ud83x"),
        (0, b"\\", b"\\"),
        (0, b"\\" * 1001, b"\\" * 1001),
        (1, b"\\" * 1000 + rb"\ufffd", b"\\" * 1000 + _HIGH),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 7, 11, 12, 13, 1 << 16])
def test_lone_surrogates_are_replaced(count: int, expected: bytes, text: bytes, block_bytes: int) -> None:
    """Halves of pairs alone, in the same number of bytes; an escaped backslash begins no escape."""
    for around in (b"", b"x" * 20):
        assert (around + expected + around, count) == _mended(around + text + around, block_bytes)


_PIECES = st.sampled_from([_HIGH, _LOW, b"\\\\", rb"\"", rb"\n", rb"\u00e9", b"ud83d", b"x", "é".encode()])


@given(st.lists(_PIECES, max_size=12).map(b"".join), st.integers(1, 30))
def test_the_meaning_of_all_else_stays(text: bytes, block_bytes: int) -> None:
    """What the standard library reads, surrogates replaced, is what it reads of the mended text."""
    read = json.loads(b'"%b"' % text)
    halves = [character for character in read if "\ud800" <= character <= "\udfff"]
    expected = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in read)

    mended_text, count = _mended(b'"%b"' % text, block_bytes)
    assert (expected, len(halves), len(text) + 2) == (json.loads(mended_text), count, len(mended_text))
