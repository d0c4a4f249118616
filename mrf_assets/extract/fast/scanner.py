"""Where the brackets of a JSON stream are: the structural scan, exact, in numpy.

Every byte is looked at once: quotes (minus escaped ones) give what is inside strings, brackets
outside of strings give the nesting. State goes from block to block, so blocks may end anywhere.
Kinds of brackets are matched in what nobody reads, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Bytes = NDArray[np.uint8]
_STRIDE = 1 << 17  # compares stay in the cache: benchmarks/NOTES.md, "scan"
_WORD = 64
_SHIFTS = tuple(np.uint64(1 << power) for power in range(6))
_LAST_BIT = np.uint64(_WORD - 1)
_QUOTE, BACKSLASH = ord('"'), ord("\\")
OPENS = 2  # the bit that [ and { have and ] and } have not
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

    def __init__(self, offset: int, brackets: Brackets) -> None:
        super().__init__(offset)
        self.offset, self.brackets = offset, brackets  # the brackets before it


class Scanner:
    """The structural scan of one stream."""

    def __init__(self) -> None:
        self._in_string = False
        self._is_escaping = False  # the last byte was a backslash that takes the meaning from the next one
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
            is_structural = is_outside.view(np.bool_)
            offsets, kinds = offsets[is_structural], kinds[is_structural]
        opens = (kinds & OPENS) >> 1
        steps = opens.astype(np.int8)
        steps *= 2
        steps -= 1
        levels = np.cumsum(steps, dtype=np.int32)
        levels += len(self._open)
        levels -= opens
        brackets = Brackets(offsets, kinds, levels)
        self._match(brackets)
        return brackets

    @staticmethod
    def _look(data: Bytes, quotes: Bytes) -> Positions:
        """Candidates for brackets; quotes go into the bitmap."""
        is_candidate = np.empty(len(data), np.bool_)
        for start in range(0, len(data), _STRIDE):
            part = data[start : start + _STRIDE]
            bits = np.packbits(part == _QUOTE, bitorder="little")
            quotes[start >> 3 : (start >> 3) + len(bits)] = bits
            codes = part | 32  # [ \ ] become { | }, which are 123 to 125
            codes -= 123
            np.less_equal(codes, 2, out=is_candidate[start : start + _STRIDE])
        return np.flatnonzero(is_candidate)

    def _drop_escaped(self, block: bytes, data: Bytes, quotes: Bytes) -> None:
        """Take the quotes that a backslash escapes out of the bitmap."""
        slashes = _backslashes(block, data)
        if self._is_escaping:
            slashes = np.concatenate(([-1], slashes))
        self._is_escaping = False
        if not len(slashes):
            return
        # In a run of backslashes every other one escapes its neighbour.
        numbers = np.arange(len(slashes))
        first_of_run = np.concatenate(([True], np.diff(slashes) != 1))
        in_run = numbers - np.maximum.accumulate(np.where(first_of_run, numbers, 0))
        escapes = slashes[in_run & 1 == 0] + 1
        if escapes[-1] == len(data):
            self._is_escaping = True
            escapes = escapes[:-1]
        escapes = escapes[data[escapes] == _QUOTE]
        np.bitwise_xor.at(quotes, escapes >> 3, np.left_shift(1, escapes & 7).astype(np.uint8))

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

    def _match(self, brackets: Brackets) -> None:
        """Compare each bracket that closes with the one it closes; what is not closed stays open.

        Of one level, brackets open and close in turn: sorted by level, partners are neighbours.
        """
        kinds = np.concatenate((self._open, brackets.kinds))
        levels = np.concatenate((np.arange(len(self._open), dtype=np.int32), brackets.levels))
        if not len(levels):
            return
        deepest, least = levels.max(), levels.min()
        if least < 0:
            raise self._unmatched(brackets)
        # Bytes are sorted by counting, in a third of the time.
        order = np.argsort(levels.astype(np.uint8) if deepest <= _MAX_OF_A_BYTE else levels, kind="stable")
        kinds, levels = kinds[order], levels[order]
        opens = (kinds & OPENS) != 0
        if not (opens[1:] | (np.diff(kinds) == _FROM_OPEN_TO_CLOSE)).all():
            raise self._unmatched(brackets)
        is_last = np.append(levels[1:] != levels[:-1], True)
        self._open = kinds[is_last & opens]

    def _match_one_by_one(self, brackets: Brackets) -> Bytes:
        stack = bytearray(self._open)
        for index, kind in enumerate(brackets.kinds.tolist()):
            if kind & OPENS:
                stack.append(kind)
            elif not stack or stack.pop() + 2 != kind:
                before = Brackets(brackets.offsets[:index], brackets.kinds[:index], brackets.levels[:index])
                raise UnmatchedBracketError(int(brackets.offsets[index]), before)
        return np.frombuffer(bytes(stack), np.uint8)

    def _unmatched(self, brackets: Brackets) -> UnmatchedBracketError:
        try:
            self._match_one_by_one(brackets)
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


def pairs_of_level(brackets: Brackets, level: int) -> Pairs:
    """The brackets of one level in text that closes all it opens."""
    pairs = np.flatnonzero(brackets.levels == level).reshape(-1, 2)
    opens = np.ascontiguousarray(pairs[:, 0])
    return Pairs(opens, brackets.offsets[opens], brackets.offsets[pairs[:, 1]], brackets.kinds[opens])
