"""The command line: flags -> settings and tasks -> runs -> summary and exit code.

Exit codes: 0 all succeeded, 1 some network failed or the output folder refused, 2 the input or
a flag cannot be used and nothing was started, 3 the budget is used up, 128 + n stopped by signal n.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from mrf_assets.alerts import check_alert_urls
from mrf_assets.cli import (
    batches as batch_commands,
    query as query_commands,
    report as report_command,
    submit as submit_command,
)
from mrf_assets.cli.check import check
from mrf_assets.cli.discover import discover
from mrf_assets.cli.enrich import enrich
from mrf_assets.cli.index import index_commands
from mrf_assets.cli.options import LocalPath, PriorityName
from mrf_assets.errors import (
    ExtractError,
    FetchError,
    InputError,
    MrfError,
    Problem,
    SettingError,
    SourceProblems,
    StreamError,
)
from mrf_assets.extract import READERS
from mrf_assets.fetch import FetchOptions, Probes, open_url
from mrf_assets.files import full_disk_behind
from mrf_assets.ingest.pipeline import ingest, with_checked_arguments
from mrf_assets.ingest.published_prices import networks_by_whitelists, published_prices
from mrf_assets.ingest.results import NetworkResult
from mrf_assets.lake.catalog import write_catalog
from mrf_assets.lake.stage import row_counts
from mrf_assets.lake.store import Store
from mrf_assets.priority import Priority
from mrf_assets.runner.console import print_warnings
from mrf_assets.settings import Operations, Settings, dagster_home, unknown_variables
from mrf_assets.sources import SourceOptions, SourceTally, read_source
from mrf_assets.stream.raw_file import Opener
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.text import PrintableFormatter, printable, printable_json
from mrf_assets.urls import file_name
from mrf_assets.whitelist import Whitelists

_F = TypeVar("_F", bound=Callable[..., Any])
_SIZES_AT_ONCE = 8
_PROBLEMS_TOLD = 10
_NAMES_TOLD = 3
_PIPED_WIDTH = 1_000  # characters


_PATH = LocalPath()

_EXTRACTION_OPTIONS = [
    click.option("--output-dir", type=_PATH, help="Where parquet, plan, logs and manifest go.  [default: mrf_output]"),
    click.option(
        "--cpt-whitelist",
        type=_PATH,
        help="Billing codes to keep: `code` or `type,code` lines.",
    ),
    click.option("--tin-whitelist", type=_PATH, help="TINs to keep, one a line."),
    click.option(
        "--allow-empty",
        is_flag=True,
        default=None,
        help="Replace published prices by none where a whitelist keeps none.  [default: refuse]",
    ),
    click.option(
        "--referenced-groups-only/--all-groups",
        default=None,
        help="With a whitelist, leave out groups that no kept price names.  [default: all groups]",
    ),
    click.option("--provider-batch-size", type=int, help="Rows per row group of providers.  [default: 20000]"),
    click.option("--rate-batch-size", type=int, help="Rows per row group of rates.  [default: 50000]"),
    click.option("--reader", help=f"Which reader to use: {', '.join(sorted(READERS))}."),
    click.option("--keep-periods", type=int, help="Periods to keep per network.  [default: all]"),
    click.option("--verbose", is_flag=True, help="Everything that happens goes to the console, with any --workers."),
]
_WORKERS = click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Networks at a time.")

_FORCE = click.option(
    "--force/--skip-unchanged",
    "force",
    default=None,
    help="Ingest networks anew though nothing about their files has changed.  [default: skip them]",
)

_PRIORITY_OPTIONS = [
    click.option(
        "--priority",
        type=PriorityName(),
        help="Priority of every network.  [default: from the plans, age and bytes of each]",
    ),
    click.option("--min-priority", type=PriorityName(), help="Leave out networks of lower priority."),
]

_SOURCE_OPTIONS = [
    click.option(
        "--source", type=click.Choice(["csv", "index", "urls", "url"]), required=True, help="What --input is."
    ),
    click.option(
        "--input",
        "location",
        required=True,
        help="A path or URL: of an index (table of contents), a CSV with `file_url`, a list of URLs, or one MRF.",
    ),
    click.option("--output-prefix", default="", help="Label in front of each network's name in manifest and logs."),
    click.option("--network-id", help="One network for all files of --source urls and url."),
    click.option("--structures", type=click.IntRange(1), help="Read the first N reporting structures of an index."),
    click.option("--match", help="Only structures of an index with this text in a plan's name, id, issuer or sponsor."),
    click.option("--max-files", type=click.IntRange(1), help="Ingest the first N files."),
]


def _with(options: Sequence[Callable[[_F], _F]]) -> Callable[[_F], _F]:
    """Several options as one decorator."""

    def decorate(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mrf_assets")
def cli() -> None:
    """Transparency in Coverage machine-readable files as audited parquet.

    An index, a CSV, a list of URLs or one URL becomes networks; each is fetched, extracted,
    audited and published by one Dagster run.
    """
    print_warnings(unknown_variables())


for _command in (batch_commands.status, batch_commands.stats, batch_commands.retry_failed, batch_commands.resume):
    cli.add_command(_command)
cli.add_command(submit_command.submit)
cli.add_command(index_commands)


@cli.command()
@_with(_SOURCE_OPTIONS)
@_with(_EXTRACTION_OPTIONS)
@_WORKERS
@_FORCE
@batch_commands.BUDGET
@_with(_PRIORITY_OPTIONS)
def run(workers: int, source: str, location: str, verbose: bool, force: bool | None, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ingest every network of a source, --workers at a time."""
    from mrf_assets.runner.batch import execute_batch  # noqa: PLC0415 - imports Dagster, 1.5 s

    operations = Operations.from_environment(budget_dollars=flags.pop("budget_dollars"))
    priority, min_priority = flags.pop("priority"), flags.pop("min_priority")
    options, settings = _split_flags(flags)
    given = Settings.from_environment(**settings)
    _read_whitelists(given)
    options = replace(options, limits=given.limits)
    tally = SourceTally()
    summary = execute_batch(
        _told(source, location, given, options, tally),
        workers=workers,
        source_type=source,
        source_input=location,
        verbose=verbose,
        skip_unchanged=None if force is None else not force,
        operations=operations,
        priority=priority,
        min_priority=min_priority,
        **{**settings, "output_dir": given.output_dir},
    )
    if summary["networks_left_out"]:
        click.echo(f"Left out: {summary['networks_left_out']} network(s) of a priority below {min_priority.name}.")
    batch_commands.finish(summary, given)


@cli.command()
@_with(_SOURCE_OPTIONS)
@_with(_EXTRACTION_OPTIONS)
@_WORKERS
@_FORCE
@batch_commands.BUDGET
@_with(_PRIORITY_OPTIONS)
@click.option("--sizes/--no-sizes", default=True, show_default=True, help="Ask the servers for the sizes of the files.")
@click.option("--json", "as_json", is_flag=True, help="As JSON lines: one per file, then one per problem.")
def plan(source: str, location: str, sizes: bool, as_json: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Show what `run` with the same flags would do, and what is wrong with them. Writes nothing."""
    del flags["workers"], flags["verbose"], flags["force"]
    operations = Operations.from_environment(budget_dollars=flags.pop("budget_dollars"))
    check_alert_urls(operations.alert_urls)
    priority, min_priority = flags.pop("priority"), flags.pop("min_priority")
    options, settings = _split_flags(flags)
    given = Settings.from_environment(**settings)
    _read_whitelists(given)
    options = replace(options, limits=given.limits)
    tally = SourceTally()
    try:
        tasks = list(with_checked_arguments(_read(source, location, given, options, tally), given))
    except SourceProblems as error:
        if as_json:
            _print_problems(error.problems)
        raise
    priorities = _priorities(tasks, priority, min_priority)
    networks = len({task.network_id for task in tasks})
    tasks = [task for task in tasks if min_priority is None or priorities[task.network_id] >= min_priority]
    probes = Probes(replace(FetchOptions.of(given), max_retries=0))  # a size is worth no wait
    found = _sizes(tasks, probes) if sizes else [None] * len(tasks)
    if as_json:
        for task, size in zip(tasks, found, strict=True):
            click.echo(printable_json(_task_line(task, size, priorities.get(task.network_id))))
        _tell_silent_hosts(probes)
        _print_problems(tally.problems)
        _tell_kept(tasks, given, err=True)
        _tell_source(tally, err=True)
        return
    _print_plan(tasks, found, priorities)
    if sizes:
        _print_total(found, operations)
        _tell_silent_hosts(probes)
    if left_out := networks - len({task.network_id for task in tasks}):
        click.echo(f"Left out: {left_out} network(s) of a priority below {min_priority.name}.")
    _tell_kept(tasks, given, err=False)
    _tell_source(tally)


@cli.command()
@click.argument("url")
@click.option("--output-prefix", default="", help="Label in front of the network's name.")
@click.option("--network-id", help="The partition key; by default it is made from the URL.")
@click.option("--plan-name", multiple=True, help="A plan that uses the file; repeat the four --plan-* flags together.")
@click.option("--plan-id-type", multiple=True)
@click.option("--plan-id", multiple=True)
@click.option("--plan-market-type", multiple=True)
@_with(_EXTRACTION_OPTIONS)
def extract(url: str, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ingest one file here and now, without Dagster."""
    console = logging.StreamHandler()
    console.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[console])
    if verbose:  # of our own alone: urllib3 tells signed addresses
        logging.getLogger("mrf_assets").setLevel(logging.DEBUG)
    plans = _zip_plans(*(flags.pop(f"plan_{name}") for name in ("name", "id_type", "id", "market_type")))
    options, settings = _split_flags(flags | {"structures": None, "match": None, "max_files": None}, plans)
    given = Settings.from_environment(**settings)
    Store(given.output_dir.absolute()).sweep()
    (task,) = read_source("url", url, _opener(given), options, SourceTally())
    result = ingest(task.network_id, [task], given)
    result.require_published()
    write_catalog(given.output_dir.absolute(), given.taxonomy_codes)
    _tell_result(result)


@cli.command()
@click.option("--output-dir", type=_PATH, help="The output folder of the batch.")
@click.option("--batch", "batch_id", help="Which batch.  [default: the latest]")
@click.option("--all", "everything", is_flag=True, help="The latest run of every network, whoever started it.")
@click.option("--output", type=_PATH, help="Write it there.  [default: print it]")
def manifest(output_dir: Path | None, batch_id: str | None, everything: bool, output: Path | None) -> None:
    """Export the manifest out of run metadata."""
    from mrf_assets.batches.manifest import write_manifest  # noqa: PLC0415 - goes with it
    from mrf_assets.runner.history import export_manifest  # noqa: PLC0415 - imports Dagster, 1.5 s

    settings = Settings.from_environment(output_dir=output_dir)
    exported = export_manifest(settings.output_dir.absolute(), batch_id, everything=everything)
    if output is None:
        click.echo(printable_json(exported, indent=2))
    else:
        write_manifest(exported, output)
        click.echo(f"Manifest file: {output}")


cli.add_command(query_commands.catalog)
cli.add_command(query_commands.query)
cli.add_command(check)
cli.add_command(report_command.changes)
cli.add_command(report_command.report)


def _split_flags(flags: dict[str, Any], plans: tuple[Plan, ...] = ()) -> tuple[SourceOptions, dict[str, Any]]:
    """What is about the source, and what is a setting."""
    options = SourceOptions(
        prefix=flags.pop("output_prefix"),
        network_id=flags.pop("network_id"),
        structures=flags.pop("structures"),
        match=flags.pop("match"),
        max_files=flags.pop("max_files"),
        plans=plans,
    )
    return options, flags


def _zip_plans(
    names: Sequence[str], id_types: Sequence[str], ids: Sequence[str], markets: Sequence[str]
) -> tuple[Plan, ...]:
    counts = {len(names), len(id_types), len(ids), len(markets)}
    if len(counts) > 1:
        raise SettingError(
            "--plan-*",
            f"{len(names)} --plan-name, {len(id_types)} --plan-id-type, {len(ids)} --plan-id and "
            f"{len(markets)} --plan-market-type were given; repeat all four for each plan",
        )
    return tuple(
        Plan(plan_name=name, plan_id_type=kind.lower(), plan_id=plan_id, plan_market_type=market.lower())
        for name, kind, plan_id, market in zip(names, id_types, ids, markets, strict=True)
    )


def _read_whitelists(settings: Settings) -> None:
    """Read the whitelists and print their warnings."""
    print_warnings(Whitelists.of(settings).warnings)


def _tell_kept(tasks: Sequence[FileTask], settings: Settings, *, err: bool) -> None:
    """What the whitelists would keep of what is published; of other networks nobody knows before they are read."""
    by_whitelists = networks_by_whitelists(tasks, settings, lambda text: print_warnings([text]))
    if not by_whitelists:
        return
    found = [
        each for own, networks in by_whitelists.items() for each in published_prices(own, networks, Whitelists.of(own))
    ]
    prices, kept = sum(each.prices for each in found), sum(each.kept for each in found)
    click.echo(
        f"Whitelist: would keep {kept:,} of {prices:,} prices that are published, "
        f"of {len(found)} of {sum(map(len, by_whitelists.values()))} networks with a whitelist.",
        err=err,
    )
    emptied = [each for each in found if each.prices and not each.kept]
    how = "`mrf run` empties them" if settings.allow_empty else "`mrf run` refuses to empty them without --allow-empty"
    for each in emptied[:_PROBLEMS_TOLD]:
        click.echo(f"  ⚠️ {each.network_id}: 0 of {each.prices:,} prices", err=err)
    if emptied:
        click.echo(f"  {len(emptied)} network(s) have no wanted price now; {how}.", err=err)


def _opener(settings: Settings) -> Opener:
    return partial(open_url, options=FetchOptions.of(settings))


def _read(
    source: str, location: str, settings: Settings, options: SourceOptions, tally: SourceTally
) -> Iterator[FileTask]:
    """The tasks of a source; one that cannot be read at all is the user's to mend, as a wrong flag is."""
    try:
        yield from read_source(source, location, _opener(settings), options, tally)
    except (FetchError, StreamError, ExtractError) as error:
        raise SettingError("--input", str(error)) from error


def _told(
    source: str, location: str, settings: Settings, options: SourceOptions, tally: SourceTally
) -> Iterator[FileTask]:
    """The tasks; what was odd about their source is told behind the last."""
    yield from _read(source, location, settings, options, tally)
    _tell_source(tally)


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(printable_json({"where": problem.where, "problem": problem.what}))


def _tell_source(tally: SourceTally, *, err: bool = False) -> None:
    if tally.allowed_amount_files:
        names = ", ".join(map(printable, map(file_name, tally.allowed_amount_examples[:_NAMES_TOLD])))
        more = ", ..." if tally.allowed_amount_files > _NAMES_TOLD else ""
        click.echo(
            f"Not ingested: {tally.allowed_amount_files} allowed-amounts file(s); they hold no negotiated rates. "
            f"Their names: {names}{more}",
            err=err,
        )
    if tally.mirrors:
        click.echo(f"Mirrors: {tally.mirrors} address(es) of files that are read elsewhere.", err=err)
    if tally.problem_count:
        click.echo(f"Problems in the source: {tally.problem_count}", err=True)
        for problem in tally.problems[:_PROBLEMS_TOLD]:
            click.echo(f"  {printable(str(problem))}", err=True)


def _sizes(tasks: Sequence[FileTask], probes: Probes) -> list[int | None]:
    with ThreadPoolExecutor(_SIZES_AT_ONCE) as pool:
        told = pool.map(lambda task: probes(task.url, is_from_stranger=task.is_from_stranger), tasks)
        return [None if validators is None else validators.size_bytes for validators in told]


def _tell_silent_hosts(probes: Probes) -> None:
    for server, files in sorted(probes.not_asked.items()):
        click.echo(
            f"{printable(server)} did not answer, so {files:,} of its files were not asked for their sizes; "
            "check the network, or leave the sizes out: --no-sizes",
            err=True,
        )


def _print_plan(tasks: Sequence[FileTask], found: Sequence[int | None], priorities: Mapping[str, int]) -> None:
    """A table with a row for each file; `found` are their sizes in bytes."""
    table = Table(
        title=f"{len({task.network_id for task in tasks})} networks, {len(tasks)} files", title_justify="left"
    )
    for column in ("network", "period", "part", "plans", *(("priority",) if priorities else ()), "size", "file"):
        table.add_column(column, justify="right" if column in ("plans", "size") else "left", overflow="fold")
    for task, size in zip(tasks, found, strict=True):
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


def _print_total(found: Sequence[int | None], operations: Operations) -> None:
    """What there is to download, and what that costs where a budget asks."""
    known = [size for size in found if size is not None]
    untold = f"; {len(found) - len(known)} file(s) do not tell their size" if len(known) < len(found) else ""
    click.echo(f"Total: {sum(known) / 1e6:,.1f} MB in {len(known)} of {len(found)} files{untold}.")
    if operations.budget_dollars is not None:
        dollars = sum(known) / 1e9 * operations.price_per_gb
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
        "url": task.canonical_url,
        "size_bytes": size,
        "plans": len(task.plans),
        "rule": task.identity.rule,
        **({} if priority is None else {"priority": Priority(priority).name}),
    }


def _tell_result(result: NetworkResult) -> None:
    rows = row_counts(result.published)
    click.echo(f"✅ {result.network_id} ({result.seconds:.1f}s)")
    for table, count in rows.items():
        click.echo(f"  {table}: {count:,} rows")
    if result.kept is not None:
        click.echo(f"  {result.kept}")
    for file in result.published:
        click.echo(f"  {file.path}")
    warnings = {(r.check.table, r.check.name): r for rs in result.checks.values() for r in rs if not r.passed}
    for (table, name), found in warnings.items():
        click.echo(f"  ⚠️ {table}.{name}: {found.offending_rows:,} rows; {found.check.explanation}")


cli.add_command(discover)
cli.add_command(enrich)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Expected failures end the program with one line and their exit code."""
    try:
        yield
    except MrfError as error:
        _end_with(error)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:  # Ctrl-C while the source is read; later ones are the batch's
        click.echo("Stopped; no network was started.", err=True)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `mrf manifest | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        full = full_disk_behind(error, dagster_home(), "a DAGSTER_HOME")  # Dagster's own errors do not tell
        if full is None:
            raise
        _end_with(full)


def _end_with(error: MrfError) -> NoReturn:
    click.echo(f"Error: {printable(str(error))}", err=True)
    sys.exit(2 if isinstance(error, InputError) else 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    with _one_line_errors():
        cli.main(args=None if arguments is None else list(arguments), prog_name="mrf", standalone_mode=False)
