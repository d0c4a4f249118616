"""How fast and how widely one host is asked: additive increase, multiplicative decrease.

Pure arithmetic on times in seconds of one clock; `gate` keeps a `Pace` for each host in a file. `backoff_seconds`
is for those who have no host to ask: how long to wait before the next try.

The start rate grows with every answer (quickly before the first refusal, as in TCP's slow start) and
is cut at a refusal. The rate that was refused is remembered, as in CUBIC: growth is slow
close to it and picks up beyond it, so that a host which allows 20 requests a second refuses few of
hundreds, and one that allows more again is found out. Answers of requests that began before a cut
cut no further: they tell of the old rate.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mrf_assets.settings import DownloadSettings

# Found with a simulated server (token buckets and fixed windows of 1 to 100 requests a second, round trips of
# 2 to 200 ms) so that refusals stay near 2 % and nine tenths of what is allowed is used; test_pace.py holds it.
FIRST_RATE = 10.0  # starts per second with a host that was never asked
FREE_STARTS = 3  # a first index, file and reference wait for nothing
MAX_RATE = 1000.0
MIN_RATE = 0.02  # one in 50 seconds
SLOW_START_GAIN = 1.0  # starts per second, per answer
SLOW_START_CUT = 0.5
CUT = 0.75
APPROACH_PER_SECOND = 0.1  # of what is missing to the rate that was refused
PROBE_PER_SECOND = 0.02  # of the rate that was refused
BEYOND_PER_SECOND = 0.3  # of what the rate has beyond the one that was refused

STEADY_RATE = 20.0  # answers that count as a second; below it fewer come, and a refusal must stay as rare among them

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 60.0  # of ours, doubled at every refusal without an answer in between
MAX_RETRY_AFTER_SECONDS = 900.0  # who is asked for more gives up, and the others try
CATCH_UP_SECONDS = 0.02  # starts missed by waking up late are made up for
FORGET_SECONDS = 1800.0  # after such a silence a host is new to us
FIRST_SLOT_WAIT_SECONDS = 60.0  # until a slot that was taken away is tried again, doubled every time it fails
MAX_SLOT_WAIT_SECONDS = 3600.0
LONG_ANSWER_SECONDS = 2.0  # an answer open for longer may be what a host that limits connections objects to

REFUSALS = (429, 503)  # too many requests; nginx' limit_req and limit_conn answer 503
_MAX_DOUBLINGS = 62  # beyond it a float says nothing new


_DEFAULTS = DownloadSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What no host is asked beyond, and whether its answers change how it is asked."""

    slots: int = _DEFAULTS.host_concurrency  # answers read at a time
    start_rate_per_second: float | None = _DEFAULTS.host_start_rate_per_second  # None: no ceiling
    adaptive: bool = _DEFAULTS.adaptive_rate_limiting  # off: these limits alone, and pauses by Retry-After


@dataclass(slots=True, kw_only=True)
class Pace:
    """How one host is asked now. Times are seconds of one clock."""

    rate: float = FIRST_RATE  # starts per second
    refused_rate: float | None = None  # the rate that was refused last; None: never
    starts: int = 0
    cuts: int = 0
    refusals_in_row: int = 0
    next_start: float = 0.0
    paused_until: float = 0.0
    slots: int | None = None  # fewer than the limit allows, after a refusal for the number of open answers
    more_slots_at: float = 0.0
    slot_wait_seconds: float = FIRST_SLOT_WAIT_SECONDS
    last_used: float = 0.0

    def is_stale(self, now: float) -> bool:
        """True after a long silence, or where the clock began anew (the machine was booted)."""
        return not 0.0 <= now - self.last_used <= FORGET_SECONDS

    def rate_within(self, limits: HostLimits) -> float | None:
        """Starts per second; None is any number."""
        if not limits.adaptive:
            return limits.start_rate_per_second
        return self.rate if limits.start_rate_per_second is None else min(self.rate, limits.start_rate_per_second)

    def slots_within(self, limits: HostLimits) -> int:
        """Answers that may be open at a time."""
        return limits.slots if self.slots is None or not limits.adaptive else min(self.slots, limits.slots)

    def seconds_to_start(self, now: float, limits: HostLimits, ahead: int = 0) -> float:
        """How long until one may start while `ahead` others go first; 0 is now."""
        pause = max(0.0, self.paused_until - now)
        rate = self.rate_within(limits)
        if rate is None or (limits.adaptive and self.starts + ahead < FREE_STARTS):
            return pause
        first = max(self.next_start, now - CATCH_UP_SECONDS)
        return max(pause, first + ahead / rate - now, 0.0)

    def started(self, now: float, limits: HostLimits) -> int:
        """Count one start; returns what `answered` wants to know of it."""
        self.starts += 1
        if rate := self.rate_within(limits):
            self.next_start = max(self.next_start, now - CATCH_UP_SECONDS) + 1 / rate
        if self.refusals_in_row:  # one asks whether the host takes us back, the others wait for its answer
            self.next_start = max(self.next_start, now + self._pause_seconds)
        self.last_used = now
        return self.cuts

    def accepted(self, now: float, limits: HostLimits, *, cuts_at_start: int) -> None:
        """The host answered, with the file or with a plain no, a start that `started` gave `cuts_at_start` for."""
        self.last_used = now
        if not limits.adaptive or cuts_at_start != self.cuts:
            return
        if self.refusals_in_row:
            self.refusals_in_row = 0
            self.next_start = min(self.next_start, now + 1 / self.rate)
        if self.refused_rate is None:
            self.rate += SLOW_START_GAIN
        else:
            distance = self.refused_rate - self.rate
            a_second = PROBE_PER_SECOND * self.refused_rate + (
                APPROACH_PER_SECOND * distance if distance > 0 else BEYOND_PER_SECOND * -distance
            )
            self.rate += a_second / max(self.rate, STEADY_RATE)
        self.rate = min(self.rate, limits.start_rate_per_second or MAX_RATE)

    def refused(self, now: float, limits: HostLimits, *, cuts_at_start: int, long_answers: int) -> bool:
        """The host answered 429 or 503 to a start that `started` gave `cuts_at_start` for; true if that is news.

        `long_answers` counts the host's other answers that are open for longer than LONG_ANSWER_SECONDS.
        """
        self.last_used = now
        if not limits.adaptive or cuts_at_start != self.cuts:
            return False
        self.cuts += 1
        self.refusals_in_row += 1
        was_burst = self.cuts == 1 and self.starts <= FREE_STARTS
        self.starts = max(self.starts, FREE_STARTS)
        # Hosts limit connections as well: suspected where slower did not help, or where one was tried just now.
        tried_one_more = self.slots is not None and long_answers + 1 >= self.slots
        if long_answers and (self.refusals_in_row > 1 or tried_one_more):
            self._take_slots(now, long_answers)
        if not was_burst:  # which says nothing of the rate
            self._cut()
        self.pause(now, self._pause_seconds)
        return True

    def slowed(self, now: float, limits: HostLimits, *, cuts_at_start: int) -> None:
        """Its answers take much longer than they did: fewer starts, and no pause, for it does answer."""
        self.last_used = now
        if limits.adaptive and cuts_at_start == self.cuts:
            self.cuts += 1
            self.refusals_in_row = 0
            self._cut()

    def _cut(self) -> None:
        if self.refused_rate is None:
            self.rate *= SLOW_START_CUT
            self.refused_rate = self.rate / CUT
        else:
            self.refused_rate = self.rate
            self.rate *= CUT
        self.rate = max(self.rate, MIN_RATE)

    @property
    def _pause_seconds(self) -> float:
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.refusals_in_row - 1, 10), MAX_PAUSE_SECONDS)

    def pause(self, now: float, seconds: float) -> None:
        """Nobody starts for so long, at most MAX_RETRY_AFTER_SECONDS."""
        self.paused_until = max(self.paused_until, now + min(seconds, MAX_RETRY_AFTER_SECONDS))

    def _take_slots(self, now: float, long_answers: int) -> None:
        if self.slots is not None:
            self.slot_wait_seconds = min(self.slot_wait_seconds * 2, MAX_SLOT_WAIT_SECONDS)
        self.slots = long_answers
        self.more_slots_at = now + self.slot_wait_seconds

    def try_more_slots(self, now: float, limits: HostLimits) -> None:
        """One slot more, if the time for it has come."""
        if self.slots is None or now < self.more_slots_at:
            return
        self.slots += 1
        self.more_slots_at = now + self.slot_wait_seconds
        if self.slots >= limits.slots:
            self.slots, self.slot_wait_seconds = None, FIRST_SLOT_WAIT_SECONDS


def backoff_seconds(
    attempt: int,
    *,
    base_seconds: float = 0.5,
    cap_seconds: float = 30.0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Exponential backoff with full jitter: between 0 and `base_seconds` doubled for every failed try before.

    Full jitter spreads those who failed together over the whole span; half of it would let them come
    back together (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        attempt: Which try has failed just now, from 1.
        base_seconds: The longest wait after the first.
        cap_seconds: The longest wait at all.
        uniform: Draws between two numbers; tests hand in their own.
    """
    if attempt < 1:
        raise ValueError(attempt)
    return uniform(0.0, min(cap_seconds, base_seconds * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)))
