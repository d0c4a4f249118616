"""What a batch costs, and when it has cost enough."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal

from mrf_assets.providers.lookup.statistics import Statistics
from mrf_assets.providers.lookup.stop import Stop

logger = logging.getLogger(__name__)

_WARN_AT = 0.8
_GB_BYTES = 1e9
_HOUR_SECONDS = 3_600
_SMALL_DOLLARS = 0.1  # below it, cents say too little


def dollars_text(dollars: float) -> str:
    """US dollars for a person: cents, and of an amount below ten cents its first two digits, never a mere $0.00."""
    is_small = 0 < abs(dollars) < _SMALL_DOLLARS
    return f"${Decimal(f'{dollars:.2g}'):f}" if is_small else f"${dollars:,.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars per unit; NPPES itself is free, the machine and its network may not be."""

    per_1000_requests: float = 0.0
    per_gb: float = 0.0
    per_hour: float = 0.0

    def cost(self, requests: int, received_bytes: int, seconds: float) -> float:
        """US dollars."""
        return (
            requests / 1000 * self.per_1000_requests
            + received_bytes / _GB_BYTES * self.per_gb
            + seconds / _HOUR_SECONDS * self.per_hour
        )

    def cost_of(self, statistics: Statistics) -> float:
        """US dollars of one run so far."""
        return self.cost(statistics.requests, statistics.received_bytes, statistics.seconds)


class Budget:
    """Warns at 80 % of the budget and stops the batch at 100 %; it can be resumed."""

    def __init__(self, dollars: float | None, prices: Prices) -> None:
        self.dollars, self.prices = dollars, prices
        self._warned = False

    def check(self, statistics: Statistics, stop: Stop) -> None:
        """Compare what was spent with the budget."""
        if self.dollars is None or stop.requested:
            return
        spent = self.prices.cost_of(statistics)
        if spent >= self.dollars:
            stop.request(f"the budget of {dollars_text(self.dollars)} is spent")
        elif spent >= _WARN_AT * self.dollars and not self._warned:
            self._warned = True
            logger.warning("80 %% of the budget is spent: %s of %s", dollars_text(spent), dollars_text(self.dollars))
