"""When the next request may start: one turnstile for all workers of a process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from mrf_assets.aimd import Aimd
from mrf_assets.batch.stop import Stop

_MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One request was let through."""

    at: float
    was_held: bool  # it waited for the rate


class StartLimiter:
    """Spaces starts evenly by the rate of `Aimd`, and never lets more than a cap into any 60 seconds."""

    def __init__(
        self, pace: Aimd, max_per_minute: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pace = pace
        self._cap, self._clock = max_per_minute, clock
        self._due = -inf
        self._turn = asyncio.Lock()
        self._starts: deque[float] = deque()

    @property
    def starts_last_minute(self) -> int:
        """Requests that were started in the last 60 seconds."""
        self._forget(self._clock())
        return len(self._starts)

    async def start(self, stop: Stop) -> Start | None:
        """Wait for one's turn; None if the batch is to stop first."""
        was_held = self._turn.locked()
        async with self._turn:
            while (seconds := self._wait_seconds(self._clock())) > 0:
                was_held = True
                if await stop.came_within(seconds):
                    return None
            if stop.requested:
                return None
            now = self._clock()
            # From when it was due, so that a timer that rings late does not lower the rate.
            interval = self.pace.interval_seconds
            self._due = max(self._due, now - interval) + interval
            self._starts.append(now)
            return Start(at=now, was_held=was_held)

    def accepted(self, start: Start) -> None:
        """The server answered this request."""
        self.pace.accepted(self._clock(), start.at, was_held=start.was_held)

    def refused(self, start: Start, retry_after_seconds: float | None) -> None:
        """The server said 429 or 503."""
        self.pace.refused(self._clock(), start.at, retry_after_seconds)

    def _wait_seconds(self, now: float) -> float:
        free = max(self._due, self.pace.held_until)
        if self._cap is not None:
            self._forget(now)
            if len(self._starts) >= self._cap:
                free = max(free, self._starts[0] + _MINUTE_SECONDS)
        return free - now

    def _forget(self, now: float) -> None:
        while self._starts and self._starts[0] <= now - _MINUTE_SECONDS:
            self._starts.popleft()
