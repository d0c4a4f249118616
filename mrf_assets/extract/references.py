"""Elements of `provider_references` -> rows of `providers`.

Nearly all bytes of the section are NPIs: plain lists of them are cut out and read all at once, and
what remains is parsed. A reference that is unusual in any way is read again, by `rows`, alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.extract.columns import ProviderRows
from mrf_assets.extract.exact import NotQuiteJsonError, located_elements, quick
from mrf_assets.extract.interface import TableBatch, Tally
from mrf_assets.extract.npis import PlainLists, plain_lists
from mrf_assets.extract.reference import FileReader
from mrf_assets.extract.rows import GROUP_KEYS, REFERENCE_KEYS, content_of_runs
from mrf_assets.extract.spans import follows_key
from mrf_assets.extract.splitter import PADDING, Brackets, Scanner, pairs_of_level
from mrf_assets.extract.values import Obj, Values

_MARK = secrets.token_hex(8)  # stands for a list that was cut out; no file can know it
_LIST = ord("[")
_DEEPEST = 50
_NPI_LEVEL = 3  # reference, provider_groups, group, npi


class _Run(NamedTuple):
    kind: str | None
    tin: str | None
    name: str | None
    npis: NDArray[np.int64]


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
        values: object = None
        if found.levels.max(initial=0) < _DEEPEST:
            try:
                values, duplicates = quick(before + reduced + b"]", shallow=True)
            except NotQuiteJsonError:
                pass
            else:
                values = values[0 if is_first else 1 :] if isinstance(values, list) and not duplicates else None
        if not isinstance(values, list) or len(values) != len(elements.starts):
            yield from self._read_all(offset - len(before), before + text + b"]", is_first=is_first)
            return
        for nth, value in enumerate(values):
            if isinstance(value, Obj) and (read := _read_reference(value, lists)) is not None:
                self._tally.provider_groups_read += 1
                yield from self._write(*read)
            else:
                start, stop = int(elements.starts[nth]), int(elements.stops[nth]) + 1
                yield from self._read_all(offset + start - 1, b"[" + text[start:stop] + b"]", is_first=True)

    def _read_all(self, offset: int, text: bytes, *, is_first: bool) -> Iterator[TableBatch]:
        values = located_elements([(offset, text)], self._url, self._tally)
        for value in values if is_first else values[1:]:
            if isinstance(value, Obj):
                self._tally.provider_groups_read += 1
                yield from self._file.write_reference(value)
            else:
                self.not_a_reference(value)

    def _write(self, group_id: str, names: list[str] | None, runs: list[_Run], counts: Tally) -> Iterator[TableBatch]:
        self._tally.absorb(counts)
        contents = [[kind, tin, name, names, False, len(npis)] for kind, tin, name, npis in runs]
        npis = b"".join(run.npis.tobytes() for run in runs)
        if self._file.is_new_group(group_id, content_of_runs(contents, npis)):
            for kind, tin, name, run_npis in runs:
                yield from self._rows.add_run((group_id, kind, tin, name, names, False), run_npis)


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


def _read_reference(reference: Obj, lists: PlainLists) -> tuple[str, list[str] | None, list[_Run], Tally] | None:
    """Id, network names, runs of rows and counts of a reference of the usual shape; None if it is another."""
    counts = Tally()
    values = Values(counts)
    entries = reference.get("provider_groups")
    if not reference.keys() <= REFERENCE_KEYS or "location" in reference or not isinstance(entries, list):
        return None
    group_id = values.group_id(reference.get("provider_group_id"))
    names = values.texts(reference.get("network_name"), "", 0)
    if group_id is None:
        return None
    runs, tins = [], set()
    for entry in entries:
        if not isinstance(entry, Obj) or not entry.keys() <= GROUP_KEYS:
            return None
        npis = entry.get("npi")
        if not (isinstance(npis, list) and len(npis) == 1 and isinstance(npis[0], str) and npis[0].startswith(_MARK)):
            return None
        kind, tin, name = values.tin(entry.get("tin"), 0)
        tins.add((kind, tin))
        nth = int(npis[0][len(_MARK) :])
        if texts := int(lists.texts[nth]):
            counts.repairs["npi_from_text"] += texts
        if zeros := int(lists.zeros[nth]):
            counts.repairs["npi_zero_as_null"] += zeros
        runs.append(_Run(kind, tin, name, lists.npis[lists.borders[nth] : lists.borders[nth + 1]]))
    # Equal TINs may share NPIs, which are then written once.
    if counts.rejects or not runs or len(tins) < len(runs):
        return None
    return group_id, names, runs, counts
