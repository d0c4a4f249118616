"""What a spelling means, remembered: each distinct price (its rate aside) and each distinct set of
providers is parsed and cleaned once, by the same functions as in the reference reader.

A spelling whose values are rejected is never remembered as good, as a reject has a place in the file.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrf_assets.extract.exact import NotQuiteJsonError, quick
from mrf_assets.extract.interface import Tally
from mrf_assets.extract.rows import PriceRow, RateElement, price_row, rate_providers
from mrf_assets.extract.spans import Ids, distinct
from mrf_assets.extract.splitter import Positions
from mrf_assets.extract.values import Obj, Values
from mrf_assets.schema import RATES

UNKNOWN = -1  # the id of spellings that have to be looked at one by one
_MOST_BYTES = 48 << 20  # of spellings; then the memo starts anew
_NO_OFFSET = -1
# Stands for what is cut out; no file can know it.
_RATE_MARK = secrets.randbits(59) + (1 << 59)
_PRICES_MARK = secrets.token_hex(8)
_RATE_PLACE = 1  # in a PriceRow


class _Known(NamedTuple):
    id: int
    cut: int  # where in the spelling something was cut out


class SpellingMemo:
    """Ids of spellings, and what each of them counts."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._bytes = 0
        self.tallies: list[Tally | None] = []  # by id; None counts nothing

    @property
    def is_full(self) -> bool:
        """True if it is time to `clear`."""
        return self._bytes > _MOST_BYTES

    def clear(self) -> None:
        """Forget everything: ids are void."""
        self._known.clear()
        self._bytes = 0
        self.tallies.clear()

    def ids(self, spans: pa.BinaryArray, cuts: Positions, *, is_shallow: bool) -> Ids:
        """The id of each spelling, or UNKNOWN; `cuts` tells where in each something was cut out."""
        found = distinct(spans)
        first_cuts = cuts[found.firsts]
        ids = np.empty(len(found.contents), np.int64)
        for nth, (spelling, cut) in enumerate(zip(found.contents, first_cuts.tolist(), strict=True)):
            known = self._known.get(spelling)
            if known is None:
                known = self._remember(spelling, cut, is_shallow=is_shallow)
            ids[nth] = known.id if known.cut == cut else UNKNOWN
        return np.where(first_cuts[found.ids] == cuts, ids[found.ids], UNKNOWN)

    def count(self, ids: Ids, tally: Tally) -> None:
        """Add to the tally what spellings with these ids count."""
        for spelling, times in enumerate(np.bincount(ids, minlength=1).tolist()):
            if times and (counted := self.tallies[spelling]) is not None:
                absorb_times(tally, counted, times)

    def _remember(self, spelling: bytes, cut: int, *, is_shallow: bool) -> _Known:
        tally = Tally()
        known = _Known(UNKNOWN, cut)
        try:
            value, duplicates = quick(self._mended(spelling, cut), shallow=is_shallow)
        except NotQuiteJsonError:
            pass
        else:
            if duplicates:
                tally.repairs["duplicate_key"] += duplicates
            if isinstance(value, Obj) and self._learn(value, tally) and not tally.rejects:
                counts = tally.repairs or tally.ignored_keys or tally.provider_groups_read
                known = _Known(len(self.tallies), cut)
                self.tallies.append(tally if counts else None)
        self._known[spelling] = known
        self._bytes += len(spelling) + 100
        return known

    def _mended(self, spelling: bytes, cut: int) -> bytes:
        raise NotImplementedError

    def _learn(self, value: Obj, tally: Tally) -> bool:
        """Take a value in under the next id; False if what was cut out is not the value of its key.

        After a reject in the tally the id is not given.
        """
        raise NotImplementedError


def absorb_times(tally: Tally, other: Tally, times: int) -> None:
    """Add the counts of a part that came several times and has no rejects."""
    tally.prices_read += times * other.prices_read
    tally.rate_rows += times * other.rate_rows
    tally.provider_groups_read += times * other.provider_groups_read
    for kind, count in other.repairs.items():
        tally.repairs[kind] += times * count
    for path, count in other.ignored_keys.items():
        tally.ignore(path, times * count)


class Interned:
    """Distinct values of one column; the id of null is 0."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._ids: dict[Any, int] = {None: 0}
        self._values: list[Any] = [None]
        self._array: pa.Array | None = None

    def id(self, value: Any) -> int:  # noqa: ANN401 - text, date or list
        """The id of a value."""
        key = tuple(value) if isinstance(value, list) else value
        known = self._ids.get(key)
        if known is None:
            known = self._ids[key] = len(self._values)
            self._values.append(value)
            self._array = None
        return known

    def array(self) -> pa.Array:
        """The values by id."""
        if self._array is None or len(self._array) != len(self._values):
            self._array = pa.array(self._values, self._kind)
        return self._array


class PriceMemo(SpellingMemo):
    """Prices without their rate, as ids of the values of each column."""

    def __init__(self) -> None:
        super().__init__()
        self._row_ids: dict[tuple[int, ...], int] = {}
        self._start()

    def _start(self) -> None:
        fields = list(RATES.arrow)[-8:]
        self.columns = [Interned(field.type) for nth, field in enumerate(fields) if nth != _RATE_PLACE]
        self._rows: list[tuple[int, ...]] = []  # by id, the ids of the columns
        self._table: NDArray[np.int64] | None = None

    def clear(self) -> None:
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
        known = self._row_ids.get(key)
        if known is None:
            known = self._row_ids[key] = self._add(key)
            self.tallies.append(None)
        return known

    def _interned(self, row: PriceRow) -> tuple[int, ...]:
        values = (*row[:_RATE_PLACE], *row[_RATE_PLACE + 1 :])
        return tuple(column.id(value) for column, value in zip(self.columns, values, strict=True))

    def _add(self, key: tuple[int, ...]) -> int:
        self._rows.append(key)
        return len(self._rows) - 1

    def _mended(self, spelling: bytes, cut: int) -> bytes:
        return b"%b%d%b" % (spelling[:cut], _RATE_MARK, spelling[cut:])

    def _learn(self, value: Obj, tally: Tally) -> bool:
        if value.get("negotiated_rate") != _RATE_MARK:
            return False
        row = price_row(value, Values(tally), _NO_OFFSET)
        if row is None or tally.rejects:
            return False
        self._add(self._interned(row))
        return True


class ProviderMemo(SpellingMemo):
    """Elements without their prices: the provider set of each."""

    def __init__(self) -> None:
        super().__init__()
        self.set_ids: list[int | None] = []
        self._fresh: list[tuple[int, RateElement]] = []

    def clear(self) -> None:
        super().clear()
        self.set_ids.clear()

    def fresh(self) -> list[tuple[int, RateElement]]:
        """What was learnt since the last call, by id: its groups are to be written."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _mended(self, spelling: bytes, cut: int) -> bytes:
        return b'%b"%b"%b' % (spelling[:cut], _PRICES_MARK.encode(), spelling[cut:])

    def _learn(self, value: Obj, tally: Tally) -> bool:
        if value.get("negotiated_prices") != [_PRICES_MARK]:
            return False
        element = rate_providers(value, Values(tally))
        if tally.rejects:
            return False
        self._fresh.append((len(self.set_ids), element))
        self.set_ids.append(element.set_id)
        return True


def id_array(ids: Sequence[int | None]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Set ids as numbers, and which of them are null."""
    is_null = np.array([each is None for each in ids], np.bool_)
    return np.array([each or 0 for each in ids], np.int64), is_null
