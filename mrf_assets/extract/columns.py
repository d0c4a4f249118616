"""Rows of `rates` as ids and numbers, and record batches out of them.

Thirty bytes a row are held until a batch is full, whatever the row says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrf_assets.extract.interface import TableBatch
from mrf_assets.extract.memo import PriceMemo
from mrf_assets.extract.spans import Ids
from mrf_assets.schema import RATE_TYPE, RATES

Head = tuple[Any, ...]  # negotiation_arrangement to covered_services

_FIRST_HEAD = RATES.arrow.get_field_index("negotiation_arrangement")
_FIRST_PRICE = RATES.arrow.get_field_index("negotiated_type")
_RATE = RATES.arrow.get_field_index("negotiated_rate")


class RateRows:
    """Rows of `rates` that wait for their batch."""

    def __init__(self, file_id: str, batch_rows: int, prices: PriceMemo) -> None:
        self._file_id, self._batch_rows, self._prices = file_id, batch_rows, prices
        self._schema = RATES.arrow
        self._start()

    def _start(self) -> None:
        self._heads: list[Head] = []
        self._held: list[tuple[Ids, NDArray[np.bool_], Ids, Ids, Ids, Ids]] = []
        self._rows = 0

    def head_id(self, head: Head) -> int:
        """The id of an item's columns, until the next flush."""
        if not self._heads or self._heads[-1] is not head:
            self._heads.append(head)
        return len(self._heads) - 1

    def add(
        self, set_ids: Ids, set_is_null: NDArray[np.bool_], heads: Ids, prices: Ids, unscaled: Ids, high: Ids
    ) -> None:
        """Take rows: ids of sets, heads and prices, and the low and high words of the rates."""
        self._held.append((set_ids, set_is_null, heads, prices, unscaled, high))
        self._rows += len(set_ids)

    @property
    def is_full(self) -> bool:
        """True if it is time to flush."""
        return self._rows >= self._batch_rows

    def flush(self) -> Iterator[TableBatch]:
        """Yield all rows in batches."""
        if self._rows:
            columns = [np.concatenate(column) for column in zip(*self._held, strict=True)]
            whole = self._batch(*columns)
            for start in range(0, self._rows, self._batch_rows):
                yield RATES.name, whole.slice(start, self._batch_rows)
        self._start()

    def _batch(
        self, set_ids: Ids, set_is_null: NDArray[np.bool_], heads: Ids, prices: Ids, unscaled: Ids, high: Ids
    ) -> pa.RecordBatch:
        count = len(set_ids)
        arrays = [pa.repeat(pa.scalar(self._file_id), count), pa.array(set_ids, mask=set_is_null)]
        head_indexes = pa.array(heads)
        for nth, values in enumerate(zip(*self._heads, strict=True), _FIRST_HEAD):
            kind = self._schema.field(nth).type
            arrays.append(_spread(pa.array(values, kind), head_indexes))
        row_ids = self._prices.row_ids()
        price_arrays = [
            _spread(column.array(), pa.array(row_ids[prices, nth])) for nth, column in enumerate(self._prices.columns)
        ]
        words = np.ascontiguousarray(np.stack((unscaled, high), axis=1))
        price_arrays.insert(
            _RATE - _FIRST_PRICE, pa.Array.from_buffers(RATE_TYPE, count, [None, pa.py_buffer(words)])
        )
        return pa.RecordBatch.from_arrays([*arrays, *price_arrays], schema=self._schema)


def _spread(values: pa.Array, indexes: pa.Array) -> pa.Array:
    if values.null_count == len(values):
        return pa.nulls(len(indexes), values.type)
    return values.take(indexes)
