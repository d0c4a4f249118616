"""What is no text, and what is shown in its place."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from mrf_assets.text import UNPRINTABLE, percent_escaped, printable, printable_json, printable_values
from mrf_assets.urls import canonical_url, file_name

_NO_TEXT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# First each control of the direction of writing, and some of each other kind.
_TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
STRANGE = f"{_TURNING}\x1b\x9b\xad\u200b\u2060\u2028\ufeff\U000e0041"


def test_what_is_no_text_is_what_unicode_says() -> None:
    """All of these categories, and beside them no character that this Python knows."""
    categories = {chr(code): unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)}
    found = {character for character in categories if UNPRINTABLE.match(character)}

    assert set() == {character for character, category in categories.items() if category in _NO_TEXT} - found
    assert {categories[character] for character in found} - _NO_TEXT <= {"Cn"}


@pytest.mark.parametrize("strange", STRANGE)
def test_text_is_shown_without_what_is_none(strange: str) -> None:
    """Wherever it stands, in values and keys; other scripts stay."""
    text = f"Año{strange} 日本 עברית ⚠️"

    assert "Año� 日本 עברית ⚠️" == printable(text)
    assert {"a�": ["�b", {"c": 1}]} == printable_values({f"a{strange}": [f"{strange}b", {"c": 1}]})
    assert strange not in printable_json({text: text})


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("address", ["https://mrf.example/a{}b.json.gz", "/data/a{}b.json.gz"])
def test_addresses_and_names_are_shown_without_it(strange: str, address: str) -> None:
    """Escaped, as a link has it, too."""
    for url in (address.format(strange), address.format(percent_escaped(strange))):
        assert strange not in canonical_url(url) + file_name(url)
    assert percent_escaped(address.format(strange)).startswith(address.partition("{")[0] + "%")
