"""Events carry exact offsets; a file that ends early is told apart from one that is broken."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ijson
import pytest
from hypothesis import assume, given, strategies as st

from mrf_assets.errors import ExtractError, MalformedJson, MrfError, TruncatedFile
from mrf_assets.stream.json_offsets import OffsetEvent, events_with_offsets
from mrf_assets.stream.surrogates import mended
from mrf_assets_tests.conftest import blocks_of
from mrf_assets_tests.factory import document, render, with_byte
from mrf_assets_tests.strategies import rendered_documents

_URL = "https://mrf.example/rates.json"
_TEXTS = st.text(st.sampled_from('ab{}[]":,\\/é中😀\n\x00'), max_size=6)
_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=12,
)
_documents = st.builds(
    lambda value, escape, indent: json.dumps(value, ensure_ascii=escape, indent=indent).encode(),
    st.dictionaries(_TEXTS, _values, max_size=4),
    st.booleans(),
    st.sampled_from([None, 2]),
)


def _events(data: bytes, cuts: list[int] | None = None) -> list[OffsetEvent]:
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
    return list(events_with_offsets([data[start:end] for start, end in pairwise(borders)], _URL))


def _braces(data: bytes) -> Iterator[int]:
    """Offsets of the opening braces outside of strings, found by another way than the one under test."""
    in_string = escaped = False
    for offset, byte in enumerate(data):
        if in_string:
            in_string = escaped or byte != ord('"')
            escaped = not escaped and byte == ord("\\")
        elif byte == ord('"'):
            in_string = True
        elif byte == ord("{"):
            yield offset


@given(_documents, st.lists(st.integers(0, 300), max_size=8))
def test_an_object_begins_at_its_brace(data: bytes, cuts: list[int]) -> None:
    """The offset of `start_map` is exact for any cut into blocks, amid text with braces, escapes and UTF-8."""
    starts = [offset for offset, event, _ in _events(data, cuts) if event == "start_map"]

    assert list(_braces(data)) == starts


@pytest.mark.parametrize("data", [b"1", b" 12.5\n", b"true", b'"x"', b"[]", b"[1]"])
def test_a_document_need_not_be_an_object(data: bytes) -> None:
    """What it is, is for the reader to say."""
    assert list(ijson.basic_parse(data)) == [(event, value) for _, event, value in _events(data)]


@given(_documents, st.lists(st.integers(0, 300), max_size=8))
def test_events_are_those_of_ijson(data: bytes, cuts: list[int]) -> None:
    """Cutting and counting change nothing in what is told."""
    assert list(ijson.basic_parse(data)) == [(event, value) for _, event, value in _events(data, cuts)]


def test_one_byte_at_a_time_is_enough() -> None:
    """The smallest blocks give the same events as one."""
    data = render(document(seed=3), pretty=True)

    assert _events(data) == list(events_with_offsets(blocks_of(data, 1), _URL))


def test_offsets_never_go_back() -> None:
    """Other events lie between their object's brace and the next."""
    offsets = [offset for offset, _, _ in _events(render(document(seed=3)))]

    assert sorted(offsets) == offsets


@pytest.mark.parametrize("block_bytes", [1, 2, 100])
def test_a_byte_order_mark_is_told_and_counted_in(block_bytes: int) -> None:
    """It is no JSON, and offsets are those of the file as it is."""
    events = list(events_with_offsets(blocks_of(b'\xef\xbb\xbf{"a":{}}', block_bytes), _URL))

    assert (0, "byte_order_mark", None) == events[0]
    assert [3, 8] == [offset for offset, event, _ in events if event == "start_map"]


def test_a_stretch_without_braces_is_handed_over_in_parts() -> None:
    """A list of millions of NPIs does not wait in memory for the next brace."""
    numbers = b",".join([b"1234567893"] * 800_000)
    data = b'{"npi":[' + numbers + b'],"tin":{"x":[' + numbers + b"!]}}"

    with pytest.raises(MalformedJson) as error:
        list(events_with_offsets(blocks_of(data, 1 << 20), _URL))
    assert data.index(b"!") <= error.value.byte_offset <= data.index(b"!") + 1


@given(rendered_documents(), st.data())
def test_every_beginning_is_truncated(data: bytes, draw: st.DataObject) -> None:
    """However a valid document is cut, the error says truncated, and where."""
    mark = 3 if data.startswith(b"\xef\xbb\xbf") else 0  # a part of it is no JSON, and `stream` refuses it
    length = draw.draw(st.integers(mark, len(data.rstrip()) - 1))
    whole_texts = b"".join(mended([data[:length]], Counter()))  # ijson takes no lone surrogate: readers mend it before

    with pytest.raises(TruncatedFile) as error:
        _events(whole_texts)
    assert length == error.value.byte_offset


@pytest.mark.parametrize("data", [b"", b" \n", b"\xef\xbb\xbf", b"{", b'{"a":1', b'{"a', b'{"a":"\xc3', b"[1,", b"nul"])
def test_what_ends_early_is_truncated(data: bytes) -> None:
    """Down to nothing at all; another download may be whole."""
    with pytest.raises(TruncatedFile, match=f"the JSON stops at byte {len(data)}"):
        _events(data)


# before, the offending token, after
_BROKEN = {
    "garbage after the end": (b'{"a":1} ', b"x", b""),
    "a second document": (b'{"a":1}\n', b"{", b'"a":1}'),
    "a bracket too many": (b'{"a":1}', b"}", b""),
    "NUL after the end": (b"{} ", b"\x00", b""),
    "NULs after the end": (b'{"a":[{},{}]}\n', b"\x00", b"\x00" * 50),
    "NUL in a string": (b'{"a":"b', b"\x00", b'","c":1}'),
    "NUL after much": (b'{"a":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17', b"\x00", b"]}"),
    "unescaped quotes": (b'{"business_name":"The ', b'"Best', b'" Clinic"}'),
    "raw line break in a string": (b'{"a":"b', b"\n", b'c"}'),
    "unknown escape": (b'{"a":"b', b"\\x", b'"}'),
    "incomplete escape": (b'{"a":"b', b"\\u12G4", b'"}'),
    "invalid UTF-8": (b'{"a":"b', b"\xff", b'c","d":{}}'),
    "Latin-1": (b'{"name":"caf', b"\xe9 ", b'au lait"}'),
    "comma before a brace": (b'{"a":1,', b"}", b""),
    "comma before a bracket": (b'{"a":[1,', b"]", b"}"),
    "missing comma": (b'{"a":1 ', b'"b"', b":2}"),
    "missing colon": (b'{"a" ', b"1", b"}"),
    "missing value": (b'{"a":', b"}", b""),
    "crossed brackets": (b'{"a":[1,2', b"}", b"]"),
    "bare key": (b"{", b"a", b":1}"),
    "single quotes": (b"{", b"'", b"a':1}"),
    "NaN": (b'{"rate":', b"N", b"aN}"),
    "Infinity": (b'{"rate":', b"I", b"nfinity}"),
    "negative infinity": (b'{"rate":', b"-I", b"nfinity}"),
    "leading plus": (b'{"rate":', b"+", b"1}"),
    "leading point": (b'{"rate":', b".", b"5}"),
    "ending point": (b'{"rate":', b"1.}", b""),
    "leading zero": (b'{"rate":', b"01", b"}"),
    "hexadecimal": (b'{"rate":', b"0x", b"1}"),
    "half a word": (b'{"a":', b"tru}", b""),
    "upper-case word": (b'{"a":', b"T", b"rue}"),
    "comment": (b'{"a":', b"/*", b"*/1}"),
    "after line breaks": (b'{\r\n  "a":1,\r\n\r\n  ', b"x", b"\r\n}"),
    "after non-ASCII text": ('{"é":"中文中文中文中文中文中文中文中文","b":'.encode(), b"x", b"}"),
    "among equals": (b'{"a":[' + b"1," * 500, b"x", b",1" * 500 + b"]}"),
    "before the same again": (b'{"a":[' + b"1," * 50, b"x", b",1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,x,1,1,1,1,1,1,1]}"),
    "after indentation": (b'{"a":' + b" " * 200, b"x", b"}"),
    "at the start": (b"", b"x", b""),
}


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(("before", "token", "after"), _BROKEN.values(), ids=list(_BROKEN))
def test_malformed_json_is_told_with_its_offset(before: bytes, token: bytes, after: bytes, block_bytes: int) -> None:
    """The offset points at the offending token, or right behind it."""
    with pytest.raises(MalformedJson) as error:
        list(events_with_offsets(blocks_of(before + token + after, block_bytes), _URL))

    assert len(before) <= error.value.byte_offset <= len(before + token)


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ["unescaped quotes", "NaN", "invalid UTF-8", "NUL in a string", "crossed brackets"])
def test_an_offset_is_that_of_the_file_not_of_the_piece(name: str, block_bytes: int) -> None:
    """A broken value far into a file, behind a byte order mark, is found where it is."""
    before, token, after = _BROKEN[name]
    before = b'\xef\xbb\xbf{"x":[' + b'{"a":"{{"},' * 40 + before

    with pytest.raises(MalformedJson) as error:
        list(events_with_offsets(blocks_of(before + token + after, block_bytes), _URL))

    assert len(before) <= error.value.byte_offset <= len(before + token)


@given(rendered_documents(), st.data())
def test_damage_is_found_where_a_byte_by_byte_parser_stops(data: bytes, draw: st.DataObject) -> None:
    """One replaced byte: the offset is where ijson, fed one byte at a time, gives up, or the brace before."""
    offset = draw.draw(st.integers(0, len(data) - 1))
    damaged = with_byte(data, offset, draw.draw(st.sampled_from(b'{}[]",:\\x0 -\x00\xff')))
    first_bad = _first_bad_byte(damaged)
    assume(first_bad >= 0)

    with pytest.raises(MalformedJson) as error:
        _events(damaged)
    if "cannot be held" in error.value.reason:
        assert error.value.byte_offset <= first_bad  # the beginning of the piece that holds it
    else:
        begin = 3 if damaged.startswith(b"\xef\xbb\xbf") else 0
        behind_brace = max(damaged.rfind(b"{", 0, first_bad) + 1, begin)
        told = error.value.byte_offset
        assert told == behind_brace or abs(told - first_bad) <= _longest_word(damaged)


def _first_bad_byte(data: bytes) -> int:
    """Where it fails; -1 where it does not."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    parser = ijson.basic_parse_coro(ijson.sendable_list())
    for offset in range(start, len(data)):
        try:
            parser.send(data[offset : offset + 1])
        except (ijson.JSONError, ArithmeticError, ValueError, SystemError):
            return offset
    return -1


def _longest_word(data: bytes) -> int:
    """A number, word or text is judged at its end, so this much is the doubt; an escaped quote ends no text."""
    unescaped = re.sub(rb"\\.", b"xx", data, flags=re.DOTALL)
    return max(map(len, unescaped.translate(bytes.maketrans(b'{}[]",:\n\t\r', b" " * 10)).split()), default=0) + 1


@pytest.mark.parametrize(
    "value", [b"1e99999999999999999999", b"-1e-99999999999999999999", b"1" * 5000, b'"\\udc00"', b'"\\udfff\\ud800"']
)
def test_values_that_cannot_be_held_are_malformed(value: bytes) -> None:
    """Numbers beyond any type and lone surrogates are no traceback; the offset is at most theirs."""
    data = b'{"a":{"b":' + value + b"}}"

    with pytest.raises(MalformedJson, match="cannot be held") as error:
        _events(data)
    assert 0 < error.value.byte_offset <= data.index(value)


@given(st.binary(max_size=40))
def test_no_bytes_make_a_traceback(data: bytes) -> None:
    """Whatever comes is events or an expected error."""
    try:
        _events(data)
    except MrfError as error:
        assert isinstance(error, (ExtractError, TruncatedFile))  # noqa: PT017 - both outcomes are fine
