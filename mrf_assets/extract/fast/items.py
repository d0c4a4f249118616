"""Items that stand in one block as a whole and have the usual shape: found and parsed many at a time.

What an item costs beside its bytes is most of the time of files with small ones: read in a run, it costs
some fifteen microseconds less (benchmarks/NOTES.md, "Small items"). Usual is one list of rates, and
nothing unknown nested beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from mrf_assets.extract.fast.columns import Head
from mrf_assets.extract.fast.elements import is_comma
from mrf_assets.extract.fast.scanner import Brackets
from mrf_assets.extract.fast.spans import follows_key
from mrf_assets.extract.rows import CODE_KEYS
from mrf_assets.schema import RATES

RATES_KEY = b'"negotiated_rates"'
MIN_RUN = 4  # fewer do not pay
_OBJECT, _LIST = b"{["
_CODE = ("billing_code_type", "billing_code_type_version", "billing_code", "description")
_CODES = ("bundled_codes", "covered_services")
_HEAD = ("negotiation_arrangement", *_CODE[:3], "name", "description", "severity_of_illness", *_CODES)
_KEYS = frozenset({*_HEAD, "negotiated_rates"})
_WORDS = {column.name: (None, *column.words) for column in RATES.columns}
_ARRANGEMENTS, _TYPES = frozenset(_WORDS["negotiation_arrangement"]), frozenset(_WORDS["billing_code_type"])
_TEXT_OR_NULL = frozenset({str, type(None)})
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


def find_whole(text: bytes, text_start: int, brackets: Brackets, level: int) -> WholeItems:
    """The items whose brackets of this level are found; the first bracket opens one."""
    outside = np.flatnonzero(brackets.levels < level)
    levels = brackets.levels[: outside[0]] if len(outside) else brackets.levels
    outer = np.flatnonzero(levels == level)
    count = len(outer) // 2
    if count < MIN_RUN:
        return NO_ITEMS
    opens, closes = outer[: 2 * count : 2], outer[1 : 2 * count : 2]
    inner = np.flatnonzero(levels[: closes[-1]] == level + 1)
    data, places = np.frombuffer(text, np.uint8), brackets.offsets - text_start
    owners = np.searchsorted(opens, inner[::2]) - 1
    inner_starts = places[inner[::2]]
    is_rates = (brackets.kinds[inner[::2]] == _LIST) & follows_key(data, inner_starts, RATES_KEY)
    is_other = ~is_rates
    for key in _NESTED_KEYS:
        others = np.flatnonzero(is_other)
        is_other[others] = ~follows_key(data, inner_starts[others], key)

    starts, stops = places[opens], places[closes]
    list_starts, list_stops = starts.copy(), starts.copy()
    list_starts[owners[is_rates]] = inner_starts[is_rates]
    list_stops[owners[is_rates]] = places[inner[1::2]][is_rates]
    is_usual = brackets.kinds[opens] == _OBJECT
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
        unpaired = text.replace(b"\\\\", b"") if b"\\\\" in text else text
        quotes = unpaired.count(b'"') - unpaired.count(b'\\"')
    else:
        quotes = text.count(b'"')
    try:
        parsed_heads: list[dict[str, Any]] = orjson.loads(b"[%b]" % text)
    except orjson.JSONDecodeError:
        return None
    codes = [head[key] for key in _CODES for head in parsed_heads if type(head.get(key)) is list]
    objects = [*parsed_heads, *(entry for entry in chain.from_iterable(codes) if type(entry) is dict)]
    texts = list(map(type, chain.from_iterable(map(dict.values, objects)))).count(str)
    # Each key and each text has two quotes, so a key that came twice leaves too many.
    return parsed_heads if quotes == 2 * (sum(map(len, objects)) + texts) else None


def plain_columns(heads: list[dict[str, Any]]) -> list[Head | None]:
    """What `rows.item_head` gives of each where nothing is to be repaired, rejected or counted; None elsewhere."""
    columns = [[head.get(key) for head in heads] for key in _HEAD]
    arrangements, kinds, versions, codes, names, descriptions, severities, *nested = columns
    try:
        are_plain = (
            all(map(_KEYS.issuperset, heads))
            and _ARRANGEMENTS.issuperset(arrangements)
            and _TYPES.issuperset(kinds)
            and _are_codes(codes)
            and all(map(_are_texts, (versions, names, descriptions, severities)))
        )
    except TypeError:  # a list or object where a word should be
        are_plain = False
    if not are_plain:
        return [None] if len(heads) == 1 else [plain_columns([head])[0] for head in heads]
    nested = [[entries if entries is None else _plain_codes(entries) for entries in column] for column in nested]
    rows = list[Head | None](zip(*columns[: -len(_CODES)], *nested, strict=True))
    for nth in {nth for column in nested for nth, entries in enumerate(column) if entries is _ODD}:
        rows[nth] = None
    return rows


def _plain_codes(entries: Any) -> object:  # noqa: ANN401 - JSON
    if type(entries) is not list:
        return _ODD
    codes = []
    for entry in entries:
        if type(entry) is not dict or not entry.keys() <= CODE_KEYS:
            return _ODD
        kind, version, code, description = columns = tuple(map(entry.get, _CODE))
        is_type = kind is None or (type(kind) is str and kind in _TYPES)
        if not (is_type and _are_codes((code,)) and _are_texts((version, description))):
            return _ODD
        codes.append(dict(zip(_CODE, columns, strict=True)))
    return codes


def _are_codes(values: Sequence[Any]) -> bool:
    """Whether these are texts without white space around them, or null."""
    return _are_texts(values) and not any(value is not None and value != value.strip() for value in values)


def _are_texts(values: Sequence[object]) -> bool:
    return _TEXT_OR_NULL.issuperset(map(type, values)) and "" not in values
