"""Items of the fast reader: brackets -> the text of wanted items; the rest is never parsed.

An unusual item goes through the reference reader itself. In text that is passed over, strings and kinds of
brackets are checked, no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain

import orjson

from mrf_assets.errors import LimitExceeded, MalformedJson, MrfError, TruncatedFile
from mrf_assets.extract.fast.columns import ProviderRows, SetRows
from mrf_assets.extract.fast.elements import ListPart
from mrf_assets.extract.fast.exact import Segment, is_crowded, located, located_events, located_members, members
from mrf_assets.extract.fast.held_item import HeldItem
from mrf_assets.extract.fast.items import (
    MIN_RUN,
    NO_ITEMS,
    RATES_KEY,
    find_whole,
    plain_columns,
    plain_heads,
)
from mrf_assets.extract.fast.rates import ItemBatches, KeptItem, gap_values
from mrf_assets.extract.fast.splitter import WHITE_SPACE, Bracket, BracketStream
from mrf_assets.extract.interface import ReadCounts, Request, TableBatch
from mrf_assets.extract.oracle.cursor import Cursor
from mrf_assets.extract.oracle.reader import FileReader
from mrf_assets.extract.rows import HEAD_KEYS, ProviderRow, item_head
from mrf_assets.extract.values import Obj, Values
from mrf_assets.stream.json_offsets import check_json

_SPELLED_HEAD_KEYS = frozenset(key.encode() for key in HEAD_KEYS)
_NOTHING = ReadCounts()


class ItemReader(FileReader):
    """Reads items bracket by bracket, and writes what a file needs once."""

    def __init__(self, stream: BracketStream, request: Request, counts: ReadCounts, *, batch_bytes: int) -> None:
        super().__init__(Cursor(iter(()), request.url, request.limits), request, counts)
        self._stream = stream
        self._provider_rows = ProviderRows(request.file_id, request.provider_batch_rows)
        self._set_rows = SetRows(request.file_id, request.rate_batch_rows)
        self.items = ItemBatches(self, batch_bytes=batch_bytes)
        self._position = 0  # behind what was read last
        self._context = b""  # stands for all that was read before the text that is kept
        self._open_item: HeldItem | None = None
        self._whole, self._whole_of = NO_ITEMS, 0  # items, and the block in which they are

    def write_provider_rows(self, rows: Iterable[ProviderRow]) -> Iterator[TableBatch]:
        """Rows of `providers`."""
        return self._provider_rows.add_rows(list(rows))

    def write_set(self, set_id: int, group_ids: Sequence[str]) -> Iterator[TableBatch]:
        """A set that was not written yet."""
        self._set_rows.add(set_id, group_ids)
        if self._set_rows.is_full:
            yield from self._set_rows.full()

    def may_hide_damage(self, stop: TruncatedFile | LimitExceeded) -> bool:
        """Whether the brackets ended before the text was looked at: one quote too many turns texts into brackets."""
        return isinstance(stop, TruncatedFile) or self._stream.is_too_deep

    def check_unread(self) -> None:
        """Raise MalformedJson if the text not looked at yet is no beginning of what should stand there."""
        segments = [(0, self._context)]
        item_segments = self._open_item.segments() if self._open_item else ()
        tail = self._stream.kept()
        start = self._stream.end - len(tail)
        behind = (start, tail[: max(self._stream.sound_end - start, 0)])
        with suppress(TruncatedFile):
            for _ in located_events(chain(segments, item_segments, [behind]), self.request.url, is_whole=False):
                pass

    def _keep(self, offset: int | None, context: bytes) -> None:
        self._stream.keep(offset)
        self._context = context

    def _skip(self, opening: Bracket) -> Bracket:
        self._keep(None, b"")
        closing_bracket = self._stream.next(opening.level)
        self._position = closing_bracket.offset + 1
        return closing_bracket

    def _ignore(self, opening: Bracket) -> Bracket:
        """Skip a value under an unknown key, however large; what is no JSON in it makes the file malformed."""
        closing_brackets, failures = list[Bracket](), list[MrfError]()

        def blocks() -> Iterator[bytes]:
            position, end = opening.offset, None
            while end is None:
                self._keep(position, b"")
                try:
                    end = self._stream.step(opening.level)
                except MrfError as failure:  # what was read before it comes first
                    failures.append(failure)
                    return
                stop = self._stream.sound_end if end is None else end.offset + 1
                yield self._stream.text(position, stop)
                position = stop
            closing_brackets.append(end)

        try:
            with suppress(TruncatedFile):  # `failures` says why
                check_json(blocks(), self.request.url)
        except MalformedJson as error:
            raise MalformedJson(self.request.url, opening.offset + error.byte_offset, error.reason) from None
        self._keep(None, b"")
        if failures:
            raise failures[0]
        self._position = closing_brackets[0].offset + 1
        return closing_brackets[0]

    def _value(self, opening: Bracket) -> object:
        """The whole value that a bracket opens."""
        self._keep(opening.offset, b'{"":')
        self._position = self._stream.next(opening.level).offset + 1
        text = self._stream.text(opening.offset, self._position)
        return located([(opening.offset, text)], self.request.url, self.counts, self.request.limits)

    def read_items(self, opening: Bracket) -> Iterator[TableBatch]:
        """Read the list of items that a bracket opens."""
        if not opening.opens_list:
            self.counts.repair("scalar_for_list")
            yield from self._read_item(opening)
            return
        position, is_first = opening.offset + 1, True
        while True:
            self._keep(position, b'{"":[' if is_first else b'{"":[0 ')
            bracket = self._stream.next(opening.level + 1)
            text = self._stream.text(position, bracket.offset)
            if text.strip(b" \t\n\r") != (b"" if is_first or bracket.closes else b","):
                values = gap_values(text, position, self.request.url, is_first=is_first, is_last=bracket.closes)
                if values:
                    yield from self.items.flush()
                for value in values:
                    self.not_an_item(value)
            if bracket.closes:
                self._position = bracket.offset + 1
                return
            if bracket.opens_list:
                yield from self.items.flush()
                self.not_an_item(self._value(bracket))
            elif run := self._run_of_whole(bracket):
                yield from self._read_run(run)
            else:
                yield from self._read_item(bracket)
            yield from self.hand_over_rejects()
            position, is_first = self._position, False

    def not_an_item(self, value: object) -> None:
        """Reject what stands in place of an item."""
        self.counts.items_read += 1
        self.counts.reject(self.root_offset, "item", "in_network", "not_an_object", value)

    def _run_of_whole(self, opening: Bracket) -> range | None:
        """Usual items of the block at hand, from the one just opened; None if they are too few."""
        stream = self._stream
        if self._whole_of != stream.blocks_read:
            self._whole = find_whole(*stream.at_hand(), stream.ahead(), opening.level)
            self._whole_of = stream.blocks_read
        first = bisect_left(self._whole.starts, opening.offset)
        run = range(first, self._whole.run_stops[first] if first < len(self._whole.starts) else first)
        return run if len(run) >= MIN_RUN else None

    def _read_run(self, run: range) -> Iterator[TableBatch]:
        """Read items that stand in the block at hand, as `_read_item` does one."""
        items, counts, codes = self.items, self.counts, self.request.codes
        text, base = self._stream.at_hand()
        places = zip(*(column[run.start : run.stop] for column in self._whole[:4]), strict=True)
        cuts = [(start - base, first - base, last - base, stop - base) for start, first, last, stop in places]
        heads = plain_heads([text[cut[0] : cut[1]] + text[cut[2] : cut[3]] for cut in cuts])
        rows = [None] * len(cuts) if heads is None else plain_columns(heads)
        for (start, list_start, list_stop, stop), columns in zip(cuts, rows, strict=True):
            counts.items_read += 1
            if columns is not None and codes is not None and not codes.wants(columns[1], columns[3]):
                continue
            part = ListPart(base + list_start, text[list_start:list_stop], begins=True, ends=True)
            if columns is not None and not is_crowded(part.text, self.request.limits):
                counts.items_kept += 1
                if items.is_full:
                    yield from items.read()
                head_bytes = list_start - start + stop - list_stop
                items.take_whole(KeptItem(base + start, columns, head_bytes, None), part)
                continue
            with closing(HeldItem(base + start, self.request)) as item:
                item.add_head(base + start, text[start:list_start])
                is_skipped = self._is_unwanted(item)
                item.add_part(part)
                item.add_head(base + list_stop, text[list_stop:stop])
                if not (is_skipped and item.head[-1][1] == b"]}"):
                    yield from self._take_item(item, is_skipped=is_skipped)
        self._position = base + cuts[-1][-1]
        self._stream.pass_over(self._position - 1)

    def _read_item(self, opening: Bracket) -> Iterator[TableBatch]:
        self.counts.items_read += 1
        with closing(HeldItem(opening.offset, self.request)) as item:
            self._open_item = item
            try:
                is_skipped = self._hold_item(opening, item)
            except (TruncatedFile, LimitExceeded) as stop:
                if self.may_hide_damage(stop):
                    self.check_unread()  # while the item is still there
                    self._keep(None, b"")
                raise
            finally:
                self._open_item = None
            if not (is_skipped and item.head[-1][1] == b"]}"):
                yield from self._take_item(item, is_skipped=is_skipped)

    def _hold_item(self, opening: Bracket, item: HeldItem) -> bool:
        """Read an item up to its end; true if its rates were passed over, as its code is not wanted."""
        level, position, is_skipped = opening.level + 1, opening.offset, False
        self._keep(position, b'{"":[')
        while True:
            bracket = self._stream.next(level)
            text = self._stream.text(position, bracket.offset + 1)
            if bracket.level < level:
                item.add_head(position, text)
                self._position = bracket.offset + 1
                return is_skipped
            if item.head_bytes > self.request.limits.max_element_bytes:
                raise self.request.limits.too_long(self.request.url, item.offset)
            key = _last_key(text[:-1])
            if key == RATES_KEY and bracket.opens_list:
                item.add_head(position, text)
                if self._is_unwanted(item):
                    is_skipped = True
                    position = self._skip(bracket).offset
                else:
                    position = self._hold_rates(bracket, item)
            elif key is not None and key[1:-1] not in _SPELLED_HEAD_KEYS and key != RATES_KEY:
                item.add_head(position, text)
                position = self._ignore(bracket).offset
            else:
                self._stream.next(level)
                continue
            self._keep(position, b'{"":[')

    def _hold_rates(self, opening: Bracket, item: HeldItem) -> int:
        """Hold a list of rates, cut behind elements; the offset of its closing bracket."""
        position, begins = opening.offset + 1, True
        self._keep(position, self._context)
        while (end := self._stream.step(opening.level)) is None:
            cut = self._stream.last_close(opening.level + 1)
            if cut > position:
                item.add_part(ListPart(position, self._stream.text(position, cut), begins, ends=False))
                position, begins = cut, False
                self._keep(position, self._context)
        item.add_part(ListPart(position, self._stream.text(position, end.offset), begins, ends=True))
        return end.offset

    def _is_unwanted(self, item: HeldItem) -> bool:
        """True if the head so far tells that the code is not wanted."""
        if self.request.codes is None or item.is_crowded:
            return False
        segments = [*item.head, (item.offset, b"]}")]
        try:
            head = orjson.loads(b"".join(text for _, text in segments))
        except orjson.JSONDecodeError:
            head = None
        if head is None or any(isinstance(head.get(key), float) for key in ("billing_code", "billing_code_type")):
            head = dict(members(segments, self.request.url)[0])
        head_object = Obj(item.offset)
        head_object.update(head)
        return self._known_unwanted(head_object)

    def _take_item(self, item: HeldItem, *, is_skipped: bool) -> Iterator[TableBatch]:
        if item.is_crowded:
            yield from self._by_reference(item)
            return
        pairs, duplicates = members(item.head, self.request.url)
        head = Obj(item.offset)
        head.update(pairs)
        has_doubles = len(head) < len(pairs)
        head.pop("negotiated_rates", None)
        if duplicates or any(key == "negotiated_rates" and value not in (None, []) for key, value in pairs):
            yield from self._by_reference(item)
            return
        if not self._wanted(head):
            return
        if is_skipped:
            self._reject_second_code(head)
            return
        counts = ReadCounts()
        columns = item_head(head, Values(counts))
        if counts.rejects:  # they need offsets
            counts = ReadCounts()
            head.update(located_members(item.head, self.request.url, ReadCounts()))
            columns = item_head(head, Values(counts))
        if has_doubles or not head.keys() <= HEAD_KEYS:
            _count_keys(pairs, counts)
        self.counts.items_kept += 1
        kept_item = KeptItem(item.offset, columns, item.head_bytes, counts if counts != _NOTHING else None)
        yield from self.items.add(kept_item, item.parts())

    def _by_reference(self, item: HeldItem) -> Iterator[TableBatch]:
        """An unusual item, or one of very many values, goes through the reference reader."""
        yield from self.items.flush()
        self.counts.items_read -= 1  # it counts by itself
        segments: Iterable[Segment] = item.segments()
        self.cursor = Cursor(located_events(segments, self.request.url), self.request.url, self.request.limits)
        yield from self._item(self.cursor.next())
        self.cursor.finish()
        yield from self.hand_over_rejects()
        yield from self.rates.flush()


def _count_keys(pairs: Iterable[tuple[str, object]], counts: ReadCounts) -> None:
    """Count doubles and unknown keys of an item's head."""
    keys = set[str]()
    for key, _ in pairs:
        if key in HEAD_KEYS:
            counts.repair("duplicate_key", key in keys)
        elif key == "negotiated_rates":
            counts.repair("duplicate_section", key in keys)
        else:
            counts.ignore(f"in_network.{key}"[:200])
        keys.add(key)


def _last_key(text: bytes) -> bytes | None:
    """The key, in quotes, whose colon the text ends with; None where that takes a parser."""
    text = text.rstrip(WHITE_SPACE)
    if not text.endswith(b":"):
        return None
    text = text[:-1].rstrip(WHITE_SPACE)
    start = text.rfind(b'"', 0, -1)
    if start < 0 or not text.endswith(b'"') or b"\\" in text[max(0, start - 1) :]:
        return None
    return text[start:]
