"""Rates that are no plain numbers: each distinct spelling goes through `values` once."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from mrf_assets.extract.fast.exact import NotQuiteJsonError, quick
from mrf_assets.extract.interface import Tally
from mrf_assets.extract.values import Values
from mrf_assets.schema import RATE_TYPE

_SCALAR = re.compile(rb'(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|"[^"\\\x00-\x1f]*")(?=[,} \t\n\r])')
_MAX_RATES = 200_000
_WORD = 1 << 64


class OddRate(NamedTuple):
    """A rate, and what it counts."""

    low: int  # the rate times 10 ** scale, 128 bits in two words, both with a sign
    high: int
    counts: Tally | None


class RateMemo:
    """Spellings of rates, remembered."""

    def __init__(self) -> None:
        self._known: dict[bytes, OddRate | None] = {}

    def read(self, text: bytes, start: int) -> tuple[OddRate, int] | None:
        """The rate that begins here, and where it ends; None if it has to be looked at in its price."""
        spelling = _SCALAR.match(text, start)
        if spelling is None:
            return None
        known = self._known.get(spelling[0], ...)
        if known is ...:
            if len(self._known) > _MAX_RATES:
                self._known.clear()
            known = self._known[spelling[0]] = _read(spelling[0])
        return None if known is None else (known, spelling.end())


def _read(spelling: bytes) -> OddRate | None:
    counts = Tally()
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
