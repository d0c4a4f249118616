"""Spans of bytes, and finding equal ones: each distinct span is looked at once by whoever asks.

Payers repeat themselves: a hundred thousand prices have a few hundred spellings, the rate aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mrf_assets.extract.splitter import Bytes, Positions

Ids = NDArray[np.int64]


class Distinct(NamedTuple):
    """The distinct contents of many spans."""

    ids: Ids  # for each span, the index of its content
    contents: list[bytes]  # in order of their first span
    firsts: Positions  # the first span with each content


def joined_spans(text: bytes, cuts: Sequence[Positions]) -> pa.BinaryArray:
    """For each row the bytes from the first cut to the second, from the third to the fourth and so on, as one.

    The rows follow each other without overlap.
    """
    width, rows = len(cuts), len(cuts[0])
    borders = np.empty(width * rows + 1, np.int32)
    for nth, cut in enumerate(cuts):
        borders[nth:-1:width] = cut
    borders[-1] = len(text)
    pieces = pa.Array.from_buffers(pa.binary(), width * rows, [None, pa.py_buffer(borders), pa.py_buffer(text)])
    wanted = np.arange(0, width * rows, 2, dtype=np.int64)
    taken = pc.take(pieces, pa.array(wanted))
    ends = np.frombuffer(taken.buffers()[1], np.int32, len(taken) + 1)
    return pa.Array.from_buffers(
        pa.binary(), rows, [None, pa.py_buffer(np.ascontiguousarray(ends[:: width // 2])), taken.buffers()[2]]
    )


def distinct(spans: pa.BinaryArray) -> Distinct:
    """Number the distinct spans."""
    encoded = spans.dictionary_encode()
    ids = encoded.indices.to_numpy().astype(np.int64)
    firsts = np.full(len(encoded.dictionary), len(ids), np.int64)
    np.minimum.at(firsts, ids, np.arange(len(ids)))
    return Distinct(ids, encoded.dictionary.to_pylist(), firsts)


_SPACE = np.zeros(256, np.bool_)
_SPACE[list(b" \t\n\r")] = True


def skip_space(data: Bytes, places: Positions) -> Positions:
    """Each place, or the first one behind it without white space; `data` ends with something else."""
    places = places.copy()
    while len(behind := np.flatnonzero(_SPACE[data[places]])):
        places[behind] += 1
    return places


def skip_space_back(data: Bytes, places: Positions) -> Positions:
    """Each place, or the last one before it without white space; -1 where there is none."""
    places = places.copy()
    while len(behind := np.flatnonzero(_SPACE[data[places]] & (places >= 0))):
        places[behind] -= 1
    return places


def begins_with(data: Bytes, places: Positions, word: bytes) -> NDArray[np.bool_]:
    """Whether the word stands at each place (which may lie outside the data)."""
    fits = (places >= 0) & (places + len(word) <= len(data))
    at = np.where(fits, places, 0)
    for nth, byte in enumerate(word):
        fits &= data[np.minimum(at + nth, len(data) - 1)] == byte
    return fits
