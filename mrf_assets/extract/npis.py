"""Lists of NPIs out of JSON text, all lists of a piece at once, exact.

A list is plain if it holds whole numbers, in quotes or not, each once. Anything else is left to `values`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.extract.spans import IS_SPACE, content_of, joined_spans
from mrf_assets.extract.splitter import Positions

_ZERO, _COMMA, _CLOSE, _QUOTE = b'0,]"'
_MOST_DIGITS = 18
_BITS = 34  # of an NPI of ten digits; larger numbers are no NPIs and not plain
_POWERS = 10 ** np.arange(_MOST_DIGITS, dtype=np.int64)


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

    is_space = IS_SPACE[content]
    if is_space.any():
        places = np.flatnonzero(~is_space)
        content, list_of = content[places], list_of[places]
        # White space inside of a number or its quotes.
        ends_value = (content == _COMMA) | (content == _CLOSE)
        broken = ~ends_value[1:] & ~ends_value[:-1] & (np.diff(places) > 1)
        is_plain[list_of[1:][broken]] = False
    ends = np.flatnonzero((content == _COMMA) | (content == _CLOSE))
    owners = list_of[ends]
    digit_counts = np.diff(ends, prepend=-1) - 1
    begins = ends - digit_counts
    is_text = (digit_counts > 2) & (content[begins] == _QUOTE) & (content[ends - 1] == _QUOTE)  # noqa: PLR2004 - two quotes
    digit_counts -= 2 * is_text
    begins += is_text
    last_digits = ends - 1 - is_text
    numbers = np.zeros(len(ends), np.int64)
    wrong = (digit_counts < 1) | (digit_counts > _MOST_DIGITS)
    for place in range(min(int(digit_counts.max(initial=0)), _MOST_DIGITS)):
        digits = content[last_digits - place] - _ZERO
        there = place < digit_counts
        wrong |= there & (digits > 9)  # noqa: PLR2004 - the last digit
        numbers += np.where(there, digits * _POWERS[place], 0)
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
