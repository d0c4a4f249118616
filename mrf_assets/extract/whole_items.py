"""Items that stand in one block as a whole and have the usual shape: found and parsed many at a time.

What an item costs beside its bytes is most of the time of files with small ones: read in a run, it costs
some fifteen microseconds less (benchmarks/NOTES.md, "Small items"). Usual is one list of rates, and
nothing unknown nested beside it.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from mrf_assets.extract.columns import Head
from mrf_assets.extract.elements import is_comma
from mrf_assets.extract.exact import SURROGATE
from mrf_assets.extract.rows import CODE_KEYS
from mrf_assets.extract.spans import follows_key
from mrf_assets.extract.splitter import Brackets
from mrf_assets.schema import RATES

RATES_KEY = b'"negotiated_rates"'
LEAST_RUN = 4  # fewer do not pay
_OBJECT, _LIST = b"{["
_CODE = ("billing_code_type", "billing_code_type_version", "billing_code", "description")
_CODES = ("bundled_codes", "covered_services")
_HEAD = ("negotiation_arrangement", *_CODE[:3], "name", "description", "severity_of_illness", *_CODES)
_KEYS = frozenset({*_HEAD, "negotiated_rates"})
_WORDS = {column.name: (None, *column.words) for column in RATES.columns}
_ARRANGEMENTS, _TYPES = _WORDS["negotiation_arrangement"], frozenset(_WORDS["billing_code_type"])
_NESTED_KEYS = tuple(f'"{key}"'.encode() for key in _CODES)
_ODD = object()


class WholeItems(NamedTuple):
    """Items in file order: offsets in the file."""

    starts: list[int]
    list_starts: list[int]  # of the rates, inside the brackets
    list_stops: list[int]
    stops: list[int]
    run_stops: list[int]  # index of the first item behind each one that is not usual


NO_ITEMS = WholeItems([], [], [], [], [])


def find_whole(text: bytes, text_start: int, found: Brackets, level: int) -> WholeItems:
    """The items whose brackets of this level are found; the first bracket opens one."""
    outside = np.flatnonzero(found.levels < level)
    levels = found.levels[: outside[0]] if len(outside) else found.levels
    outer = np.flatnonzero(levels == level)
    count = len(outer) // 2
    if count < LEAST_RUN:
        return NO_ITEMS
    opens, closes = outer[: 2 * count : 2], outer[1 : 2 * count : 2]
    inner = np.flatnonzero(levels[: closes[-1]] == level + 1)
    data, places = np.frombuffer(text, np.uint8), found.offsets - text_start
    owners = np.searchsorted(opens, inner[::2]) - 1
    inner_starts = places[inner[::2]]
    is_rates = (found.kinds[inner[::2]] == _LIST) & follows_key(data, inner_starts, RATES_KEY)
    is_other = ~is_rates
    for key in _NESTED_KEYS:
        others = np.flatnonzero(is_other)
        is_other[others] = ~follows_key(data, inner_starts[others], key)

    starts, stops = places[opens], places[closes]
    list_starts, list_stops = starts.copy(), starts.copy()
    list_starts[owners[is_rates]] = inner_starts[is_rates]
    list_stops[owners[is_rates]] = places[inner[1::2]][is_rates]
    is_usual = found.kinds[opens] == _OBJECT
    is_usual &= np.bincount(owners[is_rates], minlength=count) == 1
    is_usual &= np.bincount(owners[is_other], minlength=count) == 0
    is_usual[1:] &= is_comma(data, stops[:-1] + 1, starts[1:])
    numbers = np.where(is_usual, count, np.arange(count))
    run_stops = np.minimum.accumulate(numbers[::-1])[::-1]
    starts, list_starts, list_stops, stops = (
        (column + text_start).tolist() for column in (starts, list_starts + 1, list_stops, stops + 1)
    )
    return WholeItems(starts, list_starts, list_stops, stops, run_stops.tolist())


def plain_heads(heads: list[bytes]) -> list[dict[str, Any]] | None:
    """Heads of usual items, parsed; None if one is malformed, has a key twice or takes a closer look."""
    text = b",".join(heads)
    if b"\\" in text:
        if SURROGATE.search(text):
            return None
        quotes = text.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')
    else:
        quotes = text.count(b'"')
    try:
        parsed: list[dict[str, Any]] = orjson.loads(b"[%b]" % text)
    except orjson.JSONDecodeError:
        return None
    codes = [head[key] for key in _CODES for head in parsed if type(head.get(key)) is list]
    objects = [*parsed, *(entry for entry in chain.from_iterable(codes) if type(entry) is dict)]
    texts = list(map(type, chain.from_iterable(map(dict.values, objects)))).count(str)
    # Each key and each text has two quotes, so a key that came twice leaves too many.
    return parsed if quotes == 2 * (sum(map(len, objects)) + texts) else None


def plain_columns(head: dict[str, Any]) -> Head | None:
    """What `rows.item_head` gives where nothing is to be repaired, rejected or counted; None elsewhere."""
    columns = tuple(map(head.get, _HEAD))
    arrangement, kind, version, code, name, description, severity, bundled, covered = columns
    is_plain = (
        head.keys() <= _KEYS
        and arrangement in _ARRANGEMENTS
        and _is_code(kind, code)
        and _is_text(name)
        and _is_text(description)
        and _is_text(version)
        and _is_text(severity)
    )
    if not is_plain:
        return None
    if bundled is None and covered is None:
        return columns
    bundled, covered = _plain_codes(bundled), _plain_codes(covered)
    return None if _ODD in (bundled, covered) else (*columns[: -len(_CODES)], bundled, covered)


def _plain_codes(entries: list[Any] | None) -> object:
    if entries is None:
        return None
    if type(entries) is not list:
        return _ODD
    codes = []
    for entry in entries:
        if type(entry) is not dict or not entry.keys() <= CODE_KEYS:
            return _ODD
        kind, version, code, description = columns = tuple(map(entry.get, _CODE))
        if not (_is_code(kind, code) and _is_text(version) and _is_text(description)):
            return _ODD
        codes.append(dict(zip(_CODE, columns, strict=True)))
    return codes


def _is_code(kind: object, code: object) -> bool:
    is_type = kind is None or (type(kind) is str and kind in _TYPES)
    return is_type and (code is None or (type(code) is str and code != "" and code.strip() == code))


def _is_text(value: object) -> bool:
    return value is None or (type(value) is str and value != "")
