"""What a batch costs, and how an amount of dollars reads."""

from __future__ import annotations

from decimal import Decimal

from mrf_assets.settings.model import SettingsModel, setting

_SMALL_DOLLARS = 0.1  # below it, cents say too little


class Prices(SettingsModel):
    """Prices, in US dollars.

    NPPES itself is free; the machine and its network may not be.
    """

    price_per_gb: float = setting(0.0, "Price of a downloaded GB.", ge=0)
    price_per_core_hour: float = setting(0.0, "Price of an hour of one core, for batches of networks.", ge=0)
    price_per_hour: float = setting(0.0, "Price of an hour, for look-ups of NPIs.", ge=0)
    price_per_1000_requests: float = setting(0.0, "Price of 1,000 requests to the registry of NPIs.", ge=0)

    def dollars(self, *, gb: float = 0, core_hours: float = 0, hours: float = 0, requests: int = 0) -> float:
        """US dollars of what was used."""
        return (
            gb * self.price_per_gb
            + core_hours * self.price_per_core_hour
            + hours * self.price_per_hour
            + requests / 1_000 * self.price_per_1000_requests
        )


def dollars_text(dollars: float) -> str:
    """US dollars for a person: cents, and of an amount below ten cents its first two digits, never a mere $0.00."""
    is_small = 0 < abs(dollars) < _SMALL_DOLLARS
    return f"${Decimal(f'{dollars:.2g}'):f}" if is_small else f"${dollars:,.2f}"
