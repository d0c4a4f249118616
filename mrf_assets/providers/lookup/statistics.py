"""What a batch has done so far, counted as it goes."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import exp
from typing import Any

from mrf_assets.settings import Prices, dollars_text

_RECENT_SECONDS = 30.0  # over which the rate for the time left is smoothed
_PERCENT = 100.0
_MINUTE_SECONDS = 60
_HOUR_SECONDS = 3_600
_MB_BYTES = 1e6
_GB_BYTES = 1e9


@dataclass(slots=True, kw_only=True)
class Statistics:
    """Counts and times of one run of a batch."""

    workers: int = 1
    clock: Callable[[], float] = time.monotonic
    total: int = 0  # items of the batch
    completed_before: int = 0  # in earlier runs
    failed_before: int = 0
    completed: int = 0
    failed: int = 0
    unfinished: int = 0
    requests: int = 0
    requests_accepted: int = 0
    requests_refused: int = 0  # 429 and 503
    requests_failed: int = 0
    received_bytes: int = 0
    busy_seconds: float = 0.0  # of all workers, with a request under way
    peak_concurrency: int = 0
    write_seconds: float = 0.0  # ledger and output
    failures: Counter[str] = field(default_factory=Counter)  # by reason
    statuses: Counter[str] = field(default_factory=Counter)  # of the rows, where they have one
    item_seconds: float = 0.0
    _start: float | None = None
    _last_outcome: float = 0.0
    _under_way: int = 0
    _rate: float | None = None  # items per second, smoothed
    _minute: deque[list[int]] = field(default_factory=deque)  # second of the clock, requests that began in it

    @property
    def seconds(self) -> float:
        """Since the first start."""
        return 0.0 if self._start is None else max(self.clock() - self._start, 1e-9)

    def count_batch(self, counts: Counter[str]) -> None:
        """Take in a ledger's counts: what this run did not do was done before it."""
        self.total = counts.total()
        self.completed_before = max(counts["done"] - self.completed, 0)
        self.failed_before = max(counts["failed"] - self.failed, 0)

    def cost(self, prices: Prices) -> float:
        """US dollars of this run so far."""
        return prices.dollars(
            requests=self.requests, gb=self.received_bytes / _GB_BYTES, hours=self.seconds / _HOUR_SECONDS
        )

    @property
    def pending(self) -> int:
        """Items that have no outcome yet."""
        return max(self.total - self.batch_completed - self.batch_failed, 0)

    @property
    def batch_completed(self) -> int:
        """Items of the batch that succeeded, earlier runs included."""
        return self.completed_before + self.completed

    @property
    def batch_failed(self) -> int:
        """Items of the batch that were given up, in earlier runs or before a try included."""
        return self.failed_before + self.failed

    @property
    def batch_success_rate(self) -> float | None:
        """Share of the batch's items with an outcome that succeeded, 0 to 1; None before there is one."""
        finished_items = self.batch_completed + self.batch_failed
        return self.batch_completed / finished_items if finished_items else None

    @property
    def utilisation(self) -> float:
        """Share of the workers' time with a request under way, 0 to 1."""
        return self.busy_seconds / (self.workers * self.seconds) if self.seconds else 0.0

    @property
    def success_rate(self) -> float:
        """Share of this run's items with an outcome that succeeded, 0 to 1."""
        finished_items = self.completed + self.failed
        return self.completed / finished_items if finished_items else 0.0

    @property
    def records_per_minute(self) -> float:
        """Items with an outcome, per minute of this run."""
        return 60 * (self.completed + self.failed) / self.seconds if self.seconds else 0.0

    @property
    def left_seconds(self) -> float | None:
        """How long the rest takes at the present rate; None before it can be told."""
        return None if not self._rate else self.pending / self._rate

    @property
    def requests_last_minute(self) -> int:
        """Requests that began in the last 60 seconds."""
        since = int(self.clock()) - _MINUTE_SECONDS
        return sum(count for second, count in self._minute if second > since)

    def request_started(self) -> None:
        """One request is under way."""
        now = self.clock()
        if self._start is None:
            self._start = self._last_outcome = now
        if not self._minute or self._minute[-1][0] != int(now):
            self._minute.append([int(now), 0])
            while self._minute[0][0] <= int(now) - _MINUTE_SECONDS:
                self._minute.popleft()
        self._minute[-1][1] += 1
        self.requests += 1
        self._under_way += 1
        self.peak_concurrency = max(self.peak_concurrency, self._under_way)

    def request_ended(self, seconds: float, size_bytes: int) -> None:
        """It was answered or it broke."""
        self._under_way -= 1
        self.busy_seconds += seconds
        self.received_bytes += size_bytes

    def item_ended(self, seconds: float) -> None:
        """One item has its outcome."""
        self.item_seconds += seconds
        now = self.clock()
        gap_seconds, self._last_outcome = max(now - self._last_outcome, 1e-9), now
        weight = 1 - exp(-gap_seconds / _RECENT_SECONDS)
        self._rate = 1 / gap_seconds if self._rate is None else self._rate + weight * (1 / gap_seconds - self._rate)

    def as_facts(self) -> dict[str, Any]:
        """For a report: plain numbers."""
        finished_items = self.completed + self.failed
        facts = {name: value for name, value in asdict(self).items() if not name.startswith("_") and name != "clock"}
        return facts | {
            "failures": dict(self.failures),
            "statuses": dict(self.statuses),
            "pending": self.pending,
            "seconds": round(self.seconds, 3),
            "busy_seconds": round(self.busy_seconds, 3),
            "write_seconds": round(self.write_seconds, 3),
            "item_seconds": round(self.item_seconds, 3),
            "utilisation_percent": round(_PERCENT * self.utilisation, 1),
            "success_rate_percent": round(_PERCENT * self.success_rate, 1),
            "refused_percent": round(_PERCENT * self.requests_refused / max(self.requests, 1), 2),
            "average_job_seconds": round(self.item_seconds / finished_items, 3) if finished_items else None,
            "records_per_minute": round(self.records_per_minute, 1),
            "requests_last_minute": self.requests_last_minute,
            "requests_per_minute": round(60 * self.requests / self.seconds, 1) if self.seconds else 0.0,
        }


def counts_text(statistics: Statistics) -> str:
    """Items with an outcome, those of earlier runs included."""
    successful, failed = statistics.batch_completed, statistics.batch_failed
    return f"Processing {successful + failed}/{statistics.total} items, Successful: {successful}, Failed: {failed}"


def spent_text(statistics: Statistics, dollars: float) -> str:
    """What this run has asked for and received, and what that cost."""
    return (
        f"requests: {statistics.requests} ({statistics.requests_last_minute} in the last minute), "
        f"{statistics.received_bytes / _MB_BYTES:.1f} MB, {dollars_text(dollars)}"
    )


def pace_text(statistics: Statistics) -> str:
    """How fast this run is, and how long the rest takes."""
    seconds = statistics.left_seconds
    eta = "?" if seconds is None else str(dt.timedelta(seconds=round(seconds)))
    return f"failed: {statistics.batch_failed}, rate: {statistics.records_per_minute:.1f} rec/min, ETA {eta}"


class Pulse:
    """True at once, and then every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def is_due(self) -> bool:
        """Whether it is time to tell again; whoever asks tells."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
