"""Blocks of a JSON stream -> its brackets one after the other, and the text between them.

`scanner` finds the brackets of a block; what the text between them means is the readers' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mrf_assets.errors import LimitExceeded, MalformedJson, MrfError, TruncatedFile
from mrf_assets.extract.fast.scanner import NO_BRACKETS, OPENS, Brackets, Positions, Scanner, UnmatchedBracketError
from mrf_assets.settings import Limits

MIN_BLOCK_BYTES = 1 << 18  # smaller blocks are put together: each costs some forty calls of numpy
_DEFAULT_LIMITS = Limits()
WHITE_SPACE = b" \t\n\r\v\f"  # the last two are not JSON's, but ijson's


class Bracket(NamedTuple):
    """One bracket of a file."""

    offset: int
    kind: int
    level: int  # how many brackets are open around it

    @property
    def opens_list(self) -> bool:
        """True for [."""
        return self.kind == ord("[")

    @property
    def closes(self) -> bool:
        """True for ] and }."""
        return not self.kind & OPENS


class BracketStream:
    """The brackets of a file pulled one by one, by level; text is kept from where it is asked to be."""

    def __init__(
        self,
        blocks: Iterable[bytes],
        url: str,
        *,
        limits: Limits = _DEFAULT_LIMITS,
        least_block_bytes: int = MIN_BLOCK_BYTES,
    ) -> None:
        self._blocks, self._url, self._limits, self._least = iter(blocks), url, limits, least_block_bytes
        self._scanner = Scanner()
        self._kept_from: int | None = 0
        self._text, self._text_start = b"", 0  # bytes at hand, and their offset in the file
        self._brackets = NO_BRACKETS  # of the block, with offsets in the file
        self._by_level: dict[int, Positions] = {}  # indexes in _brackets
        self._next = 0  # index in _brackets
        self._is_used_up = True
        self.blocks_read = 0
        self._failure: MrfError | None = None  # of the blocks
        self._malformed: MalformedJson | LimitExceeded | None = None
        self._malformed_offset: int | None = None  # of the bracket that is to blame
        self._bracket_stop = 0  # offset behind the last bracket

    @property
    def end(self) -> int:
        """Offset of the first byte not read yet."""
        return self._text_start + len(self._text)

    @property
    def sound_end(self) -> int:
        """Offset of the first byte not read yet, or of the bracket at which reading has to stop."""
        return self.end if self._malformed_offset is None else self._malformed_offset

    @property
    def is_too_deep(self) -> bool:
        """Whether reading has to stop at a bracket that is nested too deep."""
        return isinstance(self._malformed, LimitExceeded)

    def keep(self, offset: int | None) -> None:
        """Hold the text from here on; None holds nothing."""
        self._kept_from = offset

    def text(self, start: int, stop: int | None = None) -> bytes:
        """Text that was kept or belongs to the block at hand."""
        base = self._text_start
        return self._text[start - base : None if stop is None else stop - base]

    def kept(self) -> bytes:
        """All text from where it is kept; empty if none is."""
        return b"" if self._kept_from is None else self.text(self._kept_from)

    def rest(self) -> Iterator[bytes]:
        """The blocks that were not read, or why they cannot be."""
        if self._failure is not None:
            raise self._failure
        yield from self._blocks

    def next(self, level: int) -> Bracket:
        """The next bracket at this level or further out.

        Raises:
            TruncatedFile: The file ended before.
            MalformedJson: A bracket before it closes what is not open.
            LimitExceeded: A bracket before it is too deep, or what is kept or has no bracket is too long.
        """
        while True:
            if (bracket := self.step(level)) is not None:
                return bracket

    def step(self, level: int) -> Bracket | None:
        """As `next`, but None where the block ends before; the next call reads on."""
        if self._is_used_up:
            self._load()
        if level not in self._by_level:
            self._by_level[level] = np.flatnonzero(self._brackets.levels <= level)
        indexes = self._by_level[level]
        nth = int(np.searchsorted(indexes, self._next))
        if nth == len(indexes):
            self._next, self._is_used_up = len(self._brackets.offsets), True
            return None
        index = indexes[nth]
        self._next = int(index) + 1
        return Bracket(*(int(column[index]) for column in self._brackets))

    def ahead(self) -> Brackets:
        """The bracket that came last, and those of its block behind it."""
        first = self._next - 1
        offsets, kinds, levels = self._brackets
        return Brackets(offsets[first:], kinds[first:], levels[first:])

    def at_hand(self) -> tuple[bytes, int]:
        """The text that `text` gives pieces of, and its offset in the file."""
        return self._text, self._text_start

    def pass_over(self, offset: int) -> None:
        """Go on behind the bracket at this offset, which is in the block at hand."""
        self._next = int(np.searchsorted(self._brackets.offsets, offset, "right"))

    def last_close(self, level: int) -> int:
        """Offset behind the last bracket of the block that closes at this level; -1 if none does."""
        closes = np.flatnonzero((self._brackets.levels == level) & ((self._brackets.kinds & OPENS) == 0))
        return int(self._brackets.offsets[closes[-1]]) + 1 if len(closes) else -1

    def _load(self) -> None:
        if self._malformed is not None:
            raise self._malformed
        block = self._read()
        if not block:
            raise TruncatedFile(self._url, self.end, "the JSON")
        kept_text = self.kept()
        block_start = self.end
        self._text_start = block_start - len(kept_text)
        self._text = b""  # before the next one is made: there may be little room for three
        self._text = kept_text + block if kept_text else block
        try:
            brackets = self._scanner.scan(block)
        except UnmatchedBracketError as error:
            brackets = error.brackets
            place = block_start + error.offset
            self._malformed = MalformedJson(self._url, place, "a bracket that does not match what is open")
            self._malformed_offset = place
        brackets = brackets._replace(offsets=brackets.offsets + block_start)
        self._brackets = self._bounded(brackets, len(kept_text))
        self._by_level = {}
        self._next, self._is_used_up = 0, False
        self.blocks_read += 1

    def _bounded(self, brackets: Brackets, kept_bytes: int) -> Brackets:
        """The brackets up to one that is too deep; text that nobody can hold ends here."""
        most_bytes = self._limits.max_element_bytes
        if kept_bytes > most_bytes:
            raise self._limits.too_long(self._url, self.end - len(self._text))
        # A stretch within a block is shorter than what is allowed.
        first = int(brackets.offsets[0]) if len(brackets.offsets) else self.end
        if first - self._bracket_stop > most_bytes:
            raise self._limits.too_long(self._url, self._bracket_stop)
        if len(brackets.offsets):
            self._bracket_stop = int(brackets.offsets[-1]) + 1
        if brackets.levels.max(initial=0) < self._limits.max_nesting_depth:
            return brackets
        cut = int(np.argmax(brackets.levels >= self._limits.max_nesting_depth))
        self._malformed_offset = int(brackets.offsets[cut])
        self._malformed = self._limits.too_deep(self._url, self._malformed_offset)
        return Brackets(brackets.offsets[:cut], brackets.kinds[:cut], brackets.levels[:cut])

    def _read(self) -> bytes:
        parts, size = list[bytes](), 0
        while size < self._least and self._failure is None:
            try:
                block = next(self._blocks, b"")
            except MrfError as failure:
                self._failure = failure  # what was read before it comes first
            else:
                if not block:
                    break
                parts.append(block)
                size += len(block)
        if self._failure is not None and not parts:
            raise self._failure
        return b"".join(parts)

    def finish(self, offset: int) -> None:
        """Read to the end of the file; only white space may stand behind `offset`.

        Raises:
            MalformedJson: Something else does.
        """
        text, start = self.text(offset), offset
        while True:
            rest = text.lstrip(WHITE_SPACE)
            if rest:
                place = start + len(text) - len(rest)
                raise MalformedJson(self._url, place, "something stands behind the end of the document")
            start += len(text)
            if start - offset > self._limits.max_element_bytes:
                raise self._limits.too_long(self._url, offset)
            text = self._read()
            if not text:
                return
