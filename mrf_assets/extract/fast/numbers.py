"""Plain decimal numbers out of JSON text, thousands at a time, exact.

Plain is what payers write nearly always: 123.45, "432.0", -7. Anything else (exponents, more
digits than fit 64 bits, other spellings) is told apart and left to `RateMemo`, which sends each distinct
spelling through `values` once.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mrf_assets.extract.fast.exact import NotQuiteJsonError, quick
from mrf_assets.extract.fast.scanner import Bytes, Positions
from mrf_assets.extract.interface import ReadCounts
from mrf_assets.extract.values import Values
from mrf_assets.schema import RATE_TYPE

_WINDOW = 22  # a sign's and a quote's place are gone; 8 digits, dot, 10 decimals, one to end with
_MAX_WHOLE_DIGITS = 8  # with ten decimals, 18 digits: 64 bits hold them
_ZERO, _DOT, _MINUS, _QUOTE = b'0.-"'
_ENDS_NUMBER = np.zeros(256, np.bool_)
_ENDS_NUMBER[list(b",}] \t\n\r")] = True
_POWERS = 10 ** np.arange(RATE_TYPE.scale + 1, dtype=np.int64)
_SCALAR = re.compile(rb'(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|"[^"\\\x00-\x1f]*")(?=[,} \t\n\r])')
_MAX_RATES = 200_000
_WORD = 1 << 64


class PlainNumbers(NamedTuple):
    """What stands at each position."""

    is_plain: NDArray[np.bool_]  # the rest holds only where this does
    unscaled: NDArray[np.int64]  # the number times 10 ** RATE_TYPE.scale
    stops: Positions  # behind the number, and its closing quote
    is_text: NDArray[np.bool_]  # in quotes


def plain_numbers(data: Bytes, starts: Positions) -> PlainNumbers:
    """The numbers that begin at `starts`; behind them `data` has PADDING."""
    is_text = data[starts] == _QUOTE
    begins = starts + is_text
    is_negative = data[begins] == _MINUS
    begins += is_negative
    window = sliding_window_view(data, _WINDOW)[begins]
    digits = window - _ZERO
    is_digit = digits < 10  # noqa: PLR2004 - the ten digits
    is_dot = window == _DOT
    length = (is_digit | is_dot).argmin(axis=1)  # 0 where all are: not plain
    dot = is_dot.argmax(axis=1)
    has_dot = is_dot.any(axis=1) & (dot < length)
    whole = np.where(has_dot, dot, length)
    decimals = length - whole - has_dot
    rows = np.arange(len(starts))
    end = window[rows, length]
    second_dot = is_dot.sum(axis=1) - has_dot
    is_plain = (
        (whole > 0)
        & (whole <= _MAX_WHOLE_DIGITS)
        & (~has_dot | (decimals > 0))
        & (decimals <= RATE_TYPE.scale)
        & ((whole == 1) | (window[:, 0] != _ZERO))
        & np.where(is_text, end == _QUOTE, _ENDS_NUMBER[end])
    )
    if second_dot.any():  # behind the number or in it: to be looked at again
        is_plain &= ~_has_second_dot(is_dot, length, has_dot)
    unscaled = np.zeros(len(starts), np.int64)
    for column in range(int(length.max(initial=0))):
        counts = is_digit[:, column] & (column < length)
        unscaled = np.where(counts, unscaled * 10 + digits[:, column], unscaled)
    unscaled *= _POWERS[RATE_TYPE.scale - np.clip(decimals, 0, RATE_TYPE.scale)]
    return PlainNumbers(is_plain, np.where(is_negative, -unscaled, unscaled), begins + length + is_text, is_text)


def _has_second_dot(is_dot: NDArray[np.bool_], length: Positions, has_dot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inside = np.arange(is_dot.shape[1]) < length[:, None]
    second: NDArray[np.bool_] = (is_dot & inside).sum(axis=1) > has_dot
    return second


class OddRate(NamedTuple):
    """A rate, and what it counts."""

    low: int  # the rate times 10 ** scale, 128 bits in two words, both with a sign
    high: int
    counts: ReadCounts | None


class RateMemo:
    """Spellings of rates, remembered."""

    def __init__(self) -> None:
        self._rates: dict[bytes, OddRate | None] = {}

    def read(self, text: bytes, start: int) -> tuple[OddRate, int] | None:
        """The rate that begins here, and where it ends; None if it has to be looked at in its price."""
        spelling = _SCALAR.match(text, start)
        if spelling is None:
            return None
        rate = self._rates.get(spelling[0], ...)
        if rate is ...:
            if len(self._rates) > _MAX_RATES:
                self._rates.clear()
            rate = self._rates[spelling[0]] = _read(spelling[0])
        return None if rate is None else (rate, spelling.end())


def _read(spelling: bytes) -> OddRate | None:
    counts = ReadCounts()
    try:
        rate = Values(counts).rate(quick(spelling)[0], 0)
    except NotQuiteJsonError:
        return None
    return None if rate is None else OddRate(*rate_words(rate), counts if counts.repairs else None)


def rate_words(rate: Decimal) -> tuple[int, int]:
    """Low and high word of a rate, which has the scale of its column."""
    sign, digits, exponent = rate.as_tuple()
    assert exponent == -RATE_TYPE.scale
    unscaled = int("".join(map(str, digits)))
    unscaled = -unscaled if sign else unscaled
    low = unscaled & (_WORD - 1)
    return low - _WORD if low >> 63 else low, unscaled >> 64
