"""The structural scan finds the brackets that a byte-by-byte scan finds, wherever the blocks end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from mrf_assets.errors import MalformedJson, TruncatedFile
from mrf_assets.extract.fast.scanner import Scanner, UnmatchedBracketError
from mrf_assets.extract.fast.splitter import BracketStream
from mrf_assets_tests.conftest import blocks_of

_Found = tuple[int, int, int]  # offset, kind, level

_TEXTS = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b'{"a":[1]}', b'"x"', b"a" * 70, b",", b"|"]), max_size=120
).map(b"".join)


def _byte_by_byte(text: bytes) -> tuple[list[_Found], int | None]:
    """All brackets outside of strings, and where one closes what is not open."""
    found, stack = list[_Found](), list[int]()
    in_string = escaped = False
    for offset, byte in enumerate(text):
        was_escaped, escaped = escaped, byte == ord("\\") and not escaped
        if byte == ord('"') and not was_escaped:
            in_string = not in_string
        elif not in_string and byte in b"[{":
            found.append((offset, byte, len(stack)))
            stack.append(byte)
        elif not in_string and byte in b"]}":
            if not stack or stack.pop() + 2 != byte:
                return found, offset
            found.append((offset, byte, len(stack)))
    return found, None


def _scanned(text: bytes, sizes: list[int]) -> tuple[list[_Found], int | None]:
    scanner, found, start = Scanner(), list[_Found](), 0
    while start < len(text):
        size = sizes[start % len(sizes)]
        wrong = None
        try:
            brackets = scanner.scan(text[start : start + size])
        except UnmatchedBracketError as error:
            brackets, wrong = error.brackets, start + error.offset
        found += zip(
            (brackets.offsets + start).tolist(), brackets.kinds.tolist(), brackets.levels.tolist(), strict=True
        )
        if wrong is not None:
            return found, wrong
        start += size
    return found, None


@given(text=_TEXTS, sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
@settings(max_examples=500)
def test_brackets_of_any_text(text: bytes, sizes: list[int]) -> None:
    """Strings, escapes and nesting are followed through blocks of any size."""
    assert _byte_by_byte(text) == _scanned(text, sizes)


def test_deep_nesting_is_matched() -> None:
    """Nesting deeper than a byte can count, in one block and through two."""
    text = b"[{" * 500 + b"}]" * 500

    assert _byte_by_byte(text) == _scanned(text, [len(text)]) == _scanned(text, [700])


def test_many_escapes_are_followed() -> None:
    """Thousands of backslashes in a block, in front of quotes and of each other, in one block and through several."""
    text = rb'{"a":"\\","b\"{":"\\\"[","c":[]}' * 1000

    assert _byte_by_byte(text) == _scanned(text, [len(text)]) == _scanned(text, [10_007, 9])


@pytest.mark.parametrize("block_bytes", [1, 3, 1000])
def test_brackets_are_pulled_by_level(block_bytes: int) -> None:
    """What is nested deeper than asked for is passed over."""
    text = b'{"a":[{"b":[]},{}],"c":{}}'
    stream = BracketStream(blocks_of(text, block_bytes), "u", least_block_bytes=1)

    assert [0, 5, 17, 23, 24, 25] == [stream.next(1).offset for _ in range(6)]
    stream.finish(26)


@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_kept_text_is_there_through_blocks(block_bytes: int) -> None:
    """Text is held from where it is asked to be."""
    text = b'{"long key":[]}'
    stream = BracketStream(blocks_of(text, block_bytes), "u", least_block_bytes=1)
    stream.keep(1)
    stream.next(0)
    bracket = stream.next(1)

    assert b'"long key":' == stream.text(1, bracket.offset)


def test_errors_tell_the_offset() -> None:
    """A wrong bracket after the right ones, a missing end, and something behind the end."""
    stream = BracketStream([b'{"a":[}'], "u")
    assert [0, 5] == [stream.next(1).offset, stream.next(1).offset]
    with pytest.raises(MalformedJson) as malformed:
        stream.next(0)
    stream = BracketStream([b"{", b'"a"'], "u")
    stream.next(0)
    with pytest.raises(TruncatedFile) as truncated:
        stream.next(0)
    stream = BracketStream([b"{}", b" \n", b" x"], "u")
    stream.next(0)
    with pytest.raises(MalformedJson) as behind:
        stream.finish(stream.next(0).offset + 1)

    assert (6, 4, 5) == (malformed.value.byte_offset, truncated.value.byte_offset, behind.value.byte_offset)
