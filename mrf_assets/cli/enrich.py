"""`mrf enrich`: flags -> options -> one run, with a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import re
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mrf_assets.alerts import check_alert_urls, send_alert
from mrf_assets.cli.options import LocalPath
from mrf_assets.errors import LookUpFailed, MrfError, SettingError
from mrf_assets.providers import (
    STAGES,
    Enrichment,
    EnrichOptions,
    Estimate,
    RunFiles,
    batch_lines,
    batch_options,
    ended_alert,
    estimate,
    failed_alert,
    failures_hint,
    prices_of,
    tuning_hint,
)
from mrf_assets.providers.lookup import BatchReport, Pulse, Statistics, counts_text, dollars_text, pace_text, spent_text
from mrf_assets.providers.nppes import run_check
from mrf_assets.settings import MAX_WORKERS, EnrichSettings, Operations
from mrf_assets.text import package_log, printable

logger = logging.getLogger(__name__)

_PATH = LocalPath()
_AGE = re.compile(r"\A([0-9]+)([smhdw])\Z")
_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_RAMP = re.compile(r"\A([0-9]+):([0-9]+)\Z")
_LINE_SECONDS = 30.0  # between two lines where there is no terminal
_PROBLEMS_TOLD = 20
SHUTDOWN_LINE = "⚠️  Shutdown requested, saving checkpoint..."
UNCHANGED_LINE = "Stopped; no NPI was asked for, and what was there is as it was."
BEGUN_LINE = "Stopped; no NPI was asked for. All rows stay, and --resume asks for what this run was to ask for."
SAVED_LINE = "✅ Checkpoint saved. Run with --resume to continue."


@click.command()
@click.option("--input", "location", help="A CSV or parquet file with a column `npi`, or asset:providers.")
@click.option("--output", type=_PATH, help="A folder for parquet parts, or a file that ends in .csv.")
@click.option("--output-dir", type=_PATH, help="What is published, for --input asset:providers.  [default: mrf_output]")
@click.option("--stages", default="npi,org", show_default=True, help=f"Which of {', '.join(STAGES)}.")
@click.option("--max-workers", type=click.IntRange(1, MAX_WORKERS), help="Look-ups at a time, up to 20.  [default: 10]")
@click.option("--ramp", help="FROM:TO workers: begin with the first, go up while nothing is refused (10:20).")
@click.option(
    "--checkpoint",
    type=_PATH,
    default=Path("enrichment_progress.json"),
    show_default=True,
    help="Progress; the ledger, the report and the error log stand beside it.",
)
@click.option("--resume", is_flag=True, help="Go on where the last run stopped.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed.")
@click.option("--delay", type=click.FloatRange(0), default=2.0, show_default=True, help="Seconds between stages.")
@click.option(
    "--checkpoint-interval", type=click.IntRange(1), default=10, show_default=True, help="Records per commit."
)
@click.option("--max-age", help="Keep rows of the output that are younger: 12h, 30d.")
@click.option("--fresh", is_flag=True, help="Ask for every record anew; the default.")
@click.option("--limit", type=click.IntRange(1), help="Look up the first N.")
@click.option("--min-priority", type=float, help="Leave out records of less priority.")
@click.option("--max-rpm", type=click.IntRange(1), help="Never more requests a minute than this.")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), help="US dollars; the run stops when they are spent."
)
@click.option("--dry-run", is_flag=True, help="Check the input and estimate requests, time and cost; writes nothing.")
@click.option("--check", is_flag=True, help="One request, to see whether the registry can be reached.")
@click.option("--strict-exit", is_flag=True, help="Exit with 130 or 143 when stopped by a signal, not with 0.")
@click.option("--verbose", is_flag=True, help="Tell each request's trouble.")
def enrich(check: bool, dry_run: bool, strict_exit: bool, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Look up providers in NPPES, the public registry: parallel, resumable, polite.

    \b
    Fresh start:   mrf enrich --input npis.csv --output data_enriched.csv --max-workers 20
    Go on:         mrf enrich --input npis.csv --output data_enriched.csv --resume
    Try again:     mrf enrich --input npis.csv --output data_enriched_retry.csv --retry-failed
    """  # noqa: D301 - \b is click's
    settings = EnrichSettings.from_environment(output_dir=flags.pop("output_dir"))
    if check:
        _check(settings)
        return
    options = _options(flags, settings)
    if dry_run:
        _tell_estimate(estimate(options, settings))
        return
    alert_urls = Operations.from_environment().alert_urls
    check_alert_urls(alert_urls)
    with package_log(verbose=verbose):
        try:
            _Run(options, settings, alert_urls, strict_exit=strict_exit).go()
        except MrfError as error:
            send_alert(failed_alert(options.location, error), alert_urls)
            raise


def _options(flags: dict[str, Any], settings: EnrichSettings) -> EnrichOptions:
    for name in ("location", "output"):
        if flags[name] is None:
            raise SettingError("--input" if name == "location" else "--output", "is missing; give it")
    _refuse_contradictions(flags)
    first, most = _ramp(flags["ramp"], flags["max_workers"])
    return EnrichOptions(
        location=flags["location"],
        output=flags["output"],
        stages=tuple(stage.strip() for stage in flags["stages"].split(",") if stage.strip()),
        stage_delay_seconds=flags["delay"],
        checkpoint=flags["checkpoint"],
        resume=flags["resume"],
        retry_failed=flags["retry_failed"],
        max_age=_age(flags["max_age"]),
        budget_dollars=flags["budget"],
        batch=batch_options(
            settings,
            max_workers=most,
            first_workers=first,
            checkpoint_interval=flags["checkpoint_interval"],
            max_requests_per_minute=flags["max_rpm"],
            limit=flags["limit"],
            least_priority=flags["min_priority"],
        ),
    )


def _refuse_contradictions(flags: dict[str, Any]) -> None:
    """What begins anew, and what goes on with a batch, cannot be one run; the second flag would do nothing."""
    for one, other in (
        ("max_age", "fresh"),
        *((one, other) for one in ("max_age", "fresh") for other in ("resume", "retry_failed")),
    ):
        if flags[one] and flags[other]:
            names = [f"--{name.replace('_', '-')}" for name in (one, other)]
            raise SettingError(names[0], f"contradicts {names[1]}; give one of them")


def _age(text: str | None) -> dt.timedelta | None:
    if text is None:
        return None
    found = _AGE.match(text)
    if not found:
        raise SettingError("--max-age", f"is {text!r}; give a number and one of s, m, h, d, w, as in 30d")
    return dt.timedelta(**{_AGE_UNITS[found[2]]: int(found[1])})


def _ramp(text: str | None, max_workers: int | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, max_workers
    found = _RAMP.match(text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= MAX_WORKERS:
        raise SettingError("--ramp", f"is {text!r}; give FROM:TO with 1 <= FROM <= TO <= {MAX_WORKERS}, as in 10:20")
    return int(found[1]), int(found[2])


def _check(settings: EnrichSettings) -> None:
    try:
        click.echo(f"✅ {run_check(settings.npi_api_url, settings.npi_timeout_seconds)}")
    except LookUpFailed as failure:
        click.echo(f"❌ The registry cannot be used: {printable(str(failure))}", err=True)
        sys.exit(1)


def _tell_estimate(told: Estimate) -> None:
    click.echo(f"Total: {told.rows}, Completed: {told.known}, Pending: {told.new}")
    click.echo(f"Duplicates: {told.duplicates}, invalid: {told.invalid}")
    for problem in told.problems[:_PROBLEMS_TOLD]:
        click.echo(f"  {printable(str(problem))}", err=True)
    if told.invalid > _PROBLEMS_TOLD:
        click.echo(f"  and {told.invalid - _PROBLEMS_TOLD} more", err=True)
    click.echo(
        f"Estimate: {told.requests} requests, {dt.timedelta(seconds=round(told.seconds))} at the first rate, "
        f"{dollars_text(told.dollars)}. Nothing was written."
    )
    if told.problems:
        sys.exit(2)


class _Bar(Progress):
    """A bar, and lines below it; 80 columns are enough."""

    further_lines = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        """All of them."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self.further_lines, no_wrap=True, overflow="ellipsis")


class _Run:
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

    def go(self) -> None:
        """Run it, tell it, and exit."""
        run = Enrichment(
            options=self._options,
            settings=self._settings,
            on_begun=self._begun,
            on_ready=self._ready,
            on_outcome=lambda _outcome: self._progressed(run),
            on_beat=lambda: self._progressed(run),
        )
        try:
            with self._bar:
                report = run.run(lambda look_ups: asyncio.run(self._stoppable(run, look_ups)))
        except KeyboardInterrupt:  # before the look-ups or after them
            self._console.print(self._interrupted_line)
            sys.exit(128 + signal.SIGINT if self._strict_exit else 0)
        self._tell(report)
        send_alert(ended_alert(self._options.location, report), self._alert_urls)
        if self._signal is not None:
            sys.exit(128 + self._signal if self._strict_exit else 0)
        if report.stopped is not None or report.statistics.batch_failed:
            sys.exit(1)

    async def _stoppable(self, run: Enrichment, look_ups: Coroutine[Any, Any, BatchReport]) -> BatchReport:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, run, number)
        return await look_ups

    def _stop(self, run: Enrichment, number: int) -> None:
        if not run.stop.requested:
            self._console.print(SHUTDOWN_LINE)
        self._signal = number
        run.stop.request(f"stopped by {signal.Signals(number).name}")

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

    def _progressed(self, run: Enrichment) -> None:
        numbers, dollars = self._statistics, self._statistics.cost(prices_of(self._settings))
        counts, spent, names = counts_text(numbers), spent_text(numbers, dollars), run.names.as_text()
        if self._console.is_terminal:
            self._bar.further_lines = f"{counts}, {names}\n{spent}"
            self._bar.update(self._task, completed=numbers.total - numbers.pending, note=pace_text(numbers))
        elif self._pulse.is_due():
            self._console.print(f"Enriching: {counts}, {names}; {spent}; {pace_text(numbers)}")

    def _tell(self, report: BatchReport) -> None:
        numbers, files = report.statistics, RunFiles(self._options.checkpoint)
        ended = numbers.completed + numbers.failed
        if self._options.retry_failed and not numbers.pending and not ended:
            self._console.print("Nothing to try again: no look-up of this batch has failed.")
        for line in (
            *batch_lines(report),
            f"Average job time: {numbers.item_seconds / max(ended, 1):.2f}s",
            (
                f"Requests: {numbers.requests} ({numbers.requests_refused} refused, "
                f"{numbers.requests_last_minute} in the last minute)"
            ),
            f"Utilisation: {100 * numbers.utilisation:.0f}%, rate: {numbers.records_per_minute:.1f} rec/min",
            f"Cost: {dollars_text(report.cost_dollars)}",
            self._output_line(report.written_rows),
            f"Report: {files.report}",
        ):
            self._console.print(line)
        if numbers.batch_failed:
            self._console.print(f"Errors: {files.errors}; {failures_hint(report)}")
        self._console.print(f"Hint: {tuning_hint(numbers, self._options.batch)}")
        if report.stopped is not None:
            if self._signal is None:
                self._console.print(f"⚠️  Stopped: {printable(report.stopped)}")
            self._console.print(SAVED_LINE)

    def _output_line(self, rows: int) -> str:
        shown = f"{printable(str(self._options.output))} ({rows} rows)"
        return f"Output: {shown if rows else 'none, as there is no row'}"
