"""Who may ask a host now: what a limiter of requests looks like from here, and the one that lets all pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Turn(Protocol):
    """One request that may be made now."""

    def answered(self, status: int, *, retry_after_seconds: float | None = None) -> None:
        """Tell what the host answered, and how long it asks to be left alone."""


class Gate(Protocol):
    """Bounds how many requests a host gets at a time, and how soon after each other."""

    def turn(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Turn]:
        """Block until the host may be asked; one of its places is taken until the context is left.

        `sleep` waits for some seconds; an error that it raises ends the waiting.
        """


class _FreeTurn:
    def answered(self, status: int, *, retry_after_seconds: float | None = None) -> None:
        pass


class _OpenGate:
    def turn(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Turn]:
        del host, sleep
        return nullcontext(_FreeTurn())


OPEN_GATE: Gate = _OpenGate()
