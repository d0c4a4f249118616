"""Wanted items -> rows of `rates`, many items at a time: the hot loop of the fast reader.

Regular elements go through the memos, all columns at once; each other element goes alone
through `rows.rate_element`. Rows, rejects and groups come out in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.extract.columns import Head, RateRows
from mrf_assets.extract.elements import Elements, Gap, Part, find_elements, joined
from mrf_assets.extract.exact import NotQuiteJsonError, located, quick
from mrf_assets.extract.interface import TableBatch, Tally
from mrf_assets.extract.memo import UNKNOWN, PriceMemo, ProviderMemo, absorb_times, id_array
from mrf_assets.extract.reference import FileReader
from mrf_assets.extract.rows import RateElement, rate_element
from mrf_assets.extract.spans import Ids, joined_spans
from mrf_assets.extract.splitter import Positions
from mrf_assets.extract.values import Obj, Values
from mrf_assets.schema import RATE_TYPE

BATCH_BYTES = 4 << 20
_SCALAR = re.compile(
    rb'(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|"[^"\\\x00-\x1f]*")(?=[,} \t\n\r])'
)
_MOST_RATES = 200_000  # odd spellings of rates that are remembered
_WORD = 1 << 64
_BEFORE, _ELEMENT, _BEHIND, _ITEM_END = range(4)


class _Rate(NamedTuple):
    unscaled: int
    counts: Tally | None


@dataclass(slots=True)
class KeptItem:
    """An item that is wanted, its head read."""

    offset: int
    head: Head
    counts: Tally  # of the head


@dataclass(slots=True)
class _Slow:
    """Rows of the elements that went alone."""

    elements: list[int] = field(default_factory=list)
    set_ids: list[int | None] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)
    unscaled: list[int] = field(default_factory=list)


class ItemBatches:
    """Collects the text of items and turns it into rows, some megabytes at a time."""

    def __init__(self, file: FileReader, *, batch_bytes: int = BATCH_BYTES) -> None:
        self._file, self._tally, self._url = file, file.tally, file.request.url
        self._batch_bytes = batch_bytes
        self._prices, self._providers = PriceMemo(), ProviderMemo()
        self._rates: dict[bytes, _Rate | None] = {}
        self._rows = RateRows(file.request.file_id, file.request.rate_batch_rows, self._prices)
        self._start()

    def _start(self) -> None:
        self._parts: list[Part] = []
        self._items: list[KeptItem] = []  # of each part
        self._ends_item: list[bool] = []
        self._bytes = 0

    def add(self, item: KeptItem, parts: Iterable[Part]) -> Iterator[TableBatch]:
        """Take an item; yield what became full."""
        nothing = Part(item.offset, b"", begins=True, ends=True)
        for part in parts:
            yield from self._add_part(item, part)
        yield from self._add_part(item, nothing)
        self._ends_item[-1] = True
        if self._bytes >= self._batch_bytes or len(self._parts) > self._batch_bytes >> 8:
            yield from self._read()

    def _add_part(self, item: KeptItem, part: Part) -> Iterator[TableBatch]:
        if self._bytes >= self._batch_bytes:
            yield from self._read()
        self._parts.append(part)
        self._items.append(item)
        self._ends_item.append(False)
        self._bytes += len(part.text)

    def flush(self) -> Iterator[TableBatch]:
        """Yield all that is held."""
        yield from self._read()
        yield from self._rows.flush()

    def _read(self) -> Iterator[TableBatch]:
        if not self._parts:
            return
        text = joined(self._parts)
        found = find_elements(text, self._parts)
        part_heads = np.array([self._rows.head_id(item.head) for item in self._items])
        unscaled, high, stops, odd_counts = self._read_rates(text, found)
        prices = found.prices
        chosen, price_ids = self._price_ids(text, found, stops)
        fast, provider_ids = self._provider_ids(text, found)
        kept = np.flatnonzero(found.is_regular[prices.elements[chosen]])
        chosen, price_ids = chosen[kept], price_ids[kept]
        self._count(found, chosen, price_ids, provider_ids, odd_counts)
        slow = _Slow()
        yield from self._one_by_one(text, found, fast, provider_ids, slow)

        values, is_null = id_array(self._providers.set_ids)
        by_element = np.zeros(len(found.starts), np.int64)
        by_element[fast] = provider_ids
        of_price = by_element[prices.elements[chosen]]
        self._add_rows(
            prices.elements[chosen],
            values[of_price] if len(values) else of_price,
            is_null[of_price] if len(values) else of_price.astype(np.bool_),
            price_ids,
            unscaled[chosen],
            high[chosen],
            slow,
            part_heads[found.parts],
        )
        self._start()
        if self._rows.is_full or self._prices.is_full:
            yield from self._rows.flush()
        for memo in (self._prices, self._providers):
            if memo.is_full:
                memo.clear()

    def _read_rates(self, text: bytes, found: Elements) -> tuple[Ids, Ids, Positions, list[tuple[int, Tally]]]:
        """Low and high words of all rates, where they end, and what those that are not plain count."""
        prices, numbers = found.prices, found.prices.numbers
        unscaled, stops = numbers.unscaled, numbers.stops
        high = unscaled >> 63
        counts = []
        for index in np.flatnonzero(~numbers.is_plain).tolist():
            spelling = _SCALAR.match(text, int(prices.rate_starts[index]))
            rate = self._rate(spelling[0]) if spelling else None
            if rate is None or spelling is None:
                found.is_regular[prices.elements[index]] = False
                continue
            high[index], unscaled[index] = _words(rate.unscaled)
            stops[index] = spelling.end()
            if rate.counts is not None:
                counts.append((index, rate.counts))
        return unscaled, high, stops, counts

    def _rate(self, spelling: bytes) -> _Rate | None:
        if spelling not in self._rates:
            if len(self._rates) > _MOST_RATES:
                self._rates.clear()
            self._rates[spelling] = self._read_rate(spelling)
        return self._rates[spelling]

    @staticmethod
    def _read_rate(spelling: bytes) -> _Rate | None:
        counts = Tally()
        try:
            rate = Values(counts).rate(quick(spelling)[0], 0)
        except NotQuiteJsonError:
            return None
        return None if rate is None else _Rate(_unscaled(rate), counts if counts.repairs else None)

    def _price_ids(self, text: bytes, found: Elements, stops: Positions) -> tuple[Positions, Ids]:
        """The prices of regular elements, and their ids; elements with unknown ones become irregular."""
        prices = found.prices
        chosen = np.flatnonzero(found.is_regular[prices.elements])
        starts, rate_starts = prices.starts[chosen], prices.rate_starts[chosen]
        spans = joined_spans(text, (starts, rate_starts, stops[chosen], prices.stops[chosen]))
        ids = self._prices.ids(spans, rate_starts - starts, is_shallow=found.is_shallow)
        found.is_regular[prices.elements[chosen[ids == UNKNOWN]]] = False
        return chosen, ids

    def _provider_ids(self, text: bytes, found: Elements) -> tuple[Positions, Ids]:
        """The regular elements, and the ids of their providers; those with unknown ones become irregular."""
        fast = np.flatnonzero(found.is_regular)
        starts, list_starts = found.starts[fast], found.list_starts[fast]
        spans = joined_spans(text, (starts, list_starts, found.list_stops[fast], found.stops[fast]))
        ids = self._providers.ids(spans, list_starts - starts, is_shallow=found.is_shallow)
        found.is_regular[fast[ids == UNKNOWN]] = False
        known = ids != UNKNOWN
        return fast[known], ids[known]

    def _count(
        self,
        found: Elements,
        chosen: Positions,
        price_ids: Ids,
        provider_ids: Ids,
        odd_counts: list[tuple[int, Tally]],
    ) -> None:
        tally, numbers = self._tally, found.prices.numbers
        tally.prices_read += len(chosen)
        tally.rate_rows += len(chosen)
        if from_text := int(np.count_nonzero((numbers.is_text & numbers.is_plain)[chosen])):
            tally.repairs["rate_from_text"] += from_text
        for index, counts in odd_counts:
            if found.is_regular[found.prices.elements[index]]:
                absorb_times(tally, counts, 1)
        self._prices.count(price_ids, tally)
        self._providers.count(provider_ids, tally)

    def _one_by_one(
        self, text: bytes, found: Elements, fast: Positions, provider_ids: Ids, slow: _Slow
    ) -> Iterator[TableBatch]:
        """What has an order: groups seen for the first time, irregular elements, and the ends of items."""
        part_of = found.parts
        events: list[tuple[int, int, int, object]] = [
            (index, int(part_of[index]), _ELEMENT, None) for index in np.flatnonzero(~found.is_regular).tolist()
        ]
        firsts = np.zeros(len(self._providers.set_ids), np.int64)
        firsts[provider_ids[::-1]] = fast[::-1]
        for provider_id, element in self._providers.fresh():
            index = int(firsts[provider_id])
            events.append((index, int(part_of[index]), _ELEMENT, element))
        events += [(gap.element, gap.part, _BEHIND if gap.is_last else _BEFORE, gap) for gap in found.gaps]
        behind = np.searchsorted(part_of, np.arange(len(self._parts)), "right").tolist()
        events += [(behind[nth], nth, _ITEM_END, None) for nth, ends in enumerate(self._ends_item) if ends]
        events.sort(key=lambda event: event[:3])
        for index, part, kind, what in events:
            if kind == _ITEM_END:
                self._tally.absorb(self._items[part].counts)
            elif isinstance(what, Gap):
                self._read_gap(text, what)
            elif isinstance(what, RateElement):
                yield from self._file.write_providers(what)
            elif (read := self._read_alone(text, found, index)) is not None:
                yield from self._file.write_providers(read)
                self._add_slow(index, read, slow)

    def _offset(self, part: int, place: int) -> int:
        """Where a place of the joined text is in the file."""
        start = sum(len(each.text) for each in self._parts[:part])
        return self._parts[part].offset + place - start

    def _read_alone(self, text: bytes, found: Elements, index: int) -> RateElement | None:
        start, stop = int(found.starts[index]), int(found.stops[index])
        part = int(found.parts[index])
        piece = text[start:stop]
        counts = Tally()
        try:
            value, duplicates = quick(piece, shallow=found.is_shallow)
        except NotQuiteJsonError:
            value = None
        else:
            if isinstance(value, Obj):
                element = rate_element(value, Values(counts))
                if not counts.rejects:
                    counts.repairs["duplicate_key"] += duplicates
                    self._tally.absorb(counts)
                    return element
        value = located([(self._offset(part, start), piece)], self._url, self._tally)
        if isinstance(value, Obj):
            return rate_element(value, Values(self._tally))
        self._tally.reject(self._items[part].offset, "rate", "negotiated_rates", "not_an_object", value)
        return None

    def _read_gap(self, text: bytes, gap: Gap) -> None:
        offset = self._offset(gap.part, gap.start)
        for value in gap_values(text[gap.start : gap.stop], offset, self._url, gap.is_first, gap.is_last):
            item = self._items[gap.part]
            self._tally.reject(item.offset, "rate", "negotiated_rates", "not_an_object", value)

    def _add_slow(self, index: int, element: RateElement, slow: _Slow) -> None:
        for price in element.prices:
            slow.elements.append(index)
            slow.set_ids.append(element.set_id)
            slow.prices.append(self._prices.id_of_row(price))
            slow.unscaled.append(_unscaled(price[1]))

    def _add_rows(
        self,
        elements: Positions,
        set_ids: Ids,
        set_is_null: NDArray[np.bool_],
        prices: Ids,
        unscaled: Ids,
        high: Ids,
        slow: _Slow,
        heads: Ids,
    ) -> None:
        if slow.elements:
            elements = np.concatenate((elements, slow.elements))
            order = np.argsort(elements, kind="stable")
            slow_ids, slow_is_null = id_array(slow.set_ids)
            words = np.array([_words(each) for each in slow.unscaled], np.int64)
            elements = elements[order]
            set_ids = np.concatenate((set_ids, slow_ids))[order]
            set_is_null = np.concatenate((set_is_null, slow_is_null))[order]
            prices = np.concatenate((prices, slow.prices))[order]
            unscaled = np.concatenate((unscaled, words[:, 1]))[order]
            high = np.concatenate((high, words[:, 0]))[order]
        self._rows.add(set_ids, set_is_null, heads[elements], prices, unscaled, high)


def gap_values(text: bytes, offset: int, url: str, is_first: bool, is_last: bool) -> list[object]:
    """The values in text between the elements of a list that were found by their brackets.

    Raises:
        MalformedJson: Not what may stand in a list.
    """
    before = b"[" if is_first else b"[0 "
    behind = b"]" if is_last else b" 0]"
    values = located([(offset - len(before), before + text + behind)], url, Tally())
    assert isinstance(values, list)
    return values[0 if is_first else 1 : len(values) if is_last else -1]


def _unscaled(rate: object) -> int:
    """The rate times 10 ** scale; it has that scale already."""
    sign, digits, exponent = rate.as_tuple()  # type: ignore[attr-defined]
    assert exponent == -RATE_TYPE.scale
    number = int("".join(map(str, digits)))
    return -number if sign else number


def _words(unscaled: int) -> tuple[int, int]:
    """The high and the low word of 128 bits, both as signed numbers."""
    low = unscaled & (_WORD - 1)
    return unscaled >> 64, low - _WORD if low >> 63 else low
