"""What a spelling means, remembered.

Each distinct price (its rate aside) and each distinct set of providers is parsed and cleaned once, by the
same functions as in the reference reader.

Rejects have a place in the file, so a spelling that has some is remembered only for prices, whose rejects
all stand at the price itself.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mrf_assets.extract.fast.exact import NotQuiteJsonError, quick
from mrf_assets.extract.fast.scanner import Positions
from mrf_assets.extract.fast.spans import Ids, Spans, distinct
from mrf_assets.extract.interface import ReadCounts
from mrf_assets.extract.rows import (
    RateElement,
    rate_providers,
)
from mrf_assets.extract.values import Obj, Values, id_of_sorted

UNKNOWN = -1  # the id of spellings that have to be looked at one by one
_MAX_BYTES = 64 << 20  # of spellings and what they mean; then the memo starts anew
ENTRY_BYTES = 700
_MAX_PER_SPAN = 4  # spellings known for each to look up; with more, Arrow spends its time on those
_PRICES_MARK = secrets.token_hex(8)
_QUOTED_MARK = f'"{_PRICES_MARK}"'.encode()
_MAX_NAMES = 100_000
_QUOTES_OF_KEYS = 4  # of an element with references and prices
_Entry = tuple[int, int]  # id, and where in the spelling something was cut out; plain, so the collector skips it


class SpellingMemo(ABC):
    """Ids of spellings, and what each of them counts."""

    def __init__(self) -> None:
        self.counts_by_id: list[ReadCounts | None] = []  # by id; None counts nothing
        self._times = np.zeros(0, np.int64)  # how often each id came
        self._forget()

    def _forget(self) -> None:
        self._entry_by_spelling: dict[bytes, _Entry] = {}
        self._bytes = 0
        # The same once more, for Arrow to look up.
        self._spellings: list[Spans] = []
        self._entries = np.zeros((0, 2), np.int64)

    @property
    def is_full(self) -> bool:
        """True if it is time to `clear`."""
        return self._bytes > _MAX_BYTES

    def clear(self) -> None:
        """Forget everything, once it is settled: ids are void."""
        assert not len(self._times)
        self.counts_by_id.clear()
        self._forget()

    def ids(self, spans: Spans, cuts: Positions, *, is_shallow: bool) -> Ids:
        """The id of each spelling, or UNKNOWN; `cuts` tells where in each something was cut out."""
        entries = np.full(len(spans), UNKNOWN, np.int64)
        if self._spellings and len(self._entries) <= _MAX_PER_SPAN * len(spans):
            indexes = pc.index_in(spans, value_set=pa.chunked_array(self._spellings))
            entries = indexes.fill_null(UNKNOWN).to_numpy()
        new = np.flatnonzero(entries == UNKNOWN)
        ids = self._entries[entries, 0] if len(self._entries) else entries.copy()
        if len(self._entries):
            ids[self._entries[entries, 1] != cuts] = UNKNOWN
        if len(new):
            ids[new] = self._look_up(spans.take(pa.array(new, pa.int64())), cuts[new], is_shallow=is_shallow)
        return ids

    def _look_up(self, spans: Spans, cuts: Positions, *, is_shallow: bool) -> Ids:
        """Ids of spellings one by one; those that are new are learnt."""
        unique_spans = distinct(spans)
        first_cuts = cuts[unique_spans.firsts]
        entries = list(map(self._entry_by_spelling.get, unique_spans.contents))
        new = [nth for nth, entry in enumerate(entries) if entry is None]
        if new:
            spellings = [unique_spans.contents[nth] for nth in new]
            new_entries = self._remember(spellings, first_cuts[new].tolist(), is_shallow=is_shallow)
            self._entry_by_spelling.update(zip(spellings, new_entries, strict=True))
            self._bytes += 2 * sum(map(len, spellings)) + ENTRY_BYTES * len(spellings)
            self._spellings.append(pa.array(spellings, pa.binary()))
            self._entries = np.concatenate((self._entries, new_entries))
            for nth, entry in zip(new, new_entries, strict=True):
                entries[nth] = entry
        known_ids, known_cuts = zip(*(entry for entry in entries if entry is not None), strict=True)
        ids = np.where(np.array(known_cuts) == first_cuts, known_ids, UNKNOWN)
        return np.where(first_cuts[unique_spans.ids] == cuts, ids[unique_spans.ids], UNKNOWN)

    def count(self, ids: Ids) -> None:
        """Note that spellings with these ids came."""
        times = np.bincount(ids, minlength=len(self.counts_by_id))
        times[: len(self._times)] += self._times
        self._times = times

    def settle(self, counts: ReadCounts) -> None:
        """Add to the counts what the spellings noted since the last call count."""
        for spelling in np.flatnonzero(self._times).tolist():
            if (spelling_counts := self.counts_by_id[spelling]) is not None:
                absorb_times(counts, spelling_counts, int(self._times[spelling]))
        self._times = np.zeros(0, np.int64)

    def _remember(self, spellings: Sequence[bytes], cuts: Sequence[int], *, is_shallow: bool) -> list[_Entry]:
        """Take in what was never seen; what it means, one by one."""
        return [
            self._remember_one(spelling, cut, is_shallow=is_shallow)
            for spelling, cut in zip(spellings, cuts, strict=True)
        ]

    def _remember_one(self, spelling: bytes, cut: int, *, is_shallow: bool) -> _Entry:
        counts = ReadCounts()
        entry = (UNKNOWN, cut)
        try:
            value, duplicates = quick(self._mended(spelling, cut), shallow=is_shallow)
        except NotQuiteJsonError:
            pass
        else:
            counts.repair("duplicate_key", duplicates)
            if isinstance(value, Obj) and self._learn(value, counts):
                has_counts = counts.repairs or counts.ignored_keys or counts.provider_groups_read
                entry = (len(self.counts_by_id), cut)
                self.counts_by_id.append(counts if has_counts else None)
        return entry

    @abstractmethod
    def _mended(self, spelling: bytes, cut: int) -> bytes:
        """The spelling as JSON again, with a stand-in where something was cut out."""

    @abstractmethod
    def _learn(self, value: Obj, counts: ReadCounts) -> bool:
        """Take a value in under the next id; False if it has to be looked at where it stands."""


def absorb_times(counts: ReadCounts, other: ReadCounts, times: int) -> None:
    """Add the counts of a part that came several times and has no rejects."""
    counts.prices_read += times * other.prices_read
    counts.rate_rows += times * other.rate_rows
    counts.provider_groups_read += times * other.provider_groups_read
    for kind, count in other.repairs.items():
        counts.repair(kind, times * count)
    for path, count in other.ignored_keys.items():
        counts.ignore(path, times * count)


class ProviderMemo(SpellingMemo):
    """Elements without their prices: the provider set of each."""

    def __init__(self) -> None:
        super().__init__()
        self._set_ids: list[int | None] = []
        self._arrays = id_array([])
        self._fresh: list[tuple[int, RateElement]] = []
        self._names = _NumberNames()

    def clear(self) -> None:
        """Forget everything, once it is settled: ids are void."""
        super().clear()
        self._set_ids.clear()
        self._arrays = id_array([])

    def set_ids(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each id the set, and whether it is null."""
        values, is_null = self._arrays
        if len(values) != len(self._set_ids):
            more_values, more_is_null = id_array(self._set_ids[len(values) :])
            self._arrays = np.concatenate((values, more_values)), np.concatenate((is_null, more_is_null))
        return self._arrays

    def fresh(self) -> list[tuple[int, RateElement]]:
        """What was learnt since the last call, by id: its groups are to be written."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _remember(self, spellings: Sequence[bytes], cuts: Sequence[int], *, is_shallow: bool) -> list[_Entry]:
        entries = list[_Entry]()
        for spelling, cut, element in zip(spellings, cuts, self._plain_references(spellings, cuts), strict=True):
            if element is None:
                entries.append(self._remember_one(spelling, cut, is_shallow=is_shallow))
                continue
            entries.append((len(self._set_ids), cut))
            self._fresh.append((len(self._set_ids), element))
            self.counts_by_id.append(None)
            self._set_ids.append(element.set_id)
        return entries

    def _plain_references(self, spellings: Sequence[bytes], cuts: Sequence[int]) -> list[RateElement | None]:
        """What `rate_providers` gives for distinct whole numbers beside the prices and no more; None elsewhere."""
        are_usual = [spelling.count(b'"') == _QUOTES_OF_KEYS and b"\\" not in spelling for spelling in spellings]
        texts = [
            self._mended(spelling, cut) if is_usual else b"0"
            for spelling, cut, is_usual in zip(spellings, cuts, are_usual, strict=True)
        ]
        try:
            values = orjson.loads(b"[%b]" % b",".join(texts))
        except orjson.JSONDecodeError:
            return [None] * len(spellings)
        return [_plain_references(value, self._names) if value else None for value in values]

    def _mended(self, spelling: bytes, cut: int) -> bytes:
        return spelling[:cut] + _QUOTED_MARK + spelling[cut:]

    def _learn(self, value: Obj, counts: ReadCounts) -> bool:
        if value.get("negotiated_prices") != [_PRICES_MARK]:
            return False
        element = rate_providers(value, Values(counts))
        if counts.rejects:
            return False
        self._fresh.append((len(self._set_ids), element))
        self._set_ids.append(element.set_id)
        return True


class _NumberNames(dict[int, str]):
    """Ids of groups as text: most are in dozens of sets, and to spell a number takes longer than to look it up."""

    def __missing__(self, number: int) -> str:
        if len(self) >= _MAX_NAMES:
            self.clear()
        name = self[number] = str(number)
        return name


def _plain_references(value: dict[str, Any], names: _NumberNames) -> RateElement | None:
    references = value.get("provider_references")
    if len(value) != 2 or value.get("negotiated_prices") != [_PRICES_MARK] or type(references) is not list:  # noqa: PLR2004 - keys
        return None
    if set(map(type, references)) != {int}:
        return None
    distinct_ids = set(map(names.__getitem__, references))
    if len(distinct_ids) < len(references):
        return None
    members = tuple(sorted(distinct_ids))
    return RateElement(members, id_of_sorted(members), [], [])


def id_array(ids: Sequence[int | None]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Set ids as numbers, and which of them are null."""
    is_null = np.array([each is None for each in ids], np.bool_)
    return np.array([0 if each is None else each for each in ids], np.int64), is_null
