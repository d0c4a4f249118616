"""The arithmetic of asking a host: on a clock of the test's own, without a network."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import asdict
from itertools import count

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mrf_assets.fetch.rate.pace import (
    CUT,
    FIRST_RATE,
    FORGET_SECONDS,
    FREE_STARTS,
    MAX_RATE,
    MAX_RETRY_AFTER_SECONDS,
    MIN_RATE,
    HostLimits,
    Pace,
    backoff_seconds,
)
from mrf_assets_tests.token_bucket import TokenBucket

LIMITS = HostLimits()
REQUESTS = 400


class Host:
    """A simulated host and those who ask it, `workers` at a time, until all requests are answered."""

    def __init__(self, allows: Callable[[Callable[[], float]], Callable[[], bool]], round_trip_seconds: float) -> None:
        self.now = 0.0
        self.refusals = 0
        self._let_through = allows(lambda: self.now)
        self._round_trip_seconds = round_trip_seconds
        self._random = random.Random(1)  # noqa: S311 - no secret

    def ask(self, requests: int, *, workers: int = 8) -> None:
        """Ask until so many were answered with the file."""
        pace, waiting, free, numbers = Pace(), requests, workers, count()
        events: list[tuple[float, int, str, int]] = []
        done = 0
        while done < requests:
            while free and waiting and workers - free < LIMITS.slots and not pace.seconds_to_start(self.now, LIMITS):
                free, waiting = free - 1, waiting - 1
                heapq.heappush(events, (self._later(), next(numbers), "arrives", pace.started(self.now, LIMITS)))
            wakes_up = [self.now + pace.seconds_to_start(self.now, LIMITS) + self._random.random() * 0.002]
            can_start = free and waiting and workers - free < LIMITS.slots
            self.now = min([event[0] for event in events[:1]] + (wakes_up if can_start else []))
            while events and events[0][0] <= self.now:
                _, _, what, cuts = heapq.heappop(events)
                if what == "arrives":
                    what = "file" if self._let_through() else "refused"
                    heapq.heappush(events, (self._later(), next(numbers), what, cuts))
                    continue
                free += 1
                if what == "file":
                    done += 1
                    pace.accepted(self.now, LIMITS, cuts_at_start=cuts)
                else:
                    waiting, self.refusals = waiting + 1, self.refusals + 1
                    pace.refused(self.now, LIMITS, cuts_at_start=cuts, long_answers=0)

    def _later(self) -> float:
        return self.now + self._round_trip_seconds * self._random.uniform(0.4, 1.1)


def bucket(rate: float, capacity: float) -> Callable[[Callable[[], float]], Callable[[], bool]]:
    """A host that refills its allowance steadily."""
    return lambda now: TokenBucket(rate, capacity, now).take


def window(requests: int, seconds: float) -> Callable[[Callable[[], float]], Callable[[], bool]]:
    """A host that counts anew after every so many seconds."""

    def allows(now: Callable[[], float]) -> Callable[[], bool]:
        taken: dict[int, int] = {}

        def take() -> bool:
            number = int(now() / seconds)
            taken[number] = taken.get(number, 0) + 1
            return taken[number] <= requests

        return take

    return allows


@pytest.mark.parametrize("round_trip_seconds", [0.002, 0.05, 0.2])
@pytest.mark.parametrize(("rate", "capacity"), [(rate, n) for rate in (1, 5, 20, 100) for n in (1, 2, rate, 2 * rate)])
def test_a_host_that_limits_refuses_less_than_a_twentieth(
    rate: float, capacity: float, round_trip_seconds: float
) -> None:
    """Whatever the limit is, it is found with few refusals, and kept to."""
    host = Host(bucket(rate, capacity), round_trip_seconds)
    host.ask(REQUESTS)

    assert host.refusals < 0.05 * (REQUESTS + host.refusals)


@pytest.mark.parametrize("round_trip_seconds", [0.002, 0.05, 0.2])
@pytest.mark.parametrize(("requests", "seconds"), [(20, 1.0), (100, 10.0), (60, 60.0)])
def test_a_host_that_counts_by_the_clock_refuses_less_than_a_tenth(
    requests: int, seconds: float, round_trip_seconds: float
) -> None:
    """All that is under way when its count is full is refused, up to six requests at a time."""
    host = Host(window(requests, seconds), round_trip_seconds)
    host.ask(REQUESTS)

    assert host.refusals < 0.1 * (REQUESTS + host.refusals)


@pytest.mark.parametrize("rate", [1, 5, 20, 100])
@pytest.mark.parametrize("round_trip_seconds", [0.002, 0.05])
def test_most_of_what_a_host_allows_is_used(rate: float, round_trip_seconds: float) -> None:
    """Caution costs at most a fifth, and three seconds to begin with."""
    host = Host(bucket(rate, rate), round_trip_seconds)
    host.ask(REQUESTS)

    assert host.now <= 3 + 1.2 * (REQUESTS - rate) / rate


def test_a_host_that_limits_nothing_is_soon_asked_as_fast_as_it_answers() -> None:
    """The start rate doubles every 0.7 s where nobody objects."""
    host = Host(lambda _now: lambda: True, 0.05)
    host.ask(REQUESTS)

    fastest_seconds = REQUESTS * 0.075 / LIMITS.slots
    assert host.now < fastest_seconds + 3


def test_the_first_starts_wait_for_nothing() -> None:
    """An index, its file and a reference: what a single download asks for."""
    pace = Pace()
    waits = []
    for _ in range(FREE_STARTS + 1):
        waits.append(pace.seconds_to_start(0.0, LIMITS))
        pace.started(0.0, LIMITS)

    assert [0.0] * FREE_STARTS == waits[:-1]
    assert waits[-1] > 0


def test_answers_to_what_began_before_a_cut_cut_no_further() -> None:
    """Six requests under way at the moment of the limit are one piece of news."""
    pace = Pace(starts=FREE_STARTS, refused_rate=20.0, rate=20.0)
    begun = [pace.started(0.0, LIMITS) for _ in range(6)]

    news = [pace.refused(1.0, LIMITS, cuts_at_start=cuts, long_answers=0) for cuts in begun]

    assert [True] + [False] * 5 == news
    assert 20.0 * CUT == pace.rate


def test_refusals_in_a_row_pause_longer_each_time() -> None:
    """A host that counts by the minute is left alone until it has forgotten us."""
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(9):
        pace.refused(now, LIMITS, cuts_at_start=pace.started(now, LIMITS), long_answers=0)
        pauses.append(pace.paused_until - now)
        now = pace.paused_until

    assert [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] == pauses


def test_a_host_that_refuses_a_third_download_is_asked_for_two() -> None:
    """Slower does not help where connections are limited; two long answers are open, so two slots it is."""
    pace = Pace()
    for _ in range(2):
        pace.refused(10.0, LIMITS, cuts_at_start=pace.started(10.0, LIMITS), long_answers=2)

    assert 2 == pace.slots_within(LIMITS)


def test_a_place_that_was_taken_away_is_tried_again_after_ever_longer_waits() -> None:
    """One refused request an hour in the end, where a host never allows more."""
    pace, now = Pace(slots=2, more_slots_at=60.0), 0.0
    tries = []
    for _ in range(8):
        now = pace.more_slots_at
        pace.try_more_slots(now, LIMITS)
        assert 3 == pace.slots_within(LIMITS)
        pace.refused(now, LIMITS, cuts_at_start=pace.started(now, LIMITS), long_answers=2)
        assert 2 == pace.slots_within(LIMITS)
        tries.append(pace.more_slots_at - now)
        pace.accepted(now, LIMITS, cuts_at_start=pace.cuts)

    assert [120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0] == tries


def test_all_places_come_back_where_nobody_objects() -> None:
    """A limit of last month does not last."""
    pace = Pace(slots=1, more_slots_at=0.0)
    for now in range(0, 600, 60):
        pace.try_more_slots(float(now), LIMITS)

    assert LIMITS.slots == pace.slots_within(LIMITS)


@pytest.mark.parametrize("now", [99.0, 100.0 + FORGET_SECONDS + 1])
def test_a_pace_is_stale_after_a_long_silence_and_after_a_boot(now: float) -> None:
    """What is remembered tells of another time, or of another clock."""
    assert Pace(last_used=100.0).is_stale(now)


def test_without_adaption_refusals_change_nothing() -> None:
    """The switch leaves the two limits alone."""
    fixed = HostLimits(slots=4, start_rate_per_second=2.0, adaptive=False)
    pace = Pace()
    pace.refused(0.0, fixed, cuts_at_start=pace.started(0.0, fixed), long_answers=3)

    assert (4, 2.0, 0.5) == (pace.slots_within(fixed), pace.rate_within(fixed), pace.seconds_to_start(0.0, fixed))


class AnyHistory(RuleBasedStateMachine):
    """Whatever a host answers, and whenever, its pace stays within bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.pace, self.now, self.begun = Pace(), 0.0, [0]
        self.limits = LIMITS

    @rule(seconds=st.floats(0, 2 * FORGET_SECONDS))
    def time_passes(self, seconds: float) -> None:
        """Any silence."""
        self.now += seconds

    @rule(slots=st.integers(1, 20), rate=st.none() | st.floats(0.001, 1e6), adaptive=st.booleans())
    def another_process_has_other_limits(self, slots: int, rate: float | None, adaptive: bool) -> None:
        """Settings may differ between processes that share a pace."""
        self.limits = HostLimits(slots=slots, start_rate_per_second=rate, adaptive=adaptive)

    @rule()
    def start(self) -> None:
        """A start at the time at which it is due."""
        self.now += self.pace.seconds_to_start(self.now, self.limits)
        self.begun.append(self.pace.started(self.now, self.limits))

    @rule()
    def accept(self) -> None:
        """A good answer never slows down."""
        before = self.pace.rate
        self.pace.accepted(self.now, self.limits, cuts_at_start=self.pace.cuts)
        ceiling = self.limits.start_rate_per_second or MAX_RATE
        assert self.pace.rate >= min(before, ceiling)

    @rule(data=st.data(), long_answers=st.integers(0, 20))
    def refuse(self, data: st.DataObject, long_answers: int) -> None:
        """A refusal never speeds up, and only the first of its round slows down."""
        before, cuts = self.pace.rate, self.pace.cuts
        began = data.draw(st.sampled_from(self.begun))
        is_news = self.pace.refused(self.now, self.limits, cuts_at_start=began, long_answers=long_answers)
        assert is_news == (self.limits.adaptive and began == cuts)
        assert self.pace.rate <= max(before, MIN_RATE)

    @rule(seconds=st.floats(0, math.inf))
    def ask_for_a_pause(self, seconds: float) -> None:
        """A server may ask for anything."""
        self.pace.pause(self.now, seconds)

    @rule()
    def look_for_a_place(self) -> None:
        """As the next in line does."""
        self.pace.try_more_slots(self.now, self.limits)

    @invariant()
    def bounds_hold(self) -> None:
        """Somebody may always start, sooner or later."""
        assert MIN_RATE / 20 <= self.pace.rate <= 1e6
        assert 1 <= self.pace.slots_within(self.limits) <= self.limits.slots
        waits = [self.pace.seconds_to_start(self.now, self.limits, ahead) for ahead in range(4)]
        assert sorted(waits) == waits
        assert 0 <= waits[0] <= max(MAX_RETRY_AFTER_SECONDS, 20 / MIN_RATE) + 1e-6

    @invariant()
    def it_is_the_same_after_the_file(self) -> None:
        """Other processes read what this one wrote."""
        assert self.pace == Pace(**orjson.loads(orjson.dumps(asdict(self.pace))))


TestAnyHistory = AnyHistory.TestCase


def test_backoff_is_drawn_from_the_whole_span_which_doubles() -> None:
    """Full jitter: from nothing to 0.5, 1, 2 ... seconds, and no further than the cap."""
    spans = [backoff_seconds(attempt, uniform=lambda low, high: high - low) for attempt in (1, 2, 3, 7, 10_000)]

    assert [0.5, 1.0, 2.0, 30.0, 30.0] == spans


def test_backoff_of_no_attempt_is_a_bug() -> None:
    """Attempts are counted from 1."""
    with pytest.raises(ValueError, match="0"):
        backoff_seconds(0)


def test_a_first_burst_that_is_refused_says_nothing_of_the_rate() -> None:
    """A host without any burst refuses the second of the free starts, and takes twenty a second all the same."""
    pace = Pace()
    begun = [pace.started(0.0, LIMITS) for _ in range(FREE_STARTS)]
    pace.accepted(0.01, LIMITS, cuts_at_start=begun[0])
    pace.refused(0.01, LIMITS, cuts_at_start=begun[1], long_answers=0)

    assert pace.rate >= FIRST_RATE
    assert pace.refused_rate is None
