"""The pool: many look-ups at a time, every item out once, and nothing hidden."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import LookUpFailed
from mrf_assets.providers.lookup import (
    Answer,
    Item,
    LookUp,
    LookUpFailure,
    LookUpOptions,
    Outcome,
    Pool,
    Result,
    Statistics,
    Stop,
    Unfinished,
    in_thread,
    process_batch,
)


def fast(**changes: Any) -> LookUpOptions:  # noqa: ANN401 - fields of LookUpOptions
    """Options without any wait."""
    return LookUpOptions(**{"backoff_seconds": 0.0, "rate_limit_delay_seconds": 0.0, "adaptive": False} | changes)


def items(count: int) -> list[Item]:
    """Items 0, 1, 2 and so on."""
    return [Item(key=str(number)) for number in range(count)]


async def answered(item: Item) -> Answer:
    """A look-up that always succeeds."""
    await asyncio.sleep(0)
    return Answer(row={"key": item.key}, size_bytes=7)


class Scripted:
    """A look-up that fails as told, then succeeds."""

    def __init__(self, failures: dict[str, list[Exception]]) -> None:
        self._failures = {key: list(errors) for key, errors in failures.items()}
        self.calls: Counter[str] = Counter()

    async def __call__(self, item: Item) -> Answer:
        """One request."""
        self.calls[item.key] += 1
        await asyncio.sleep(0)
        if self._failures.get(item.key):
            raise self._failures[item.key].pop(0)
        return Answer(row={"key": item.key})


def passing() -> LookUpFailed:
    """Something that may be gone next time."""
    return LookUpFailed("http_500", "HTTP 500", http_status=500)


def lasting() -> LookUpFailed:
    """Something that stays."""
    return LookUpFailed("http_404", "HTTP 404", http_status=404, is_passing=False)


def refusal(retry_after_seconds: float | None = None) -> LookUpFailed:
    """Too many requests."""
    return LookUpFailed(
        "rate_limited", "HTTP 429", http_status=429, is_refusal=True, retry_after_seconds=retry_after_seconds
    )


def run(pool: Pool, given_items: Iterable[Item]) -> list[Outcome]:
    """All outcomes, in the order in which they came."""

    async def collect() -> list[Outcome]:
        return [outcome async for outcome in pool.outcomes(iter(given_items))]

    return asyncio.run(collect())


def make(look_up: LookUp, **changes: Any) -> Pool:  # noqa: ANN401 - fields of LookUpOptions
    """A pool without waits."""
    return Pool(look_up, fast(**changes), uniform=lambda low, _high: low)


def test_every_item_comes_out() -> None:
    """Fifty items in, fifty results out."""
    outcomes = run(make(answered), items(50))

    assert {item.key for item in items(50)} == {outcome.item.key for outcome in outcomes}
    assert all(isinstance(outcome, Result) for outcome in outcomes)


def test_the_fastest_comes_first() -> None:
    """A slow item holds nobody up."""

    async def look_up(item: Item) -> Answer:
        if item.key == "0":
            await released.wait()
        elif item.key == "4":
            released.set()
        return Answer(row={})

    released = asyncio.Event()
    outcomes = run(make(look_up, max_workers=2), items(5))

    assert ["1", "2", "3"] == [outcome.item.key for outcome in outcomes[:3]]


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_no_more_look_ups_at_a_time_than_workers(workers: int) -> None:
    """One worker is the sequential loop."""
    pool = make(answered, max_workers=workers)

    run(pool, items(60))

    assert workers == pool.statistics.peak_concurrency


def test_items_are_taken_when_a_worker_is_free() -> None:
    """A million items are not held: at most one more than the workers is taken at any time."""
    taken, ended = 0, 0

    def source() -> Iterable[Item]:
        nonlocal taken
        for item in items(40):
            taken += 1
            assert taken - ended <= 4
            yield item

    async def look_up(item: Item) -> Answer:
        nonlocal ended
        await asyncio.sleep(0)
        ended += 1
        return Answer(row={"key": item.key})

    assert 40 == len(run(make(look_up, max_workers=3), source()))


def test_a_failure_that_passes_is_tried_again() -> None:
    """Three retries, so the fourth request may still succeed."""
    look_up = Scripted({"0": [passing(), passing(), passing()]})

    (outcome,) = run(make(look_up), items(1))

    assert isinstance(outcome, Result)
    assert 4 == outcome.requests == look_up.calls["0"]


def test_after_three_retries_the_item_is_given_up_with_its_reason() -> None:
    """Reason, status and number of requests are kept."""
    (outcome,) = run(make(Scripted({"0": [passing()] * 9})), items(1))

    assert isinstance(outcome, LookUpFailure)
    assert ("http_500", 500, 4) == (outcome.reason, outcome.http_status, outcome.requests)


def test_a_failure_that_stays_is_not_tried_again() -> None:
    """HTTP 404 is an answer."""
    look_up = Scripted({"0": [lasting()] * 9})

    (outcome,) = run(make(look_up), items(1))

    assert isinstance(outcome, LookUpFailure)
    assert 1 == look_up.calls["0"]


def test_refusals_do_not_use_up_the_retries() -> None:
    """A 429 says nothing about the item: five of them and three failures still end well."""
    look_up = Scripted({"0": [refusal(), passing(), refusal(), refusal(), passing(), refusal(), refusal(), passing()]})

    (outcome,) = run(make(look_up), items(1))

    assert isinstance(outcome, Result)
    assert 9 == outcome.requests


def test_a_service_that_refuses_for_ever_is_given_up_too() -> None:
    """No endless loop: ten refusals are waited out, the eleventh is recorded."""
    (outcome,) = run(make(Scripted({"0": [refusal()] * 99})), items(1))

    assert isinstance(outcome, LookUpFailure)
    assert ("rate_limited", 11) == (outcome.reason, outcome.requests)


def test_the_wait_after_a_refusal_doubles_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """S4.48: 1, 2, 4 seconds; here in hundredths."""
    with caplog.at_level(logging.INFO, "mrf_assets"):
        run(make(Scripted({"0": [refusal()] * 3}), backoff_seconds=0.001), items(1))

    assert [f"Rate limited, waiting {wait}s..." for wait in ("0.001", "0.002", "0.004")] == caplog.messages


def test_retry_after_wins_over_our_own_wait(caplog: pytest.LogCaptureFixture) -> None:
    """What the server asks for."""
    with caplog.at_level(logging.INFO, "mrf_assets"):
        run(make(Scripted({"0": [refusal(0.002)]}), backoff_seconds=60.0), items(1))

    assert ["Rate limited, waiting 0.002s..."] == caplog.messages


def test_the_wait_before_a_retry_is_jittered_over_its_whole_length() -> None:
    """Full jitter: 0 to 1, 2, 4 seconds, at most a minute."""
    most = []

    def uniform(low: float, high: float) -> float:
        most.append(high)
        return low

    options = fast(backoff_seconds=1.0, max_retries=8)
    run(Pool(Scripted({"0": [passing()] * 9}), options, uniform=uniform), items(1))

    assert [1, 2, 4, 8, 16, 32, 60, 60] == most


def test_a_surprise_is_recorded_and_the_batch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A bug of a look-up stays a traceback in the log, and costs one item."""
    outcomes = run(make(Scripted({"1": [KeyError("basic")]})), items(3))

    failed = [outcome for outcome in outcomes if isinstance(outcome, LookUpFailure)]
    assert [("1", "unexpected", "KeyError: 'basic'")] == [(f.item.key, f.reason, f.detail) for f in failed]
    assert 2 == len(outcomes) - len(failed)
    assert caplog.records[0].exc_info


def test_a_dead_service_ends_the_batch() -> None:
    """After fifty failures without a success the rest stays to be done."""
    stop = Stop()
    look_up = Scripted({str(number): [lasting()] for number in range(1_000)})

    outcomes = run(Pool(look_up, fast(max_workers=5), stop=stop), items(1_000))

    assert stop.reason == "50 look-ups failed in a row (the last: http_404)"
    assert len(outcomes) < 60


def test_a_service_that_refuses_everything_ends_the_batch_long_before_each_item_is_given_up() -> None:
    """Each may be refused many times, a minute apart; what is not done stays to be done."""

    async def refuse(_item: Item) -> Answer:
        raise refusal()

    pool = make(refuse, max_workers=20, give_up_refused_seconds=0.05, max_refusals=10**6)

    outcomes = run(pool, items(1_000))

    assert "everything was refused" in (pool.stop.reason or "")
    assert 20 == len(outcomes) == pool.statistics.unfinished


def test_a_stop_takes_no_further_item_and_lets_what_is_under_way_end() -> None:
    """Ctrl-C loses no answer that is on its way."""
    stop = Stop()

    async def look_up(item: Item) -> Answer:
        stop.request("test")
        await asyncio.sleep(0)
        return Answer(row={"key": item.key})

    outcomes = run(Pool(look_up, fast(max_workers=3), stop=stop), items(10))

    assert 1 <= len(outcomes) <= 3
    assert any(isinstance(outcome, Result) for outcome in outcomes)


def test_a_stop_cuts_waits_short() -> None:
    """An item that waits an hour for its retry comes out at once, as still to be done."""
    stop = Stop()

    async def look_up(_item: Item) -> Answer:
        asyncio.get_running_loop().call_soon(stop.request, "test")
        raise refusal(3_600)

    (outcome,) = run(Pool(look_up, fast(max_workers=1), stop=stop), items(5))

    assert isinstance(outcome, Unfinished)


def test_a_second_stop_does_not_wait_for_what_is_under_way() -> None:
    """Two Ctrl-C: a request that hangs is cut off, and is still to be done."""
    stop = Stop()

    async def look_up(item: Item) -> Answer:
        stop.request("first")
        stop.request("second")
        await asyncio.Event().wait()
        raise AssertionError(item)

    (outcome,) = run(Pool(look_up, fast(max_workers=1, grace_seconds=3_600), stop=stop), items(5))

    assert isinstance(outcome, Unfinished)
    assert "first" == stop.reason


def test_the_ramp_lets_in_one_more_worker_at_a_time() -> None:
    """From 2 up to 5 while nothing is refused; never more."""
    pool = make(answered, first_workers=2, max_workers=5)

    run(pool, items(20))
    assert pool.statistics.peak_concurrency == 2
    run(pool, items(400))
    assert pool.statistics.peak_concurrency == 5


def test_a_refusal_takes_the_ramp_back() -> None:
    """Half of the workers, but not fewer than it began with."""
    look_up = Scripted({"150": [refusal()]})
    pool = make(look_up, first_workers=2, max_workers=5)

    run(pool, items(151))
    pool.statistics.peak_concurrency = 0
    run(pool, items(15))

    assert 2 == pool.statistics.peak_concurrency


def test_everything_is_counted() -> None:
    """Requests, bytes, retries, refusals, reasons."""
    pool = make(Scripted({"1": [passing()], "2": [refusal()], "3": [lasting()]}))

    run(pool, items(5))

    numbers = pool.statistics
    assert (4, 1, {"http_404": 1}) == (numbers.completed, numbers.failed, dict(numbers.failures))
    assert (7, 4, 1, 2) == (
        numbers.requests,
        numbers.requests_accepted,
        numbers.requests_refused,
        numbers.requests_failed,
    )
    assert 7 == pool.statistics.requests_last_minute
    assert 0 < numbers.utilisation <= 1


def test_the_requests_of_the_last_minute_are_counted() -> None:
    """S4.9: three at second 0, two at 30, one at 61, when the first three are a minute old."""
    seconds = 0.0
    numbers = Statistics(clock=lambda: seconds)
    for at in (0.0, 0.5, 0.9, 30.0, 30.0, 61.0):
        seconds = at
        numbers.request_started()
    assert (3, 6) == (numbers.requests_last_minute, numbers.requests)

    seconds = 95.0
    assert 1 == numbers.requests_last_minute == numbers.as_facts()["requests_last_minute"]


def test_a_blocking_look_up_runs_in_threads() -> None:
    """As many threads as asked for, all at a time."""
    barrier = threading.Barrier(4)

    def look_up(item: Item) -> Answer:
        barrier.wait(60)  # passes only if four are here
        return Answer(row={"key": item.key})

    assert 8 == len(run(make(in_thread(look_up, 4), max_workers=4), items(8)))


def test_process_batch_is_the_short_form() -> None:
    """S4.3: an async generator over items and a look-up."""

    async def collect() -> list[str]:
        return [outcome.item.key async for outcome in process_batch(iter(items(3)), answered, max_workers=20)]

    assert {"0", "1", "2"} == set(asyncio.run(collect()))


_FAULTS: dict[str, Callable[[], Exception]] = {
    "passing": passing,
    "lasting": lasting,
    "refusal": refusal,
    "bug": lambda: ValueError("odd"),
}


@given(
    st.lists(st.lists(st.sampled_from(sorted(_FAULTS)), max_size=14), max_size=30),
    st.integers(1, 20),
    st.integers(0, 3),
)
def test_no_item_is_lost_or_doubled_whatever_fails(scripts: list[list[str]], workers: int, retries: int) -> None:
    """Each item has one outcome, and it is the one that its failures call for."""
    look_up = Scripted({str(number): [_FAULTS[name]() for name in script] for number, script in enumerate(scripts)})
    options = fast(max_workers=workers, max_retries=retries, give_up_after=10**6)
    pool = Pool(look_up, options, uniform=lambda low, _high: low)

    outcomes = {outcome.item.key: outcome for outcome in run(pool, items(len(scripts)))}

    assert len(scripts) == len(outcomes) == pool.statistics.completed + pool.statistics.failed
    for number, script in enumerate(scripts):
        assert isinstance(outcomes[str(number)], Result if _succeeds(script, retries, 10) else LookUpFailure)


def _succeeds(script: list[str], retries: int, refusals: int) -> bool:
    for fault in script:
        if fault in ("lasting", "bug"):
            return False
        retries, refusals = retries - (fault == "passing"), refusals - (fault == "refusal")
        if retries < 0 or refusals < 0:
            return False
    return True
