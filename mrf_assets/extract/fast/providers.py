"""Elements of `provider_references` -> rows of `providers`.

Nearly all bytes of the section are NPIs: plain lists of them are cut out and read all at once. What
remains is parsed by one call a piece, and taken column by column where all of it has the usual shape. A
reference that is unusual in any way is read again, by `rows`, alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, compress, pairwise
from typing import Any

import numpy as np
import orjson

from mrf_assets.extract.fast.columns import Groups, ProviderRows
from mrf_assets.extract.fast.exact import NotQuiteJsonError, is_crowded, located_elements, quick
from mrf_assets.extract.fast.npis import PlainLists, plain_lists
from mrf_assets.extract.fast.provider_groups import LIST_MARK, Plain, read_plain, taken_lists
from mrf_assets.extract.fast.scanner import PADDING, Brackets, Scanner, pairs_of_level
from mrf_assets.extract.fast.spans import follows_key
from mrf_assets.extract.interface import ReadCounts, TableBatch
from mrf_assets.extract.oracle.reader import FileReader
from mrf_assets.extract.rows import GROUP_KEYS, REFERENCE_KEYS, content_of_entries
from mrf_assets.extract.values import Json, Obj, Values

_LIST = ord("[")
_DEEPEST = 50
_BEFORE = {True: b"[", False: b"[0 "}  # makes a list of a piece, its first one or a later one
_NPI_LEVEL = 3  # reference, provider_groups, group, npi
_FEW = 32  # references that are tried together where not all of a piece are usual

_CountedGroups = tuple[Groups, ReadCounts | None]  # None counts nothing


class ReferenceReader:
    """Reads pieces of the section, cut behind elements."""

    def __init__(self, file: FileReader, rows: ProviderRows) -> None:
        self._file, self._counts, self._url, self._rows = file, file.counts, file.request.url, rows
        self._limits = file.request.limits

    def not_a_reference(self, value: object) -> None:
        """Reject what is no object."""
        self._counts.provider_groups_read += 1
        self._counts.reject(self._file.root_offset, "provider_group", "provider_references", "not_an_object", value)

    def read(self, offset: int, text: bytes, *, is_first: bool) -> Iterator[TableBatch]:
        """Read a piece of the list; `offset` is its place in the file."""
        before = _BEFORE[is_first]
        if is_crowded(text, self._limits):
            yield from self._read_all(offset, text, is_first=is_first)
            return
        brackets = Scanner().scan(text + PADDING)
        lists, outline = _cut_lists(text, brackets)
        elements = pairs_of_level(brackets, 0)
        runs = None
        if brackets.levels.max(initial=0) < _DEEPEST:
            runs = _read_usual(before + outline + b"]", lists, first=0 if is_first else 1)
        if runs is None or sum(1 if run is None else len(run[0].group_ids) for run in runs) != len(elements.starts):
            yield from self._read_all(offset, text, is_first=is_first)
            return
        starts = [0, *accumulate(1 if run is None else len(run[0].group_ids) for run in runs)]
        # All before the first is written, so that the addresses among them are fetched side by side.
        unusual = {
            nth: self._located(offset, text, int(elements.starts[nth]), int(elements.stops[nth]) + 1)
            for nth, run in zip(starts, runs, strict=False)
            if run is None
        }
        self._file.expect_remote(unusual.values())
        for nth, run in zip(starts, runs, strict=False):
            if run is None:
                yield from self._write_value(unusual.pop(nth))
            else:
                yield from self._write(*run)

    def _located(self, offset: int, text: bytes, start: int, stop: int) -> Json:
        (value,) = located_elements([(offset + start - 1, b"[" + text[start:stop] + b"]")], self._url, self._counts)
        return value

    def _read_all(self, offset: int, text: bytes, *, is_first: bool) -> Iterator[TableBatch]:
        before = _BEFORE[is_first]
        segments = [(offset - len(before), before), (offset, text), (offset + len(text), b"]")]
        values = located_elements(segments, self._url, self._counts, self._limits)
        values = values if is_first else values[1:]
        self._file.expect_remote(values)
        for value in values:
            yield from self._write_value(value)

    def _write_value(self, value: Json) -> Iterator[TableBatch]:
        if isinstance(value, Obj):
            self._counts.provider_groups_read += 1
            yield from self._file.write_reference(value)
        else:
            self.not_a_reference(value)

    def _write(self, groups: Groups, counts: ReadCounts | None) -> Iterator[TableBatch]:
        self._counts.provider_groups_read += len(groups.group_ids)
        if counts is not None:
            self._counts.absorb(counts)
        is_new = list(map(self._file.is_new_group, groups.group_ids, _contents(groups)))
        yield from self._rows.add_groups(groups if all(is_new) else _chosen(groups, is_new))


def _contents(groups: Groups) -> Iterator[int]:
    entries = list(zip(groups.kinds, groups.tins, groups.names, groups.npi_counts, strict=True))
    npis = groups.npis.tobytes()
    width = groups.npis.itemsize
    places = [width * place for place in accumulate(groups.npi_counts, initial=0)]
    borders = pairwise(accumulate(groups.entry_counts, initial=0))
    for (start, stop), networks in zip(borders, groups.networks, strict=True):
        yield content_of_entries(entries[start:stop], networks, npis[places[start] : places[stop]])


def _chosen(groups: Groups, is_chosen: Sequence[bool]) -> Groups:
    """Some of the groups."""
    entries = np.repeat(is_chosen, groups.entry_counts)
    return Groups(
        group_ids=list(compress(groups.group_ids, is_chosen)),
        networks=list(compress(groups.networks, is_chosen)),
        is_inline=list(compress(groups.is_inline, is_chosen)),
        entry_counts=list(compress(groups.entry_counts, is_chosen)),
        kinds=list(compress(groups.kinds, entries)),
        tins=list(compress(groups.tins, entries)),
        names=list(compress(groups.names, entries)),
        npi_counts=list(compress(groups.npi_counts, entries)),
        npis=groups.npis[np.repeat(entries, groups.npi_counts)],
    )


def _cut_lists(text: bytes, brackets: Brackets) -> tuple[PlainLists, bytes]:
    """The plain lists of NPIs, and the text with a mark and a number in place of each."""
    data = np.frombuffer(text + PADDING, np.uint8)
    pairs = pairs_of_level(brackets, _NPI_LEVEL)
    indexes = np.flatnonzero((pairs.kinds == _LIST) & follows_key(data, pairs.starts, b'"npi"'))
    starts, stops = pairs.starts[indexes] + 1, pairs.stops[indexes]
    lists = plain_lists(text, starts, stops)
    plain = np.flatnonzero(lists.is_plain)
    cuts = starts[plain].tolist(), [0, *stops[plain].tolist()]
    between = [text[stop:start] for start, stop in zip(*cuts, strict=False)]
    marks = [f'"{LIST_MARK}{nth}"'.encode() for nth in plain.tolist()]
    pieces = [*chain.from_iterable(zip(between, marks, strict=True)), text[cuts[1][-1] :]]
    return lists, b"".join(pieces)


def _read_usual(text: bytes, lists: PlainLists, *, first: int) -> list[_CountedGroups | None] | None:
    """The references of a list in runs, None for each of another shape than usual; None if `json` cannot tell them."""
    if b"\\" not in text:
        try:
            return _read_at_once(orjson.loads(text)[first:], text.count(b'"'), lists)
        except (orjson.JSONDecodeError, NotQuiteJsonError):
            pass
    try:
        values, duplicates = quick(text, shallow=True)
    except NotQuiteJsonError:
        return None
    if duplicates or not isinstance(values, list):
        return None
    return [_read_reference(value, lists) if isinstance(value, Obj) else None for value in values[first:]]


def _read_at_once(values: list[Any], quotes: int, lists: PlainLists) -> list[_CountedGroups | None]:
    runs, read_quotes = list[_CountedGroups | None](), 0
    for run in _runs(values, lists):
        if isinstance(run, Plain):
            runs.append((run.groups, run.counts))
            more_quotes = run.quotes
        else:
            objects, more_quotes = _with_objects(run)
            runs.append(_read_reference(objects, lists) if isinstance(objects, Obj) else None)
        read_quotes += more_quotes
    # Without escapes each key and each text has two quotes, so a key that came twice leaves too many.
    if read_quotes != quotes:
        raise NotQuiteJsonError("a key came twice")
    return runs


def _runs(values: list[Any], lists: PlainLists) -> Iterator[Plain | Any]:
    """As many values at once as are plain, and those that are not, in their order."""
    if plain := read_plain(values, lists):
        yield plain
        return
    for start in range(0, len(values), _FEW):
        few = values[start : start + _FEW]
        if plain := read_plain(few, lists):
            yield plain
        else:
            for value in few:
                yield read_plain([value], lists) or value


def _with_objects(value: object) -> tuple[Json, int]:
    """The value with `Obj` for objects, and how many quotes it takes.

    Raises:
        NotQuiteJsonError: It has a number that is not exact.
    """
    if isinstance(value, str):
        return value, 2
    if isinstance(value, float):
        raise NotQuiteJsonError("float")
    if isinstance(value, list):
        pairs = [_with_objects(each) for each in value]
        return [each for each, _ in pairs], sum(quotes for _, quotes in pairs)
    if not isinstance(value, dict):
        return value, 0
    obj, quotes = Obj(-1), 2 * len(value)
    for key, each in value.items():
        obj[key], more_quotes = _with_objects(each)
        quotes += more_quotes
    return obj, quotes


def _read_reference(reference: Obj, lists: PlainLists) -> _CountedGroups | None:
    """A reference of the usual shape; None if it is another."""
    counts = ReadCounts()
    values = Values(counts)
    entries = reference.get("provider_groups")
    if not reference.keys() <= REFERENCE_KEYS or "location" in reference or not isinstance(entries, list):
        return None
    group_id = values.group_id(reference.get("provider_group_id"))
    networks = values.texts(reference.get("network_name"), "", 0)
    if group_id is None:
        return None
    tins, list_numbers = list[tuple[str | None, str | None, str | None]](), list[int]()
    for entry in entries:
        if not isinstance(entry, Obj) or not entry.keys() <= GROUP_KEYS:
            return None
        npis = entry.get("npi")
        if not (
            isinstance(npis, list) and len(npis) == 1 and isinstance(npis[0], str) and npis[0].startswith(LIST_MARK)
        ):
            return None
        tins.append(values.tin(entry.get("tin"), 0))
        list_numbers.append(int(npis[0].removeprefix(LIST_MARK)))
    # Equal TINs may share NPIs, which are then written once.
    if counts.rejects or not tins or len({tin[:2] for tin in tins}) < len(tins):
        return None
    kinds, values_of_tins, names = zip(*tins, strict=True)
    npi_counts, npis_of_all = taken_lists(lists, list_numbers, counts)
    return Groups(
        [group_id], [networks], [False], [len(tins)], kinds, values_of_tins, names, npi_counts, npis_of_all
    ), counts
