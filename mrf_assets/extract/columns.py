"""Rows as ids, runs and numbers, and record batches out of them.

A row of `rates` is held in some forty bytes until its batch is full, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrf_assets.extract.interface import TableBatch
from mrf_assets.extract.memo import PriceMemo
from mrf_assets.extract.rows import ProviderRow
from mrf_assets.extract.spans import Ids, buffer_of
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATE_TYPE, RATES

Run = tuple[tuple[Any, ...], int]  # columns of `providers` that rows share, the NPI left out, and how many they are
Head = tuple[Any, ...]  # negotiation_arrangement to covered_services

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


def joined_rows(parts: Sequence[RateIds]) -> RateIds:
    """One behind the other."""
    return RateIds(*map(np.concatenate, zip(*parts, strict=True)))


def reordered(rows: RateIds, order: Ids) -> RateIds:
    """The same in another order."""
    return RateIds(*(column[order] for column in rows))  # type: ignore[arg-type]  # columns differ in type


class RateRows:
    """Rows of `rates` that wait for their batch."""

    def __init__(self, file_id: str, batch_rows: int, prices: PriceMemo) -> None:
        self._file_id, self._batch_rows, self._prices = file_id, batch_rows, prices
        self._schema = RATES.arrow
        self._start()

    def _start(self) -> None:
        self._heads: list[Head] = []
        self._held: list[RateIds] = []
        self._rows = 0

    def head_id(self, head: Head) -> int:
        """The id of an item's columns, until the next flush."""
        if not self._heads or self._heads[-1] is not head:
            self._heads.append(head)
        return len(self._heads) - 1

    def add(self, rows: RateIds) -> None:
        """Take rows."""
        self._held.append(rows)
        self._rows += len(rows.prices)

    @property
    def is_full(self) -> bool:
        """True if it is time to flush."""
        return self._rows >= self._batch_rows

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        if self._rows:
            whole = self._batch(joined_rows(self._held))
            for start in range(0, self._rows, self._batch_rows):
                yield RATES.name, whole.slice(start, self._batch_rows)
        self._start()

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
    spread: pa.Array[Any] = pa.nulls(len(indexes), values.type) if is_empty else values.take(indexes)
    return spread


class ProviderRows:
    """Rows of `providers` as runs that differ in the NPI alone."""

    def __init__(self, file_id: str, batch_rows: int) -> None:
        self._file_id, self._batch_rows = file_id, batch_rows
        self._schema = PROVIDERS.arrow
        self._start()

    def _start(self) -> None:
        self._runs: list[Run] = []
        self._npis: list[NDArray[np.int64]] = []
        self._rows = 0

    def add(self, row: ProviderRow) -> Iterator[TableBatch]:
        """Take one row; yield what became full."""
        group_id, npi, *rest = row
        yield from self.add_runs([((group_id, *rest), 1)], np.array([npi or 0]))

    def add_runs(self, runs: Sequence[Run], npis: NDArray[np.int64]) -> Iterator[TableBatch]:
        """Take runs and the NPIs of all of them; an NPI of 0 is null."""
        self._runs += runs
        self._npis.append(npis)
        self._rows += len(npis)
        if self._rows >= self._batch_rows:
            yield from self.flush()

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        if not self._rows:
            return
        shared, counts = zip(*self._runs, strict=True)
        runs = pa.array(np.repeat(np.arange(len(counts)), counts), pa.int64())
        npis = np.concatenate(self._npis)
        fields = [field for field in self._schema if field.name not in ("file_id", "npi")]
        columns = zip(*shared, strict=True)
        arrays = [pa.array(column, field.type).take(runs) for column, field in zip(columns, fields, strict=True)]
        file_ids = pa.repeat(pa.scalar(self._file_id), self._rows)
        group_ids, *rest = arrays
        npi_array = pa.array(npis, pa.int64(), mask=npis == 0)
        batch = pa.RecordBatch.from_arrays([file_ids, group_ids, npi_array, *rest], schema=self._schema)
        for start in range(0, self._rows, self._batch_rows):
            yield PROVIDERS.name, batch.slice(start, self._batch_rows)
        self._start()


class SetRows:
    """Rows of `provider_sets`, set by set."""

    def __init__(self, file_id: str, batch_rows: int) -> None:
        self._file_id, self._batch_rows = file_id, batch_rows
        self._start()

    def _start(self) -> None:
        self._set_ids: list[int] = []
        self._counts: list[int] = []
        self._group_ids: list[str] = []

    def add(self, set_id: int, group_ids: Sequence[str]) -> Iterator[TableBatch]:
        """Take a set; yield what became full."""
        self._set_ids.append(set_id)
        self._counts.append(len(group_ids))
        self._group_ids += group_ids
        if len(self._group_ids) >= self._batch_rows:
            yield from self.flush()

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        if not self._group_ids:
            return
        arrays: list[pa.Array[Any]] = [
            pa.repeat(pa.scalar(self._file_id), len(self._group_ids)),
            pa.array(np.repeat(np.array(self._set_ids, np.int64), self._counts), pa.int64()),
            pa.array(self._group_ids, pa.string()),
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=PROVIDER_SETS.arrow)
        for start in range(0, batch.num_rows, self._batch_rows):
            yield PROVIDER_SETS.name, batch.slice(start, self._batch_rows)
        self._start()
