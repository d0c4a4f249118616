"""When the next request may start: one turnstile for all workers of a process.

The arithmetic is that of downloads (`fetch.rate.pace`). Here the state needs no file, for one process talks
to a service; and answers that take much longer than they did slow the starts, for a service that queues
instead of refusing is heard too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from mrf_assets.fetch.rate.pace import HostLimits, Pace
from mrf_assets.providers.lookup.items import Stop

_MINUTE_SECONDS = 60.0
_SMOOTHING = 0.2
_TOO_SLOW = 6.0  # times the usual answer time
_SLACK_SECONDS = 0.25  # a jump from 5 to 50 ms says nothing
_GETS_USED = 0.02  # of what an answer takes longer: a service that is slower from now on is not asked ever more slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One request was let through."""

    at: float
    cuts: int  # of the pace, then
    was_held: bool  # it waited for the rate


class StartLimiter:
    """Spaces starts by the rate that the service bears, and never lets more than a cap into any 60 seconds."""

    def __init__(
        self,
        pace: Pace,
        limits: HostLimits,
        max_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pace = pace
        self._limits, self._cap, self._clock = limits, max_per_minute, clock
        self._turn = asyncio.Lock()
        self._starts: deque[float] = deque()
        self._usual_seconds, self._smoothed_seconds = inf, 0.0

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
            if self._cap is not None:  # else a minute of a fast service would be a million times to remember
                self._starts.append(now)
            return Start(at=now, cuts=self.pace.started(now, self._limits), was_held=was_held)

    def accepted(self, start: Start) -> None:
        """The service answered this request.

        Where requests do not wait, the rate is not what limits them, and a higher one would be a guess.
        """
        now = self._clock()
        if self._is_slow(now - start.at):
            self.pace.slowed(now, self._limits, cuts_at_start=start.cuts)
        elif start.was_held or self.pace.refusals_in_row:
            self.pace.accepted(now, self._limits, cuts_at_start=start.cuts)

    def refused(self, start: Start, retry_after_seconds: float | None) -> None:
        """The service said 429 or 503."""
        now = self._clock()
        self.pace.refused(now, self._limits, cuts_at_start=start.cuts, long_answers=0)
        if retry_after_seconds is not None:
            self.pace.pause(now, retry_after_seconds)

    def _is_slow(self, seconds: float) -> bool:
        is_first = self._usual_seconds == inf
        self._smoothed_seconds += (1 if is_first else _SMOOTHING) * (seconds - self._smoothed_seconds)
        longer = 0.0 if is_first else max(self._smoothed_seconds - self._usual_seconds, 0.0)
        self._usual_seconds = min(self._usual_seconds + _GETS_USED * longer, self._smoothed_seconds)
        return self._smoothed_seconds > _TOO_SLOW * (self._usual_seconds + _SLACK_SECONDS)

    def _wait_seconds(self, now: float) -> float:
        wait = self.pace.seconds_to_start(now, self._limits)
        if self._cap is not None:
            self._forget(now)
            if len(self._starts) >= self._cap:
                wait = max(wait, self._starts[0] + _MINUTE_SECONDS - now)
        return wait

    def _forget(self, now: float) -> None:
        while self._starts and self._starts[0] <= now - _MINUTE_SECONDS:
            self._starts.popleft()
