"""Wanted items -> rows of `rates`, many items at a time: the hot loop of the fast reader.

Regular elements go through the memos, all columns at once; each other element goes alone
through `rows.rate_element`. Rows, rejects and groups come out in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from mrf_assets.extract.fast.columns import Head, RateIds, RateRows, joined_rows, reordered
from mrf_assets.extract.fast.elements import Elements, Gap, ListPart, find_elements, joined
from mrf_assets.extract.fast.exact import NotQuiteJsonError, located, located_elements, quick
from mrf_assets.extract.fast.memo import UNKNOWN, ProviderMemo, absorb_times, id_array
from mrf_assets.extract.fast.numbers import RateMemo, rate_words
from mrf_assets.extract.fast.price_memo import PriceMemo
from mrf_assets.extract.fast.scanner import Positions
from mrf_assets.extract.fast.spans import Ids, joined_spans
from mrf_assets.extract.interface import ReadCounts, Reject, TableBatch
from mrf_assets.extract.oracle.reader import FileReader
from mrf_assets.extract.rows import RateElement, rate_element
from mrf_assets.extract.values import Obj, Values

BATCH_BYTES = 4 << 20  # benchmarks/NOTES.md, "batches"
_MIN_PART_BYTES = 256  # on average: bounds the number of items in a batch
_REJECTS_IN_MEMORY = 10_000
_BEFORE, _ELEMENT, _BEHIND, _ITEM_END = range(4)


@dataclass(slots=True)
class KeptItem:
    """An item that is wanted, its head read."""

    offset: int
    head: Head
    head_bytes: int
    counts: ReadCounts | None  # of the head; None counts nothing


class _Regular(NamedTuple):
    """What the memos know of the regular elements of a batch."""

    elements: Positions
    provider_ids: Ids
    prices: Positions  # index in `Elements.prices`
    price_ids: Ids


class _Rates(NamedTuple):
    """The rates of all prices, and where they end; regular elements have good ones."""

    low: Ids
    high: Ids
    stops: Positions
    counts: list[tuple[int, ReadCounts]]  # of those that are not plain, by price


@dataclass(slots=True)
class _Slow:
    """Rows of the elements that went alone."""

    elements: list[int] = field(default_factory=list)
    set_ids: list[int | None] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)
    words: list[tuple[int, int]] = field(default_factory=list)


class ItemBatches:
    """Collects the text of items and turns it into rows, some megabytes at a time."""

    def __init__(self, file: FileReader, *, batch_bytes: int) -> None:
        self._file, self._counts, self._url = file, file.counts, file.request.url
        self._batch_bytes = batch_bytes
        self._prices, self._providers, self._odd_rates = PriceMemo(), ProviderMemo(), RateMemo()
        self._rows = RateRows(file.request.file_id, file.request.rate_batch_rows, self._prices)
        self._start()

    def _start(self) -> None:
        self._parts: list[ListPart] = []
        self._items: list[KeptItem] = []  # of each part
        self._ends_item: list[bool] = []
        self._part_starts: list[int] = []  # in the joined text
        self._bytes = 0

    def add(self, item: KeptItem, parts: Iterable[ListPart]) -> Iterator[TableBatch]:
        """Take an item; yield what became full."""
        last = ListPart(item.offset, b"", begins=True, ends=True)  # of an item without rates
        for nth, part in enumerate(parts):
            if nth:
                yield from self._add_part(item, last)
            last = part
        yield from self._add_part(item, last)
        self._ends_item[-1] = True

    def _add_part(self, item: KeptItem, part: ListPart) -> Iterator[TableBatch]:
        if self.is_full:
            yield from self.read()
        self._take(item, part, ends_item=False)

    @property
    def is_full(self) -> bool:
        """True if it is time to `read`."""
        return max(self._bytes, len(self._parts) * _MIN_PART_BYTES) >= self._batch_bytes

    def take_whole(self, item: KeptItem, part: ListPart) -> None:
        """Take an item that is one part; `add` for those who ask themselves whether it `is_full`."""
        self._take(item, part, ends_item=True)

    def _take(self, item: KeptItem, part: ListPart, *, ends_item: bool) -> None:
        self._parts.append(part)
        self._items.append(item)
        self._ends_item.append(ends_item)
        self._bytes += len(part.text) + (item.head_bytes if part.begins else 0)

    def flush(self) -> Iterator[TableBatch]:
        """Yield all that is held."""
        yield from self.read()
        yield from self._rows.flush()
        for memo in (self._prices, self._providers):
            memo.settle(self._counts)

    def read(self) -> Iterator[TableBatch]:
        """Turn the text that is held into rows; yield what became full."""
        if not self._parts:
            return
        text = joined(self._parts)
        self._part_starts = list(accumulate((len(part.text) for part in self._parts), initial=0))
        batch = find_elements(text, self._parts)
        rates = self._read_rates(text, batch)
        regular = self._look_up(text, batch, rates)
        self._count(batch, regular, rates)
        slow = _Slow()
        yield from self._one_by_one(text, batch, self._events(batch, regular), slow)
        self._add_rows(batch, regular, rates, slow)
        self._start()
        if self._prices.is_full or self._rows.has_many_heads:
            yield from self._rows.settle()
        elif self._rows.is_full:
            yield from self._rows.full()
        for memo in (self._prices, self._providers):
            if memo.is_full:
                memo.settle(self._counts)
                memo.clear()

    # --- regular elements

    def _read_rates(self, text: bytes, batch: Elements) -> _Rates:
        """All rates; elements with one that is no scalar become irregular."""
        prices, numbers = batch.prices, batch.prices.numbers
        rates = _Rates(numbers.unscaled, numbers.unscaled >> 63, numbers.stops, [])
        for index in np.flatnonzero(~numbers.is_plain).tolist():
            rate_and_stop = self._odd_rates.read(text, int(prices.rate_starts[index]))
            if rate_and_stop is None:
                batch.is_regular[prices.elements[index]] = False
                continue
            odd, rates.stops[index] = rate_and_stop
            rates.low[index], rates.high[index] = odd.low, odd.high
            if odd.counts is not None:
                rates.counts.append((index, odd.counts))
        return rates

    def _look_up(self, text: bytes, batch: Elements, rates: _Rates) -> _Regular:
        """Ids of prices and providers; elements with unknown ones become irregular."""
        prices, is_regular = batch.prices, batch.is_regular
        indexes = np.flatnonzero(is_regular[prices.elements])
        starts, rate_starts = prices.starts[indexes], prices.rate_starts[indexes]
        spans = joined_spans(text, (starts, rate_starts, rates.stops[indexes], prices.stops[indexes]))
        price_ids = self._prices.ids(spans, rate_starts - starts, is_shallow=batch.is_shallow)
        is_regular[prices.elements[indexes[price_ids == UNKNOWN]]] = False

        elements = np.flatnonzero(is_regular)
        starts, list_starts = batch.starts[elements], batch.list_starts[elements]
        spans = joined_spans(text, (starts, list_starts, batch.list_stops[elements], batch.stops[elements]))
        provider_ids = self._providers.ids(spans, list_starts - starts, is_shallow=batch.is_shallow)
        is_regular[elements[provider_ids == UNKNOWN]] = False

        places = np.flatnonzero(provider_ids != UNKNOWN)
        price_places = np.flatnonzero(is_regular[prices.elements[indexes]])
        return _Regular(elements[places], provider_ids[places], indexes[price_places], price_ids[price_places])

    def _count(self, batch: Elements, regular: _Regular, rates: _Rates) -> None:
        counts, numbers = self._counts, batch.prices.numbers
        counts.prices_read += len(regular.prices)
        counts.rate_rows += len(regular.prices)
        counts.repair("rate_from_text", int(np.count_nonzero((numbers.is_text & numbers.is_plain)[regular.prices])))
        for index, rate_counts in rates.counts:
            if batch.is_regular[batch.prices.elements[index]]:
                absorb_times(counts, rate_counts, 1)
        self._prices.count(regular.price_ids)
        self._providers.count(regular.provider_ids)

    # --- what has an order: groups seen for the first time, rejects, irregular elements, ends of items

    def _events(self, batch: Elements, regular: _Regular) -> list[tuple[int, int, int, object]]:
        """Element, part, kind and what, in the order of the file."""
        part_of = batch.parts
        at_elements: list[tuple[int, object]] = [(index, None) for index in np.flatnonzero(~batch.is_regular).tolist()]
        at_elements += self._price_rejects(batch, regular)
        firsts = np.zeros(len(self._providers.set_ids()[0]), np.int64)
        firsts[regular.provider_ids[::-1]] = regular.elements[::-1]
        at_elements += [(int(firsts[provider_id]), element) for provider_id, element in self._providers.fresh()]
        events = [(index, int(part_of[index]), _ELEMENT, what) for index, what in at_elements]
        events += [(gap.element, gap.part, _BEHIND if gap.is_last else _BEFORE, gap) for gap in batch.gaps]
        item_counts = [
            (nth, item.counts)
            for nth, (item, ends) in enumerate(zip(self._items, self._ends_item, strict=True))
            if ends and item.counts is not None
        ]
        behind = np.searchsorted(part_of, [nth for nth, _ in item_counts], "right").tolist()
        events += [(at, nth, _ITEM_END, counts) for at, (nth, counts) in zip(behind, item_counts, strict=True)]
        events.sort(key=lambda event: event[:3])
        return events

    def _price_rejects(self, batch: Elements, regular: _Regular) -> list[tuple[int, list[Reject]]]:
        """Element and rejects of each regular price whose spelling has some."""
        rejects, prices = self._prices.rejects, batch.prices
        if not rejects:
            return []
        places = np.flatnonzero(np.isin(regular.price_ids, list(rejects)))
        elements = prices.elements[regular.prices[places]]
        parts = batch.parts[elements]
        part_starts = np.array(self._part_starts)
        part_offsets = np.array([part.offset for part in self._parts])
        offsets = part_offsets[parts] + prices.starts[regular.prices[places]] - part_starts[parts]
        return [
            (element, [(offset, *reject) for reject in rejects[spelling]])
            for element, offset, spelling in zip(
                elements.tolist(), offsets.tolist(), regular.price_ids[places].tolist(), strict=True
            )
        ]

    def _one_by_one(
        self, text: bytes, batch: Elements, events: list[tuple[int, int, int, object]], slow: _Slow
    ) -> Iterator[TableBatch]:
        for index, _, _, what in events:
            if isinstance(what, ReadCounts):
                self._counts.absorb(what)
            elif isinstance(what, Gap):
                self._read_gap(text, what)
            elif isinstance(what, list):
                self._counts.rejects += what
                if len(self._counts.rejects) >= _REJECTS_IN_MEMORY:
                    yield from self._file.hand_over_rejects()
            elif isinstance(what, RateElement):
                yield from self._file.write_providers(what)
            elif (element := self._read_alone(text, batch, index)) is not None:
                if len(self._counts.rejects) >= _REJECTS_IN_MEMORY:
                    yield from self._file.hand_over_rejects()
                yield from self._file.write_providers(element)
                for price in element.prices:
                    slow.elements.append(index)
                    slow.set_ids.append(element.set_id)
                    slow.prices.append(self._prices.id_of_row(price))
                    slow.words.append(rate_words(price[1]))

    def _read_alone(self, text: bytes, batch: Elements, index: int) -> RateElement | None:
        start, stop, part = int(batch.starts[index]), int(batch.stops[index]), int(batch.parts[index])
        piece = text[start:stop]
        try:
            value, duplicates = quick(piece, shallow=batch.is_shallow)
        except NotQuiteJsonError:
            pass
        else:
            counts = ReadCounts()
            if isinstance(value, Obj):
                element = rate_element(value, Values(counts))
                if not counts.rejects:
                    counts.repair("duplicate_key", duplicates)
                    self._counts.absorb(counts)
                    return element
        value = located([(self._offset(part, start), piece)], self._url, self._counts)
        if isinstance(value, Obj):
            return rate_element(value, Values(self._counts))
        self._counts.reject(self._items[part].offset, "rate", "negotiated_rates", "not_an_object", value)
        return None

    def _read_gap(self, text: bytes, gap: Gap) -> None:
        offset = self._offset(gap.part, gap.start)
        piece = text[gap.start : gap.stop]
        for value in gap_values(piece, offset, self._url, is_first=gap.is_first, is_last=gap.is_last):
            item = self._items[gap.part]
            self._counts.reject(item.offset, "rate", "negotiated_rates", "not_an_object", value)

    def _offset(self, part: int, place: int) -> int:
        """Where a place of the joined text is in the file."""
        return self._parts[part].offset + place - self._part_starts[part]

    # --- rows

    def _add_rows(self, batch: Elements, regular: _Regular, rates: _Rates, slow: _Slow) -> None:
        provider_ids = np.zeros(len(batch.starts), np.int64)
        provider_ids[regular.elements] = regular.provider_ids
        elements = batch.prices.elements[regular.prices]
        heads = self._head_ids(batch.parts, np.concatenate((elements, np.array(slow.elements, np.int64))))
        providers = provider_ids[elements]
        set_ids, set_is_null = self._providers.set_ids()
        rows = RateIds(
            set_ids[providers],
            set_is_null[providers],
            heads[elements],
            regular.price_ids,
            rates.low[regular.prices],
            rates.high[regular.prices],
        )
        if slow.elements:
            words = np.array(slow.words, np.int64)
            alone = RateIds(
                *id_array(slow.set_ids), heads[slow.elements], np.array(slow.prices), words[:, 0], words[:, 1]
            )
            order = np.argsort(np.concatenate((elements, slow.elements)), kind="stable")
            rows = reordered(joined_rows([rows, alone]), order)
        if len(rows.prices):
            self._rows.add(rows)

    def _head_ids(self, parts: Positions, elements: Positions) -> Ids:
        """For each element its item's head; of items without rows none is held, however many there are."""
        heads = np.zeros(len(self._items), np.int64)
        for part in np.unique(parts[elements]).tolist():
            item = self._items[part]
            heads[part] = self._rows.head_id(item.head, item.head_bytes)
        return heads[parts]


def gap_values(text: bytes, offset: int, url: str, *, is_first: bool, is_last: bool) -> list[object]:
    """The values in text between the elements of a list that were found by their brackets.

    Raises:
        MalformedJson: Not what may stand in a list.
    """
    before = b"[" if is_first else b"[0 "
    behind = b"]" if is_last else b" 0]"
    values = located_elements([(offset - len(before), before + text + behind)], url, ReadCounts())
    return values[0 if is_first else 1 : len(values) if is_last else -1]
