"""Scores and priorities."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mrf_assets.priority import Priority, priority_of, score

_PLANS = st.integers(0, 10**6)
_BYTES = st.none() | st.integers(0, 10**13)
_DAYS = st.none() | st.floats(0, 10_000)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"plans": 2}, Priority.NORMAL),  # never published
        ({"plans": 2, "days_since_published": 1.0}, Priority.LOW),
        ({"plans": 2, "days_since_published": 31.0}, Priority.NORMAL),
        ({"plans": 5_000, "days_since_published": 31.0}, Priority.HIGH),
        ({"plans": 200, "source_bytes": None}, Priority.HIGH),
        ({"plans": 2, "days_since_published": 1.0, "source_bytes": 40 * 10**9}, Priority.NORMAL),
    ],
)
def test_more_plans_older_data_and_larger_files_come_first(facts: dict[str, float], expected: Priority) -> None:
    """Each can lift a network."""
    assert expected == priority_of(score(**facts))  # type: ignore[arg-type]  # whole numbers where they must be


def test_the_values_are_those_of_the_run_queue() -> None:
    """As the tag `dagster/priority` has them."""
    assert {"LOW": -10, "NORMAL": 0, "HIGH": 10, "URGENT": 20} == {each.name: each.value for each in Priority}


@given(plans=_PLANS, source_bytes=_BYTES, days=_DAYS, more=st.integers(0, 1000))
def test_a_score_never_falls_with_what_it_counts(
    plans: int, source_bytes: int | None, days: float | None, more: int
) -> None:
    """And stays within 0 and 7; urgent is for people."""
    points = score(plans=plans, source_bytes=source_bytes, days_since_published=days)

    assert 0 <= points <= 7
    assert priority_of(points) < Priority.URGENT
    assert points <= score(plans=plans + more, source_bytes=source_bytes, days_since_published=days)
    assert points <= score(plans=plans, source_bytes=(source_bytes or 0) + more, days_since_published=days)
    assert points <= score(
        plans=plans, source_bytes=source_bytes, days_since_published=None if days is None else days + more
    )
