"""What whoever operates the platform may vary: nothing of it changes a row."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from mrf_assets.errors import SettingError
from mrf_assets.settings.model import setting, variable_of
from mrf_assets.settings.prices import Prices


class Operations(Prices):
    """Operation."""

    # Addresses of apprise hold secrets.
    alert_urls: str | None = setting(
        None,
        "Who receives alerts: addresses of Apprise, with white space between them. They are secrets.",
        absent="nobody",
        repr=False,
    )
    budget_dollars: float | None = setting(
        None,
        "US dollars that one batch may cost; it warns at 80 % and begins no network after 100 %.",
        flag="--budget",
        ge=0,
    )
    fresh_days: int = setting(
        45, "Days after the first day of its newest period from which on a network is late.", ge=1
    )
    keep_runs_days: int = setting(180, "Days for which Dagster's records are kept; 0 keeps all.", ge=0)

    @property
    def has_prices(self) -> bool:
        """Whether batches of networks cost anything that a budget can count."""
        return bool(self.price_per_gb or self.price_per_core_hour)

    @model_validator(mode="after")
    def _require_price(self) -> Self:
        if self.budget_dollars is not None and not self.has_prices:
            names = " or ".join(map(variable_of, ("price_per_gb", "price_per_core_hour")))
            raise SettingError("budget_dollars", f"needs a price to count with; set {names}")
        return self
