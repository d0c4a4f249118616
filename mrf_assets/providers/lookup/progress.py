"""How far a batch is, as a person reads it."""

from __future__ import annotations

import datetime as dt
import time

from mrf_assets.providers.lookup.cost import dollars_text
from mrf_assets.providers.lookup.statistics import Statistics

_MB_BYTES = 1e6


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
    left = statistics.left_seconds
    eta = "?" if left is None else str(dt.timedelta(seconds=round(left)))
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
