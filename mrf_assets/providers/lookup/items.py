"""What goes into a batch and what comes out of it: values alone.

An item is one thing to look up. Each comes out as exactly one `Outcome`: a `Result`, a
`Failure` with its reason, or `Unfinished` where the batch was stopped first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrf_assets.settings import EnrichSettings

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to look up."""

    key: str
    priority: float = 0.0  # higher first
    facts: Mapping[str, Any] = field(default_factory=dict)  # what the look-up must know beside the key; JSON values


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one look-up found; `row` fits the output's schema."""

    row: Row
    size_bytes: int = 0  # as received


LookUp = Callable[[Item], Awaitable[Answer]]  # raises `errors.LookUpFailed`


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An item that was looked up."""

    item: Item
    row: Row
    requests: int
    seconds: float  # from its first start to its last answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpFailure:
    """An item that was given up, and why."""

    item: Item
    reason: str  # a fixed word
    detail: str
    http_status: int | None
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An item that the batch was stopped before; it is still to be done."""

    item: Item
    requests: int


Outcome = Result | LookUpFailure | Unfinished


_DEFAULTS = EnrichSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpOptions:
    """How a batch is worked off."""

    max_workers: int = _DEFAULTS.batch_size  # look-ups at a time
    first_workers: int | None = None  # begin with so many, and go up to `max_workers` while nothing is refused
    max_retries: int = _DEFAULTS.max_retries  # after a failure that may pass
    max_refusals: int = 10  # 429 and 503 say nothing about the item, so they have a count of their own
    backoff_seconds: float = 1.0  # before the first retry, at most; doubles with each
    most_backoff_seconds: float = 60.0
    rate_limit_delay_seconds: float = _DEFAULTS.rate_limit_delay  # between two starts, at the beginning
    adaptive: bool = _DEFAULTS.adaptive_rate_limiting  # False: that delay stays
    max_requests_per_minute: int | None = None
    checkpoint_interval: int = 10  # outcomes per commit
    give_up_after: int = 50  # failures without one success between them: the service is down
    give_up_refused_seconds: float = 1_800.0  # of 429 and 503 without one answer between them: the same
    grace_seconds: float = 10.0  # for what is under way, once the batch is to stop
    limit: int | None = None  # items in this run
    least_priority: float | None = None


class Stop:
    """Asked for once, by a signal, a budget or a dead service; waits end at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: str | None = None
        self.at_once = False  # do not even wait for what is under way
        self.is_service_down = False  # the reason: nobody asked for it, and no budget

    @property
    def requested(self) -> bool:
        """True from the first request on."""
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """End the batch; a second request ends it at once."""
        if self.requested:
            self.at_once = True
        else:
            self.reason = reason
        self._event.set()

    def give_up(self, reason: str) -> None:
        """End the batch because the service does not answer."""
        self.is_service_down = self.is_service_down or not self.requested
        self.request(reason)

    async def wait(self) -> None:
        """Until it is requested."""
        await self._event.wait()

    async def came_within(self, seconds: float) -> bool:
        """Sleep; True, and at once, where the batch is to stop."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True
