"""Rows as ids, runs and numbers, and record batches out of them.

A row of `rates` is held in some forty bytes until its batch is full, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrf_assets.extract.fast.price_memo import PriceMemo
from mrf_assets.extract.fast.spans import Ids, buffer_of
from mrf_assets.extract.interface import TableBatch
from mrf_assets.extract.rows import MAX_BATCH_BYTES, ProviderRow
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATE_TYPE, RATES, Table

Head = tuple[Any, ...]  # negotiation_arrangement to covered_services

_HEAD_BYTES = 700  # of an item's columns, beside its text
_MAX_HEAD_BYTES = 16 << 20
_MIN_ROWS = 100_000  # of providers that are made into batches at a time; what is left over is copied

_FIRST_HEAD = RATES.arrow.get_field_index("negotiation_arrangement")
_FIRST_PRICE = RATES.arrow.get_field_index("negotiated_type")
_RATE = RATES.arrow.get_field_index("negotiated_rate")


class RateIds(NamedTuple):
    """Rows of `rates`."""

    set_ids: Ids
    set_is_null: NDArray[np.bool_]
    heads: Ids  # of `RateRows.head_id`
    prices: Ids  # of `PriceMemo`
    low: Ids  # the rate times 10 ** scale, 128 bits in two words
    high: Ids


class Groups(NamedTuple):
    """Provider groups by column; the rows of one entry of `provider_groups` differ in the NPI alone."""

    group_ids: Sequence[str]
    networks: Sequence[Sequence[str] | None]  # of each group
    is_inline: Sequence[bool]
    entry_counts: Sequence[int]
    kinds: Sequence[str | None]  # of each entry
    tins: Sequence[str | None]
    names: Sequence[str | None]
    npi_counts: Sequence[int]
    npis: NDArray[np.int64]  # of all entries; 0 is null


class EvenBatches:
    """Record batches of one table, all of the same number of rows but the last, and those of very long texts."""

    def __init__(self, table: Table, batch_rows: int) -> None:
        self._table, self._batch_rows = table, batch_rows
        self._rest: pa.RecordBatch | None = None

    @property
    def waiting_rows(self) -> int:
        """How many are left over."""
        return 0 if self._rest is None else self._rest.num_rows

    def add(self, batch: pa.RecordBatch) -> Iterator[TableBatch]:
        """Yield what is full, with what was left over before."""
        start = 0
        if self._rest is not None:
            start = min(self._batch_rows - self._rest.num_rows, batch.num_rows)
            first = [self._rest, batch.slice(0, start)]
            self._rest = pa.concat_batches(first)  # type: ignore[attr-defined]  # unknown to the stubs
            if self._rest.num_rows < self._batch_rows and self._rest.nbytes < MAX_BATCH_BYTES:
                return
            yield from self.flush()
        while batch.num_rows - start >= self._batch_rows:
            yield self._table.name, batch.slice(start, self._batch_rows)
            start += self._batch_rows
        self._rest = batch.slice(start) if start < batch.num_rows else None
        if self._rest is not None and self._rest.nbytes >= MAX_BATCH_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[TableBatch]:
        """Yield what was left over."""
        rest, self._rest = self._rest, None
        if rest is not None:
            yield self._table.name, rest


def joined_rows(parts: Sequence[RateIds]) -> RateIds:
    """One behind the other."""
    return RateIds(*map(np.concatenate, zip(*parts, strict=True)))


def reordered(rows: RateIds, order: Ids) -> RateIds:
    """The same in another order."""
    return RateIds(*(column[order] for column in rows))  # type: ignore[arg-type]  # columns differ in type


def _slice(rows: RateIds, which: slice) -> RateIds:
    return RateIds(*(column[which] for column in rows))  # type: ignore[arg-type]  # columns differ in type


class RateRows:
    """Rows of `rates` that wait for their batch."""

    def __init__(self, file_id: str, batch_rows: int, prices: PriceMemo) -> None:
        self._file_id, self._batch_rows, self._prices = file_id, batch_rows, prices
        self._schema = RATES.arrow
        self._batches = EvenBatches(RATES, batch_rows)
        self._start()

    def _start(self) -> None:
        self._heads: list[Head] = []
        self._sizes: list[int] = []  # of the text of each head
        self._head_bytes = 0
        self._parts: list[RateIds] = []
        self._rows = 0

    def head_id(self, head: Head, json_bytes: int) -> int:
        """The id of an item's columns, until the next flush."""
        if not self._heads or self._heads[-1] is not head:
            self._heads.append(head)
            self._sizes.append(json_bytes)
            self._head_bytes += json_bytes + _HEAD_BYTES
        return len(self._heads) - 1

    def add(self, rows: RateIds) -> None:
        """Take rows."""
        self._parts.append(rows)
        self._rows += len(rows.prices)

    @property
    def is_full(self) -> bool:
        """True if it is time to hand over what is full."""
        return self._rows >= self._batch_rows

    @property
    def has_many_heads(self) -> bool:
        """True if it is time to `settle`: items of few rows each have heads of their own."""
        return self._head_bytes >= _MAX_HEAD_BYTES

    def full(self) -> Iterator[TableBatch]:
        """Yield the batches that are full."""
        over = (self._batches.waiting_rows + self._rows) % self._batch_rows
        yield from self._made(max(self._rows - over, 0))

    def settle(self) -> Iterator[TableBatch]:
        """Yield the batches that are full; what is left over takes no ids any more, which may change their meaning."""
        yield from self._made(self._rows)

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        yield from self.settle()
        yield from self._batches.flush()

    def _made(self, count: int) -> Iterator[TableBatch]:
        if not count:
            return
        rows, heads, sizes = joined_rows(self._parts), self._heads, self._sizes
        # A head is written out in each of its rows, however long its text is.
        text_bytes = int(np.array(sizes)[rows.heads[:count]].sum())
        step = max(1, count * MAX_BATCH_BYTES // max(text_bytes, MAX_BATCH_BYTES))
        for start in range(0, count, step):
            yield from self._batches.add(self._batch(_slice(rows, slice(start, min(start + step, count)))))
        self._start()
        rest = _slice(rows, slice(count, None))
        if len(rest.heads):
            first = int(rest.heads.min())
            self._heads, self._sizes = heads[first:], sizes[first:]
            self._head_bytes = _HEAD_BYTES * len(self._heads) + sum(self._sizes)
            self.add(rest._replace(heads=rest.heads - first))

    def _batch(self, rows: RateIds) -> pa.RecordBatch:
        count = len(rows.prices)
        arrays: list[pa.Array[Any]] = [
            pa.repeat(pa.scalar(self._file_id), count),
            pa.array(rows.set_ids, pa.int64(), mask=rows.set_is_null),
        ]
        heads = pa.array(rows.heads, pa.int64())
        for nth, values in enumerate(zip(*self._heads, strict=True), _FIRST_HEAD):
            arrays.append(_spread(pa.array(values, self._schema.field(nth).type), heads))
        row_ids = self._prices.row_ids()
        price_arrays = [
            _spread(column.array(), pa.array(row_ids[rows.prices, nth], pa.int64()))
            for nth, column in enumerate(self._prices.columns)
        ]
        words = buffer_of(np.stack((rows.low, rows.high), axis=1))
        price_arrays.insert(_RATE - _FIRST_PRICE, pa.Array.from_buffers(RATE_TYPE, count, [None, words]))
        return pa.RecordBatch.from_arrays([*arrays, *price_arrays], schema=self._schema)


def _spread(values: pa.Array[Any], indexes: pa.Int64Array) -> pa.Array[Any]:
    is_empty = values.null_count == len(values)
    column: pa.Array[Any] = pa.nulls(len(indexes), values.type) if is_empty else values.take(indexes)
    return column


class ProviderRows:
    """Rows of `providers`, group by group."""

    def __init__(self, file_id: str, batch_rows: int) -> None:
        self._file_id, self._batch_rows = file_id, batch_rows
        self._schema = PROVIDERS.arrow
        self._batches = EvenBatches(PROVIDERS, batch_rows)
        self._start()

    def _start(self) -> None:
        self._parts: list[Groups] = []
        self._rows = 0

    def add_rows(self, rows: Sequence[ProviderRow]) -> Iterator[TableBatch]:
        """Take rows; yield what became full."""
        if not rows:
            return
        group_ids, npis, kinds, tins, names, networks, is_inline = zip(*rows, strict=True)
        ones, npi_array = [1] * len(rows), np.array([npi or 0 for npi in npis])
        yield from self.add_groups(Groups(group_ids, networks, is_inline, ones, kinds, tins, names, ones, npi_array))

    def add_groups(self, groups: Groups) -> Iterator[TableBatch]:
        """Take groups; yield what became full."""
        self._parts.append(groups)
        self._rows += len(groups.npis)
        if self._rows >= max(self._batch_rows, _MIN_ROWS):
            yield from self._full()

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        yield from self._full()
        yield from self._batches.flush()

    def _full(self) -> Iterator[TableBatch]:
        if self._rows:
            yield from self._batches.add(self._batch())
        self._start()

    def _batch(self) -> pa.RecordBatch:
        *columns, npi_arrays = zip(*self._parts, strict=True)
        group_ids, networks, is_inline, entry_counts, *of_entries, npi_counts = (
            list(chain.from_iterable(column)) for column in columns
        )
        entries = np.repeat(np.arange(len(npi_counts)), npi_counts)
        groups = np.repeat(np.arange(len(group_ids)), entry_counts)[entries]
        npis = np.concatenate(npi_arrays)
        columns_of_rows: dict[str, pa.Array[Any]] = {
            "file_id": pa.repeat(pa.scalar(self._file_id), self._rows),
            "npi": pa.array(npis, pa.int64(), mask=npis == 0),
        }
        shared_columns = (
            (groups, {"provider_group_id": group_ids, "network_names": networks, "is_inline": is_inline}),
            (entries, dict(zip(("tin_type", "tin_value", "business_name"), of_entries, strict=True))),
        )
        for owners, values_by_name in shared_columns:
            indexes = pa.array(owners, pa.int64())
            for name, values in values_by_name.items():
                columns_of_rows[name] = _spread(pa.array(values, self._schema.field(name).type), indexes)
        arrays = [columns_of_rows[name] for name in self._schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


class SetRows:
    """Rows of `provider_sets`, set by set."""

    def __init__(self, file_id: str, batch_rows: int) -> None:
        self._file_id, self._batch_rows = file_id, batch_rows
        self._batches = EvenBatches(PROVIDER_SETS, batch_rows)
        self._start()

    def _start(self) -> None:
        self._set_ids: list[int] = []
        self._counts: list[int] = []
        self._group_ids: list[str] = []

    def add(self, set_id: int, group_ids: Sequence[str]) -> None:
        """Take a set."""
        self._set_ids.append(set_id)
        self._counts.append(len(group_ids))
        self._group_ids += group_ids

    @property
    def is_full(self) -> bool:
        """True if it is time to hand over what is full."""
        return len(self._group_ids) >= self._batch_rows

    def full(self) -> Iterator[TableBatch]:
        """Yield the batches that are full."""
        if self._group_ids:
            arrays: list[pa.Array[Any]] = [
                pa.repeat(pa.scalar(self._file_id), len(self._group_ids)),
                pa.array(np.repeat(np.array(self._set_ids, np.int64), self._counts), pa.int64()),
                pa.array(self._group_ids, pa.string()),
            ]
            yield from self._batches.add(pa.RecordBatch.from_arrays(arrays, schema=PROVIDER_SETS.arrow))
        self._start()

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        yield from self.full()
        yield from self._batches.flush()
