"""Settings of whoever operates the platform."""

from __future__ import annotations

import pytest

from mrf_assets.errors import SettingError
from mrf_assets.settings import Operations


def test_addresses_of_alerts_are_not_shown() -> None:
    """They are secrets."""
    assert "S3cr3t" not in repr(Operations.from_environment({"MRF_ALERT_URLS": "json://alerts.example/S3cr3t"}))


def test_a_budget_without_a_price_is_refused_with_the_variables_that_set_one() -> None:
    """It would never be reached."""
    with pytest.raises(SettingError, match=r"^MRF_BUDGET_DOLLARS: .* set MRF_PRICE_PER_GB or MRF_PRICE_PER_CORE_HOUR$"):
        Operations.from_environment({"MRF_BUDGET_DOLLARS": "5", "MRF_PRICE_PER_HOUR": "1"})
    assert 5 == Operations.from_environment({"MRF_BUDGET_DOLLARS": "5", "MRF_PRICE_PER_GB": "1"}).budget_dollars
