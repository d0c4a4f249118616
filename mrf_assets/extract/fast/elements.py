"""Where the elements of `negotiated_rates`, their prices and the rates of these stand in a batch of text.

An element is regular if it has the usual shape: one list of prices, all objects, each with one
rate that is a plain value. All others are left to `rows.rate_element`. Nothing is taken for granted that
is not looked at: between prices stands one comma, and the memos parse the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.extract.fast.numbers import PlainNumbers, plain_numbers
from mrf_assets.extract.fast.scanner import PADDING, Bytes, Positions, Scanner, pairs_of_level
from mrf_assets.extract.fast.spans import begins_with, follows_key, skip_space

_PRICES_KEY, _RATE_KEY = b'"negotiated_prices"', b'"negotiated_rate"'
_RATE_KEY_TAIL = len(b'"negotiated')
_OBJECT, _LIST, _COMMA, _COLON, _R = b"{[,:r"
_STRIDE = 1 << 16
_DEEPEST = 50  # levels below an element that the quick parsers take


class ListPart(NamedTuple):
    """Text of one `negotiated_rates` list, cut behind an element."""

    offset: int  # in the file
    text: bytes
    begins: bool  # the list begins here
    ends: bool  # and ends here


class Gap(NamedTuple):
    """Text beside elements that is not just a comma."""

    element: int  # that comes behind it
    part: int
    start: int
    stop: int
    is_first: bool  # nothing of its list stands before it
    is_last: bool  # nor behind it


class PriceSpans(NamedTuple):
    """The prices of the regular elements."""

    elements: Positions  # index of the element
    starts: Positions
    stops: Positions
    rate_starts: Positions
    numbers: PlainNumbers


class Elements(NamedTuple):
    """All elements of a batch, and the prices of the regular ones."""

    starts: Positions
    stops: Positions
    parts: Positions  # index of the part
    is_regular: NDArray[np.bool_]
    list_starts: Positions  # of the prices, inside the brackets; for regular elements
    list_stops: Positions
    prices: PriceSpans
    gaps: list[Gap]
    is_shallow: bool


def find_elements(text: bytes, parts: Sequence[ListPart]) -> Elements:
    """Find elements and prices in the joined text of the parts, PADDING behind it."""
    data = np.frombuffer(text, np.uint8)
    brackets = Scanner().scan(text)
    outer, inner, third = (pairs_of_level(brackets, level) for level in range(3))
    starts, stops = outer.starts, outer.stops + 1
    lengths = np.array([len(part.text) for part in parts])
    part_stops = np.cumsum(lengths)
    part_of = np.searchsorted(part_stops, starts, "right")
    gaps = _gaps(data, starts=starts, stops=stops, parts=parts, part_stops=part_stops, part_of=part_of)

    element_of = np.searchsorted(outer.opens, inner.opens) - 1
    lists = np.flatnonzero((inner.kinds == _LIST) & follows_key(data, inner.starts, _PRICES_KEY))
    is_regular = (np.bincount(element_of[lists], minlength=len(starts)) == 1) & (outer.kinds == _OBJECT)
    lists = lists[is_regular[element_of[lists]]]
    list_starts, list_stops = np.zeros_like(starts), np.zeros_like(starts)
    list_starts[element_of[lists]] = inner.starts[lists] + 1
    list_stops[element_of[lists]] = inner.stops[lists]

    parents = np.searchsorted(inner.opens, third.opens) - 1
    is_list = np.zeros(len(inner.opens), np.bool_)
    is_list[lists] = True
    indexes = np.flatnonzero(is_list[parents]) if len(parents) else parents
    owners = element_of[parents[indexes]]
    price_starts, price_stops = third.starts[indexes], third.stops[indexes] + 1
    is_regular &= np.bincount(owners, minlength=len(starts)) > 0
    good = (third.kinds[indexes] == _OBJECT) & _stand_in_order(
        data,
        owners=owners,
        starts=price_starts,
        stops=price_stops,
        list_starts=list_starts,
        list_stops=list_stops,
    )
    rate_starts, has_rate = _rates(data, price_starts, price_stops)
    is_regular[owners[~(good & has_rate)]] = False

    indexes = np.flatnonzero(is_regular[owners])
    rate_starts = rate_starts[indexes]
    prices = PriceSpans(
        owners[indexes], price_starts[indexes], price_stops[indexes], rate_starts, plain_numbers(data, rate_starts)
    )
    is_shallow = bool(brackets.levels.max(initial=0) < _DEEPEST)
    return Elements(starts, stops, part_of, is_regular, list_starts, list_stops, prices, gaps, is_shallow)


def joined(parts: Sequence[ListPart]) -> bytes:
    """The text of the parts as `find_elements` wants it."""
    return b"".join([*(part.text for part in parts), PADDING])


def is_comma(data: Bytes, starts: Positions, stops: Positions) -> NDArray[np.bool_]:
    """Whether one comma, and no more than white space beside it, stands in each span."""
    commas = skip_space(data, starts)
    mask: NDArray[np.bool_] = (data[commas] == _COMMA) & (skip_space(data, commas + 1) == stops)
    return mask


def _is_blank(data: Bytes, starts: Positions, stops: Positions) -> NDArray[np.bool_]:
    # White space may go on behind the span, where the span ends with its part.
    return skip_space(data, starts) >= stops


def _stand_in_order(
    data: Bytes,
    *,
    owners: Positions,
    starts: Positions,
    stops: Positions,
    list_starts: Positions,
    list_stops: Positions,
) -> NDArray[np.bool_]:
    """For each price, whether what stands before it is right, and behind it where it is the last of its list."""
    good = np.ones(len(owners), np.bool_)
    if not len(owners):
        return good
    is_first = np.concatenate(([True], owners[1:] != owners[:-1]))
    is_last = np.concatenate((is_first[1:], [True]))
    later = np.flatnonzero(~is_first)
    good[later] = is_comma(data, stops[later - 1], starts[later])
    good[is_first] = _is_blank(data, list_starts[owners[is_first]], starts[is_first])
    good[is_last] &= _is_blank(data, stops[is_last], list_stops[owners[is_last]])
    return good


def _rates(data: Bytes, starts: Positions, stops: Positions) -> tuple[Positions, NDArray[np.bool_]]:
    """Where the value of the only rate of each price begins, and whether there is one and only one."""
    keys = _rate_keys(data)
    price_of = np.searchsorted(starts, keys, "right") - 1
    inside = price_of >= 0
    inside[inside] = keys[inside] < stops[price_of[inside]]
    keys, price_of = keys[inside], price_of[inside]
    has_one = np.bincount(price_of, minlength=len(starts)) == 1
    places = starts.copy()  # stands in for those without
    places[price_of] = keys + len(_RATE_KEY)
    colons = skip_space(data, places)
    has_one &= data[colons] == _COLON
    return skip_space(data, colons + 1), has_one


def _rate_keys(data: Bytes) -> Positions:
    """Where the key of a rate is spelled, inside of strings too."""
    runs = []
    tail = len(_RATE_KEY) - _RATE_KEY_TAIL - 1
    for start in range(0, len(data) - tail, _STRIDE):
        stop = min(start + _STRIDE, len(data) - tail)
        candidates = data[start:stop] == ord("_")
        candidates &= data[start + 1 : stop + 1] == _R
        candidates &= data[start + tail : stop + tail] == ord('"')
        runs.append(np.flatnonzero(candidates) + start)
    places = np.concatenate(runs) - _RATE_KEY_TAIL if runs else np.empty(0, np.int64)
    return places[begins_with(data, places, _RATE_KEY)]


def _gaps(
    data: Bytes,
    *,
    starts: Positions,
    stops: Positions,
    parts: Sequence[ListPart],
    part_stops: Positions,
    part_of: Positions,
) -> list[Gap]:
    """What stands between elements and is neither one comma nor, at the ends of a list, nothing."""
    part_starts = np.concatenate(([0], part_stops[:-1]))
    first_of_part = np.searchsorted(part_of, np.arange(len(parts)))
    behind_part = np.searchsorted(part_of, np.arange(len(parts)), "right")
    has_elements = behind_part > first_of_part
    begins = np.array([part.begins for part in parts])

    gap_starts = np.concatenate(([0], stops[:-1])) if len(starts) else starts
    firsts = first_of_part[has_elements]
    gap_starts[firsts] = part_starts[has_elements]
    good = is_comma(data, gap_starts, starts)
    begin_lists = firsts[begins[has_elements]]
    good[begin_lists] = _is_blank(data, gap_starts[begin_lists], starts[begin_lists])
    begin_lists = set(begin_lists.tolist()) if not good.all() else set()
    wrong = [
        Gap(index, int(part_of[index]), int(gap_starts[index]), int(starts[index]), index in begin_lists, is_last=False)
        for index in np.flatnonzero(~good).tolist()
    ]
    tail_starts = part_starts.copy()
    tail_starts[has_elements] = stops[behind_part[has_elements] - 1]
    blank = _is_blank(data, tail_starts, part_stops)
    wrong += [
        Gap(
            int(behind_part[part]),
            part,
            int(tail_starts[part]),
            int(part_stops[part]),
            bool(begins[part] and not has_elements[part]),
            is_last=True,
        )
        for part in np.flatnonzero(~blank).tolist()
    ]
    return wrong
