"""What a batch may cost, and who is told when it comes close."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mrf_assets.alerts import Alert, send_alert
from mrf_assets.batches.manifest import NetworkRecord
from mrf_assets.batches.statistics import cost_of
from mrf_assets.settings import Operations, dollars_text

_WARN_SHARE = 0.8


class BatchBudget:
    """Warns once at 80 %, and allows nothing more at 100 %. Without a budget it allows all.

    `runs` are those that the batch had before; `warn` tells whoever looks on.
    """

    def __init__(
        self, batch_id: str, runs: Iterable[NetworkRecord], operations: Operations, warn: Callable[[str], None]
    ) -> None:
        self._operations, self._warn, self._batch_id = operations, warn, batch_id
        self._cost = cost_of(runs, operations)
        self._has_warned = False

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self._operations.budget_dollars is not None

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more may begin."""
        return (self._cost.budget_share or 0.0) >= 1.0

    @property
    def has_some_left(self) -> bool:
        """Whether anything may begin at all; tells where not."""
        if self.is_used_up:
            self._warn(self.reason)
        return not self.is_used_up

    @property
    def reason(self) -> str:
        """Why the batch ends early."""
        return (
            f"The budget of {self._dollars} is used up ({dollars_text(self._cost.dollars or 0.0)}); "
            "no other network is begun. `mrf resume` with a larger MRF_BUDGET_DOLLARS goes on."
        )

    @property
    def _dollars(self) -> str:
        return dollars_text(self._operations.budget_dollars or 0.0)

    def allows_more(self, record: NetworkRecord) -> bool:
        """Count a network that has ended; False once the budget is used up."""
        if not self.is_set:
            return True
        was_used_up = self.is_used_up
        self._cost = self._cost.plus(cost_of([record], self._operations))
        share = self._cost.budget_share or 0.0
        if self.is_used_up and not was_used_up:
            self._warn(self.reason)  # the alert at the batch's end tells it too
        elif _WARN_SHARE <= share < 1.0 and not self._has_warned:
            self._has_warned = True
            text = f"{share:.0%} of the budget of {self._dollars} is used."
            self._warn(text)
            alert = Alert(title=f"Budget of batch {self._batch_id}", lines=(text,), severity="warning")
            send_alert(alert, self._operations.alert_urls)
        return not self.is_used_up
