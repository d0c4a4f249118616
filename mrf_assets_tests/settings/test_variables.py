"""Variables that look like settings and are none."""

from __future__ import annotations

import pytest

from mrf_assets.settings import unknown_variables


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("MRF_OUTPT_DIR", "; did you mean MRF_OUTPUT_DIR?"),
        ("MRF_output_dir", "; did you mean MRF_OUTPUT_DIR?"),
        ("mrf_reader", "; did you mean MRF_READER?"),
        ("MRF_BUDGET_DOLARS", "; did you mean MRF_BUDGET_DOLLARS?"),
        ("MRF_XYZZY", "; docs/settings.md lists the settings"),
    ],
)
def test_an_unknown_variable_is_reported_with_the_name_that_is_near(name: str, told: str) -> None:
    """It would be ignored, and nobody would know why."""
    environ = {"MRF_BATCH_SIZE": "1", "MRF_PORTALS": "", "HOME": "/", name: "x"}

    assert [f"{name} is no setting and is ignored{told}"] == unknown_variables(environ)
