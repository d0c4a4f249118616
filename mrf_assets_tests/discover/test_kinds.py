"""What an address says of the file behind it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mrf_assets.discover.kinds import kind_of
from mrf_assets.discover.values import KINDS

_HEALTHSPARQ = "https://mrf.healthsparq.com/acme-egress.nophi.kyruushsq.com/prd/mrf/ACME_I/GOLD/2026-11-05"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://p.example/2026-11-01_acme_index.json", "table_of_contents"),
        ("https://p.example/2026-11-01_acme_index.json.gz?Signature=x", "table_of_contents"),
        ("https://p.example/2026-11-01_acme_composite_index.json", "table_of_contents"),
        ("https://p.example/Acme-TOC.zip", "table_of_contents"),
        ("https://p.example/table-of-contents.json", "table_of_contents"),
        ("https://p.example/mrf/index.json", "table_of_contents"),
        ("https://p.example/tocs/202611/blue_of_somewhere_index.json", "table_of_contents"),
        ("https://p.example/tocs/current/blue_of_somewhere", "table_of_contents"),
        (f"{_HEALTHSPARQ}/tableOfContents/gold.json.gz", "table_of_contents"),
        ("https://p.example/Home/GetFile?FileName=2026-11-01_acme_index.json", "table_of_contents"),
        ("https://p.example/2026-11-01_acme_in-network-rates.json.gz", "in_network"),
        ("https://p.example/2026-11_302_42A0_in-network-rates_1_of_9.json.gz", "in_network"),
        (f"{_HEALTHSPARQ}/inNetworkRates/2026-11-05_pl-4yj-hr26_Acme.json.gz", "in_network"),
        ("https://p.example/2026-11-05_pl-4yj-hr26_Acme.json.gz", "in_network"),
        ("https://p.example/anthem/NY_HYPAMED0000.json.gz", "in_network"),
        ("https://p.example/2026-11-01_acme_allowed-amounts.json", "allowed_amounts"),
        ("https://p.example/out-of-network/acme.zip", "allowed_amounts"),
        ("https://p.example/provider-references/17.json", "reference"),
        ("https://p.example/mrf/data-dictionary.pdf", "document"),
    ],
)
def test_a_file_is_known_by_its_name_or_folder(url: str, kind: str) -> None:
    """By the words of CMS's convention and of payers' folders."""
    assert kind == kind_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://p.example/package.json",
        "https://p.example/index.json",
        "https://p.example/index.html",
        "https://p.example/search-index.json",
        "https://p.example/website_index.json",
        "https://p.example/tocs/202611/",
        "https://p.example/indexes/",
        "https://p.example/reindexed.json",
        "https://p.example/annual-report.pdf",
        "https://[p.example/x_index.json",
        "https://p.example/" + "a" * 9_000 + "_index.json",
        "",
    ],
)
def test_what_websites_are_made_of_is_no_file(url: str) -> None:
    """Nor is what is no address."""
    assert kind_of(url) is None


def test_an_address_of_one_word_over_and_over_is_known_in_one_go() -> None:
    """A page may have thousands; by the square of the length they take minutes, more than the test's own time limit."""
    for number in range(5_000):
        assert kind_of(f"https://p.example{'/toc' * 1_990}/{number}/") is None


@given(st.text())
def test_any_text_has_a_kind_or_none(text: str) -> None:
    """Nothing that a page calls an address is a traceback."""
    assert kind_of(text) in (None, *KINDS)
    assert kind_of(f"https://p.example/{text}") in (None, *KINDS)
