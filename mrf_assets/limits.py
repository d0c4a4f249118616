"""How far a stranger's file may go before it is refused: the values that all readers of bytes share.

Real files stay far below each default; `settings` lets a person move them.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrf_assets.errors import LimitExceeded

MIB = 1 << 20
CONTAINER_VALUES = 4  # a list or an object takes as much memory as so many numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what is unpacked, parsed and fetched for one file."""

    # CareFirst's shards unpack to 57 times their size, Aetna's files to 24 times; deflate can do 1,032.
    max_inflation: int = 200
    max_json_bytes: int | None = None  # decompressed; None: 300 GB are real, so no figure is too large
    max_zip_members: int = 1_000  # one file of data and some notes are usual
    max_nesting_depth: int = 64  # the schema needs 8 levels
    # Kept whole: a rate, a provider reference, an item beside its rates. 156,458 NPIs and 29,219 TINs (Aetna's
    # network of Florida) in one reference would be 5 MB.
    max_element_bytes: int = 16 * MIB
    # Values in one of these: a list of `[],` within the bound of bytes would take 3 GB as objects of Python. Lists and
    # objects count as `CONTAINER_VALUES` each, which makes that reference of Aetna one of 570,000.
    max_element_values: int = 1 << 20
    max_remote_fetches: int = 8  # remote provider references of one file fetched at a time
    max_remote_references: int = 100_000  # addresses in one file; BCBSA members have hundreds
    max_remote_reference_bytes: int = 16 * MIB  # decompressed; what one of them may hold, as if it stood in the file
    max_remote_total_bytes: int = 4096 * MIB  # of all that one file refers to
    # Dead links are usual (404s, price-transparency-guide issue #766); with most of them dead, whose rates they are
    # is not known any more.
    remote_reference_failure_share: float = 0.5


def too_deep(url: str, limits: Limits, byte_offset: int) -> LimitExceeded:
    """The error of brackets inside of brackets."""
    what = f"is nested deeper than {limits.max_nesting_depth} levels"
    return LimitExceeded(url, "max_nesting_depth", what, byte_offset)


def too_long(url: str, limits: Limits, byte_offset: int) -> LimitExceeded:
    """The error of what has to be held whole: a text, a number, a rate, a provider reference."""
    what = f"has one value or element of more than {limits.max_element_bytes} bytes"
    return LimitExceeded(url, "max_element_bytes", what, byte_offset)


def too_many(url: str, limits: Limits, byte_offset: int) -> LimitExceeded:
    """The error of what has to be held whole, a rate or a provider reference, and is made of too many values."""
    what = f"has one element of more than {limits.max_element_values} values"
    return LimitExceeded(url, "max_element_values", what, byte_offset)
