"""Print what a run would do: `mrf plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mrf_assets.alerts import check_alert_urls
from mrf_assets.cli.options import BUDGET, WORKERS, from_flags
from mrf_assets.cli.run import SKIP_UNCHANGED
from mrf_assets.cli.sources import (
    EXTRACTION_OPTIONS,
    PRIORITY_OPTIONS,
    PROBLEMS_SHOWN,
    SOURCE_OPTIONS,
    print_problems,
    print_source,
    read_tasks,
    read_whitelists,
    split_flags,
    with_options,
)
from mrf_assets.errors import (
    SourceProblems,
)
from mrf_assets.fetch import FetchOptions, Probes
from mrf_assets.ingest.pipeline import with_checked_arguments
from mrf_assets.ingest.published_prices import networks_by_whitelists, published_prices
from mrf_assets.priority import Priority
from mrf_assets.runner.console import print_warnings
from mrf_assets.settings import Operations, Settings
from mrf_assets.sources import SourceCounts
from mrf_assets.tasks import FileTask
from mrf_assets.text import printable, printable_json
from mrf_assets.whitelist import Whitelists

_SIZES_AT_ONCE = 8


_PIPED_WIDTH = 1_000  # characters


@click.command("plan")
@with_options(SOURCE_OPTIONS)
@with_options(EXTRACTION_OPTIONS)
@WORKERS
@SKIP_UNCHANGED
@BUDGET
@with_options(PRIORITY_OPTIONS)
@click.option("--sizes/--no-sizes", default=True, show_default=True, help="Ask the servers for the sizes of the files.")
@click.option("--json", "as_json", is_flag=True, help="As JSON lines: one per file, then one per problem.")
def plan_command(source: str, location: str, sizes: bool, as_json: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Show what `run` with the same flags would do, and what is wrong with them. Writes nothing."""
    del flags["workers"], flags["verbose"]
    operations = from_flags(Operations, budget_dollars=flags.pop("budget_dollars"))
    check_alert_urls(operations.alert_urls)
    priority, min_priority = flags.pop("priority"), flags.pop("min_priority")
    options, setting_flags = split_flags(flags)
    settings = from_flags(Settings, **setting_flags)
    read_whitelists(settings)
    options = replace(options, limits=settings.limits)
    counts = SourceCounts()
    try:
        tasks = list(with_checked_arguments(read_tasks(source, location, settings, options, counts), settings))
    except SourceProblems as error:
        if as_json:
            print_problems(error.problems)
        raise
    priorities = _priorities(tasks, priority, min_priority)
    networks = len({task.network_id for task in tasks})
    tasks = [task for task in tasks if min_priority is None or priorities[task.network_id] >= min_priority]
    probes = Probes(FetchOptions.of(settings).changed(max_retries=0))  # a size is worth no wait
    file_sizes = _sizes(tasks, probes) if sizes else [None] * len(tasks)
    if as_json:
        for task, size in zip(tasks, file_sizes, strict=True):
            click.echo(printable_json(_task_line(task, size, priorities.get(task.network_id))))
        _print_silent_hosts(probes)
        print_problems(counts.problems)
        _print_kept_prices(tasks, settings, err=True)
        print_source(counts, err=True)
        return
    _print_plan(tasks, file_sizes, priorities)
    if sizes:
        _print_total(file_sizes, operations)
        _print_silent_hosts(probes)
    if skipped_networks := networks - len({task.network_id for task in tasks}):
        click.echo(f"Left out: {skipped_networks} network(s) of a priority below {min_priority.name}.")
    _print_kept_prices(tasks, settings, err=False)
    print_source(counts)


def _print_kept_prices(tasks: Sequence[FileTask], settings: Settings, *, err: bool) -> None:
    """What the whitelists would keep of what is published; of other networks nobody knows before they are read."""
    by_whitelists = networks_by_whitelists(tasks, settings, lambda text: print_warnings([text]))
    if not by_whitelists:
        return
    by_network = [
        each for own, networks in by_whitelists.items() for each in published_prices(own, networks, Whitelists.of(own))
    ]
    prices, kept_prices = sum(each.prices for each in by_network), sum(each.kept_prices for each in by_network)
    click.echo(
        f"Whitelist: would keep {kept_prices:,} of {prices:,} prices that are published, "
        f"of {len(by_network)} of {sum(map(len, by_whitelists.values()))} networks with a whitelist.",
        err=err,
    )
    empty_networks = [each for each in by_network if each.prices and not each.kept_prices]
    how = "`mrf run` empties them" if settings.allow_empty else "`mrf run` refuses to empty them without --allow-empty"
    for each in empty_networks[:PROBLEMS_SHOWN]:
        click.echo(f"  ⚠️ {each.network_id}: 0 of {each.prices:,} prices", err=err)
    if empty_networks:
        click.echo(f"  {len(empty_networks)} network(s) have no wanted price now; {how}.", err=err)


def _sizes(tasks: Sequence[FileTask], probes: Probes) -> list[int | None]:
    with ThreadPoolExecutor(_SIZES_AT_ONCE) as pool:
        answers = pool.map(lambda task: probes(task.address, is_from_stranger=task.is_from_stranger), tasks)
        return [None if validators is None else validators.size_bytes for validators in answers]


def _print_silent_hosts(probes: Probes) -> None:
    for server, files in sorted(probes.not_asked.items()):
        click.echo(
            f"{printable(server)} did not answer, so {files:,} of its files were not asked for their sizes; "
            "check the network, or leave the sizes out: --no-sizes",
            err=True,
        )


def _print_plan(tasks: Sequence[FileTask], sizes: Sequence[int | None], priorities: Mapping[str, int]) -> None:
    """A table with a row for each file; `sizes` are in bytes."""
    table = Table(
        title=f"{len({task.network_id for task in tasks})} networks, {len(tasks)} files", title_justify="left"
    )
    for column in ("network", "period", "part", "plans", *(("priority",) if priorities else ()), "size", "file"):
        table.add_column(column, justify="right" if column in ("plans", "size") else "left", overflow="fold")
    for task, size in zip(tasks, sizes, strict=True):
        identity = task.identity
        table.add_row(
            task.network_id,
            identity.period or task.index_period or "from the file",
            f"{identity.part} of {identity.parts}",
            str(len(task.plans)),
            *((Priority(priorities[task.network_id]).name,) if priorities else ()),
            "?" if size is None else f"{size / 1e6:,.1f} MB",
            printable(task.filename),
        )
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH  # a line per file, for grep
    console.print(table)


def _print_total(sizes: Sequence[int | None], operations: Operations) -> None:
    """What there is to download, and what that costs where a budget asks."""
    known_sizes = [size for size in sizes if size is not None]
    note = f"; {len(sizes) - len(known_sizes)} file(s) do not tell their size" if len(known_sizes) < len(sizes) else ""
    click.echo(f"Total: {sum(known_sizes) / 1e6:,.1f} MB in {len(known_sizes)} of {len(sizes)} files{note}.")
    if operations.budget_dollars is not None:
        dollars = operations.dollars(gb=sum(known_sizes) / 1e9)
        click.echo(
            f"Budget: {operations.budget_dollars:,.2f} dollars; these downloads cost about {dollars:,.2f}; "
            "CPU time is counted while the batch runs."
        )


def _priorities(tasks: Sequence[FileTask], priority: Priority | None, at_least: Priority | None) -> dict[str, int]:
    """Network -> its priority, where flags ask for one: what is published must be looked up for it."""
    if priority is None and at_least is None:
        return {}
    from mrf_assets.runner.batch import planned_priorities  # noqa: PLC0415 - imports Dagster, 1.5 s

    return planned_priorities(tasks, priority)


def _task_line(task: FileTask, size: int | None, priority: int | None) -> dict[str, Any]:
    return {
        "network_id": task.network_id,
        "period": task.identity.period or task.index_period,
        "part": task.identity.part,
        "parts": task.identity.parts,
        "url": str(task.address),
        "size_bytes": size,
        "plans": len(task.plans),
        "rule": task.identity.rule,
        **({} if priority is None else {"priority": Priority(priority).name}),
    }
