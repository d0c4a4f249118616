"""Spans of bytes, and finding equal ones: each distinct span is looked at once by whoever asks.

Payers repeat themselves: a hundred thousand prices have a few hundred spellings, the rate aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrf_assets.extract.fast.scanner import BACKSLASH, Bytes, Positions

Ids = NDArray[np.int64]
Spans = pa.BinaryArray


class Distinct(NamedTuple):
    """The distinct contents of many spans."""

    ids: Ids  # for each span, the index of its content
    contents: list[bytes]  # in order of their first span
    firsts: Positions  # the first span with each content


def joined_spans(text: bytes, cuts: Sequence[Positions]) -> Spans:
    """For each row the bytes from the first cut to the second, from the third to the fourth and so on, as one.

    The rows follow each other without overlap.
    """
    width, rows = len(cuts), len(cuts[0])
    borders = np.empty(width * rows + 1, np.int32)
    for nth, cut in enumerate(cuts):
        borders[nth:-1:width] = cut
    borders[-1] = len(text)
    pieces = pa.Array.from_buffers(pa.binary(), width * rows, [None, buffer_of(borders), pa.py_buffer(text)])
    selection = pieces.take(pa.array(np.arange(0, width * rows, 2), pa.int64()))
    _, ends, content = selection.buffers()
    assert ends is not None
    stops = np.frombuffer(memoryview(ends), np.int32, len(selection) + 1)[:: width // 2]
    spans: Spans = pa.Array.from_buffers(  # type: ignore[assignment]  # the stubs give no class for the type
        pa.binary(), rows, [None, buffer_of(stops), content]
    )
    return spans


def buffer_of(values: NDArray[Any]) -> pa.Buffer:
    """The values as Arrow wants them."""
    return pa.py_buffer(np.ascontiguousarray(values).data)


def content_of(spans: Spans) -> Bytes:
    """The bytes of all spans, one behind the other."""
    _, ends, content = spans.buffers()
    assert ends is not None
    assert content is not None
    return np.frombuffer(memoryview(content), np.uint8, int(np.frombuffer(memoryview(ends), np.int32)[len(spans)]))


def distinct(spans: Spans) -> Distinct:
    """Number the distinct spans."""
    encoding = spans.dictionary_encode()
    ids = encoding.indices.to_numpy().astype(np.int64)
    firsts = np.full(len(encoding.dictionary), len(ids), np.int64)
    np.minimum.at(firsts, ids, np.arange(len(ids)))
    contents = [content or b"" for content in encoding.dictionary.to_pylist()]
    return Distinct(ids, contents, firsts)


_WORD = 8  # bytes
_BLANKS = np.frombuffer(b" " * _WORD, np.uint64)[0]

IS_SPACE = np.zeros(256, np.bool_)
IS_SPACE[list(b" \t\n\r")] = True


def skip_space(data: Bytes, places: Positions) -> Positions:
    """Each place, or the first one behind it without white space; `data` ends with something else."""
    places = places.copy()
    if len(data) < _WORD:
        data = np.concatenate((data, np.zeros(_WORD, np.uint8)))
    words = np.ndarray(len(data) - _WORD + 1, np.uint64, data, strides=(1,))  # the last one is not all blanks
    behind = np.flatnonzero(IS_SPACE[data[places]])
    while len(behind):
        at = places[behind]
        at += np.where(words[np.minimum(at, len(words) - 1)] == _BLANKS, _WORD, 1)  # indented text has many in a row
        places[behind] = at
        behind = behind[IS_SPACE[data[at]]]
    return places


def skip_space_back(data: Bytes, places: Positions) -> Positions:
    """Each place, or the last one before it without white space; -1 where there is none."""
    places = places.copy()
    behind = np.flatnonzero(IS_SPACE[data[places]] & (places >= 0))
    while len(behind):
        at = places[behind] - 1
        places[behind] = at
        behind = behind[IS_SPACE[data[at]] & (at >= 0)]
    return places


def begins_with(data: Bytes, places: Positions, word: bytes) -> NDArray[np.bool_]:
    """Whether the word stands at each place (which may lie outside the data)."""
    is_match = (places >= 0) & (places + max(len(word), _WORD) <= len(data))
    at = np.where(is_match, places, 0)
    if len(word) < _WORD or len(data) < _WORD:
        for nth, byte in enumerate(word):
            is_match &= data[np.minimum(at + nth, len(data) - 1)] == byte
        return is_match
    # Eight bytes at once; the last eight may overlap those before.
    words = np.ndarray(len(data) - _WORD + 1, np.uint64, data, strides=(1,))
    for start in (*range(0, len(word) - _WORD, _WORD), len(word) - _WORD):
        is_match &= words[np.minimum(at + start, len(words) - 1)] == np.frombuffer(word, np.uint64, 1, start)
    return is_match


def follows_key(data: Bytes, places: Positions, key: bytes) -> NDArray[np.bool_]:
    """Whether the key, and a colon, stand before each place."""
    colons = skip_space_back(data, places - 1)
    ends = skip_space_back(data, colons - 1)
    starts = ends - len(key) + 1
    is_key: NDArray[np.bool_] = (data[colons] == ord(":")) & begins_with(data, starts, key)
    is_key &= data[np.maximum(starts - 1, 0)] != BACKSLASH  # "another \"key" ends like it
    return is_key
