"""Child processes: each with a pipe to its parent, and none that outlives it."""

from __future__ import annotations

import logging
import multiprocessing as mp
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess


class ForwardingHandler(logging.Handler):
    """Sends log records, or what is made of them, to the parent; None is not sent."""

    def __init__(self, parent: Connection, message_of: Callable[[logging.LogRecord], object | None]) -> None:
        super().__init__()
        self._parent, self._message_of = parent, message_of

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, unless the parent is gone, or about to stop this process."""
        message = self._message_of(record)
        if message is not None:
            with suppress(OSError):
                self._parent.send(message)


def start_child(target: Callable[..., None], *arguments: object) -> tuple[Connection, SpawnProcess]:
    """Start `target(connection, *arguments)` in a process of its own; all of it has to be picklable.

    A spawned process inherits no locks and threads; a fork would.
    """
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    return ours, process


def end_with_parent() -> None:
    """End this process at once when the one that started it is gone.

    Its result would be lost, and where it publishes it would do so next to whatever repeats its work.
    """
    parent = mp.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
