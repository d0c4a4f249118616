"""The fast reader: brackets first, values only where they are wanted.

    splitter       blocks -> brackets outside of strings, by level
    reader         brackets -> members of the document, references
    item_reader    the text of wanted items; the rest is never parsed
    rates          text of items -> rows, through `memo` (distinct spellings), `elements` and `numbers`

What the reference reader gives, this one gives: same rows, counts and rejects. Whatever is unusual goes
in the smallest piece through the same functions (`rows`, `values`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from mrf_assets.errors import LimitExceeded, MalformedJson, NotInNetworkFile, TruncatedFile
from mrf_assets.extract.fast.exact import members
from mrf_assets.extract.fast.item_reader import ItemReader
from mrf_assets.extract.fast.providers import ReferenceReader
from mrf_assets.extract.fast.rates import BATCH_BYTES
from mrf_assets.extract.fast.splitter import MIN_BLOCK_BYTES, WHITE_SPACE, Bracket, BracketStream
from mrf_assets.extract.interface import ReadCounts, Request, TableBatch
from mrf_assets.extract.oracle.reader import HEADER_KEYS, OTHER_KINDS, read_reference
from mrf_assets.extract.values import Obj
from mrf_assets.stream.surrogates import mended

_BOM = b"\xef\xbb\xbf"


def read_fast(
    blocks: Iterable[bytes],
    request: Request,
    counts: ReadCounts,
    *,
    least_block_bytes: int = MIN_BLOCK_BYTES,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[TableBatch]:
    """Yield what `read_reference` yields, sooner; the sizes change nothing but speed and memory.

    Raises:
        MalformedJson, TruncatedFile: With the byte offset in the decompressed file.
        NotInNetworkFile, LimitExceeded, RemoteReferencesFailed: As `read_reference`.
    """
    stream = BracketStream(
        mended(blocks, counts.repairs), request.url, limits=request.limits, least_block_bytes=least_block_bytes
    )
    reader = _FastReader(stream, request, counts, batch_bytes=batch_bytes)
    with reader.reading():
        try:
            yield from reader.read()
        except (TruncatedFile, LimitExceeded) as stop:
            # What was read and not looked at yet may be malformed, which is another thing to tell.
            if reader.may_hide_damage(stop):
                yield from reader.items.flush()
                reader.check_unread()
            raise


class _FastReader(ItemReader):
    """One pass over one file, bracket by bracket."""

    def __init__(self, stream: BracketStream, request: Request, counts: ReadCounts, *, batch_bytes: int) -> None:
        super().__init__(stream, request, counts, batch_bytes=batch_bytes)
        self._references = ReferenceReader(self, self._provider_rows)

    def read(self) -> Iterator[TableBatch]:
        stream = self._stream
        try:
            root = stream.next(0)
        except (TruncatedFile, MalformedJson):
            root = None
        before = stream.text(0, root.offset if root else None)
        has_bom = before.startswith(_BOM)
        if root is None or root.opens_list or before.removeprefix(_BOM).strip(WHITE_SPACE):
            yield from read_reference(chain([stream.text(0)], stream.rest()), self.request, self.counts)
            return
        if has_bom:
            self.counts.repair("byte_order_mark")
        self.root_offset = root.offset
        header, sections = Obj(root.offset), set[str]()
        position, context = root.offset + 1, b"{"
        while True:
            self._keep(position, context)
            bracket = stream.next(1)
            pairs = self._members(position, context, bracket)
            nested_key = None if bracket.closes else pairs.pop()[0]
            for key, value in pairs:
                self._scalar(key, value, header, sections)
            if nested_key is None:
                break
            yield from self._nested(nested_key, bracket, header, sections)
            position, context = self._position, b'{"":0 '
        stream.finish(bracket.offset + 1)
        yield from self.items.flush()
        self._finish(header, sections)
        yield from self.hand_over_rejects()
        for buffer in (self._provider_rows, self._set_rows, self.rates, self.rejects):
            yield from buffer.flush()

    def _members(self, position: int, context: bytes, bracket: Bracket) -> list[tuple[str, object]]:
        """Members of the root up to a bracket; for one that opens, the last one's value is made up."""
        text = self._stream.text(position, bracket.offset)
        behind = b"}" if bracket.closes else b" 0}"
        pairs, _ = members([(position - len(context), context + text + behind)], self.request.url)
        return pairs if context == b"{" else pairs[1:]

    def _check_kind(self, key: str, sections: set[str]) -> None:
        if key in OTHER_KINDS and "in_network" not in sections:
            raise NotInNetworkFile(self.request.url, OTHER_KINDS[key])

    def _scalar(self, key: str, value: object, header: Obj, sections: set[str]) -> None:
        self._check_kind(key, sections)
        if key in ("in_network", "provider_references"):
            self._see_section(key, sections)
            if value is None:
                return
            self.counts.repair("scalar_for_list")
            if key == "in_network":
                self.not_an_item(value)
            else:
                self._references.not_a_reference(value)
        elif key in HEADER_KEYS:
            self._keep_header(key, value, header)
        else:
            self.counts.ignore(key[:200])

    def _nested(self, key: str, opening: Bracket, header: Obj, sections: set[str]) -> Iterator[TableBatch]:
        """A list or object of the root; leaves `_position` behind it."""
        self._check_kind(key, sections)
        if key == "in_network":
            self._see_section(key, sections)
            yield from self.read_items(opening)
            yield from self.items.flush()
        elif key == "provider_references":
            self._see_section(key, sections)
            yield from self._reference_section(opening)
        elif key in HEADER_KEYS:
            self._keep_header(key, self._value(opening), header)
        else:
            self.counts.ignore(key[:200])
            self._ignore(opening)
        yield from self.hand_over_rejects()

    def _reference_section(self, opening: Bracket) -> Iterator[TableBatch]:
        if not opening.opens_list:
            self.counts.repair("scalar_for_list")
            self._keep(opening.offset, b'{"":[')
            self._position = self._stream.next(opening.level).offset + 1
            text = self._stream.text(opening.offset, self._position)
            yield from self._references.read(opening.offset, text, is_first=True)
            return
        position, is_first = opening.offset + 1, True
        self._keep(position, b'{"":[')
        while (end := self._stream.step(opening.level)) is None:
            cut = self._stream.last_close(opening.level + 1)
            if cut > position:
                text = self._stream.text(position, cut)
                self._keep(cut, b'{"":[0 ')
                yield from self._references.read(position, text, is_first=is_first)
                yield from self.hand_over_rejects()
                position, is_first = cut, False
        self._position = end.offset + 1
        text = self._stream.text(position, end.offset)
        yield from self._references.read(position, text, is_first=is_first)
