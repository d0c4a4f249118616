"""Files as payers ship them, all made up, and the rows they must give."""

from __future__ import annotations

import json

import pytest

from mrf_assets.extract import READERS
from mrf_assets_tests.golden_update import CASES, GOLDEN, golden_rows


@pytest.mark.parametrize("options", [{}, {"block_bytes": 1}, {"rate_batch_rows": 1, "provider_batch_rows": 1}], ids=str)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", CASES)
def test_a_case_gives_its_rows(case: str, reader: str, options: dict[str, int]) -> None:
    """Tables and counts are as they were checked by hand; `golden_update` writes them anew."""
    expected = json.loads((GOLDEN / case / "expected.json").read_text(encoding="utf-8"))

    assert expected == golden_rows(case, READERS[reader], **options)


def test_there_are_cases() -> None:
    """The folder was found."""
    assert len(CASES) >= 8
