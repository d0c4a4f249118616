"""Elements of `provider_references` -> rows of `providers`.

Nearly all bytes of the section are NPIs: plain lists of them are cut out and read all at once, and
what remains is parsed. A reference that is unusual in any way is read again, by `rows`, alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from mrf_assets.extract.columns import ProviderRows, Run
from mrf_assets.extract.exact import NotQuiteJsonError, located_elements, quick
from mrf_assets.extract.interface import TableBatch, Tally
from mrf_assets.extract.npis import PlainLists, plain_lists
from mrf_assets.extract.reference import FileReader
from mrf_assets.extract.rows import GROUP_KEYS, REFERENCE_KEYS, content_of_runs
from mrf_assets.extract.spans import follows_key
from mrf_assets.extract.splitter import PADDING, Brackets, Scanner, pairs_of_level
from mrf_assets.extract.values import Json, Obj, Values

_MARK = secrets.token_hex(8)  # stands for a list that was cut out; no file can know it
_MARK_LENGTH = len(_MARK)
_TIN_TYPES = ("ein", "npi")
_LIST = ord("[")
_DEEPEST = 50
_NPI_LEVEL = 3  # reference, provider_groups, group, npi


class _Group(NamedTuple):
    """A reference of the usual shape."""

    group_id: str
    runs: list[Run]
    npis: NDArray[np.int64]  # of all runs
    counts: Tally | None  # None counts nothing


class ReferenceReader:
    """Reads pieces of the section, cut behind elements."""

    def __init__(self, file: FileReader, rows: ProviderRows) -> None:
        self._file, self._tally, self._url, self._rows = file, file.tally, file.request.url, rows

    def not_a_reference(self, value: object) -> None:
        """Reject what is no object."""
        self._tally.provider_groups_read += 1
        self._tally.reject(self._file.root_offset, "provider_group", "provider_references", "not_an_object", value)

    def read(self, offset: int, text: bytes, *, is_first: bool) -> Iterator[TableBatch]:
        """Read a piece of the list; `offset` is its place in the file."""
        before = b"[" if is_first else b"[0 "
        found = Scanner().scan(text + PADDING)
        lists, reduced = _cut_lists(text, found)
        elements = pairs_of_level(found, 0)
        groups = None
        if found.levels.max(initial=0) < _DEEPEST:
            groups = _groups(before + reduced + b"]", lists)
        groups = groups if is_first or groups is None else groups[1:]
        if groups is None or len(groups) != len(elements.starts):
            yield from self._read_all(offset - len(before), before + text + b"]", is_first=is_first)
            return
        # All before the first is written, so that the addresses among them are fetched side by side.
        unusual = {
            nth: self._located(offset, text, int(elements.starts[nth]), int(elements.stops[nth]) + 1)
            for nth, group in enumerate(groups)
            if group is None
        }
        self._file.expect_remote(unusual.values())
        for nth, group in enumerate(groups):
            if group is not None:
                self._tally.provider_groups_read += 1
                yield from self._write(group)
            else:
                yield from self._write_value(unusual.pop(nth))

    def _located(self, offset: int, text: bytes, start: int, stop: int) -> Json:
        (value,) = located_elements([(offset + start - 1, b"[" + text[start:stop] + b"]")], self._url, self._tally)
        return value

    def _read_all(self, offset: int, text: bytes, *, is_first: bool) -> Iterator[TableBatch]:
        values = located_elements([(offset, text)], self._url, self._tally)
        values = values if is_first else values[1:]
        self._file.expect_remote(values)
        for value in values:
            yield from self._write_value(value)

    def _write_value(self, value: Json) -> Iterator[TableBatch]:
        if isinstance(value, Obj):
            self._tally.provider_groups_read += 1
            yield from self._file.write_reference(value)
        else:
            self.not_a_reference(value)

    def _write(self, group: _Group) -> Iterator[TableBatch]:
        if group.counts is not None:
            self._tally.absorb(group.counts)
        contents = [[*run[1:], count] for run, count in group.runs]
        if self._file.is_new_group(group.group_id, content_of_runs(contents, group.npis.tobytes())):
            yield from self._rows.add_runs(group.runs, group.npis)


def _cut_lists(text: bytes, found: Brackets) -> tuple[PlainLists, bytes]:
    """The plain lists of NPIs, and the text with a mark and a number in place of each."""
    data = np.frombuffer(text + PADDING, np.uint8)
    pairs = pairs_of_level(found, _NPI_LEVEL)
    chosen = np.flatnonzero((pairs.kinds == _LIST) & follows_key(data, pairs.starts, b'"npi"'))
    starts, stops = pairs.starts[chosen] + 1, pairs.stops[chosen]
    lists = plain_lists(text, starts, stops)
    pieces, end = list[bytes](), 0
    for nth in np.flatnonzero(lists.is_plain).tolist():
        pieces += (text[end : starts[nth]], b'"%b%d"' % (_MARK.encode(), nth))
        end = stops[nth]
    return lists, b"".join([*pieces, text[end:]])


def _groups(text: bytes, lists: PlainLists) -> list[_Group | None] | None:
    """The references of a list, None for each of another shape than usual; None if `json` cannot tell them."""
    borders = lists.borders.tolist()
    repaired = ((lists.texts != 0) | (lists.zeros != 0)).tolist()
    if b"\\" not in text:
        try:
            return _groups_at_once(orjson.loads(text), text.count(b'"'), lists, borders, repaired)
        except (orjson.JSONDecodeError, NotQuiteJsonError):
            pass
    try:
        values, duplicates = quick(text, shallow=True)
    except NotQuiteJsonError:
        return None
    if duplicates or not isinstance(values, list):
        return None
    return [_read_reference(value, lists) if isinstance(value, Obj) else None for value in values]


def _groups_at_once(
    values: list[object], quotes: int, lists: PlainLists, borders: list[int], repaired: list[bool]
) -> list[_Group | None]:
    groups, read_quotes = list[_Group | None](), 0
    for value in values:
        plain = _read_plain(value, lists, borders, repaired)
        if plain is None:
            objects, more_quotes = _with_objects(value)
            groups.append(_read_reference(objects, lists) if isinstance(objects, Obj) else None)
        else:
            group, more_quotes = plain
            groups.append(group)
        read_quotes += more_quotes
    # Without escapes each key and each text has two quotes, so a key that came twice leaves too many.
    if read_quotes != quotes:
        raise NotQuiteJsonError("a key came twice")
    return groups


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
    held, quotes = Obj(-1), 2 * len(value)
    for key, each in value.items():
        held[key], more_quotes = _with_objects(each)
        quotes += more_quotes
    return held, quotes


def _read_plain(
    reference: Any,  # noqa: ANN401 - JSON
    lists: PlainLists,
    borders: list[int],
    repaired: list[bool],
) -> tuple[_Group, int] | None:
    """What `_read_reference` gives where nothing is to be repaired or counted, and how many quotes it takes."""
    if type(reference) is not dict:
        return None
    names, number = reference.get("network_name"), reference.get("provider_group_id")
    entries: Any = reference.get("provider_groups")
    is_plain = (
        type(number) is int
        and type(entries) is list
        and len(reference) == (2 if names is None else 3)  # no other key
        and (names is None or (type(names) is list and all(type(name) is str and name for name in names)))
    )
    plain = [_read_plain_entry(entry, repaired) for entry in entries] if is_plain else []
    if not plain or None in plain:
        return None
    tins, at = zip(*plain, strict=True)
    # Equal TINs may share NPIs, which are then written once.
    if len({(kind, tin) for kind, tin, _ in tins}) < len(tins):
        return None
    group_id = str(number)
    runs = [
        ((group_id, *tin, names, False), borders[nth + 1] - borders[nth]) for tin, nth in zip(tins, at, strict=True)
    ]
    quotes = 2 * (len(reference) + len(names or ())) + sum(14 if tin[2] is None else 18 for tin in tins)
    if at == tuple(range(at[0], at[0] + len(at))):
        npis = lists.npis[borders[at[0]] : borders[at[-1] + 1]]
    else:
        npis = np.concatenate([lists.npis[borders[nth] : borders[nth + 1]] for nth in at])
    return _Group(group_id, runs, npis, None), quotes


def _read_plain_entry(
    entry: Any,  # noqa: ANN401 - JSON
    repaired: list[bool],
) -> tuple[tuple[str, str, str | None], int] | None:
    """The TIN (type, value, name) of one of the `provider_groups`, and the number of its list of NPIs."""
    if type(entry) is not dict or len(entry) != 2:  # noqa: PLR2004 - npi and tin
        return None
    npis, tin = entry.get("npi"), entry.get("tin")
    if type(npis) is not list or len(npis) != 1 or type(tin) is not dict:
        return None
    values: tuple[Any, Any, Any, Any] = (npis[0], tin.get("type"), tin.get("value"), tin.get("business_name"))
    mark, kind, value, name = values
    is_plain = (
        type(mark) is str
        and mark.startswith(_MARK)
        and kind in _TIN_TYPES
        and type(value) is str
        and len(tin) == (2 if name is None else 3)  # no other key
        and (name is None or (type(name) is str and name != ""))
    )
    if not is_plain:
        return None
    clean: str = value.strip()
    if kind == "ein":
        clean = clean.replace("-", "")
    nth = int(mark[_MARK_LENGTH:])
    return ((kind, clean, name), nth) if clean and not repaired[nth] else None


def _read_reference(reference: Obj, lists: PlainLists) -> _Group | None:
    """A reference of the usual shape; None if it is another."""
    counts = Tally()
    values = Values(counts)
    entries = reference.get("provider_groups")
    if not reference.keys() <= REFERENCE_KEYS or "location" in reference or not isinstance(entries, list):
        return None
    group_id = values.group_id(reference.get("provider_group_id"))
    names = values.texts(reference.get("network_name"), "", 0)
    if group_id is None:
        return None
    runs, tins, npi_lists = list[Run](), set[tuple[str | None, str | None]](), list[NDArray[np.int64]]()
    for entry in entries:
        if not isinstance(entry, Obj) or not entry.keys() <= GROUP_KEYS:
            return None
        npis = entry.get("npi")
        if not (isinstance(npis, list) and len(npis) == 1 and isinstance(npis[0], str) and npis[0].startswith(_MARK)):
            return None
        kind, tin, name = values.tin(entry.get("tin"), 0)
        tins.add((kind, tin))
        nth = int(npis[0][_MARK_LENGTH:])
        if texts := int(lists.texts[nth]):
            counts.repairs["npi_from_text"] += texts
        if zeros := int(lists.zeros[nth]):
            counts.repairs["npi_zero_as_null"] += zeros
        npi_lists.append(lists.npis[lists.borders[nth] : lists.borders[nth + 1]])
        runs.append(((group_id, kind, tin, name, names, False), len(npi_lists[-1])))
    # Equal TINs may share NPIs, which are then written once.
    if counts.rejects or not runs or len(tins) < len(runs):
        return None
    return _Group(group_id, runs, np.concatenate(npi_lists), counts)
