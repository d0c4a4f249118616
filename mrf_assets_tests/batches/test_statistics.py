"""How a batch goes, in numbers, and in words."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from mrf_assets.batches.jobs import OtherRun, count_jobs
from mrf_assets.batches.manifest import NetworkRecord
from mrf_assets.batches.statistics import BatchStatistics, Running, batch_alert, cost_of, count, together
from mrf_assets.cli.status_view import StatusView, duration, job_lines, progress_line, status_lines
from mrf_assets.settings import Operations

_START = dt.datetime(2026, 11, 5, 6, tzinfo=dt.UTC)
_FREE = Operations()
_PRICED = Operations(price_per_gb=2.0, price_per_core_hour=3.0, budget_dollars=10.0)


def _run(network_id: str, status: str = "success", *, at: float = 0, seconds: float = 10, **more: Any) -> NetworkRecord:  # noqa: ANN401 - fields of NetworkRecord
    has_begun, has_ended = status != "queued", status in ("success", "failed", "canceled")
    values: dict[str, Any] = {
        "network_id": network_id,
        "run_id": f"run-{network_id}-{at:.0f}",
        "batch_id": "b",
        "status": status,
        "error": "it broke" if status == "failed" else None,
        "facts": {},
        "tags": {},
        "seconds": seconds if has_ended else None,
        "start_time": _START + dt.timedelta(seconds=at) if has_begun else None,
        "end_time": _START + dt.timedelta(seconds=at + seconds) if has_ended else None,
    }
    return NetworkRecord(**values | more)


def _facts(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - values of metadata
    return {
        "source_size_bytes": 1_000_000_000,
        "source_json_bytes": 8_000_000_000,
        "dagster/partition_row_count": 100,
        "cpu_seconds": 3_600.0,
        "repairs": {"rate_as_text": 2},
        "rejects": {"rate_missing": 1},
        "requests": 5,
        "retries": 2,
        "rate_limited": 1,
    } | more


def test_networks_are_counted_by_their_latest_run() -> None:
    """What was planned and has no run is pending."""
    runs = [
        _run("a", at=50),
        _run("c", "running", at=40),
        _run("d", "queued"),
        _run("b", "failed"),
        _run("a", "failed"),
    ]
    found = count("b", ["a", "b", "c", "d", "e"], runs, _FREE)

    assert (5, 1, 1, 2, 1) == (found.networks, found.succeeded, found.failed, len(found.running), found.pending)
    assert [("b", "it broke")] == [(failure.network_id, failure.error) for failure in found.failures]


def test_what_was_read_and_kept_is_added_up() -> None:
    """Rows of what is published; downloads of all runs, the repeated ones too."""
    runs = [_run("a", at=20, facts=_facts()), _run("b", facts=_facts(repairs={"bom": 5, "rate_as_text": 1}))]
    found = count("b", [], runs, _FREE)

    assert (2 * 10**9, 16 * 10**9, 200) == (found.source_bytes, found.json_bytes, found.rate_rows)
    assert ({"bom": 5, "rate_as_text": 3}, {"rate_missing": 2}) == (found.repairs, found.rejects)
    assert ["bom", "rate_as_text"] == list(found.repairs)
    assert (10, 4, 2) == (found.requests, found.retries, found.rate_limited)


def test_what_no_run_tells_is_unknown() -> None:
    """Not 0."""
    found = count("b", ["a"], [], _FREE)

    assert (None, None, None, None) == (found.requests, found.success_rate, found.average_seconds, found.cost.dollars)
    assert found.remaining_seconds is None


def test_time_counts_while_something_runs() -> None:
    """Two side by side, a pause, then one more: 10 + 5 overlapping seconds and 10."""
    runs = [_run("c", at=1_000), _run("b", at=5), _run("a", at=0)]
    found = count("b", [], runs, _FREE)

    assert (25.0, 10.0) == (found.active_seconds, found.average_seconds)


def test_the_average_is_the_wall_time_of_a_network() -> None:
    """What Dagster does around the extraction counts: it is what a person waits for."""
    run = _run("a", seconds=10)
    found = count("b", [], [replace(run, seconds=4.0)], _FREE)

    assert 10.0 == found.average_seconds


def test_other_jobs_are_counted_by_name() -> None:
    """Enrichment, discovery and the like; what goes on has no time yet."""
    runs = [
        OtherRun(job="enrich_npis", status="success", seconds=10.0),
        OtherRun(job="enrich_npis", status="failed", seconds=2.345),
        OtherRun(job="enrich_npis", status="running", seconds=None),
        OtherRun(job="discover_portals", status="canceled", seconds=1.0),
    ]
    discovery, enrichment = count_jobs(runs)

    assert {
        "job": "enrich_npis",
        "runs": 3,
        "succeeded": 1,
        "failed": 1,
        "canceled": 0,
        "running": 1,
        "success_rate_percent": 50.0,
        "average_job_time": 6.17,
    } == enrichment.as_json()
    assert ("discover_portals", 1, None, None) == (
        *(discovery.job, discovery.canceled, discovery.success_rate, discovery.average_seconds),
    )
    assert [
        "  discover_portals: 1 runs, 0 failed",
        "  enrich_npis: 3 runs, 1 failed, Success rate: 50.0%, Average job time: 6.17s",
    ] == job_lines([discovery, enrichment])


def test_the_end_of_a_lost_run_is_no_time() -> None:
    """It is when somebody noticed."""
    runs = [_run("a"), _run("b", "failed", seconds=86_400, is_lost=True)]
    found = count("b", [], runs, _PRICED)

    assert (2, 10.0, 10.0) == (found.ended_networks, found.active_seconds, found.average_seconds)
    assert 10 / 3_600 == pytest.approx(found.cost.core_hours)


def test_the_rest_takes_as_long_as_what_is_done() -> None:
    """Two in ten seconds, side by side; four are left."""
    runs = [_run("c", "running", at=10), _run("b"), _run("a")]
    found = count("b", list("abcdef"), runs, _FREE)

    assert 20.0 == found.remaining_seconds
    assert count("b", list("ab"), runs[1:], _FREE).remaining_seconds == 0.0


def test_unchanged_networks_cost_no_download() -> None:
    """They succeeded; nothing was read."""
    found = count("b", [], [_run("a", facts=_facts(unchanged=True, cpu_seconds=0.5))], _PRICED)

    assert (1, 1, 0, 0) == (found.succeeded, found.unchanged, found.source_bytes, found.json_bytes)
    assert 100 == found.rate_rows


def test_cost_is_gigabytes_and_core_hours_at_their_price() -> None:
    """A failed run does not tell its CPU time, and counts as one busy core."""
    cost = cost_of([_run("a", facts=_facts()), _run("b", "failed", seconds=1_800)], _PRICED)

    assert (1.0, 1.5, 6.5, 0.65) == (cost.gb, cost.core_hours, cost.dollars, cost.budget_share)


def test_cost_adds_up() -> None:
    """Of two parts and of the whole."""
    runs = [_run("a", facts=_facts()), _run("b", facts=_facts())]

    assert cost_of(runs, _PRICED) == cost_of(runs[:1], _PRICED).plus(cost_of(runs[1:], _PRICED))


def test_a_budget_of_nothing_is_used_up() -> None:
    """No network may begin."""
    assert 1.0 == cost_of([], Operations(price_per_gb=1, budget_dollars=0)).budget_share


def test_several_batches_are_one() -> None:
    """As if all of it were one batch."""
    one = count("b", ["a", "x"], [_run("a", facts=_facts())], _PRICED)
    other = count("c", [], [_run("b", "failed")], _PRICED)
    found = together([one, other], _PRICED)

    assert (3, 1, 1, 1) == (found.networks, found.succeeded, found.failed, found.pending)
    assert (0.5, 100, 5) == (found.success_rate, found.rate_rows, found.requests)
    assert found.cost.dollars == pytest.approx((one.cost.dollars or 0) + (other.cost.dollars or 0))


def test_statistics_are_json() -> None:
    """All of them."""
    found = count("b", ["a", "b"], [_run("a", facts=_facts()), _run("b", "running")], _PRICED).as_json()

    assert found == json.loads(json.dumps(found))
    assert {"dollars": 5.0, "budget_share": 0.5} == {name: found["cost"][name] for name in ("dollars", "budget_share")}


@pytest.mark.parametrize(
    ("statuses", "severity"),
    [(["success"], "success"), (["success", "failed"], "failure"), (["success", "canceled"], "warning")],
)
def test_an_alert_is_as_bad_as_its_batch(statuses: list[str], severity: str) -> None:
    """Failed networks are a failure, unfinished ones a warning."""
    runs = [_run(f"n{number}", status) for number, status in enumerate(statuses)]
    alert = batch_alert(count("b", [], runs, _FREE))

    assert ("Batch b ended", severity) == (alert.title, alert.severity)
    assert alert.lines[0].startswith(f"1 of {len(runs)} networks succeeded, {statuses.count('failed')} failed")


# --- in words -------------------------------------------------------------------------------


def test_status_tells_one_fact_a_line() -> None:
    """What is unknown is left out."""
    lines = status_lines(count("b", ["a", "b", "c"], [_run("b", "failed"), _run("a", facts=_facts())], _PRICED))

    assert lines == [
        "Batch: b",
        "Networks: 3",
        "Successful: 1",
        "Failed: 1",
        "Pending: 1",
        "Success rate: 50.0%",
        "Average time: 10.0 s a network",
        "Read: 1,000.0 MB, 8,000.0 MB of JSON at 800.0 MB/s",
        "Rates: 100 rows",
        "Repairs: rate_as_text 2",
        "Rejects: rate_missing 1",
        "Requests: 5, 2 repeated, 1 answered with 429",
        "Cost: 1.000 GB, 1.003 core-hours, about $5.01, 50% of the budget",
        "  ❌ b: it broke",
    ]


def test_what_strangers_wrote_steers_no_terminal() -> None:
    """An error may hold anything."""
    (*_, line) = status_lines(count("b", [], [_run("b", "failed", error="\x1b[2Jgone")], _FREE))

    assert line == "  ❌ b: �[2Jgone"


@pytest.mark.parametrize(("seconds", "words"), [(95, "95 s"), (720, "12 min"), (12_240, "3.4 h")])
def test_a_duration_is_told_as_people_say_it(seconds: float, words: str) -> None:
    """In seconds, minutes or hours."""
    assert words == duration(seconds)


def _going(ended: int) -> BatchStatistics:
    running = () if ended == 3 else (Running(network_id="n", run_id="r", start_time=_START),)
    return BatchStatistics(batch_id="b", networks=3, succeeded=ended, running=running, pending=3 - ended - len(running))


@pytest.mark.parametrize("is_terminal", [False, True])
def test_watching_goes_on_until_nothing_runs(is_terminal: bool) -> None:
    """Elsewhere than on a terminal it is one line whenever a number changes; the numbers come last."""
    looks: Iterator[BatchStatistics] = iter([_going(0), _going(1), _going(1), _going(3)])
    slept = list[float]()
    out = io.StringIO()
    view = StatusView(Console(file=out, force_terminal=is_terminal, width=200, highlight=False), slept.append)

    last = view.watch(lambda: next(looks))

    assert (3, [2.0, 2.0, 2.0]) == (last.succeeded, slept)
    assert "Successful: 3" in out.getvalue()
    if not is_terminal:
        told = [line for line in out.getvalue().splitlines() if line.startswith("Processing")]
        assert [progress_line(_going(number)) for number in (0, 1, 3)] == told
        assert "Processing 1/3 (33%): successful 1, failed 0, running 1" == told[1]
