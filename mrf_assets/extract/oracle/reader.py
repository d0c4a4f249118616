"""The reader that is obviously right: ijson's events, one object at a time.

It is the oracle of every faster reader and their fallback. Memory is bounded by one
`negotiated_rates` element and one provider reference, whatever the size of file and item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from mrf_assets.errors import LimitExceeded, NotInNetworkFile
from mrf_assets.extract.interface import ReadCounts, Reject, Request, TableBatch, TooManyRejectsError
from mrf_assets.extract.oracle.cursor import Cursor
from mrf_assets.extract.oracle.waiting import Waiting
from mrf_assets.extract.remote import RemoteGroups
from mrf_assets.extract.rows import (
    HEAD_KEYS,
    ProviderRow,
    RateElement,
    RowBuffer,
    code_type,
    group_content,
    item_head,
    rate_element,
    reference_rows,
)
from mrf_assets.extract.values import Json, Obj, Values
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATES, REJECTS
from mrf_assets.stream.json_offsets import OffsetEvent, events_with_offsets
from mrf_assets.stream.surrogates import mended

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
_PLAN_ID_TYPES = frozenset({"ein", "hios"})
HEADER_KEYS = frozenset({*_HEADER_TEXTS, "last_updated_on", "plan_id_type"})
OTHER_KINDS = {
    "reporting_structure": "is a table of contents (an index); ingest it with --source index",
    "out_of_network": "is an allowed-amounts file; only in-network files are read",
    "provider_groups": "is a provider-reference file, which belongs to an in-network file and is read with it",
}
_REFERENCES_AHEAD = 64  # read before the first of them is written, where addresses have to be fetched
_AHEAD_BYTES = 4 << 20
_BESIDE_KEY_BYTES = 6  # quotes, colon, comma, and brackets of what is passed over


class FileReader:
    """One pass over one file."""

    def __init__(self, cursor: Cursor, request: Request, counts: ReadCounts) -> None:
        self.cursor, self.request, self.counts = cursor, request, counts
        self.values = Values(counts)
        self.providers = RowBuffer(PROVIDERS, request.file_id, request.provider_batch_rows)
        self.sets = RowBuffer(PROVIDER_SETS, request.file_id, request.rate_batch_rows)
        self.rates = RowBuffer(RATES, request.file_id, request.rate_batch_rows)
        self.rejects = RowBuffer(REJECTS, request.file_id, request.rate_batch_rows)
        self.set_ids = set[int]()
        self._inline_names: dict[str, str | None] = {}  # the business name that each inline group was written with
        self._second_names = set[tuple[str, str]]()
        self._group_contents: dict[str, int] = {}
        self._conflicting_contents: dict[str, set[int]] = {}
        self.remote = RemoteGroups(request, self._parse)
        self._ahead: deque[tuple[int, Json]] = deque()  # references not written yet, with their places
        self.root_offset = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around `read`: gives up what is still being fetched, and tells errors with the address of the file."""
        try:
            with closing(self.remote):
                yield
        except TooManyRejectsError as error:
            what = "has one element with more values than can be listed that cannot be kept"
            raise LimitExceeded(self.request.url, "max_element_bytes", what, error.byte_offset) from None

    def read(self) -> Iterator[TableBatch]:
        """Yield the tables of the file."""
        first = self.cursor.next()
        if first[1] == "byte_order_mark":
            self.counts.repair("byte_order_mark")
            first = self.cursor.next()
        if first[1] != "start_map":
            raise NotInNetworkFile(
                self.request.url, "is JSON, but not an object; an in-network file is one JSON object"
            )
        self.root_offset = first[0]
        header, sections = Obj(first[0]), set[str]()
        for key in self.cursor.members():
            event = self.cursor.next()
            if key in OTHER_KINDS and "in_network" not in sections:
                raise NotInNetworkFile(self.request.url, OTHER_KINDS[key])
            if key in ("in_network", "provider_references"):
                self._see_section(key, sections)
                yield from self._section(self._item if key == "in_network" else self._reference, event)
            elif key in HEADER_KEYS:
                self._keep_header(key, self.cursor.value(event, self.counts), header)
            else:
                self.counts.ignore(key[:200])
                self.cursor.skip(event)
        self.cursor.finish()
        self._finish(header, sections)
        yield from self.hand_over_rejects()
        for buffer in (self.providers, self.sets, self.rates, self.rejects):
            yield from buffer.flush()

    def _see_section(self, key: str, sections: set[str]) -> None:
        """Note a list of the root; one that comes again is read as well."""
        self.counts.repair("duplicate_section", key in sections)
        sections.add(key)

    def _keep_header(self, key: str, value: Json, header: Obj) -> None:
        self.counts.repair("duplicate_key", key in header)
        header[key] = value

    def _section(self, one: Callable[[OffsetEvent], Iterator[TableBatch]], first: OffsetEvent) -> Iterator[TableBatch]:
        if first[1] not in ("start_array", "null"):
            self.counts.repair("scalar_for_list")
        for element in self.cursor.elements(first):
            yield from one(element)
            yield from self.hand_over_rejects()
        yield from self._write_ahead()
        yield from self.hand_over_rejects()

    def _finish(self, header: Obj, sections: set[str]) -> None:
        self.remote.check_failures()
        if "in_network" not in sections:
            raise NotInNetworkFile(
                self.request.url, "has no `in_network`; check that the address is an in-network file"
            )
        for key in _HEADER_TEXTS:
            self.counts.header[key] = self.values.text(header.get(key), key, header.offset)
        self.counts.header["plan_id_type"] = self.values.word(
            header.get("plan_id_type"), _PLAN_ID_TYPES, "plan_id_type", header.offset
        )
        self.counts.header["last_updated_on"] = self.values.date(
            header.get("last_updated_on"), "last_updated_on", header.offset
        )

    def hand_over_rejects(self) -> Iterator[TableBatch]:
        """Write the rejects that wait in the counts."""
        for reject in self.counts.rejects:
            yield from self.rejects.add(reject)
        self.counts.rejects.clear()

    def _reference(self, first: OffsetEvent) -> Iterator[TableBatch]:
        """Read one reference; it is written when those that are read ahead are enough to fetch side by side."""
        self.counts.provider_groups_read += 1
        reference = self.cursor.value(first, self.counts)
        is_remote = self.expect_remote([reference])
        if not is_remote and not self._ahead:
            yield from self._write_reference(reference)
            return
        self._ahead.append((first[0], reference))
        if len(self._ahead) > _REFERENCES_AHEAD or first[0] - self._ahead[0][0] > _AHEAD_BYTES:
            yield from self._write_ahead()

    def _write_ahead(self) -> Iterator[TableBatch]:
        while self._ahead:
            yield from self._write_reference(self._ahead.popleft()[1])

    def _write_reference(self, reference: Json) -> Iterator[TableBatch]:
        if isinstance(reference, Obj):
            yield from self.write_reference(reference)
        else:
            self.counts.reject(self.root_offset, "provider_group", "provider_references", "not_an_object", reference)

    def expect_remote(self, references: Iterable[Json]) -> bool:
        """Begin to fetch what these references refer to; true if there is something to wait for."""
        scratch_values = Values(ReadCounts())
        locations = [
            location
            for reference in references
            if isinstance(reference, Obj) and isinstance(location := reference.get("location"), str) and location
            if scratch_values.group_id(reference.get("provider_group_id")) is not None
        ]
        self.remote.expect(locations)
        return bool(locations)

    def write_reference(self, reference: Obj) -> Iterator[TableBatch]:
        """One element of `provider_references`, counted as read already."""
        group = reference_rows(reference, self.values, self._remote_groups)
        if group is None:
            return
        group_id, rows = group
        if self.is_new_group(group_id, group_content(rows)):
            yield from self.write_provider_rows(rows)

    def is_new_group(self, group_id: str, content: int) -> bool:
        """False for what came before, with the same content."""
        first = self._group_contents.get(group_id)
        if first is None:
            self._group_contents[group_id] = content
            return True
        others = self._conflicting_contents.setdefault(group_id, set())
        if content == first or content in others:
            self.counts.repair("duplicate_provider_group")
            return False
        self.counts.repair("conflicting_provider_group")
        others.add(content)
        return True

    def _remote_groups(self, location: str, offset: int) -> list[Json] | None:
        return self.remote.groups(location, offset, self.counts)

    def _parse(self, blocks: Iterable[bytes], url: str, offset: int, counts: ReadCounts) -> Json:
        """A remote document, which has no offsets in the file: the reference's stand for all."""
        limits = self.request.limits
        events = events_with_offsets(mended(blocks, counts.repairs), url, limits)
        cursor = Cursor(((offset, *event[1:]) for event in events), url, limits)
        first = cursor.next()
        document = cursor.value(cursor.next() if first[1] == "byte_order_mark" else first, counts)
        cursor.finish()  # a truncated group is no group
        return document

    def _item(self, first: OffsetEvent) -> Iterator[TableBatch]:
        self.counts.items_read += 1
        if first[1] != "start_map":
            value = self.cursor.value(first, self.counts)
            self.counts.reject(self.root_offset, "item", "in_network", "not_an_object", value)
            return
        # An item that turns out not to be wanted leaves no trace, so it is counted apart.
        item_counts = ReadCounts()
        values, head = Values(item_counts), Obj(first[0])
        with closing(Waiting[RateElement](self.request)) as rates, closing(Waiting[Reject](self.request)) as rejects:
            is_skipped = self._item_members(head, values, rates, rejects)
            if not self._wanted(head):
                return
            if is_skipped:
                self._reject_second_code(head)
                return
            self.counts.items_kept += 1
            columns = item_head(head, values)
            yield from self.hand_over_rejects()
            for reject in rejects:
                yield from self.rejects.add(reject)
            self.counts.absorb(item_counts)
            yield from self._write_item(columns, rates)

    def _item_members(self, head: Obj, values: Values, rates: Waiting[RateElement], rejects: Waiting[Reject]) -> bool:
        """Fill the head and hold the rates; true if rates were passed over, as the code is not wanted."""
        is_skipped, has_rates, beside = False, False, 0  # bytes beside rates, about
        for key in self.cursor.members():
            event = self.cursor.next()
            beside += len(key) + _BESIDE_KEY_BYTES
            if beside > self.request.limits.max_element_bytes:
                raise self.cursor.too_long(head.offset)
            if key == "negotiated_rates":
                values.counts.repair("duplicate_section", has_rates)
                has_rates = True
            if key == "negotiated_rates" and self._known_unwanted(head):
                self.cursor.skip(event)
                is_skipped = True
            elif key == "negotiated_rates":
                if event[1] not in ("start_array", "null"):
                    values.counts.repair("scalar_for_list")
                for element in self.cursor.elements(event):
                    self._hold(element, values, head.offset, rates)
                    rejects.take(values.counts.rejects)
            elif key in HEAD_KEYS:
                if key in head:
                    values.counts.repair("duplicate_key")
                head[key] = self.cursor.value(event, values.counts)
                beside += self.cursor.offset - event[0]
            else:
                values.counts.ignore(f"in_network.{key}"[:200])
                self.cursor.skip(event)
        return is_skipped

    def _hold(self, first: OffsetEvent, values: Values, item_offset: int, rates: Waiting[RateElement]) -> None:
        rate = self.cursor.value(first, values.counts)
        if isinstance(rate, Obj):
            element = rate_element(rate, values)
            rates.add(element, len(element.prices) + len(element.inline) + len(element.group_ids) + 1)
        else:
            values.counts.reject(item_offset, "rate", "negotiated_rates", "not_an_object", rate)

    def _known_unwanted(self, head: Obj) -> bool:
        return {"billing_code", "billing_code_type"} <= head.keys() and not self._wanted(head)

    def _wanted(self, head: Obj) -> bool:
        if self.request.codes is None:
            return True
        scratch_values = Values(ReadCounts())
        kind = code_type(head, "", scratch_values)
        return self.request.codes.wants(kind, scratch_values.code(head.get("billing_code"), kind, "", 0))

    def _reject_second_code(self, head: Obj) -> None:
        """The first code was not wanted, and the rates are gone; the second one is."""
        path = "in_network.billing_code"
        self.counts.reject(head.offset, "item", path, "code_given_twice", head.get("billing_code"))

    def _write_item(self, head: tuple[Any, ...], rates: Iterable[RateElement]) -> Iterator[TableBatch]:
        for element in rates:
            yield from self.write_providers(element)
            for price in element.prices:
                yield from self.rates.add((element.set_id, *head, *price))

    def write_providers(self, element: RateElement) -> Iterator[TableBatch]:
        """Inline groups and the set of an element, those that were not written yet."""
        if element.inline:
            new = self._new_inline({row[0]: row[4] for row in element.inline})
            yield from self.write_provider_rows([row for row in element.inline if row[0] in new])
        if element.set_id is not None and element.set_id not in self.set_ids:
            self.set_ids.add(element.set_id)
            yield from self.write_set(element.set_id, element.group_ids)

    def _new_inline(self, names: dict[str, str | None]) -> set[str]:
        """Which of these inline groups were not written yet; counts each further name of one that was."""
        # Not the difference of two `keys()`, which looks at each of the larger one.
        new = {group_id for group_id in names if group_id not in self._inline_names}
        for group_id, name in names.items():
            if self._inline_names.setdefault(group_id, name) == name or name is None:
                continue
            if (group_id, name) not in self._second_names:
                self._second_names.add((group_id, name))
                self.counts.repair("second_business_name")
        return new

    def write_provider_rows(self, rows: Iterable[ProviderRow]) -> Iterator[TableBatch]:
        """Rows of `providers`."""
        for row in rows:
            yield from self.providers.add(row)

    def write_set(self, set_id: int, group_ids: Sequence[str]) -> Iterator[TableBatch]:
        """A set that was not written yet."""
        for group_id in group_ids:
            yield from self.sets.add((set_id, group_id))


def read_reference(blocks: Iterable[bytes], request: Request, counts: ReadCounts) -> Iterator[TableBatch]:
    """Yield `(table, batch)` of providers, provider_sets, rates and rejects of one in-network file.

    Raises:
        MalformedJson, TruncatedFile: With the byte offset in the decompressed file.
        NotInNetworkFile: JSON of another kind, named.
        LimitExceeded: It goes beyond what a setting allows.
        RemoteReferencesFailed: Most of its remote provider references could not be had.
    """
    events = events_with_offsets(mended(blocks, counts.repairs), request.url, request.limits)
    reader = FileReader(Cursor(events, request.url, request.limits), request, counts)
    with reader.reading():
        yield from reader.read()
