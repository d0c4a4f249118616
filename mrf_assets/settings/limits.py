"""How far a stranger's file may go before it is refused: the values that all readers of bytes share.

Real files stay far below each default.
"""

from __future__ import annotations

from mrf_assets.errors import LimitExceeded
from mrf_assets.settings.model import SettingsModel, setting

MIB = 1 << 20
CONTAINER_VALUES = 4  # a list or an object takes as much memory as so many numbers
_MIN_ELEMENT_BYTES = 2 * MIB  # two blocks: what is longer is seen where blocks end


class Limits(SettingsModel):
    """Limits of a file."""

    # CareFirst's shards unpack to 57 times their size, Aetna's files to 24 times; deflate can do 1,032.
    max_inflation: int = setting(200, "Most bytes that one compressed byte may become.", ge=1)
    # 300 GB are real, so no figure is too large.
    max_json_bytes: int | None = setting(None, "Most bytes of a file, decompressed.", absent="no bound", ge=1)
    max_zip_members: int = setting(1_000, "Most files in a zip. One file of data and some notes are usual.", ge=1)
    # The schema needs 8 levels; Python cannot follow more than 200.
    max_nesting_depth: int = setting(64, "Most brackets inside of brackets. The schema needs 8 levels.", ge=8, le=200)
    # 156,458 NPIs and 29,219 TINs (Aetna's network of Florida) in one reference would be 5 MB.
    max_element_bytes: int = setting(
        16 * MIB,
        "Most bytes of what is kept whole: a text, a number, a rate, a provider reference.",
        ge=_MIN_ELEMENT_BYTES,
    )
    # A list of `[],` within the bound of bytes would take 3 GB as objects of Python. Lists and objects count as
    # `CONTAINER_VALUES` each, which makes that reference of Aetna one of 570,000.
    max_element_values: int = setting(
        1 << 20,
        "Most values in one rate or provider reference; a list or an object counts as four. The largest known "
        "reference, of 156,458 NPIs, would have 570,000.",
        ge=1,
    )
    max_remote_fetches: int = setting(
        8, "Most remote provider references of one file that are fetched at a time.", ge=1
    )
    # BCBSA members have hundreds.
    max_remote_references: int = setting(100_000, "Most addresses of remote provider references in one file.", ge=1)
    max_remote_reference_bytes: int = setting(
        16 * MIB, "Most bytes of one remote provider reference, decompressed.", ge=1
    )
    max_remote_total_bytes: int = setting(4096 * MIB, "Most bytes of all remote provider references of one file.", ge=1)
    # Dead links are usual (404s, price-transparency-guide issue #766); with most of them dead, whose rates they are
    # is not known any more.
    remote_reference_failure_share: float = setting(
        0.5, "Share of the remote provider references that may fail before the file fails.", ge=0, le=1
    )

    def too_deep(self, url: str, byte_offset: int) -> LimitExceeded:
        """The error of brackets inside of brackets."""
        what = f"is nested deeper than {self.max_nesting_depth} levels"
        return LimitExceeded(url, "max_nesting_depth", what, byte_offset)

    def too_long(self, url: str, byte_offset: int) -> LimitExceeded:
        """The error of what has to be held whole: a text, a number, a rate, a provider reference."""
        what = f"has one value or element of more than {self.max_element_bytes} bytes"
        return LimitExceeded(url, "max_element_bytes", what, byte_offset)

    def too_many(self, url: str, byte_offset: int) -> LimitExceeded:
        """The error of what has to be held whole, a rate or a provider reference, and is made of too many values."""
        what = f"has one element of more than {self.max_element_values} values"
        return LimitExceeded(url, "max_element_values", what, byte_offset)
