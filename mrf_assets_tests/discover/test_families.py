"""What is asked of known families."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, strategies as st

from mrf_assets.discover.families import candidates

_TODAY = dt.date(2026, 1, 22)
_SPARQ = "https://mrf.healthsparq.com"


@pytest.mark.parametrize(
    ("portal", "expected"),
    [
        (
            "https://health1.acme.example/app/public/#/one/insurerCode=ACME_I&brandCode=GOLD/machine-readable",
            [f"{_SPARQ}/acme-egress.nophi.kyruushsq.com/prd/mrf/ACME_I/GOLD/latest_metadata.json"],
        ),
        (
            "https://x.example/?brandCode=MERITAINOVER&insurerCode=MERITAIN_I",
            [f"{_SPARQ}/aetnacvs-egress.nophi.kyruushsq.com/prd/mrf/MERITAIN_I/MERITAINOVER/latest_metadata.json"],
        ),
        (
            "https://transparency-in-coverage.uhc.com/",
            ["https://transparency-in-coverage.uhc.com/api/v1/uhc/blobs/"],
        ),
        (
            "https://transparency-in-coverage.optum.com",
            [f"https://transparency-in-coverage.optum.com/api/v1/{name}/blobs/" for name in ("oh", "orx")],
        ),
        (
            "https://www.cigna.com/legal/compliance/machine-readable-files",
            [f"https://www.cigna.com/static/mrf/{name}" for name in ("latest.json", "co/latest.json")],
        ),
        ("https://www.bcbstx.com/asomrf?EIN=1", ["https://www.bcbstx.com/content/dam/bcbs/mrf/si-filelist.json"]),
        (
            "https://acme.blob.core.windows.net/mrf/november/",
            ["https://acme.blob.core.windows.net/mrf?restype=container&comp=list"],
        ),
        ("https://acme.s3.us-east-1.amazonaws.com/mrf/x.html", [
            "https://acme.s3.us-east-1.amazonaws.com/?list-type=2&prefix=mrf%2F"
        ]),
        ("https://s3.amazonaws.com/acme/mrf/", ["https://s3.amazonaws.com/acme?list-type=2&prefix=mrf%2F"]),
        ("https://payer.example/prices", []),
        ("https://notcigna.com/", []),
        ("https://cigna.com.evil.example/", []),
    ],
)  # fmt: skip
def test_a_family_is_known_by_its_address(portal: str, expected: list[str]) -> None:
    """And nobody else's."""
    assert expected == [candidate.url for candidate in candidates(portal, _TODAY)]


def test_a_template_is_asked_for_this_month_and_those_before() -> None:
    """Payers are late; the first that is there is enough."""
    found = candidates("https://p.example/{yyyy}/{yyyy}-{mm}-01_acme_index.json", _TODAY)

    assert [
        "https://p.example/2026/2026-01-01_acme_index.json",
        "https://p.example/2025/2025-12-01_acme_index.json",
        "https://p.example/2025/2025-11-01_acme_index.json",
    ] == [candidate.url for candidate in found]
    assert all(candidate.enough for candidate in found)


@given(st.sampled_from(["p.example", "a.s3.amazonaws.com", "a.blob.core.windows.net", "www.cigna.com"]), st.text())
def test_whatever_stands_behind_the_host_is_no_traceback(host: str, text: str) -> None:
    """`read_portals` lets no host through that is none."""
    for candidate in candidates(f"https://{host}/{text}", _TODAY):
        assert candidate.url.startswith("https://")
