"""`mrf index`: the registry of watched indexes, from the shell."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mrf_assets.cli.options import PUBLISHED_DIR, REGISTRY, LocalPath, from_flags
from mrf_assets.errors import MrfError, SettingError
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.runner.console import print_warnings
from mrf_assets.settings import IndexWatching, Settings
from mrf_assets.sources import SourceCounts, SourceOptions, read_index
from mrf_assets.sources.locations import Unusable, shown, usable_location
from mrf_assets.text import printable, printable_json
from mrf_assets.urls import fault_of, is_remote, local_path
from mrf_assets.watch.memory import IndexStatus, IndexStore
from mrf_assets.watch.reader import source_options
from mrf_assets.watch.registry import PRIORITIES, RegisteredIndex, add_index, read_registry, remove_index
from mrf_assets.whitelist import read_code_whitelist

_CHECKED_STRUCTURES = 100
_PROBLEMS_TOLD = 5
_PIPED_WIDTH = 1_000  # characters
_PATH = LocalPath()
_DEFAULTS = {each.name: each.default for each in fields(RegisteredIndex)}


def _registry(path: Path | None) -> Path:
    return from_flags(IndexWatching, index_registry=path).registry


@click.group("index")
def index_commands() -> None:
    """Which indexes are watched by the sensor: add, list, remove, check."""


@index_commands.command()
@click.argument("name")
@click.argument("url")
@click.option("--payer", required=True, help="The payer's name: for people, and a tag of every run.")
@click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    help=f"Which networks come first.  [default: {_DEFAULTS['priority'].name}]",
)
@click.option(
    "--poll-minutes", type=float, help=f"How often it is asked for.  [default: {_DEFAULTS['poll_minutes']:g}]"
)
@click.option(
    "--cpt-whitelist", type=_PATH, help="Billing codes to keep of its networks.  [default: as MRF_CPT_WHITELIST]"
)
@click.option("--structures", type=int, help="Read the first N reporting structures.")
@click.option("--match", help="Only structures with this text in a plan's name, id, issuer or sponsor.")
@click.option("--max-files", type=int, help="The first N files.")
@click.option(
    "--smallest-share",
    type=float,
    help=f"Naming less than this share of before is broken.  [default: {_DEFAULTS['smallest_share']}]",
)
@click.option(
    "--probe-files/--no-probe-files", default=None, help="Ask whether files changed in place.  [default: ask]"
)
@click.option("--replace", is_flag=True, help="Change an index that is registered: the flags given, the rest stays.")
@REGISTRY
def add(name: str, url: str, index_registry: Path | None, replace: bool, **values: Any) -> None:  # noqa: ANN401 - click's values
    """Register the index at URL (or a path) under NAME."""
    path = _registry(index_registry)
    url = _existing(url)
    whitelist = values["cpt_whitelist"]
    if whitelist is not None:
        values["cpt_whitelist"] = whitelist.absolute()
        print_warnings(read_code_whitelist(whitelist).warnings)
    entry = {"url": url} | {key: value for key, value in values.items() if value is not None}
    index = add_index(path, name, entry, replace=replace)
    click.echo(f"Registered in {path}: {printable(_index_text(index))}")
    click.echo(
        "The sensor reads it within a minute where `dagster dev` or the daemon runs; `mrf index check` reads it now."
    )


def _existing(url: str) -> str:
    """An address as it is, or the absolute path of a file that is there."""
    if is_remote(url) or fault_of(url) is not None:
        try:
            return usable_location(url, str(Path.cwd() / "index.json"))
        except Unusable as error:
            raise SettingError("URL", str(error)) from None
    path = local_path(url).absolute()
    if not path.exists():
        raise SettingError("URL", f"{shown(url)} is neither an address (https://...) nor a file that is there")
    return str(path)


@index_commands.command()
@click.argument("name")
@REGISTRY
def remove(name: str, index_registry: Path | None) -> None:
    """Take NAME out of the registry. What it published stays, and is watched no longer."""
    path = _registry(index_registry)
    remove_index(path, name)
    click.echo(f"Removed from {path}: {name}. Its networks stay as they are.")


@index_commands.command("list")
@PUBLISHED_DIR
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, one per index.")
@click.option("--retired", is_flag=True, help="The networks that left their index, too.")
@REGISTRY
def list_indexes(index_registry: Path | None, output_dir: Path | None, as_json: bool, retired: bool) -> None:
    """Show the registered indexes and how they stand."""
    path = _registry(index_registry)
    indexes = read_registry(path)
    store = IndexStore.under(from_flags(Settings, output_dir=output_dir).output_dir)
    statuses = {status.name: status for status in store.statuses()} if store.exists else {}
    retirements = {each.name: store.retired(each.name) for each in indexes} if retired and statuses else {}
    if as_json:
        for each in indexes:
            click.echo(printable_json(_line(each, statuses.get(each.name), retirements.get(each.name))))
        return
    if not indexes:
        click.echo(f"No index is registered in {path}; `mrf index add` registers one.")
        return
    table = Table(title=f"{len(indexes)} indexes in {path}", title_justify="left")
    for column in ("name", "payer", "priority", "polled", "networks", "retired", "waiting", "state", "index"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("networks", "retired", "waiting") else "left"
        )
    for each in indexes:
        status = statuses.get(each.name)
        counts = ("", "", "") if status is None else (str(status.networks), str(status.retired), str(status.pending))
        table.add_row(
            each.name,
            printable(each.payer),
            each.priority.name,
            _when(status.polled_at if status else None),
            *counts,
            printable(_state(status)),
            printable(str(each.url)),
        )
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH  # a line per index, for grep
    console.print(table)
    for name, networks in retirements.items():
        for network_id, since in networks:
            click.echo(f"retired: {network_id} left {name}, seen {_when(since)}")


@index_commands.command("check")
@click.argument("names", nargs=-1)
@click.option("--whole", is_flag=True, help=f"Read indexes to their end, not {_CHECKED_STRUCTURES} structures.")
@REGISTRY
def check_indexes(names: tuple[str, ...], whole: bool, index_registry: Path | None) -> None:
    """Read the registry and its indexes (or NAMES), and say what is wrong. Writes nothing."""
    path = _registry(index_registry)
    indexes = read_registry(path)
    if unknown := sorted(set(names) - {each.name for each in indexes}):
        raise SettingError("names", f"not registered in {path}: {', '.join(unknown)}")
    options = FetchOptions.of(Settings.from_environment())
    selection = [each for each in indexes if not names or each.name in names]
    sound = [_check(each, options, whole=whole) for each in selection]
    click.echo(f"{sum(sound)} of {len(sound)} indexes can be read.")
    if not all(sound):
        sys.exit(1)


def _check(index: RegisteredIndex, fetch: FetchOptions, *, whole: bool) -> bool:
    counts = SourceCounts()
    options = source_options(index)
    structures = options.structures if whole else min(options.structures or _CHECKED_STRUCTURES, _CHECKED_STRUCTURES)
    sample_options = SourceOptions(structures=structures, match=options.match, max_files=options.max_files)
    try:
        if index.cpt_whitelist is not None:
            print_warnings(read_code_whitelist(index.cpt_whitelist).warnings)
        networks = {
            task.network_id for task in read_index(index.url, partial(open_url, options=fetch), sample_options, counts)
        }
    except MrfError as error:
        click.echo(f"❌ {index.name}: {printable(str(error))}")
        return False
    summary = f"{counts.structures} structures read, {len(networks)} networks, {counts.tasks} files"
    click.echo(f"✅ {index.name}: {summary}, {counts.problem_count} problems")
    for problem in counts.problems[:_PROBLEMS_TOLD]:
        click.echo(f"   {printable(str(problem))}")
    return True


def _index_text(index: RegisteredIndex) -> str:
    return f"{index.name}, {index.payer}, {index.priority.name}, every {index.poll_minutes:g} minutes: {index.url}"


def _state(status: IndexStatus | None) -> str:
    if status is None or status.polled_at is None:
        return "not read yet" if status is None or status.reading_since is None else "being read"
    if status.error is not None:
        return f"failed {status.failures} times: {status.error}"
    return "being read" if status.reading_since is not None else "ok"


def _when(moment: float | None) -> str:
    return "" if moment is None else f"{dt.datetime.fromtimestamp(moment, tz=dt.UTC):%Y-%m-%d %H:%M} UTC"


def _line(
    index: RegisteredIndex, status: IndexStatus | None, retirements: list[tuple[str, float]] | None
) -> dict[str, Any]:
    line: dict[str, Any] = asdict(index) | {"url": str(index.url), "priority": index.priority.name}
    line["cpt_whitelist"] = None if index.cpt_whitelist is None else str(index.cpt_whitelist)
    line |= {"status": None if status is None else asdict(status) | {"state": _state(status)}}
    return line if retirements is None else line | {"retired": dict(retirements)}
