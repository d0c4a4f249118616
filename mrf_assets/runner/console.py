"""What a batch tells a person: banners, one line per network, a progress bar, a summary.

Sequential runs tell all they do. Parallel runs tell one line per network, in the order in
which they end; the bar is drawn on a terminal only, so that a log file stays clean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress as Bars,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from mrf_assets.batches.statistics import BatchStatistics
from mrf_assets.ingest.results import Progress, WhitelistCounts
from mrf_assets.tasks import FileTask
from mrf_assets.text import printable

_RULE = "=" * 60
_URL_CHARACTERS = 70
_PLANS_TOLD = 5


def print_warnings(warnings: Iterable[str]) -> None:
    """One line each, on stderr."""
    for warning in warnings:
        click.echo(f"⚠️ {printable(warning)}", err=True)


class BatchConsole:
    """Prints the progress of one batch.

    `positions` are the places of networks in their source, from 1; without them they are numbered as they begin.
    `log_dir` is shown as it is given, so it leads there from where the user stands.
    """

    def __init__(
        self,
        total: int,
        workers: int,
        log_dir: str | None,
        console: Console | None = None,
        *,
        positions: Mapping[str, int] | None = None,
        with_bar: bool = True,  # False where others write to the console too
    ) -> None:
        self._console = console or Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
        self._total, self._workers, self._log_dir = total, workers, log_dir
        self._positions = dict(positions or {})
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not (self._console.is_terminal and workers > 1 and with_bar),
        )
        self._all: TaskID | None = None
        self._rows: dict[str, TaskID] = {}
        self._done = self._failed = self._unchanged = 0

    @property
    def _parallel(self) -> bool:
        return self._workers > 1

    def open(self) -> None:
        """Begin: the banner, and the bar."""
        how = f"Parallel - {self._workers} workers" if self._parallel else "Sequential"
        self._print(f"{_RULE}\nRUNNING EXTRACTIONS ({how})\n{_RULE}")
        if self._log_dir:
            self._print(f"📁 Log directory: {self._log_dir}/")
        self._bars.start()
        self._all = self._bars.add_task("networks", total=self._total, note=f"0/{self._total}")

    def started(self, network_id: str, tasks: Sequence[FileTask]) -> None:
        """One network begins."""
        self._positions.setdefault(network_id, len(self._positions) + 1)
        if self._parallel:
            self._rows[network_id] = self._bars.add_task(f"  {network_id}", total=None, note="")
            return
        self._print(f"\n{self._number(network_id)} {network_id}")
        for task in tasks:
            name = printable(task.filename)  # addresses of one payer begin alike
            self._print(f"  URL: {name[:_URL_CHARACTERS]}{'...' if len(name) > _URL_CHARACTERS else ''}")
        plans = list(dict.fromkeys(plan for task in tasks for plan in task.plans))
        if plans:
            ids = ", ".join(printable(plan.plan_id or plan.plan_name or "?") for plan in plans[:_PLANS_TOLD])
            self._print(f"  Plans: {len(plans)} plan(s) - {ids}{', ...' if len(plans) > _PLANS_TOLD else ''}")
        else:
            self._print("  ⚠️ No plan metadata found for this URL")

    def progress(self, progress: Progress) -> None:
        """One network is under way."""
        if progress.network_id in self._rows:
            rate = progress.json_bytes / 1e6 / max(progress.seconds, 1e-9)
            self._bars.update(
                self._rows[progress.network_id],
                total=progress.size_bytes,
                completed=progress.read_bytes,
                note=f"{progress.read_bytes / 1e6:,.0f} MB read, {progress.rate_rows:,} rates, {rate:,.0f} MB/s",
            )

    def ended(
        self,
        network_id: str,
        *,
        success: bool,
        unchanged: bool,
        seconds: float,
        error: str | None,
        log_file: str | None,
    ) -> None:
        """One network is done."""
        self._done += 1
        self._failed += not success
        self._unchanged += unchanged
        if network_id in self._rows:
            self._bars.remove_task(self._rows.pop(network_id))
        if self._all is not None:
            failed = f", {self._failed} failed" if self._failed else ""
            self._bars.update(self._all, completed=self._done, note=f"{self._done}/{self._total}{failed}")
        if self._parallel:
            good = "unchanged" if unchanged else "completed"
            mark, how = ("✅", f"{good} ({seconds:.1f}s)") if success else ("❌", "failed")
            log = f" | Log: {log_file}" if log_file else ""
            self._print(f"{mark} {self._number(network_id)} {network_id} {how}{log}")
        elif success:
            self._print(f"  ✅ {'Unchanged' if unchanged else 'Success'} ({seconds:.1f}s)")
        else:
            self._print(f"  ❌ Failed: {printable(error or 'see the log')}")

    def _number(self, network_id: str) -> str:
        return f"[{self._positions[network_id]}/{max(len(self._positions), self._total)}]"

    def close(self) -> None:
        """Take the bar away."""
        self._bars.stop()

    def warn(self, text: str) -> None:
        """Something that whoever looks on should know."""
        self._print(f"⚠️ {text}")

    def summary(
        self,
        failures: Sequence[tuple[str, str]],
        output_dir: Path,
        manifest: Path,
        not_run: int,
        *,
        batch: BatchStatistics | None = None,
        whitelist_counts: WhitelistCounts | None = None,
    ) -> None:
        """The end of a batch; where only a part of `batch` was run, how it stands as a whole."""
        successes = self._done - self._failed
        lines = [
            "",
            _RULE,
            "EXTRACTION SUMMARY",
            _RULE,
            f"Successful: {successes}/{self._total}",
            f"Failed: {self._failed}/{self._total}",
        ]
        if self._unchanged:
            lines.append(f"Unchanged: {self._unchanged}/{self._total} (not read again; --force does)")
        lines += [f"  ❌ {network_id}: {printable(error)}" for network_id, error in failures]
        if whitelist_counts is not None:
            lines.append(str(whitelist_counts))
        if not_run:
            lines.append(f"Not run: {not_run}/{self._total}")
        lines += [f"Output directory: {output_dir}", f"Manifest file: {manifest}"]
        if self._log_dir:
            lines.append(f"Log directory: {self._log_dir}/")
        if batch and batch.networks != self._total:
            lines.append(f"The whole batch: {batch.succeeded}/{batch.networks} successful, {batch.failed} failed")
        self._print("\n".join(lines))

    def _print(self, text: str) -> None:
        self._console.print(text)
