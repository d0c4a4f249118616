"""When a batch of look-ups has cost enough."""

from __future__ import annotations

import logging

from mrf_assets.providers.lookup.items import Stop
from mrf_assets.providers.lookup.statistics import Statistics
from mrf_assets.settings import Prices, dollars_text

logger = logging.getLogger(__name__)


_WARN_AT = 0.8


class LookUpBudget:
    """Warns at 80 % of the budget and stops the batch at 100 %; it can be resumed."""

    def __init__(self, dollars: float | None, prices: Prices) -> None:
        self.dollars, self.prices = dollars, prices
        self._has_warned = False

    def check(self, statistics: Statistics, stop: Stop) -> None:
        """Compare what was spent with the budget."""
        if self.dollars is None or stop.requested:
            return
        cost = statistics.cost(self.prices)
        if cost >= self.dollars:
            stop.request(f"the budget of {dollars_text(self.dollars)} is spent")
        elif cost >= _WARN_AT * self.dollars and not self._has_warned:
            self._has_warned = True
            logger.warning("80 %% of the budget is spent: %s of %s", dollars_text(cost), dollars_text(self.dollars))
