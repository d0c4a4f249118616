"""Where the brackets of a JSON stream are: the structural scan, exact, in numpy.

Every byte is looked at once: quotes (minus escaped ones) give what is inside strings, brackets
outside of strings give the nesting. State goes from block to block, so blocks may end anywhere.
Kinds of brackets are matched in what nobody reads, too. What the text between brackets means is
the readers' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.errors import LimitExceeded, MalformedJson, MrfError, TruncatedFile
from mrf_assets.limits import Limits, too_deep, too_long

Positions = NDArray[np.int64]
Bytes = NDArray[np.uint8]

MIN_BLOCK_BYTES = 1 << 18  # smaller blocks are put together: each costs some forty calls of numpy
_DEFAULT_LIMITS = Limits()
_STRIDE = 1 << 17  # compares stay in the cache: benchmarks/NOTES.md, "scan"
_WORD = 64
_SHIFTS = tuple(np.uint64(1 << power) for power in range(6))
_LAST_BIT = np.uint64(_WORD - 1)
_QUOTE, BACKSLASH = ord('"'), ord("\\")
_OPENS = 2  # the bit that [ and { have and ] and } have not
_FROM_OPEN_TO_CLOSE = 2  # { is 123, } is 125; [ is 91, ] is 93
_MAX_OF_A_BYTE = 255
_FEW = 1000  # backslashes of a block; each that is looked for by itself costs half a microsecond
PADDING = b" " * 31 + b"."  # behind a text, lets the vectorised readers look past its end


class Brackets(NamedTuple):
    """The brackets outside of strings, in order."""

    offsets: Positions  # in the bytes scanned
    kinds: Bytes  # the bracket itself
    levels: NDArray[np.int32]  # how many brackets are open around it


NO_BRACKETS = Brackets(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.int32))


class UnmatchedBracketError(ValueError):
    """A bracket closes what is not open; `offset` is its place in the bytes scanned."""

    def __init__(self, offset: int, found: Brackets) -> None:
        super().__init__(offset)
        self.offset, self.found = offset, found  # the brackets before it


class Scanner:
    """The structural scan of one stream."""

    def __init__(self) -> None:
        self._in_string = False
        self._escaping = False  # the last byte was a backslash that takes the meaning from the next one
        self._open = np.empty(0, np.uint8)  # brackets not closed yet

    @property
    def open_brackets(self) -> bytes:
        """The brackets that are open at the end of what was scanned."""
        return self._open.tobytes()

    def scan(self, block: bytes) -> Brackets:
        """The brackets of the next block.

        Raises:
            UnmatchedBracketError: A bracket closes one of another kind, or none.
        """
        data = np.frombuffer(block, np.uint8)
        quotes = np.zeros(-(-len(data) // _WORD) * (_WORD // 8), np.uint8)
        offsets = self._look(data, quotes)
        self._drop_escaped(block, data, quotes)
        inside = self._inside_strings(quotes.view(np.uint64))
        kinds = data[offsets]
        is_outside = kinds & 1  # of the candidates | and \\ alone are even
        is_outside &= ~(inside[offsets >> 3] >> (offsets & 7).astype(np.uint8))
        if not is_outside.all():
            kept = is_outside.view(np.bool_)
            offsets, kinds = offsets[kept], kinds[kept]
        opens = (kinds & _OPENS) >> 1
        steps = opens.astype(np.int8)
        steps *= 2
        steps -= 1
        levels = np.cumsum(steps, dtype=np.int32)
        levels += len(self._open)
        levels -= opens
        found = Brackets(offsets, kinds, levels)
        self._match(found)
        return found

    @staticmethod
    def _look(data: Bytes, quotes: Bytes) -> Positions:
        """Candidates for brackets; quotes go into the bitmap."""
        is_candidate = np.empty(len(data), np.bool_)
        for start in range(0, len(data), _STRIDE):
            part = data[start : start + _STRIDE]
            bits = np.packbits(part == _QUOTE, bitorder="little")
            quotes[start >> 3 : (start >> 3) + len(bits)] = bits
            folded = part | 32  # [ \ ] become { | }, which are 123 to 125
            folded -= 123
            np.less_equal(folded, 2, out=is_candidate[start : start + _STRIDE])
        return np.flatnonzero(is_candidate)

    def _drop_escaped(self, block: bytes, data: Bytes, quotes: Bytes) -> None:
        """Take the quotes that a backslash escapes out of the bitmap."""
        slashes = _backslashes(block, data)
        if self._escaping:
            slashes = np.concatenate(([-1], slashes))
        self._escaping = False
        if not len(slashes):
            return
        # In a run of backslashes every other one escapes its neighbour.
        numbers = np.arange(len(slashes))
        first_of_run = np.concatenate(([True], np.diff(slashes) != 1))
        in_run = numbers - np.maximum.accumulate(np.where(first_of_run, numbers, 0))
        escaped = slashes[in_run & 1 == 0] + 1
        if escaped[-1] == len(data):
            self._escaping = True
            escaped = escaped[:-1]
        escaped = escaped[data[escaped] == _QUOTE]
        np.bitwise_xor.at(quotes, escaped >> 3, np.left_shift(1, escaped & 7).astype(np.uint8))

    def _inside_strings(self, words: NDArray[np.uint64]) -> Bytes:
        """A bitmap of the bytes inside strings, out of the bitmap of quotes: a prefix sum modulo 2."""
        for shift in _SHIFTS:
            words ^= words << shift
        odd = (words >> _LAST_BIT).astype(np.uint8)
        before = np.empty(len(words) + 1, np.uint8)
        before[0], before[1:] = self._in_string, odd
        np.bitwise_xor.accumulate(before, out=before)
        self._in_string = bool(before[-1])
        words ^= np.negative(before[:-1].astype(np.uint64))
        return words.view(np.uint8)

    def _match(self, found: Brackets) -> None:
        """Compare each bracket that closes with the one it closes; what is not closed stays open.

        Of one level, brackets open and close in turn: sorted by level, partners are neighbours.
        """
        kinds = np.concatenate((self._open, found.kinds))
        levels = np.concatenate((np.arange(len(self._open), dtype=np.int32), found.levels))
        if not len(levels):
            return
        deepest, least = levels.max(), levels.min()
        if least < 0:
            raise self._unmatched(found)
        # Bytes are sorted by counting, in a third of the time.
        order = np.argsort(levels.astype(np.uint8) if deepest <= _MAX_OF_A_BYTE else levels, kind="stable")
        kinds, levels = kinds[order], levels[order]
        opens = (kinds & _OPENS) != 0
        if not (opens[1:] | (np.diff(kinds) == _FROM_OPEN_TO_CLOSE)).all():
            raise self._unmatched(found)
        is_last = np.append(levels[1:] != levels[:-1], True)
        self._open = kinds[is_last & opens]

    def _match_one_by_one(self, found: Brackets) -> Bytes:
        stack = bytearray(self._open)
        for index, kind in enumerate(found.kinds.tolist()):
            if kind & _OPENS:
                stack.append(kind)
            elif not stack or stack.pop() + 2 != kind:
                before = Brackets(found.offsets[:index], found.kinds[:index], found.levels[:index])
                raise UnmatchedBracketError(int(found.offsets[index]), before)
        return np.frombuffer(bytes(stack), np.uint8)

    def _unmatched(self, found: Brackets) -> UnmatchedBracketError:
        try:
            self._match_one_by_one(found)
        except UnmatchedBracketError as error:
            return error
        raise AssertionError("the two ways to match brackets differ")


def _backslashes(block: bytes, data: Bytes) -> Positions:
    """Where they are: few in nearly every file, and then `find` takes a third of the time of a compare."""
    places, place = list[int](), block.find(b"\\")
    while place >= 0 and len(places) < _FEW:
        places.append(place)
        place = block.find(b"\\", place + 1)
    return np.array(places, np.int64) if place < 0 else np.flatnonzero(data == BACKSLASH)


class Pairs(NamedTuple):
    """Brackets that belong together, of one level."""

    opens: Positions  # index among all brackets
    starts: Positions  # offset of the opening bracket
    stops: Positions  # offset of the closing one
    kinds: Bytes


def pairs_of_level(found: Brackets, level: int) -> Pairs:
    """The brackets of one level in text that closes all it opens."""
    pairs = np.flatnonzero(found.levels == level).reshape(-1, 2)
    opens = np.ascontiguousarray(pairs[:, 0])
    return Pairs(opens, found.offsets[opens], found.offsets[pairs[:, 1]], found.kinds[opens])


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
        return not self.kind & _OPENS


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
        self._found = NO_BRACKETS  # of the block, with offsets in the file
        self._by_level: dict[int, Positions] = {}  # indexes in _found
        self._next = 0  # index in _found
        self._spent = True
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
        if self._spent:
            self._load()
        if level not in self._by_level:
            self._by_level[level] = np.flatnonzero(self._found.levels <= level)
        indexes = self._by_level[level]
        nth = int(np.searchsorted(indexes, self._next))
        if nth == len(indexes):
            self._next, self._spent = len(self._found.offsets), True
            return None
        index = indexes[nth]
        self._next = int(index) + 1
        return Bracket(*(int(column[index]) for column in self._found))

    def ahead(self) -> Brackets:
        """The bracket that came last, and those of its block behind it."""
        first = self._next - 1
        offsets, kinds, levels = self._found
        return Brackets(offsets[first:], kinds[first:], levels[first:])

    def at_hand(self) -> tuple[bytes, int]:
        """The text that `text` gives pieces of, and its offset in the file."""
        return self._text, self._text_start

    def pass_over(self, offset: int) -> None:
        """Go on behind the bracket at this offset, which is in the block at hand."""
        self._next = int(np.searchsorted(self._found.offsets, offset, "right"))

    def last_close(self, level: int) -> int:
        """Offset behind the last bracket of the block that closes at this level; -1 if none does."""
        closes = np.flatnonzero((self._found.levels == level) & ((self._found.kinds & _OPENS) == 0))
        return int(self._found.offsets[closes[-1]]) + 1 if len(closes) else -1

    def _load(self) -> None:
        if self._malformed is not None:
            raise self._malformed
        block = self._read()
        if not block:
            raise TruncatedFile(self._url, self.end, "the JSON")
        kept = self.kept()
        block_start = self.end
        self._text_start = block_start - len(kept)
        self._text = b""  # before the next one is made: there may be little room for three
        self._text = kept + block if kept else block
        try:
            found = self._scanner.scan(block)
        except UnmatchedBracketError as error:
            found = error.found
            place = block_start + error.offset
            self._malformed = MalformedJson(self._url, place, "a bracket that does not match what is open")
            self._malformed_offset = place
        found = found._replace(offsets=found.offsets + block_start)
        self._found = self._bounded(found, len(kept))
        self._by_level = {}
        self._next, self._spent = 0, False
        self.blocks_read += 1

    def _bounded(self, found: Brackets, kept_bytes: int) -> Brackets:
        """The brackets up to one that is too deep; text that nobody can hold ends here."""
        most_bytes = self._limits.max_element_bytes
        if kept_bytes > most_bytes:
            raise too_long(self._url, self._limits, self.end - len(self._text))
        # A stretch within a block is shorter than what is allowed.
        first = int(found.offsets[0]) if len(found.offsets) else self.end
        if first - self._bracket_stop > most_bytes:
            raise too_long(self._url, self._limits, self._bracket_stop)
        if len(found.offsets):
            self._bracket_stop = int(found.offsets[-1]) + 1
        if found.levels.max(initial=0) < self._limits.max_nesting_depth:
            return found
        cut = int(np.argmax(found.levels >= self._limits.max_nesting_depth))
        self._malformed_offset = int(found.offsets[cut])
        self._malformed = too_deep(self._url, self._limits, self._malformed_offset)
        return Brackets(found.offsets[:cut], found.kinds[:cut], found.levels[:cut])

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
            stripped = text.lstrip(WHITE_SPACE)
            if stripped:
                place = start + len(text) - len(stripped)
                raise MalformedJson(self._url, place, "something stands behind the end of the document")
            start += len(text)
            if start - offset > self._limits.max_element_bytes:
                raise too_long(self._url, self._limits, offset)
            text = self._read()
            if not text:
                return


WHITE_SPACE = b" \t\n\r\v\f"  # the last two are not JSON's, but ijson's
