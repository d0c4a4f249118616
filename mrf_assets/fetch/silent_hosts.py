"""Hosts that gave no answer to the last attempt: for a while each is asked once and no more.

CareFirst's files name hundreds of references on hosts that may be gone: with three retries each, a
network would spend half an hour on them. Known to this process alone.
"""

from __future__ import annotations

import threading
import time

_SILENT_SECONDS = 60.0

_lock = threading.Lock()
_silent_until: dict[str, float] = {}


def is_silent(server: str) -> bool:
    """Whether another attempt would be one too many."""
    with _lock:
        return _silent_until.get(server, 0.0) > time.monotonic()


def gave_up(server: str) -> None:
    """All attempts were used, and none had an answer."""
    with _lock:
        _silent_until[server] = time.monotonic() + _SILENT_SECONDS


def answered(server: str) -> None:
    """The host is there."""
    if server in _silent_until:
        with _lock:
            _silent_until.pop(server, None)
