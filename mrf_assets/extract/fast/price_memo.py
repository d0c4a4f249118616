"""What a price's spelling means, its rate aside, remembered."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrf_assets.extract.fast.memo import ENTRY_BYTES, SpellingMemo
from mrf_assets.extract.interface import ReadCounts
from mrf_assets.extract.rows import (
    PRICE_KEYS,
    PRICE_NAMES,
    PriceRow,
    price_row,
    price_value,
)
from mrf_assets.extract.values import Obj, Values
from mrf_assets.schema import RATES

NO_OFFSET = -1
# Stands for what is cut out; no file can know it.
_RATE_MARK = secrets.randbits(59) + (1 << 59)
_RATE_PLACE = 1  # in a PriceRow
CleanValue = tuple[int, Counter[str] | None]  # id of a value, and the repairs it took


class InternedColumn:
    """Distinct values of one column; the id of null is 0."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._ids: dict[Any, int] = {None: 0}
        self._values: list[Any] = [None]
        self._raw: dict[Any, CleanValue] = {}
        self._array: pa.Array[Any] | None = None

    def id(self, value: Any) -> int:  # noqa: ANN401 - text, date or list
        """The id of a value."""
        key = tuple(value) if isinstance(value, list) else value
        value_id = self._ids.get(key)
        if value_id is None:
            value_id = self._ids[key] = len(self._values)
            self._values.append(value)
            self._array = None
        return value_id

    def known(self, raw: object) -> CleanValue | None:
        """What is remembered of a value as it came."""
        if isinstance(raw, list):
            return self._raw.get(tuple(raw)) if all(type(each) is str for each in raw) else None
        return self._raw.get(raw) if raw is None or isinstance(raw, str) else None

    def remember(self, raw: object, clean_value: CleanValue) -> None:
        """Remember a value as it came, if it is text or texts: 1, true and 1.0 are equal, and not the same."""
        if isinstance(raw, list):
            if all(type(each) is str for each in raw):
                self._raw[tuple(raw)] = clean_value
        elif raw is None or isinstance(raw, str):
            self._raw[raw] = clean_value

    def array(self) -> pa.Array[Any]:
        """The values by id."""
        if self._array is None or len(self._array) != len(self._values):
            self._array = pa.array(self._values, self._kind)
        return self._array


class PriceMemo(SpellingMemo):
    """PriceSpans without their rate, as ids of the values of each column."""

    def __init__(self) -> None:
        super().__init__()
        self._row_ids: dict[tuple[int, ...], int] = {}
        self._spare = ReadCounts()  # counts nothing: thousands of values are clean
        self._start()

    def _start(self) -> None:
        fields = list(RATES.arrow)[-8:]
        self.columns = [InternedColumn(field.type) for nth, field in enumerate(fields) if nth != _RATE_PLACE]
        self._rows: list[tuple[int, ...]] = []  # by id, the ids of the columns
        self.rejects: dict[int, list[tuple[str, str, str, str]]] = {}  # by id, without their offset
        self._table: NDArray[np.int64] | None = None

    def clear(self) -> None:
        """Forget everything, once it is settled: ids are void."""
        super().clear()
        self._row_ids.clear()
        self._start()

    def row_ids(self) -> NDArray[np.int64]:
        """For each id, the ids of the values of the columns."""
        if self._table is None or len(self._table) != len(self._rows):
            self._table = np.array(self._rows, np.int64).reshape(-1, len(self.columns))
        return self._table

    def id_of_row(self, row: PriceRow) -> int:
        """The id of a price that was read elsewhere; it counts nothing."""
        key = self._interned(row)
        row_id = self._row_ids.get(key)
        if row_id is None:
            row_id = self._row_ids[key] = self._add(key)
            self.counts_by_id.append(None)
            self._bytes += ENTRY_BYTES
        return row_id

    def _interned(self, row: PriceRow) -> tuple[int, ...]:
        values = (*row[:_RATE_PLACE], *row[_RATE_PLACE + 1 :])
        return tuple(column.id(value) for column, value in zip(self.columns, values, strict=True))

    def _add(self, key: tuple[int, ...]) -> int:
        self._rows.append(key)
        return len(self._rows) - 1

    def _mended(self, spelling: bytes, cut: int) -> bytes:
        return b"%b%d%b" % (spelling[:cut], _RATE_MARK, spelling[cut:])

    def _learn(self, value: Obj, counts: ReadCounts) -> bool:
        if value.get("negotiated_rate") != _RATE_MARK:
            return False
        key = self._read_quickly(value, counts)
        if key is None:
            row = price_row(value, Values(counts), NO_OFFSET)
            if row is None:
                return False
            key = self._interned(row)
        if counts.rejects:
            self.rejects[len(self._rows)] = [reject[1:] for reject in counts.rejects]
            counts.rejects.clear()
        self._add(key)
        return True

    def _read_quickly(self, value: Obj, counts: ReadCounts) -> tuple[int, ...] | None:
        """What `price_row` and `_interned` give, where each value came before in its column."""
        if not value.keys() <= PRICE_KEYS:
            return None
        key, repairs = [], list[Counter[str]]()
        for name, column in zip(PRICE_NAMES, self.columns, strict=True):
            raw = value.get(name)
            clean_value = column.known(raw) or self._read_value(name, column, raw)
            if clean_value is None:
                return None
            key.append(clean_value[0])
            if clean_value[1]:
                repairs.append(clean_value[1])
        for each in repairs:
            counts.repairs.update(each)
        return tuple(key)

    def _read_value(self, name: str, column: InternedColumn, raw: object) -> CleanValue | None:
        """One value, cleaned; None if it is rejected."""
        counts = self._spare
        value = price_value(name, raw, Values(counts), NO_OFFSET)
        if counts.rejects or counts.repairs:
            self._spare = ReadCounts()
        if counts.rejects:
            return None
        clean_value = column.id(value), counts.repairs or None
        column.remember(raw, clean_value)
        return clean_value
