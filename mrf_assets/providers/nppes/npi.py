"""National Provider Identifiers as people write them."""

from __future__ import annotations

import re

_PREFIX_SUM = 24  # of 80840, the prefix of US health identifiers, by Luhn
_NPI_TEXT = re.compile(r"\A([0-9]+)(?:\.0+)?\Z")  # 1234567893.0 comes out of spreadsheets
_DIGITS = 10


def npi_problem(text: str) -> str | None:
    """Why a text is no NPI; None if it is one. Source: CMS, "NPI check digit": Luhn over 80840 and the NPI."""
    if not text.strip():
        return "no NPI"
    match = _NPI_TEXT.match(text.strip())
    if not match or not text.strip().isascii():
        return "not a number"
    digits = match[1]
    if len(digits) != _DIGITS:
        return f"{len(digits)} digits, not 10"
    if digits[0] not in "12":
        return "begins with neither 1 nor 2"
    return None if _luhn(digits) else "wrong check digit"


def npi_of(text: str) -> str:
    """The ten digits of a text that has no `npi_problem`."""
    return text.strip().partition(".")[0]


def _luhn(digits: str) -> bool:
    total = _PREFIX_SUM
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value // 10 + value % 10
    return total % 10 == 0
