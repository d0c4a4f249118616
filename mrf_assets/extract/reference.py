"""The reader that is obviously right: ijson's events, one object at a time.

It is the oracle of every faster reader and their fallback. Memory is bounded by one
`negotiated_rates` element and one provider reference, whatever the size of file and item.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from mrf_assets.errors import FetchError, MalformedJson, MrfError, NotInNetworkFile
from mrf_assets.extract.events import Event, json_events
from mrf_assets.extract.interface import Request, TableBatch, Tally
from mrf_assets.extract.rows import (
    HEAD_KEYS,
    RateElement,
    RowBuffer,
    RowSink,
    group_content,
    item_head,
    rate_element,
    reference_rows,
)
from mrf_assets.extract.values import Json, Obj, Values
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATES, REJECTS
from mrf_assets.stream import open_json

_HEADER_TEXTS = (
    "reporting_entity_name",
    "reporting_entity_type",
    "version",
    "plan_name",
    "plan_id",
    "plan_market_type",
    "issuer_name",
    "plan_sponsor_name",
)
HEADER_KEYS = frozenset({*_HEADER_TEXTS, "last_updated_on", "plan_id_type"})
OTHER_KINDS = {
    "reporting_structure": "is a table of contents (an index); ingest it with --source index",
    "out_of_network": "is an allowed-amounts file; only in-network files are read",
    "provider_groups": "is a provider-reference file, which belongs to an in-network file and is read with it",
}
_DEEPEST = 64  # the schema needs 8 levels


class Cursor:
    """The events of one file, pulled one by one."""

    def __init__(self, events: Iterator[Event], url: str) -> None:
        self._events, self._url = events, url

    def next(self) -> Event:
        """The next event."""
        return next(self._events)

    def members(self) -> Iterator[str]:
        """The keys of the object just opened; the caller takes each value before it asks on."""
        while (event := self.next())[1] != "end_map":
            yield event[2]

    def elements(self, first: Event) -> Iterator[Event]:
        """The first event of each element of a list; a value that is no list is its own only element."""
        if first[1] != "start_array":
            if first[1] != "null":
                yield first
            return
        while (event := self.next())[1] != "end_array":
            yield event

    def value(self, first: Event, tally: Tally, depth: int = 0) -> Json:
        """The whole value that `first` begins."""
        offset, event, scalar = first
        if depth > _DEEPEST:
            raise MalformedJson(self._url, offset, f"nested deeper than {_DEEPEST} levels")
        if event == "start_map":
            held = Obj(offset)
            for key in self.members():
                if key in held:
                    tally.repairs["duplicate_key"] += 1
                held[key] = self.value(self.next(), tally, depth + 1)
            return held
        if event == "start_array":
            return [self.value(element, tally, depth + 1) for element in self.elements(first)]
        return scalar

    def finish(self) -> None:
        """Read to the end, so that what follows the document is found."""
        for _ in self._events:
            pass

    def skip(self, first: Event) -> None:
        """Pass over the value that `first` begins."""
        depth = 0
        event = first[1]
        while True:
            if event in ("start_map", "start_array"):
                depth += 1
            elif event in ("end_map", "end_array"):
                depth -= 1
            if depth == 0:
                return
            event = self.next()[1]


class _Held:
    """Rate elements of one item that wait for its end, on disk beyond a number."""

    def __init__(self, request: Request) -> None:
        self._most, self._dir = request.item_rows_in_memory, request.spool_dir
        self._held: list[RateElement] = []
        self._rows = 0
        self._spool: Any = None

    def add(self, element: RateElement) -> None:
        self._held.append(element)
        self._rows += len(element.prices) + len(element.inline) + 1
        if self._rows >= self._most:
            self._spool = self._spool or tempfile.TemporaryFile(dir=self._dir)  # noqa: SIM115 - closed by close()
            pickle.dump(self._held, self._spool)
            self._held, self._rows = [], 0

    def __iter__(self) -> Iterator[RateElement]:
        if self._spool is not None:
            end = self._spool.tell()
            self._spool.seek(0)
            while self._spool.tell() < end:
                yield from pickle.load(self._spool)  # noqa: S301 - written by this process, in an unnamed file
        yield from self._held

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()


class FileReader:
    """One pass over one file."""

    def __init__(self, cursor: Cursor, request: Request, tally: Tally) -> None:
        self.cursor, self.request, self.tally = cursor, request, tally
        self.values = Values(tally)
        self.providers: RowSink = RowBuffer(PROVIDERS, request.file_id, request.provider_batch_rows)
        self.sets = RowBuffer(PROVIDER_SETS, request.file_id, request.rate_batch_rows)
        self.rates = RowBuffer(RATES, request.file_id, request.rate_batch_rows)
        self.rejects = RowBuffer(REJECTS, request.file_id, request.rate_batch_rows)
        self.set_ids, self.inline_ids = set[int](), set[str]()
        self.group_contents: dict[str, set[bytes]] = {}
        self.remote: dict[str, list[Json] | None] = {}
        self.root_offset = 0

    def read(self) -> Iterator[TableBatch]:
        """Yield the tables of the file."""
        first = self.cursor.next()
        if first[1] == "byte_order_mark":
            self.tally.repairs["byte_order_mark"] += 1
            first = self.cursor.next()
        if first[1] != "start_map":
            raise NotInNetworkFile(
                self.request.url, "is JSON, but not an object; an in-network file is one JSON object"
            )
        self.root_offset = first[0]
        header, seen = Obj(first[0]), set[str]()
        for key in self.cursor.members():
            event = self.cursor.next()
            if key in OTHER_KINDS and "in_network" not in seen:
                raise NotInNetworkFile(self.request.url, OTHER_KINDS[key])
            if key in ("in_network", "provider_references"):
                seen.add(key)
                yield from self._section(self._item if key == "in_network" else self._reference, event)
            elif key in HEADER_KEYS:
                header[key] = self.cursor.value(event, self.tally)
            else:
                self.tally.ignore(key[:200])
                self.cursor.skip(event)
        self.cursor.finish()
        self._finish(header, seen)
        yield from self._hand_over_rejects()
        for buffer in (self.providers, self.sets, self.rates, self.rejects):
            yield from buffer.flush()

    def _section(self, one: Callable[[Event], Iterator[TableBatch]], first: Event) -> Iterator[TableBatch]:
        if first[1] not in ("start_array", "null"):
            self.tally.repairs["scalar_for_list"] += 1
        for element in self.cursor.elements(first):
            yield from one(element)
            yield from self._hand_over_rejects()

    def _finish(self, header: Obj, seen: set[str]) -> None:
        if "in_network" not in seen:
            raise NotInNetworkFile(
                self.request.url, "has no `in_network`; check that the address is an in-network file"
            )
        for key in _HEADER_TEXTS:
            self.tally.header[key] = self.values.text(header.get(key), key, header.offset)
        self.tally.header["plan_id_type"] = self.values.word(header.get("plan_id_type"), "plan_id_type", header.offset)
        self.tally.header["last_updated_on"] = self.values.date(
            header.get("last_updated_on"), "last_updated_on", header.offset
        )

    def _hand_over_rejects(self) -> Iterator[TableBatch]:
        for reject in self.tally.rejects:
            yield from self.rejects.add(reject)
        self.tally.rejects.clear()

    def _reference(self, first: Event) -> Iterator[TableBatch]:
        self.tally.provider_groups_read += 1
        reference = self.cursor.value(first, self.tally)
        if not isinstance(reference, Obj):
            self.tally.reject(self.root_offset, "provider_group", "provider_references", "not_an_object", reference)
            return
        yield from self.write_reference(reference)

    def write_reference(self, reference: Obj) -> Iterator[TableBatch]:
        """One element of `provider_references`, counted as read already."""
        found = reference_rows(reference, self.values, self._remote_groups)
        if found is None:
            return
        group_id, rows = found
        if self.is_new_group(group_id, group_content(rows)):
            for row in rows:
                yield from self.providers.add(row)

    def is_new_group(self, group_id: str, content: bytes) -> bool:
        """False for what came before, with the same content."""
        known = self.group_contents.setdefault(group_id, set())
        if content in known:
            self.tally.repairs["duplicate_provider_group"] += 1
            return False
        if known:
            self.tally.repairs["conflicting_provider_group"] += 1
        known.add(content)
        return True

    def _remote_groups(self, location: str, offset: int) -> list[Json] | None:
        if location not in self.remote:
            self.remote[location] = self._fetch_groups(location, offset)
        return self.remote[location]

    def _fetch_groups(self, location: str, offset: int) -> list[Json] | None:
        """The groups of a remote document, which has no offsets of its own: the reference's stand for all."""
        try:
            # A file of a stranger must not make us read local files.
            if not location.lower().startswith(("http://", "https://")):
                raise FetchError(location, "not an http(s) address")
            with self.request.open_url(location) as raw:
                blocks = open_json(raw).blocks()
                events = ((offset, *event[1:]) for event in json_events(blocks, raw.url))
                cursor = Cursor(events, raw.url)
                first = cursor.next()
                document = cursor.value(cursor.next() if first[1] == "byte_order_mark" else first, self.tally)
                cursor.finish()  # a truncated group is no group
        except MrfError:
            return None
        return self.values.elements(document.get("provider_groups")) if isinstance(document, Obj) else None

    def _item(self, first: Event) -> Iterator[TableBatch]:
        self.tally.items_read += 1
        if first[1] != "start_map":
            value = self.cursor.value(first, self.tally)
            self.tally.reject(self.root_offset, "item", "in_network", "not_an_object", value)
            return
        # An item that turns out not to be wanted leaves no trace, so it is counted apart.
        counted = Tally()
        values, head = Values(counted), Obj(first[0])
        with closing(_Held(self.request)) as held:
            is_skipped = self._item_members(head, values, held)
            if not self._wanted(head):
                return
            if is_skipped:
                self._reject_second_code(head)
                return
            self.tally.items_kept += 1
            columns = item_head(head, values)
            self.tally.absorb(counted)
            yield from self._write_item(columns, held)

    def _item_members(self, head: Obj, values: Values, held: _Held) -> bool:
        """Fill the head and hold the rates; true if rates were passed over, as the code is not wanted."""
        is_skipped = False
        for key in self.cursor.members():
            event = self.cursor.next()
            if key == "negotiated_rates" and self._known_unwanted(head):
                self.cursor.skip(event)
                is_skipped = True
            elif key == "negotiated_rates":
                if event[1] not in ("start_array", "null"):
                    values.tally.repairs["scalar_for_list"] += 1
                for element in self.cursor.elements(event):
                    self._hold(element, values, head.offset, held)
            elif key in HEAD_KEYS:
                if key in head:
                    values.tally.repairs["duplicate_key"] += 1
                head[key] = self.cursor.value(event, values.tally)
            else:
                values.tally.ignore(f"in_network.{key}"[:200])
                self.cursor.skip(event)
        return is_skipped

    def _hold(self, first: Event, values: Values, item_offset: int, held: _Held) -> None:
        rate = self.cursor.value(first, values.tally)
        if isinstance(rate, Obj):
            held.add(rate_element(rate, values))
        else:
            values.tally.reject(item_offset, "rate", "negotiated_rates", "not_an_object", rate)

    def _known_unwanted(self, head: Obj) -> bool:
        return {"billing_code", "billing_code_type"} <= head.keys() and not self._wanted(head)

    def _wanted(self, head: Obj) -> bool:
        if self.request.codes is None:
            return True
        uncounted = Values(Tally())
        kind = uncounted.word(head.get("billing_code_type"), "", 0, upper=True)
        return self.request.codes.wants(kind, uncounted.code(head.get("billing_code"), kind, "", 0))

    def _reject_second_code(self, head: Obj) -> None:
        """The first code was not wanted, and the rates are gone; the second one is."""
        path = "in_network.billing_code"
        self.tally.reject(head.offset, "item", path, "code_given_twice", head.get("billing_code"))

    def _write_item(self, head: tuple[Any, ...], held: Iterable[RateElement]) -> Iterator[TableBatch]:
        for element in held:
            yield from self.write_providers(element)
            for price in element.prices:
                yield from self.rates.add((element.set_id, *head, *price))

    def write_providers(self, element: RateElement) -> Iterator[TableBatch]:
        """Inline groups and the set of an element, those that were not written yet."""
        if element.inline:
            new_inline = {row[0] for row in element.inline} - self.inline_ids
            for row in element.inline:
                if row[0] in new_inline:
                    yield from self.providers.add(row)
            self.inline_ids |= new_inline
        if element.set_id is not None and element.set_id not in self.set_ids:
            self.set_ids.add(element.set_id)
            yield from self.write_set(element.set_id, element.group_ids)

    def write_set(self, set_id: int, group_ids: Sequence[str]) -> Iterator[TableBatch]:
        """A set that was not written yet."""
        for group_id in group_ids:
            yield from self.sets.add((set_id, group_id))


def read_reference(blocks: Iterable[bytes], request: Request, tally: Tally) -> Iterator[TableBatch]:
    """Yield `(table, batch)` of providers, provider_sets, rates and rejects of one in-network file.

    Raises:
        MalformedJson, TruncatedFile: With the byte offset in the decompressed file.
        NotInNetworkFile: JSON of another kind, named.
    """
    return FileReader(Cursor(json_events(blocks, request.url), request.url), request, tally).read()
