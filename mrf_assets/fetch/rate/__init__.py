"""Ask no host more than it likes: slots, start rate, pauses and backoff, over all processes of the machine.

`pace` is the arithmetic, `leases` knows who is alive, `gate` keeps the state that processes share; `retry_after`
reads what hosts ask for, and `async_slot` lends a slot to an event loop. Here is what a limiter of requests looks
like to those who ask, and one that lets everything pass. Requests themselves live in `fetch`; nothing here opens a
connection.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from mrf_assets.fetch.rate.gate import HostGate, HostSlot, host_gate
from mrf_assets.fetch.rate.pace import HostLimits, backoff_seconds
from mrf_assets.fetch.rate.retry_after import retry_after_seconds

__all__ = [
    "OPEN_GATE",
    "Gate",
    "HostGate",
    "HostLimits",
    "HostSlot",
    "Slot",
    "backoff_seconds",
    "host_gate",
    "retry_after_seconds",
]


class Slot(Protocol):
    """One request that may be made now."""

    def answered(self, status: int, *, retry_after_seconds: float | None = None) -> None:
        """Tell what the host answered, and how long it asks to be left alone."""


class Gate(Protocol):
    """Bounds how many requests a host gets at a time, and how soon after each other."""

    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Slot]:
        """Block until the host may be asked; one of its slots is taken until the context is left.

        `sleep` waits for some seconds; an error that it raises ends the waiting.
        """


class _FreeSlot:
    def answered(self, status: int, *, retry_after_seconds: float | None = None) -> None:
        pass


class _OpenGate:
    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Slot]:
        del host, sleep
        return nullcontext(_FreeSlot())


OPEN_GATE: Gate = _OpenGate()
