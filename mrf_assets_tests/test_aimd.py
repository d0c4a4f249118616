"""The start rate: found, kept, and given up when the server objects. Time is a number here."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from mrf_assets.aimd import Aimd

_ANSWER_SECONDS = 0.08


def _steady(pace: Aimd, starts: int, now: float = 0.0, seconds: float = _ANSWER_SECONDS) -> float:
    """So many accepted requests, one after the other as fast as the pace allows."""
    for _ in range(starts):
        now += pace.interval_seconds
        pace.accepted(now + seconds, now, was_held=True)
    return now


def test_the_rate_doubles_in_a_second_until_the_server_objects() -> None:
    """From 2 a second to 4 after the 2 starts of the first second, and so on."""
    pace = Aimd(rate=2)

    now = _steady(pace, 2)

    assert 4 == pace.rate
    assert now < 1
    _steady(pace, 4, now)
    assert 8 == pace.rate


def test_an_objection_slows_down() -> None:
    """A 429 lowers the rate by no more than 30 %."""
    pace = Aimd(rate=10)
    now = _steady(pace, 40)
    before = pace.rate

    pace.refused(now + 1, now + 0.9)

    assert 0.7 * before <= pace.rate < before


def test_requests_under_way_at_an_objection_do_not_count_again() -> None:
    """Ten refusals of one burst are one objection."""
    pace = Aimd(rate=100)
    pace.refused(1.0, 0.9)
    after_one = pace.rate

    for _ in range(9):
        pace.refused(1.01, 0.95)

    assert after_one == pace.rate


def test_after_an_objection_the_rate_creeps() -> None:
    """Three percent a second, no doubling any more."""
    pace = Aimd(rate=100)
    pace.refused(1.0, 0.9)
    low = pace.rate

    _steady(pace, int(low), now=1.0)

    assert low < pace.rate < 1.1 * low


def test_retry_after_holds_all_starts() -> None:
    """What the server asks for is done, adaptive or not."""
    for adaptive in (True, False):
        pace = Aimd(rate=5, adaptive=adaptive)

        pace.refused(10.0, 9.9, retry_after_seconds=7)

        assert 17.0 == pace.held_until


def test_a_later_hold_is_never_shortened() -> None:
    """The longest of several Retry-After holds."""
    pace = Aimd(rate=5)
    pace.refused(10.0, 9.9, retry_after_seconds=60)
    pace.refused(11.0, 9.9, retry_after_seconds=1)

    assert 70.0 == pace.held_until


def test_without_adaptation_the_rate_stays() -> None:
    """The switch of S3.46."""
    pace = Aimd(rate=5, adaptive=False)
    now = _steady(pace, 50)
    pace.refused(now + 1, now)

    assert 5 == pace.rate


def test_a_rate_that_does_not_limit_is_not_raised() -> None:
    """Requests that did not wait for their start tell nothing of a higher rate."""
    pace = Aimd(rate=5)
    for step in range(100):
        pace.accepted(step + 0.1, float(step), was_held=False)

    assert 5 == pace.rate


def test_answers_that_take_much_longer_slow_down() -> None:
    """A server that queues instead of refusing is heard too."""
    pace = Aimd(rate=10)
    now = _steady(pace, 50, seconds=0.1)
    before = pace.rate

    _steady(pace, 2_000, now, seconds=6.0)

    assert pace.rate < 0.7 * before


def test_the_usual_spread_of_answer_times_does_not_slow_down() -> None:
    """Answers of 2 to 3 seconds are no objection."""
    pace = Aimd(rate=2)
    now = 0.0
    for step in range(60):
        now += pace.interval_seconds
        pace.accepted(now + 2 + step % 11 / 10, now, was_held=True)

    assert pace.rate > 30


def test_the_cap_is_never_passed() -> None:
    """A hard limit stays one."""
    pace = Aimd(rate=50, most_rate=4)
    assert 4 == pace.rate
    _steady(pace, 100)
    assert 4 == pace.rate


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(0.001, 10)), max_size=200))
def test_the_rate_stays_within_its_limits(events: list[tuple[bool, float, float]]) -> None:
    """Whatever the server does, in whatever order."""
    pace, now = Aimd(rate=2, least_rate=0.1, most_rate=300), 0.0
    for is_accepted, pause, seconds in events:
        now += pause
        if is_accepted:
            pace.accepted(now, now - seconds, was_held=True)
        else:
            pace.refused(now, now - seconds)
        assert 0.1 <= pace.rate <= 300


@dataclass(slots=True)
class Simulation:
    """Workers over a server with a limit, in virtual time."""

    requests: int = 0
    refusals: int = 0
    seconds: float = 0.0

    def run(self, allow: Callable[[float], bool], items: int, workers: int, wait_seconds: float | None) -> None:
        """Until every item is answered."""
        pace, due, now, order = Aimd(rate=2), 0.0, 0.0, 0
        ready = [(0.0, order, 0) for order in range(min(workers, items))]
        left, done = items - len(ready), 0
        answers: list[tuple[float, int, bool, float, int, bool]] = []
        while done < items:
            start = max(ready[0][0], due, pace.held_until, now) if ready else float("inf")
            if ready and (not answers or start <= answers[0][0]):
                asked, _, attempts = heapq.heappop(ready)
                now, was_held = start, start > asked
                due = max(due, now - pace.interval_seconds) + pace.interval_seconds
                is_allowed, order = allow(now), order + 1
                self.requests, self.refusals = self.requests + 1, self.refusals + (not is_allowed)
                heapq.heappush(answers, (now + _ANSWER_SECONDS, order, is_allowed, now, attempts, was_held))
                continue
            now, _, is_allowed, started, attempts, was_held = heapq.heappop(answers)
            order += 1
            if is_allowed:
                pace.accepted(now, started, was_held=was_held)
                done += 1
                if left:
                    left -= 1
                    heapq.heappush(ready, (now, order, 0))
            else:
                pace.refused(now, started, wait_seconds)
                wait = 2.0 ** min(attempts, 5) if wait_seconds is None else wait_seconds
                heapq.heappush(ready, (now + wait, order, attempts + 1))
        self.seconds = now


def _bucket(per_second: float) -> Callable[[float], bool]:
    tokens, at = per_second, 0.0

    def allow(now: float) -> bool:
        nonlocal tokens, at
        tokens, at = min(per_second, tokens + (now - at) * per_second), now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return allow


def _window(per_second: int) -> Callable[[float], bool]:
    starts: list[float] = []

    def allow(now: float) -> bool:
        starts[:] = [start for start in starts if start > now - 1]
        if len(starts) >= per_second:
            return False
        starts.append(now)
        return True

    return allow


@pytest.mark.parametrize("wait_seconds", [None, 1.0], ids=["backoff", "retry-after"])
@pytest.mark.parametrize("limit", [_bucket, _window], ids=["bucket", "window"])
@pytest.mark.parametrize("per_second", [5, 25, 100])
def test_an_unknown_limit_is_found_and_kept(
    limit: Callable[[int], Callable[[float], bool]], per_second: int, wait_seconds: float | None
) -> None:
    """Less than 5 % refusals, and at most 1.45 times the ideal time."""
    simulation, items = Simulation(), max(500, 20 * per_second)

    simulation.run(limit(per_second), items=items, workers=20, wait_seconds=wait_seconds)

    assert simulation.refusals < 0.05 * simulation.requests
    assert simulation.seconds < 1.45 * items / per_second
