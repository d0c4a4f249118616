"""Lists of NPIs out of JSON text, all lists of a piece at once, exact.

A list is plain if it holds whole numbers, in quotes or not, each once. Anything else is left to `values`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.extract.fast.scanner import Bytes, Positions
from mrf_assets.extract.fast.spans import IS_SPACE, content_of, joined_spans

_ZERO, _COMMA, _CLOSE, _QUOTE, _SPACE = b'0,]" '
_MAX_DIGITS = 18
_BITS = 34  # of an NPI of ten digits; larger numbers are no NPIs and not plain
_NPI_DIGITS = 10
_UPPER, _SIXES, _THREES = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x0606060606060606), np.uint64(0x3333333333333333)
_HALF_BYTE = np.uint64(4)
_PAIRS = {  # what is left of a word after its neighbours of so many bits are joined
    8: np.uint64(0x00FF00FF00FF00FF),
    16: np.uint64(0x0000FFFF0000FFFF),
    32: np.uint64(0x00000000FFFFFFFF),
}


class PlainLists(NamedTuple):
    """The numbers of several lists, one list behind the other."""

    is_plain: NDArray[np.bool_]  # of each list
    npis: NDArray[np.int64]
    borders: Positions  # list n has npis[borders[n] : borders[n + 1]]
    texts: Positions  # how many numbers of each list are in quotes
    zeros: Positions  # and how many are 0


def plain_lists(text: bytes, starts: Positions, stops: Positions) -> PlainLists:
    """The numbers of the lists whose content stands from `starts` to `stops`, where the closing bracket is."""
    spans = joined_spans(text, (starts, stops + 1))
    content = content_of(spans)
    list_of = np.repeat(np.arange(len(starts)), stops + 1 - starts)
    is_plain = np.ones(len(starts), np.bool_)

    if content.min(initial=_COMMA) <= _SPACE:
        places = np.flatnonzero(~IS_SPACE[content])
        content, list_of = content[places], list_of[places]
        # White space inside of a number or its quotes.
        ends_value = (content == _COMMA) | (content == _CLOSE)
        breaks = ~ends_value[1:] & ~ends_value[:-1] & (np.diff(places) > 1)
        is_plain[list_of[1:][breaks]] = False
    ends = np.flatnonzero((content == _COMMA) | (content == _CLOSE))
    owners = list_of[ends]
    digit_counts = np.diff(ends, prepend=-1) - 1
    begins = ends - digit_counts
    is_text = (digit_counts > 2) & (content[begins] == _QUOTE) & (content[ends - 1] == _QUOTE)  # noqa: PLR2004 - two quotes
    digit_counts -= 2 * is_text
    begins += is_text
    numbers, wrong = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.bool_)
    is_usual = digit_counts == _NPI_DIGITS
    usual, others = np.flatnonzero(is_usual), np.flatnonzero(~is_usual)
    numbers[usual], wrong[usual] = _ten_digits(content, begins[usual])
    numbers[others], wrong[others] = _digits(content, begins[others], digit_counts[others])
    wrong |= ((content[begins] == _ZERO) & (digit_counts > 1)) | (numbers >> _BITS != 0)
    is_plain[owners[wrong]] = False
    keys = np.sort((owners << _BITS) | (numbers & ((1 << _BITS) - 1)))
    is_plain[keys[1:][keys[1:] == keys[:-1]] >> _BITS] = False
    return PlainLists(
        is_plain,
        numbers,
        np.searchsorted(owners, np.arange(len(starts) + 1)),
        np.bincount(owners[is_text], minlength=len(starts)),
        np.bincount(owners[numbers == 0], minlength=len(starts)),
    )


def _ten_digits(content: Bytes, begins: Positions) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers of ten digits, eight of them in one word, and which are none."""
    if not len(begins):
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    first = np.ndarray(len(content) - 7, "<u8", content, strides=(1,))[begins]
    # Each byte from 0 to 9 above "0": its upper half is 3, and still is with 6 added.
    wrong = ((first & _UPPER) | (((first + _SIXES) & _UPPER) >> _HALF_BYTE)) != _THREES
    first &= ~_UPPER
    for width, times in ((8, 10), (16, 100), (32, 10_000)):
        # Each pair of neighbours becomes one number, in the bytes of the upper one.
        first = (first * np.uint64(times) + (first >> np.uint64(width))) & _PAIRS[width]
    numbers = first.astype(np.int64)
    for place in (8, 9):
        digits = content[begins + place] - _ZERO
        wrong |= digits > 9  # noqa: PLR2004 - the last digit
        numbers = numbers * 10 + digits
    return numbers, wrong


def _digits(content: Bytes, begins: Positions, counts: Positions) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers of any other count of digits, and which are none."""
    numbers = np.zeros(len(begins), np.int64)
    wrong = (counts < 1) | (counts > _MAX_DIGITS)
    for place in range(min(int(counts.max(initial=0)), _MAX_DIGITS)):
        there = place < counts
        digits = content[np.where(there, begins + place, 0)] - _ZERO
        wrong |= there & (digits > 9)  # noqa: PLR2004 - the last digit
        numbers = np.where(there, numbers * 10 + digits, numbers)
    return numbers, wrong
