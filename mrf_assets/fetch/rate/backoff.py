"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable

_MAX_DOUBLINGS = 62  # beyond it a float says nothing new


def backoff_seconds(
    attempt: int,
    *,
    base_seconds: float = 0.5,
    cap_seconds: float = 30.0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Exponential backoff with full jitter: between 0 and `base_seconds` doubled for every failed try before.

    Full jitter spreads those who failed together over the whole span; half of it would let them come
    back together (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        attempt: Which try has failed just now, from 1.
        base_seconds: The longest wait after the first.
        cap_seconds: The longest wait at all.
        uniform: Draws between two numbers; tests hand in their own.
    """
    if attempt < 1:
        raise ValueError(attempt)
    return uniform(0.0, min(cap_seconds, base_seconds * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)))
