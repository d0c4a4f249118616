"""One run of `mrf enrich`: its signals, its bar and its last lines."""

from __future__ import annotations

import asyncio
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mrf_assets.alerts import send_alert
from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.providers import (
    Enrichment,
    EnrichOptions,
    RunFiles,
    batch_lines,
    ended_alert,
    failures_hint,
    tuning_hint,
)
from mrf_assets.providers.directory import write_directory
from mrf_assets.providers.fill_rates import NameConfidences
from mrf_assets.providers.inputs import INVALID
from mrf_assets.providers.lookup import LookUpReport, Pulse, Statistics, Stop, counts_text, pace_text, spent_text
from mrf_assets.providers.registry import RegistryUpdate, write_npis
from mrf_assets.settings import EnrichSettings, Prices, dollars_text
from mrf_assets.text import printable

_LINE_SECONDS = 30.0  # between two lines where there is no terminal


SHUTDOWN_LINE = "⚠️  Shutdown requested, saving checkpoint..."


UNCHANGED_LINE = "Stopped; no NPI was asked for, and what was there is as it was."


BEGUN_LINE = "Stopped; no NPI was asked for. All rows stay, and --resume asks for what this run was to ask for."


SAVED_LINE = "✅ Checkpoint saved. Run with --resume to continue."


class _Bar(Progress):
    """A bar, and lines below it; 80 columns are enough."""

    further_lines = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        """All of them."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self.further_lines, no_wrap=True, overflow="ellipsis")


class _Run(ABC):
    """One run with its signals and its bar."""

    def __init__(
        self, options: EnrichOptions, settings: EnrichSettings, alert_urls: str | None, *, strict_exit: bool
    ) -> None:
        self._options, self._settings, self._strict_exit = options, settings, strict_exit
        self._alert_urls = alert_urls
        self._console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
        self._bar = _Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("Enriching", total=None, note="")
        self._statistics = Statistics()
        self._pulse = Pulse(_LINE_SECONDS)
        self._signal: int | None = None
        self._interrupted_line = UNCHANGED_LINE
        self._stop = Stop()
        self._names = NameConfidences()

    @abstractmethod
    def _work(self) -> LookUpReport:
        """What the command is for."""

    @abstractmethod
    def _result_lines(self, report: LookUpReport) -> Iterator[str]:
        """Where the result stands."""

    @abstractmethod
    def _errors_line(self, report: LookUpReport) -> str:
        """What to do about look-ups that failed."""

    @abstractmethod
    def _has_failed(self, report: LookUpReport) -> bool:
        """Whether somebody has to do something."""

    def go(self) -> None:
        """Run it, tell it, and exit."""
        try:
            with self._bar:
                report = self._work()
        except KeyboardInterrupt:  # before the look-ups or after them
            self._console.print(self._interrupted_line)
            sys.exit(128 + signal.SIGINT if self._strict_exit else 0)
        self._print_report(report)
        send_alert(ended_alert(self._options.location, report), self._alert_urls)
        if self._signal is not None:
            sys.exit(128 + self._signal if self._strict_exit else 0)
        if report.stop_reason is not None or self._has_failed(report):
            sys.exit(1)

    def _drive(self, look_ups: Coroutine[Any, Any, LookUpReport]) -> LookUpReport:
        return asyncio.run(self._stoppable(look_ups))

    async def _stoppable(self, look_ups: Coroutine[Any, Any, LookUpReport]) -> LookUpReport:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopped_by, number)
        return await look_ups

    def _stopped_by(self, number: int) -> None:
        if not self._stop.requested:
            self._console.print(SHUTDOWN_LINE)
        self._signal = number
        self._stop.request(f"stopped by {signal.Signals(number).name}")

    def _begun(self) -> None:
        self._interrupted_line = BEGUN_LINE

    def _ready(self, statistics: Statistics) -> None:
        self._interrupted_line = SAVED_LINE
        self._statistics = statistics
        done = statistics.completed_before + statistics.failed_before
        self._console.print(
            f"Total: {statistics.total}, Completed: {statistics.completed_before}, Pending: {statistics.pending}"
        )
        self._bar.update(self._task, total=statistics.total, completed=done)

    def _progressed(self) -> None:
        numbers, dollars = self._statistics, self._statistics.cost(self._settings.part(Prices))
        counts, cost, names = counts_text(numbers), spent_text(numbers, dollars), self._names.as_text()
        if self._console.is_terminal:
            self._bar.further_lines = f"{counts}, {names}\n{cost}"
            self._bar.update(self._task, completed=numbers.total - numbers.pending, note=pace_text(numbers))
        elif self._pulse.is_due():
            self._console.print(f"Enriching: {counts}, {names}; {cost}; {pace_text(numbers)}")

    def _print_report(self, report: LookUpReport) -> None:
        numbers = report.statistics
        finished_items = numbers.completed + numbers.failed
        if self._options.retry_failed and not numbers.pending and not finished_items:
            self._console.print("Nothing to try again: no look-up of this batch has failed.")
        for line in (
            *batch_lines(report),
            f"Average job time: {numbers.item_seconds / max(finished_items, 1):.2f}s",
            (
                f"Requests: {numbers.requests} ({numbers.requests_refused} refused, "
                f"{numbers.requests_last_minute} in the last minute)"
            ),
            f"Utilisation: {100 * numbers.utilisation:.0f}%, rate: {numbers.records_per_minute:.1f} rec/min",
            f"Cost: {dollars_text(report.cost_dollars)}",
            *self._result_lines(report),
        ):
            self._console.print(line)
        if numbers.batch_failed:
            self._console.print(f"Errors: {self._errors_line(report)}")
        self._console.print(f"Hint: {tuning_hint(numbers, self._options.batch)}")
        if report.stop_reason is not None:
            if self._signal is None:
                self._console.print(f"⚠️  Stopped: {printable(report.stop_reason)}")
            self._console.print(SAVED_LINE)


class FileRun(_Run):
    """A list of NPIs into a file or a folder."""

    def _work(self) -> LookUpReport:
        return Enrichment(
            options=self._options,
            settings=self._settings,
            on_begun=self._begun,
            on_ready=self._ready,
            on_outcome=lambda _outcome: self._progressed(),
            on_beat=self._progressed,
            stop=self._stop,
            names=self._names,
        ).run(self._drive)

    def _result_lines(self, report: LookUpReport) -> Iterator[str]:
        output = f"{printable(str(self._options.output))} ({report.written_rows} rows)"
        yield f"Output: {output if report.written_rows else 'none, as there is no row'}"
        yield f"Report: {RunFiles(self._options.checkpoint).report}"

    def _errors_line(self, report: LookUpReport) -> str:
        return f"{RunFiles(self._options.checkpoint).errors}; {failures_hint(report)}"

    def _has_failed(self, report: LookUpReport) -> bool:
        return report.statistics.batch_failed > 0


class LakeRun(_Run):
    """The providers of an output folder, from what is published to the directory."""

    _directory_rows = 0

    def _work(self) -> LookUpReport:
        lake, fetching = self._settings.output_dir, FetchOptions.of(self._settings)
        write_npis(lake)
        result = RegistryUpdate(
            lake=lake,
            settings=self._settings,
            open_url=partial(open_url, options=fetching),
            probe=partial(probe, options=fetching),
            batch=self._options.batch,
            max_age=self._options.max_age,
            budget_dollars=self._options.budget_dollars,
            stop=self._stop,
            drive=self._drive,
            on_ready=self._ready,
            on_progress=lambda _statistics: self._progressed(),
        ).run()
        self._directory_rows = write_directory(lake)
        return result.report

    def _result_lines(self, report: LookUpReport) -> Iterator[str]:
        reference = Reference(self._settings.output_dir)
        yield f"Registry: {printable(str(reference.registry))} ({report.written_rows} rows)"
        yield f"Directory: {printable(str(reference.directory))} ({self._directory_rows} rows)"

    def _errors_line(self, report: LookUpReport) -> str:
        by_count = sorted(report.reasons.items(), key=lambda each: -each[1])
        return "; ".join(f"{count} x {printable(reason)}" for reason, count in by_count)

    def _has_failed(self, report: LookUpReport) -> bool:
        """Published numbers that are no NPI are a fact about the payer: the rules of quality count them."""
        return report.statistics.batch_failed > report.reasons.get(INVALID, 0)
