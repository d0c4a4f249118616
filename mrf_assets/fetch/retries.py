"""When a failed attempt is followed by another one, and how long the wait before it is.

A host that gave no answer to the last attempt is asked once, and no more, for a while: CareFirst's files name
hundreds of references on hosts that may be gone, and with three retries each a network would spend half an hour
on them. Known to this process alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mrf_assets.errors import FetchError, TimeSpent
from mrf_assets.fetch.options import FetchOptions, Wait
from mrf_assets.fetch.rate import backoff_seconds
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.text import printable
from mrf_assets.urls.address import Address

logger = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_ASKED_SECONDS = 900.0  # a server that asks for more is for a later run
_MAX_RETRIES = 500  # of one file, however much progress each makes
_SILENT_SECONDS = 60.0  # for which a host that used all attempts up is asked once and no more
_silence_lock = threading.Lock()
_silent_until: dict[str, float] = {}


class Retries:
    """The attempts at one file: counts them, waits between them, and says when it is enough.

    After a failure comes a wait of 0 to 1, 2, 4 ... 60 seconds ("full jitter": all who were thrown
    out at once do not come back at once), or what the server asks for in Retry-After. New bytes
    set the count back; the total time, and 500 retries, bound it all the same.
    """

    def __init__(self, address: Address, options: FetchOptions, counts: TransferCounts, wait: Wait) -> None:
        self._address, self._options, self._counts, self._wait = address, options, counts, wait
        self._failures = 0  # since the last progress
        self.spent_seconds = 0.0  # asking, reading and waiting; not what is done with the bytes

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time within as spent."""
        start_seconds = time.monotonic()
        try:
            yield
        finally:
            self.spent_seconds += time.monotonic() - start_seconds

    def progressed(self) -> None:
        """New bytes came."""
        self._failures = 0

    def pause(self, failure: FetchError, *, asked_seconds: float | None = None, is_rate_limit: bool = False) -> None:
        """Wait before the next attempt; raise the failure where there is none."""
        self._failures += 1
        self.check_time()
        if self._failures > self._options.max_retries or self._counts.retries >= _MAX_RETRIES:
            raise failure
        if asked_seconds is not None and asked_seconds > _LONGEST_ASKED_SECONDS:
            raise type(failure)(
                failure.url, f"the server asks to be left alone for {asked_seconds:.0f} s; run it again after that"
            )
        wait_seconds = (
            backoff_seconds(self._failures, base_seconds=_FIRST_BACKOFF_SECONDS, cap_seconds=_LONGEST_BACKOFF_SECONDS)
            if asked_seconds is None
            else asked_seconds
        )
        if self.spent_seconds + wait_seconds > self._options.total_timeout_seconds:
            raise failure
        if is_rate_limit:
            logger.warning("%s: Rate limited, waiting %.3gs...", failure.url, wait_seconds)
        else:
            logger.warning(
                "%s; retry %d of %d in %.3gs",
                *(printable(str(failure)), self._failures, self._options.max_retries, wait_seconds),
            )
        self._counts.retries += 1
        self._wait(wait_seconds)
        self.spent_seconds += wait_seconds

    def check_time(self) -> None:
        """Raise TimeSpent where no time is left."""
        if self.spent_seconds > self._options.total_timeout_seconds:
            raise TimeSpent(
                self._address,
                f"not read within {self._options.total_timeout_seconds:.0f} s; raise total_timeout_seconds, or "
                "try again later",
            )


def host_is_silent(server: str) -> bool:
    """Whether another attempt would be one too many."""
    with _silence_lock:
        return _silent_until.get(server, 0.0) > time.monotonic()


def note_silence(server: str) -> None:
    """All attempts were used, and none had an answer."""
    with _silence_lock:
        _silent_until[server] = time.monotonic() + _SILENT_SECONDS


def note_answer(server: str) -> None:
    """The host is there."""
    if server in _silent_until:
        with _silence_lock:
            _silent_until.pop(server, None)
