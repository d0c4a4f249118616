"""How fast a server lets us start requests: arithmetic alone, no clock, no lock, no sleep.

A rate in starts per second that doubles each second until the server objects, falls once per
objection, and then creeps back (additive increase, multiplicative decrease). An objection is a
429, a 503 or answers that take much longer than they did. Who uses it brings the clock
(`batch.limiter` for one process).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

_FALL = 0.9  # of the rate, at an objection
_DEEPEST_FALL = 0.7  # one objection never costs more: in the doubling, what was accepted lags behind
_BELOW_GOODPUT = 0.95  # of what the server has just accepted
_CREEP = 0.03  # of the rate that was refused, per second: the first rise after a fall
_LEAST_CREEP = 0.005  # each objection at about the same rate halves it: the limit is known by then
_SAME_RATE = 0.2  # two rates this near are about the same
_GOODPUT_SECONDS = 1.0
_GOODPUT_STARTS = 4  # at a slow rate, look back over so many
_SMOOTHING = 0.2
_SLOW = 3.0  # times the usual answer time: no faster
_TOO_SLOW = 6.0  # times: slower
_SLACK_SECONDS = 0.25  # a jump from 5 to 50 ms says nothing


@dataclass(slots=True, kw_only=True)
class Aimd:
    """The start rate that one server bears, as far as it has shown. Times are seconds of any one clock."""

    rate: float  # starts per second
    least_rate: float = 0.05
    most_rate: float = inf
    adaptive: bool = True  # False: the rate stays; Retry-After is honoured all the same
    held_until: float = -inf  # nothing starts before
    _refused_rate: float = inf  # where the server objected last
    _fell_at: float = -inf
    _creep: float = _CREEP
    _known_rate: float = -inf  # what it fell to then
    _usual_seconds: float = inf
    _smoothed_seconds: float | None = None
    _accepted: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.rate = min(max(self.rate, self.least_rate), self.most_rate)

    @property
    def interval_seconds(self) -> float:
        """From one start to the next."""
        return 1 / self.rate

    def accepted(self, now: float, started: float, *, was_held: bool) -> None:
        """The server answered; `was_held` says that the request had waited for this rate.

        Where requests do not wait, the rate is not what limits them, and a higher one would be a guess.
        """
        self._accepted.append(now)
        self._forget(now)
        self._learn_latency(now - started)
        if not self.adaptive or started < self._fell_at:
            return
        pace = self._slowness()
        if pace > _TOO_SLOW:
            self._fall(now, self.rate * _FALL)
        elif pace <= _SLOW and was_held:
            self._rise()

    def refused(self, now: float, started: float, retry_after_seconds: float | None = None) -> None:
        """The server said 429 or 503. Requests that were under way when the rate fell do not count again."""
        if retry_after_seconds is not None:
            self.held_until = max(self.held_until, now + retry_after_seconds)
        if not self.adaptive or started < self._fell_at:
            return
        self._forget(now)
        window = self._window_seconds()
        goodput = len(self._accepted) / window
        target = min(self.rate * _FALL, goodput * _BELOW_GOODPUT)
        target = max(target, self.rate * _DEEPEST_FALL)
        is_known = abs(target - self._known_rate) <= _SAME_RATE * target
        self._creep = max(self._creep / 2, _LEAST_CREEP) if is_known else _CREEP
        self._known_rate = target
        self._fall(now, target)

    def _rise(self) -> None:
        # 1 with each start doubles the rate in a second.
        gain = 1.0 if self._refused_rate == inf else self._refused_rate * self._creep / self.rate
        self.rate = min(self.rate + gain, self.most_rate)

    def _fall(self, now: float, target: float) -> None:
        self.rate = max(target, self.least_rate)
        self._refused_rate, self._fell_at = self.rate, now

    def _window_seconds(self) -> float:
        return max(_GOODPUT_SECONDS, _GOODPUT_STARTS / self.rate)

    def _forget(self, now: float) -> None:
        window = self._window_seconds()
        while self._accepted and self._accepted[0] < now - window:
            self._accepted.popleft()

    def _learn_latency(self, seconds: float) -> None:
        before = self._smoothed_seconds
        self._smoothed_seconds = seconds if before is None else before + _SMOOTHING * (seconds - before)
        self._usual_seconds = min(self._usual_seconds, self._smoothed_seconds)

    def _slowness(self) -> float:
        assert self._smoothed_seconds is not None
        return self._smoothed_seconds / (self._usual_seconds + _SLACK_SECONDS)
