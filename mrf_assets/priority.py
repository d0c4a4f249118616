"""Which network comes first: a score out of what is known of it, and the four priorities of the run queue.

Dagster starts queued runs by their tag `dagster/priority`, the highest first; `mrf run` orders its networks
the same way. Pure arithmetic; who knows the facts calls it.
"""

from __future__ import annotations

from enum import IntEnum
from math import log10


class Priority(IntEnum):
    """The values of the tag `dagster/priority` that we use."""

    LOW = -10
    NORMAL = 0
    HIGH = 10
    URGENT = 20  # for people and registries: no score reaches it


PRIORITY_TAG = "dagster/priority"

_MAX_PLANS_POINTS = 4.0
_NEVER_PUBLISHED_POINTS = 2.0
_DAYS_A_POINT = 30.0  # payers publish monthly
_MAX_BYTES_POINTS = 1.0
_LOW_BELOW, _HIGH_FROM = 1.0, 4.0


def score(*, plans: int = 0, source_bytes: int | None = None, days_since_published: float | None = None) -> float:
    """Points from 0 to 7 for a network; more come first.

    - `plans` that use it, 0 to 4 points: one for each power of ten (`log10(1 + plans)`). More people's prices.
    - `days_since_published` of what is readable, 0 to 2: one for each 30 days; 2 where nothing is (None).
    - `source_bytes` of its files, 0 to 1: `log10(1 + GB)`. What takes longest is begun early, so that
      the end of a batch does not wait for it. Unknown (None) is 0.
    """
    plans_points = min(log10(1 + max(plans, 0)), _MAX_PLANS_POINTS)
    age_points = _NEVER_PUBLISHED_POINTS
    if days_since_published is not None:
        age_points = min(max(days_since_published, 0.0) / _DAYS_A_POINT, _NEVER_PUBLISHED_POINTS)
    bytes_points = min(log10(1 + max(source_bytes or 0, 0) / 1e9), _MAX_BYTES_POINTS)
    return plans_points + age_points + bytes_points


def priority_of(points: float) -> Priority:
    """LOW below 1 point, HIGH from 4 on, NORMAL between."""
    if points < _LOW_BELOW:
        return Priority.LOW
    return Priority.HIGH if points >= _HIGH_FROM else Priority.NORMAL
