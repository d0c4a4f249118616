"""Look up many items at a time; every item that goes in comes out once, as a value.

No disk here: `ledger` and `run` keep what comes out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mrf_assets.errors import LookUpFailed
from mrf_assets.fetch.rate import HostLimits, backoff_seconds
from mrf_assets.fetch.rate.pace import MAX_RATE, Pace
from mrf_assets.providers.lookup.budget import LookUpBudget
from mrf_assets.providers.lookup.items import (
    Answer,
    Item,
    LookUp,
    LookUpFailure,
    LookUpOptions,
    Outcome,
    Result,
    Stop,
    Unfinished,
)
from mrf_assets.providers.lookup.limiter import Start, StartLimiter
from mrf_assets.providers.lookup.statistics import Statistics
from mrf_assets.settings import Prices

logger = logging.getLogger(__name__)

_STEADY_RESULTS = 20  # without a refusal, before one more worker is let in
UNEXPECTED: Final = "unexpected"


def limiter_of(options: LookUpOptions) -> StartLimiter:
    """The limiter that these options ask for."""
    cap = options.max_requests_per_minute
    most = None if cap is None else cap / 60
    # Without a delay the workers alone are the limit, until the service objects.
    first = 1 / options.rate_limit_delay_seconds if options.rate_limit_delay_seconds > 0 else None
    if options.adaptive:
        pace = Pace(rate=MAX_RATE if first is None else first, last_used=0.0)
        return StartLimiter(pace, HostLimits(start_rate_per_second=most), cap)
    rates = [rate for rate in (first, most) if rate is not None]
    fixed = HostLimits(start_rate_per_second=min(rates, default=None), adaptive=False)
    return StartLimiter(Pace(), fixed, cap)


def in_thread(look_up: Callable[[Item], Answer], max_workers: int) -> LookUp:
    """A blocking look-up as a coroutine, in threads of its own."""
    threads = ThreadPoolExecutor(max_workers, thread_name_prefix="look-up")

    async def call(item: Item) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(threads, look_up, item)

    return call


class Pool:
    """Workers over one look-up."""

    def __init__(
        self,
        look_up: LookUp,
        options: LookUpOptions,
        *,
        statistics: Statistics | None = None,
        limiter: StartLimiter | None = None,
        budget: LookUpBudget | None = None,
        stop: Stop | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.options = options
        self.stop = stop or Stop()
        self.statistics = statistics or Statistics(workers=options.max_workers)
        self.limiter = limiter or limiter_of(options)
        self.budget = budget or LookUpBudget(None, Prices())
        self._look_up, self._uniform = look_up, uniform
        self._allowed = min(options.first_workers or options.max_workers, options.max_workers)
        self._steady = 0
        self._failures_in_a_row = 0
        self._refused_since: float | None = None

    async def outcomes(self, items: Iterator[Item]) -> AsyncGenerator[Outcome]:
        """Yield each item's outcome as it comes, fastest first; takes an item only when a worker is free.

        Once the batch is to stop, no item is taken any more; what is under way has `grace_seconds` to end.
        """
        stopping = asyncio.ensure_future(self.stop.wait())
        running: dict[asyncio.Task[Outcome], Item] = {}
        try:
            while True:
                while not self.stop.requested and len(running) < self._allowed:
                    if (item := next(items, None)) is None:
                        break
                    running[asyncio.ensure_future(self._process_one(item))] = item
                if not running:
                    return
                if self.stop.requested:
                    break
                await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
                for outcome in _ended(running):
                    self._learn(outcome)
                    yield outcome
            for outcome in await self._wind_down(running):
                self._learn(outcome)
                yield outcome
        finally:
            stopping.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(stopping, *running, return_exceptions=True)

    async def _wind_down(self, running: dict[asyncio.Task[Outcome], Item]) -> list[Outcome]:
        """What is under way ends, or is cut off and stays to be done."""
        deadline = time.monotonic() + self.options.grace_seconds
        while running and not self.stop.at_once and (remaining_seconds := deadline - time.monotonic()) > 0:
            done, _ = await asyncio.wait(running, timeout=min(remaining_seconds, 0.1))  # looks up for a second signal
            if len(done) == len(running):
                break
        outcomes = list(_ended(running))
        for task, item in list(running.items()):
            task.cancel()
            outcomes.append(Unfinished(item=item, requests=0))
        return outcomes

    async def _process_one(self, item: Item) -> Outcome:
        requests = retries = refusals = 0
        begin = time.monotonic()
        while True:
            start = await self.limiter.start(self.stop)
            self.budget.check(self.statistics, self.stop)  # each request: ten more may cost more than the budget
            if start is None or self.stop.requested:
                return Unfinished(item=item, requests=requests)
            requests += 1
            try:
                answer = await self._request(item, start)
            except LookUpFailed as failure:
                retries, refusals = retries + (not failure.is_refusal), refusals + failure.is_refusal
                if self._is_final(failure, retries, refusals):
                    return _failure(item, failure, requests, time.monotonic() - begin)
                if await self.stop.came_within(self._wait_seconds(item, failure, retries, refusals)):
                    return Unfinished(item=item, requests=requests)
            else:
                return Result(item=item, row=answer.row, requests=requests, seconds=time.monotonic() - begin)

    async def _request(self, item: Item, start: Start) -> Answer:
        """One request, counted, and told to the limiter; whatever breaks is a `LookUpFailed`."""
        self.statistics.request_started()
        begin, size_bytes = time.monotonic(), 0
        try:
            answer = await self._look_up(item)
            size_bytes = answer.size_bytes
        except LookUpFailed as failure:
            size_bytes = failure.size_bytes
            self._tell_failure(start, failure)
            raise
        except Exception as error:
            # One item's surprise must not end the batch, and a bug must stay a traceback.
            logger.exception("looking up %s failed unexpectedly", item.key)
            self.statistics.requests_failed += 1
            raise LookUpFailed(UNEXPECTED, f"{type(error).__name__}: {error}", is_passing=False) from error
        else:
            self.statistics.requests_accepted += 1
            self._refused_since = None
            self.limiter.accepted(start)
            return answer
        finally:
            self.statistics.request_ended(time.monotonic() - begin, size_bytes)

    def _tell_failure(self, start: Start, failure: LookUpFailed) -> None:
        if failure.is_refusal:
            self.statistics.requests_refused += 1
            self.limiter.refused(start, failure.retry_after_seconds)
            self._steady = 0
            self._learn_refusal(failure)
            if self.options.first_workers is not None:
                self._allowed = max(self._allowed // 2, min(self.options.first_workers, self.options.max_workers))
        else:
            self.statistics.requests_failed += 1

    def _learn_refusal(self, failure: LookUpFailed) -> None:
        """A service that only refuses is down: waiting for each item's refusals would take hours."""
        now = time.monotonic()
        self._refused_since = now if self._refused_since is None else self._refused_since
        seconds = now - self._refused_since
        if seconds > self.options.give_up_refused_seconds and not self.stop.requested:
            self.stop.give_up(f"everything was refused for {seconds:.0f} s (the last: {failure.reason})")

    def _is_final(self, failure: LookUpFailed, retries: int, refusals: int) -> bool:
        if failure.is_refusal:
            return refusals > self.options.max_refusals
        return not failure.is_passing or retries > self.options.max_retries

    def _wait_seconds(self, item: Item, failure: LookUpFailed, retries: int, refusals: int) -> float:
        base, most = self.options.backoff_seconds, self.options.most_backoff_seconds
        if failure.is_refusal:
            # Not jittered: the limiter spaces the starts after the wait.
            retry_after = failure.retry_after_seconds
            wait = min(base * 2 ** (refusals - 1), most) if retry_after is None else retry_after
            logger.info("Rate limited, waiting %gs...", wait)
            return wait
        wait = backoff_seconds(retries, base_seconds=base, cap_seconds=most, uniform=self._uniform)
        logger.debug("%s: %s, trying again in %.2f s", item.key, failure, wait)
        return wait

    def _learn(self, outcome: Outcome) -> None:
        statistics = self.statistics
        match outcome:
            case Result():
                statistics.completed += 1
                statistics.item_ended(outcome.seconds)
                self._failures_in_a_row = 0
                self._let_in_more()
                if "status" in outcome.row:
                    statistics.statuses[str(outcome.row["status"])] += 1
            case LookUpFailure():
                statistics.failed += 1
                statistics.failures[outcome.reason] += 1
                statistics.item_ended(outcome.seconds)
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= self.options.give_up_after and not self.stop.requested:
                    self.stop.give_up(
                        f"{self._failures_in_a_row} look-ups failed in a row (the last: {outcome.reason})"
                    )
            case Unfinished():
                statistics.unfinished += 1

    def _let_in_more(self) -> None:
        self._steady += 1
        if self._steady >= _STEADY_RESULTS and self._allowed < self.options.max_workers:
            self._allowed, self._steady = self._allowed + 1, 0


def _ended(running: dict[asyncio.Task[Outcome], Item]) -> Iterator[Outcome]:
    for task in [task for task in running if task.done()]:
        del running[task]
        yield task.result()


def _failure(item: Item, failure: LookUpFailed, requests: int, seconds: float) -> LookUpFailure:
    return LookUpFailure(
        item=item,
        reason=failure.reason,
        detail=failure.detail,
        http_status=failure.http_status,
        requests=requests,
        seconds=seconds,
    )


async def process_batch(
    items: Iterator[Item], look_up: Callable[[Item], Awaitable[Answer]], max_workers: int = 20
) -> AsyncIterator[Outcome]:
    """Yield outcomes as they come, without a ledger; errors are outcomes too."""
    async for outcome in Pool(look_up, LookUpOptions(max_workers=max_workers)).outcomes(items):
        yield outcome
