"""Times that are stored and held against the clock later; one of the two may have been wrong.

A stored time that lies in the future was taken by a wrong clock. What waits for it is due: else it waits for a year
because a machine was a year ahead for one minute.
"""

from __future__ import annotations

SKEW_SECONDS = 300.0  # that machines which share a folder may differ: no more than a wait goes on for


def is_due(since: float, wait_seconds: float, now: float) -> bool:
    """Whether `wait_seconds` are over since a stored time, all in seconds since 1970; one in the future is over."""
    return now >= since + wait_seconds or is_in_future(since, now)


def is_in_future(stored: float, now: float) -> bool:
    """Whether a stored time cannot be right."""
    return stored > now + SKEW_SECONDS
