"""The commands about batches that are there already: status, stats, retry-failed, resume."""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from mrf_assets import submit as submission
from mrf_assets.batches.statistics import BatchStatistics
from mrf_assets.cli.options import BUDGET, PUBLISHED_DIR, WORKERS, from_flags
from mrf_assets.cli.status_view import StatusView, batches_table, job_lines, status_lines
from mrf_assets.cli.submit import ShowOptions, show_errors, show_job
from mrf_assets.errors import MrfError, SettingError
from mrf_assets.lake.catalog import write_catalog
from mrf_assets.settings import Operations, Settings, dagster_home
from mrf_assets.submit.server import DEFAULT_URL
from mrf_assets.text import printable_json

_PIPED_WIDTH = 1_000  # characters
BUDGET_EXIT_CODE = 3

_BATCH = click.argument("batch_id", metavar="[BATCH]", required=False)
_VERBOSE = click.option("--verbose", is_flag=True, help="Everything that happens goes to the console.")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.command("status")
@_BATCH
@PUBLISHED_DIR
@click.option("--wait", "--watch", "wait", is_flag=True, help="Go on until it has ended.")
@click.option("--errors", "errors_only", is_flag=True, help="What failed and why, all of it, and nothing else.")
@click.option("--url", help="Ask the Dagster webserver there, and no DAGSTER_HOME.")
@_JSON
def status_command(
    *, batch_id: str | None, output_dir: Path | None, wait: bool, errors_only: bool, url: str | None, as_json: bool
) -> None:
    """Show how a batch goes, by default the latest.

    BATCH is the id of a batch (`mrf stats` lists them), or that of a run or backfill of Dagster, as `mrf submit`
    prints it. What DAGSTER_HOME does not tell is asked of the webserver at --url, by default http://localhost:3000.
    The exit code is 0 where all succeeded, 1 where not, 2 where nothing is known of it.
    """
    folder = from_flags(Settings, output_dir=output_dir).output_dir
    options = ShowOptions(wait=wait, errors_only=errors_only, as_json=as_json)
    if url is not None:
        if batch_id is None:
            raise SettingError("--url", "needs the id of a run or backfill; `mrf submit` prints it")
        show_job(batch_id, url, options)
    from mrf_assets.runner.history import is_told_here  # noqa: PLC0415 - imports Dagster, 1.5 s

    if batch_id is None or is_told_here(folder, batch_id):
        _show_batch(folder, batch_id, options)
    try:
        submission.status(batch_id)
    except MrfError as error:  # DAGSTER_HOME may know it, or part of it
        _show_batch(folder, batch_id, options, elsewhere=f"; {error}")
    show_job(batch_id, DEFAULT_URL, options)


def _show_batch(folder: Path, batch_id: str | None, options: ShowOptions, *, elsewhere: str = "") -> NoReturn:
    from mrf_assets.runner.history import batch_statistics  # noqa: PLC0415 - imports Dagster, 1.5 s

    operations = Operations.from_environment()
    cache: dict[str, Any] = {}
    try:
        first = batch_statistics(folder, batch_id, operations=operations, cache=cache)
    except SettingError as error:
        raise SettingError(error.name, f"{error.reason}{elsewhere}") from None
    view = StatusView(_console(), time.sleep)
    if options.wait and not options.as_json and not options.errors_only:
        # The one that was the latest at first, though others begin meanwhile.
        last = view.watch(lambda: batch_statistics(folder, first.batch_id, operations=operations, cache=cache))
    else:
        last = first
        while options.wait and last.is_going_on:
            time.sleep(view.every_seconds)
            last = batch_statistics(folder, first.batch_id, operations=operations, cache=cache)
        if options.errors_only:
            show_errors(_errors(last), as_json=options.as_json)
        elif options.as_json:
            click.echo(printable_json(last.as_json(), indent=2))
        else:
            view.show(last)
    if last.networks and last.pending == last.networks and not last.is_going_on:
        click.echo(
            f"Note: DAGSTER_HOME={dagster_home()} has no run of this batch; set it as it was for `mrf run`.",
            err=True,
        )
    if last.follow_up is not None and elsewhere:
        click.echo(f"Note: this is what DAGSTER_HOME={dagster_home()} tells{elsewhere}", err=True)
    sys.exit(0 if last.is_successful else 1)


def _errors(it: BatchStatistics) -> list[dict[str, str | None]]:
    then = it.follow_up
    after = [] if then is None or then.error is None else [{"network_id": None, "job": then.job, "error": then.error}]
    return [*[each.as_json() for each in it.failures], *after]


@click.command("stats")
@PUBLISHED_DIR
@click.option("--days", type=click.IntRange(1), default=31, show_default=True, help="How far to look back.")
@_JSON
def stats_command(output_dir: Path | None, days: int, as_json: bool) -> None:
    """Add up all batches and other jobs of the last days, those of sensors and of the UI too."""
    from mrf_assets.runner.history import platform_statistics  # noqa: PLC0415 - imports Dagster, 1.5 s

    folder = from_flags(Settings, output_dir=output_dir).output_dir
    statistics = platform_statistics(folder, dt.datetime.now(tz=dt.UTC) - dt.timedelta(days=days))
    if not statistics.batches:
        click.echo(f"Note: DAGSTER_HOME={dagster_home()} has no batch of the last {days} days.", err=True)
    if as_json:
        click.echo(printable_json(statistics.as_json(), indent=2))
        return
    console = _console()
    console.print(batches_table(statistics.batches))
    console.print("\n".join(status_lines(statistics.total)))
    if statistics.jobs:
        console.print("\n".join(["Other jobs:", *job_lines(statistics.jobs)]))


@click.command("retry-failed")
@_BATCH
@PUBLISHED_DIR
@WORKERS
@BUDGET
@_VERBOSE
def retry_failed_command(**flags: Any) -> None:  # noqa: ANN401 - click's values
    """Run the networks of a batch again that failed, by default of the latest, with its settings.

    The runs belong to the same batch: its manifest and `mrf status` then tell how they went.
    """
    _continue(failed_only=True, **flags)


@click.command("resume")
@_BATCH
@PUBLISHED_DIR
@WORKERS
@BUDGET
@_VERBOSE
def resume_command(**flags: Any) -> None:  # noqa: ANN401 - click's values
    """Go on with a batch that was interrupted, by default the latest, with its settings.

    It runs what did not run to its end: networks that were not begun, were canceled, or whose process was
    killed. Those that failed on their input are left to `retry-failed`.
    """
    _continue(failed_only=False, **flags)


def _continue(
    *,
    failed_only: bool,
    batch_id: str | None,
    output_dir: Path | None,
    workers: int,
    budget_dollars: float | None,
    verbose: bool,
) -> None:
    from mrf_assets.runner.batch import continue_batch  # noqa: PLC0415 - imports Dagster, 1.5 s

    settings = from_flags(Settings, output_dir=output_dir)
    summary = continue_batch(
        settings.output_dir,
        batch_id,
        failed_only=failed_only,
        workers=workers,
        verbose=verbose,
        operations=from_flags(Operations, budget_dollars=budget_dollars),
    )
    finish(summary, settings)


def finish(summary: dict[str, Any], settings: Settings) -> NoReturn:
    """Bring the catalog up to date, and end with what the summary says."""
    write_catalog(settings.output_dir.absolute(), settings.taxonomy_codes)
    sys.exit(exit_code(summary))


def exit_code(summary: dict[str, Any]) -> int:
    """0 all succeeded, 1 some failed or were not run, 3 the budget ended it, 128 + n stopped by signal n."""
    if summary["interrupted_by"]:
        return 128 + int(summary["interrupted_by"])
    if summary["stopped_by_budget"] and summary["networks_not_run"]:
        return BUDGET_EXIT_CODE
    return 0 if not summary["failed"] and not summary["networks_not_run"] else 1


def _console() -> Console:
    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH  # a line per fact, for grep
    return console
