"""When a look ends: a way has a deadline, a wait for a slot a bound, and who stops it ends both.

A host that drips, names lists without end or asks for a pause holds up its own portal, for so long; no other one, and
not who pressed Ctrl-C.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mrf_assets.errors import ServerBusy, TimeSpent
from mrf_assets.fetch import Gate, Slot
from mrf_assets.stream.raw_file import Opener, RawFile
from mrf_assets.urls.address import Address


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of one way of looking."""

    ends_at: float  # of time.monotonic
    stop_event: threading.Event

    @property
    def is_over(self) -> bool:
        """Whether there is no time left."""
        return self.stop_event.is_set() or time.monotonic() >= self.ends_at

    def check(self, url: str) -> None:
        """Raise TimeSpent where there is none."""
        if self.is_over:
            raise TimeSpent(url, "not read in the time for a portal; raise MRF_SCRAPER_TIMEOUT_SECONDS")


class Patience:
    """How long one look waits; for any thread.

    Args:
        way_seconds: For one way of looking at one portal, all its questions together.
        turn_seconds: Until a host may be asked.
    """

    def __init__(self, *, way_seconds: float, turn_seconds: float) -> None:
        self._way_seconds, self._turn_seconds = way_seconds, turn_seconds
        self._stop_event = threading.Event()
        self._lock = threading.Lock()
        self._open: set[RawFile] = set()

    def deadline(self) -> Deadline:
        """Of a way that begins now."""
        return Deadline(time.monotonic() + self._way_seconds, self._stop_event)

    def stop(self) -> None:
        """End all that goes on; a request without an answer ends with its own time."""
        self._stop_event.set()
        with self._lock:
            open_now = list(self._open)
        for raw in open_now:
            with suppress(OSError):
                raw.close()

    def wait(self, seconds: float) -> None:
        """Between two attempts."""
        if self._stop_event.wait(seconds):
            raise TimeSpent("the look", "was stopped")

    def opener(self, open_url: Opener) -> Opener:
        """The same, where `stop` ends what is read."""

        @contextmanager
        def opened(address: Address) -> Iterator[RawFile]:
            with open_url(address) as raw:
                with self._lock:
                    self._open.add(raw)
                try:
                    if self._stop_event.is_set():
                        raise TimeSpent(address, "was stopped")
                    yield raw
                finally:
                    with self._lock:
                        self._open.discard(raw)

        return opened

    def gate(self, gate: Gate) -> Gate:
        """The same, where nobody waits for ever."""
        return _PatientGate(gate, self._turn_seconds, self._stop_event)


class _PatientGate:
    def __init__(self, gate: Gate, most_seconds: float, stop_event: threading.Event) -> None:
        self._gate, self._most_seconds, self._stop_event = gate, most_seconds, stop_event

    @contextmanager
    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> Iterator[Slot]:
        start = time.monotonic()

        def check() -> None:
            if self._stop_event.is_set():
                raise TimeSpent(host, "was stopped")
            if time.monotonic() - start > self._most_seconds:
                raise ServerBusy(host, f"the host asks to wait, for longer than {self._most_seconds:.3g} s; look later")

        def wait(seconds: float) -> None:
            check()
            (sleep or self._stop_event.wait)(seconds)

        check()
        with self._gate.slot(host, sleep=wait) as slot:
            yield slot
