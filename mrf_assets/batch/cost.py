"""What a batch costs, and when it has cost enough."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mrf_assets.batch.statistics import Statistics
from mrf_assets.batch.stop import Stop

logger = logging.getLogger(__name__)

_WARN_AT = 0.8
_GB_BYTES = 1e9
_HOUR_SECONDS = 3_600


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
            stop.request(f"the budget of ${self.dollars:g} is spent")
        elif spent >= _WARN_AT * self.dollars and not self._warned:
            self._warned = True
            logger.warning("80 %% of the budget is spent: $%.4f of $%g", spent, self.dollars)
