"""`mrf submit`: jobs of a running Dagster, and what `mrf status` shows of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from mrf_assets import submit as submission
from mrf_assets.cli.options import PriorityName, named_values
from mrf_assets.priority import Priority
from mrf_assets.submit import JobResults, JobStatus, results, wait_for_results
from mrf_assets.submit.server import DEFAULT_URL
from mrf_assets.text import printable, printable_json

_FAILURES_TOLD = 20
_ROWS_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """What is shown of a batch or job, and when."""

    wait: bool = False  # once it has ended
    errors_only: bool = False
    as_json: bool = False


@click.command("submit")
@click.argument("identifiers", metavar="[NETWORKS | NPIS]...", nargs=-1)
@click.option(
    "--search-type",
    type=click.Choice(["network", "npi"]),
    default="network",
    show_default=True,
    help="What is submitted: partition keys, or NPIs for --job enrich_npis to look up.",
)
@click.option(
    "--job",
    default=submission.INGEST,
    show_default=True,
    help="ingest, enrich_npis, or comprehensive, which is both, and without NETWORKS begins with discover_portals; or "
    "any other job of the code location.",
)
@click.option("--mode", help="How providers are looked up: intelligent, parallel_all, api_only or bulk_only.")
@click.option("--priority", type=PriorityName(), default=Priority.NORMAL.name, show_default=True)
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="Another setting of the job, as in the launchpad."
)
@click.option("--wait", "until_end", is_flag=True, help="Go on until the job has ended, then show what came of it.")
@click.option("--url", default=DEFAULT_URL, show_default=True, help="The Dagster webserver.")
def submit_command(
    *,
    identifiers: tuple[str, ...],
    search_type: submission.SearchType,
    job: str,
    mode: str | None,
    priority: Priority,
    params: tuple[str, ...],
    until_end: bool,
    url: str,
) -> None:
    """Start a job on a running Dagster, over NETWORKS (partition keys) where it has one run for each, or over NPIS.

    Prints the id, for `mrf status ID`. Dagster's daemon does the work; with --wait the exit code is 1 where some of
    it failed.
    """
    job_id = submission.submit(
        identifiers, job, search_type=search_type, mode=mode, priority=priority, parameters=_parameters(params), url=url
    )
    click.echo(f"Submitted enhanced batch collection job: {job_id}")
    if until_end:
        show_job(job_id, url, ShowOptions(wait=True))


def show_job(job_id: str, url: str, options: ShowOptions) -> NoReturn:
    """Show how a job goes, or what came of it, and end with 0 where all of it succeeded, else 1."""
    with_progress = not options.errors_only and not options.as_json
    job_results = _wait(job_id, url, with_progress=with_progress) if options.wait else results(job_id, url)
    if options.errors_only:
        show_errors(job_results.errors, as_json=options.as_json)
    elif options.as_json:
        click.echo(printable_json(job_results.as_json(), indent=2))
    else:
        _show(job_results)
    sys.exit(0 if job_results.status.state == "completed" else 1)


def show_errors(errors: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """One line for each, JSON or not; nothing where nothing failed."""
    for error in errors:
        if as_json:
            click.echo(printable_json(error))
        else:
            click.echo(printable(f"{error['network_id'] or error['job']}: {error['error']}"))


def _wait(job_id: str, url: str, *, with_progress: bool) -> JobResults:
    last_line = ""

    def on_status(status: JobStatus) -> None:
        nonlocal last_line
        if with_progress and status.line != last_line:
            last_line = status.line
            click.echo(last_line)

    return wait_for_results(job_id, url, on_status=on_status)


def _show(job_results: JobResults) -> None:
    it = job_results.status
    lines = [f"Job: {it.job_id}, {it.job}", f"State: {it.state}", f"Successful: {it.completed:,} of {it.parts:,}"]
    lines += [f"{name}: {count:,}" for name, count in (("Failed", it.failed), ("Canceled", it.canceled)) if count]
    if it.running:
        lines.append(f"Running: {it.running:,}")
    for run in job_results.runs:
        if run.network_id is None:
            lines += [
                f"{asset}: " + ", ".join(f"{name} {value:,}" for name, value in sorted(numbers.items()))
                for asset, numbers in sorted(run.numbers.items())
            ]
    lines += [_row_line(row) for row in job_results.rows[:_ROWS_TOLD]]
    if len(job_results.rows) > _ROWS_TOLD:
        lines.append(f"  {len(job_results.rows) - _ROWS_TOLD} more; --json lists them")
    errors = job_results.errors
    lines += [f"  ❌ {error['network_id'] or error['job']}: {error['error']}" for error in errors[:_FAILURES_TOLD]]
    if len(errors) > _FAILURES_TOLD:
        lines.append(f"  {len(errors) - _FAILURES_TOLD} more; --errors lists all")
    for line in lines:
        click.echo(printable(line))


def _row_line(row: Mapping[str, Any]) -> str:
    names = [row[name] for name in ("organization_name", "first_name", "last_name") if row.get(name)]
    return f"  {row['npi']}: {' '.join(names) or 'no name'}, {row.get('status')}"


def _parameters(params: Sequence[str]) -> dict[str, Any]:
    """name=value pairs; a value that is JSON is what JSON says, any other a text."""
    return {name: _json_or_text(value) for name, value in named_values("--param", params).items()}


def _json_or_text(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        return text
