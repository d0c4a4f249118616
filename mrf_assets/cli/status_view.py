"""Statistics for people: one text, plain or in a live display."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mrf_assets.batches.jobs import JobStatistics
from mrf_assets.batches.statistics import BatchStatistics
from mrf_assets.settings import dollars_text
from mrf_assets.text import printable

_FAILURES_TOLD = 20
_KINDS_TOLD = 8
_LIVE_WIDTH = 60
_MINUTE_SECONDS, _HOUR_SECONDS = 60, 3_600

Sleep = Callable[[float], None]


def status_lines(statistics: BatchStatistics) -> list[str]:
    """One fact a line, what is unknown left out."""
    return [f"{name}: {value}" for name, value in _facts(statistics)] + [
        f"  ❌ {failure.network_id}: {printable(failure.error)}" for failure in statistics.failures[:_FAILURES_TOLD]
    ]


def _facts(it: BatchStatistics) -> Iterator[tuple[str, str]]:
    if it.batch_id:
        yield "Batch", printable(it.batch_id)
    yield "Networks", f"{it.networks:,}"
    yield "Successful", f"{it.succeeded:,}" + (f", {it.unchanged:,} of them unchanged" if it.unchanged else "")
    yield "Failed", f"{it.failed:,}"
    if it.canceled:
        yield "Canceled", f"{it.canceled:,}"
    if it.running:
        yield "Running", f"{len(it.running):,}"
    yield "Pending", f"{it.pending:,}"
    if it.follow_up is not None:
        why = "" if it.follow_up.error is None else f": {printable(it.follow_up.error)}"
        yield "Then", f"{printable(it.follow_up.job)}, {it.follow_up.state}{why}"
    if it.success_rate is not None:
        yield "Success rate", f"{it.success_rate:.1%}"
    if it.average_seconds is not None:
        yield "Average time", f"{it.average_seconds:,.1f} s a network"
    if it.remaining_seconds:
        yield "Remaining", f"about {duration(it.remaining_seconds)}"
    yield "Read", f"{it.source_bytes / 1e6:,.1f} MB, {it.json_bytes / 1e6:,.1f} MB of JSON" + _speed(it)
    yield "Rates", f"{it.rate_rows:,} rows"
    yield "Repairs", _kinds(it.repairs)
    yield "Rejects", _kinds(it.rejects)
    if it.requests is not None:
        yield "Requests", f"{it.requests:,}, {it.retries or 0:,} repeated, {it.rate_limited or 0:,} answered with 429"
    yield "Cost", _cost(it)


def _speed(it: BatchStatistics) -> str:
    return "" if it.json_mb_per_second is None else f" at {it.json_mb_per_second:,.1f} MB/s"


def _kinds(counts: Mapping[str, int]) -> str:
    texts = [f"{printable(kind)} {count:,}" for kind, count in list(counts.items())[:_KINDS_TOLD]]
    more = len(counts) - len(texts)
    return ", ".join(texts + ([f"{more} more kinds"] if more else [])) or "none"


def _cost(it: BatchStatistics) -> str:
    usage = f"{it.cost.gb:,.3f} GB, {it.cost.core_hours:,.3f} core-hours"
    if it.cost.dollars is None:
        return usage
    share = f", {it.cost.budget_share:.0%} of the budget" if it.cost.budget_share is not None else ""
    return f"{usage}, about {dollars_text(it.cost.dollars)}{share}"


def duration(seconds: float) -> str:
    """As people say it: `95 s`, `12 min`, `3.4 h`."""
    if seconds < 2 * _MINUTE_SECONDS:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_SECONDS:.0f} min" if seconds < 2 * _HOUR_SECONDS else f"{seconds / _HOUR_SECONDS:.1f} h"


@dataclass(frozen=True, slots=True)
class StatusView:
    """Shows a batch on a console: once, or until it has ended."""

    console: Console
    sleep: Sleep
    every_seconds: float = 2.0

    def show(self, statistics: BatchStatistics) -> None:
        """Once, as plain text."""
        self.console.print("\n".join(status_lines(statistics)))

    def watch(self, look: Callable[[], BatchStatistics]) -> BatchStatistics:
        """Until nothing goes on any more: drawn on a terminal, else one line whenever a number changes."""
        if not self.console.is_terminal:
            return self._print_changes(look)
        statistics = look()
        with Live(_drawn(statistics), console=self.console, transient=True) as live:
            while statistics.is_going_on:
                self.sleep(self.every_seconds)
                statistics = look()
                live.update(_drawn(statistics))
        self.show(statistics)
        return statistics

    def _print_changes(self, look: Callable[[], BatchStatistics]) -> BatchStatistics:
        last_line = ""
        while True:
            statistics = look()
            if (line := progress_line(statistics)) != last_line:
                last_line = line
                self.console.print(line)
            if not statistics.is_going_on:
                self.show(statistics)
                return statistics
            self.sleep(self.every_seconds)


def progress_line(it: BatchStatistics) -> str:
    """Where a batch is, in one line."""
    remaining = f", about {duration(it.remaining_seconds)} left" if it.remaining_seconds else ""
    return (
        f"Processing {it.ended_networks}/{it.networks} ({it.ended_networks / max(it.networks, 1):.0%}): "
        f"successful {it.succeeded}, failed {it.failed}, running {len(it.running)}{remaining}"
    )


def _drawn(it: BatchStatistics) -> Group:
    rows = Table.grid(padding=(0, 2))
    for name, value in _facts(it):
        rows.add_row(Text(name, style="bold"), Text(value))
    running = Table.grid(padding=(0, 2))
    now = dt.datetime.now(tz=dt.UTC)
    for each in it.running[:_FAILURES_TOLD]:
        since = "in the queue" if each.start_time is None else duration((now - each.start_time).total_seconds())
        running.add_row(Text("⏳"), Text(printable(each.network_id)), Text(since))
    for failure in it.failures[:_FAILURES_TOLD]:
        running.add_row(Text("❌"), Text(printable(failure.network_id)), Text(printable(failure.error)))
    return Group(ProgressBar(total=max(it.networks, 1), completed=it.ended_networks, width=_LIVE_WIDTH), rows, running)


def job_lines(jobs: Sequence[JobStatistics]) -> list[str]:
    """One line for each job."""
    lines = []
    for it in jobs:
        rate = "" if it.success_rate is None else f", Success rate: {it.success_rate:.1%}"
        time = "" if it.average_seconds is None else f", Average job time: {it.average_seconds:.2f}s"
        lines.append(f"  {printable(it.job)}: {it.runs:,} runs, {it.failed:,} failed{rate}{time}")
    return lines


def batches_table(batches: Sequence[BatchStatistics]) -> Table:
    """One line for each batch."""
    table = Table(title=f"{len(batches)} batches", title_justify="left")
    names = ("batch", "networks", "successful", "failed", "pending", "rates", "MB", "MB/s", "average s")
    for name in names:
        table.add_column(name, justify="left" if name == "batch" else "right", overflow="fold")
    for it in batches:
        table.add_row(
            Text(printable(it.batch_id or "(single runs)")),
            f"{it.networks:,}",
            f"{it.succeeded:,}",
            f"{it.failed:,}",
            f"{it.pending + it.canceled + len(it.running):,}",
            f"{it.rate_rows:,}",
            f"{it.source_bytes / 1e6:,.1f}",
            "" if it.json_mb_per_second is None else f"{it.json_mb_per_second:,.1f}",
            "" if it.average_seconds is None else f"{it.average_seconds:,.1f}",
        )
    return table
