"""A host that allows so many requests a second, over real HTTP or on a clock of the test's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from mrf_assets_tests.mrf_server import Answer, MrfServer, Request

TOO_MANY = Answer(status=429, body=b"slow down")


class TokenBucket:
    """Lets `rate` requests a second through, and up to `capacity` at once."""

    def __init__(self, rate: float, capacity: float, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.capacity = rate, capacity
        self._now, self._at, self._tokens = now, now(), capacity
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether a request is let through now."""
        with self._lock:
            now = self._now()
            self._tokens = min(self.capacity, self._tokens + (now - self._at) * self.rate)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class ThrottledServer(MrfServer):
    """Answers 429 to what its bucket does not let through."""

    def __init__(self, content: Mapping[str, bytes], bucket: TokenBucket) -> None:
        super().__init__(content)
        self.refusals = 0
        self._bucket = bucket

    def _next_answer(self, request: Request) -> Answer | None:
        if self._bucket.take():
            return super()._next_answer(request)
        with self._lock:
            self.refusals += 1
        return TOO_MANY
