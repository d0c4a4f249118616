"""The turnstile: on a clock of the test's own, which a wait moves forward."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from mrf_assets.fetch.rate.pace import HostLimits, Pace
from mrf_assets.providers.lookup import LookUpOptions, Stop
from mrf_assets.providers.lookup.limiter import Start, StartLimiter
from mrf_assets.providers.lookup.pool import limiter_of


class Clock(Stop):
    """A stop that never comes; who waits for it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def __call__(self) -> float:
        """Now."""
        return self.now

    async def came_within(self, seconds: float) -> bool:
        """Wait."""
        self.now += seconds
        return False


def limited(
    clock: Clock, rate: float = 2.0, *, cap: int | None = None, adaptive: bool = True, ceiling: float | None = None
) -> StartLimiter:
    """A limiter on that clock."""
    limits = HostLimits(start_rate_per_second=ceiling, adaptive=adaptive)
    return StartLimiter(Pace(rate=rate), limits, cap, clock)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """In an event loop."""

    async def go() -> None:
        await work()

    asyncio.run(go())


async def _start(limiter: StartLimiter, clock: Clock) -> Start:
    start = await limiter.start(clock)
    assert start is not None
    return start


def test_a_minute_never_holds_more_than_the_cap() -> None:
    """S4.9: whatever 60 seconds are looked at, though the rate would allow a thousand times as many."""
    clock, starts = Clock(), list[float]()
    limiter = limited(clock, 1_000.0, cap=30)

    async def work() -> None:
        for _ in range(200):
            starts.append((await _start(limiter, clock)).at)
            clock.now += 0.01

    run(work)

    assert all(later - earlier >= 60 for earlier, later in zip(starts, starts[30:], strict=False))


def test_a_fixed_delay_stays() -> None:
    """S2.4: without adaptation, starts are that far apart, whatever is answered."""
    clock, starts = Clock(), list[float]()
    limiter = limited(clock, adaptive=False, ceiling=4.0)

    async def work() -> None:
        for number in range(40):
            start = await _start(limiter, clock)
            starts.append(start.at)
            clock.now += 0.001
            limiter.refused(start, None) if number % 5 == 0 else limiter.accepted(start)

    run(work)

    assert all(later - earlier >= 0.2499 for earlier, later in pairwise(starts[1:]))


def test_the_rate_rises_while_starts_wait_for_it() -> None:
    """Two a second at first, many more after a minute of good answers."""
    clock = Clock()
    limiter = limited(clock)

    async def work() -> None:
        for _ in range(200):
            limiter.accepted(await _start(limiter, clock))

    run(work)

    assert limiter.pace.rate > 50


def test_a_rate_that_nobody_waits_for_does_not_rise() -> None:
    """Where the workers are the limit, more would be a guess."""
    clock = Clock()
    limiter = limited(clock)

    async def work() -> None:
        for _ in range(100):
            limiter.accepted(await _start(limiter, clock))
            clock.now += 5

    run(work)

    assert 2.0 == limiter.pace.rate


def test_retry_after_holds_everybody() -> None:
    """Adaptive or not."""
    for adaptive in (True, False):
        clock = Clock()
        limiter = limited(clock, adaptive=adaptive, ceiling=None if adaptive else 2.0)

        async def work(limiter: StartLimiter = limiter, clock: Clock = clock) -> None:
            first = await _start(limiter, clock)
            limiter.refused(first, 30)
            second = await _start(limiter, clock)
            assert second.at - first.at >= 30

        run(work)


@pytest.mark.parametrize(("later_seconds", "is_slowed"), [(0.3, False), (8.0, True)])
def test_answers_that_take_much_longer_slow_down(later_seconds: float, is_slowed: bool) -> None:
    """A service that queues is heard too; a usual spread is none."""
    clock = Clock()
    limiter = limited(clock, 20.0)
    rates = []

    async def work() -> None:
        for seconds in [0.1] * 30 + [later_seconds] * 30:
            start = await _start(limiter, clock)
            clock.now += seconds
            limiter.accepted(start)
            rates.append(limiter.pace.rate)

    run(work)

    assert is_slowed == (rates[-1] < rates[29])


def test_a_service_that_stays_slower_is_not_asked_ever_more_slowly() -> None:
    """Answers of 50 ms, then of 2.5 s for good: some starts fewer, and then as many as before."""
    clock = Clock()
    limiter = limited(clock, 20.0)
    rates = []

    async def work() -> None:
        for seconds in [0.05] * 30 + [2.5] * 3_000:
            start = await _start(limiter, clock)
            clock.now += 0.05
            ended = Start(at=clock.now - seconds, cuts=start.cuts, was_held=True)
            limiter.accepted(ended)
            rates.append(limiter.pace.rate)

    run(work)

    assert min(rates) < rates[29]
    assert rates[-1] > rates[29]
    assert clock.now - 1_000 < 3_000 / 10


def test_options_make_the_limiter() -> None:
    """First rate out of the delay, ceiling out of the cap per minute; without adaptation both are fixed."""
    adaptive = limiter_of(LookUpOptions(rate_limit_delay_seconds=0.25, max_requests_per_minute=120))
    assert 4.0 == adaptive.pace.rate

    clock = Clock()

    async def work() -> None:
        fixed = limiter_of(LookUpOptions(rate_limit_delay_seconds=0.25, adaptive=False))
        assert await fixed.start(clock) is not None

    run(work)
