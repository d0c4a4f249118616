"""Flags of commands that read a source, and what is printed of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import click

from mrf_assets.cli.options import OUTPUT_DIR, PriorityName, setting_option
from mrf_assets.errors import (
    ExtractError,
    FetchError,
    Problem,
    SettingError,
    StreamError,
)
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.runner.console import print_warnings
from mrf_assets.settings import Settings
from mrf_assets.sources import SourceCounts, SourceOptions, read_source
from mrf_assets.stream.raw_file import Opener
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.text import printable, printable_json
from mrf_assets.urls import file_name
from mrf_assets.whitelist import Whitelists

NAMES_SHOWN = 3


_F = TypeVar("_F", bound=Callable[..., Any])


PROBLEMS_SHOWN = 10


EXTRACTION_OPTIONS = [
    OUTPUT_DIR,
    setting_option(Settings, "cpt_whitelist"),
    setting_option(Settings, "tin_whitelist"),
    setting_option(Settings, "allow_empty"),
    setting_option(Settings, "referenced_groups_only", flag="--referenced-groups-only/--all-groups"),
    setting_option(Settings, "provider_batch_size"),
    setting_option(Settings, "rate_batch_size"),
    setting_option(Settings, "reader"),
    setting_option(Settings, "keep_periods"),
    click.option("--verbose", is_flag=True, help="Everything that happens goes to the console, with any --workers."),
]


PRIORITY_OPTIONS = [
    click.option(
        "--priority",
        type=PriorityName(),
        help="Priority of every network.  [default: from the plans, age and bytes of each]",
    ),
    click.option("--min-priority", type=PriorityName(), help="Leave out networks of lower priority."),
]


SOURCE_OPTIONS = [
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


def with_options(options: Sequence[Callable[[_F], _F]]) -> Callable[[_F], _F]:
    """Several options as one decorator."""

    def decorate(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def split_flags(flags: dict[str, Any], plans: tuple[Plan, ...] = ()) -> tuple[SourceOptions, dict[str, Any]]:
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


def read_whitelists(settings: Settings) -> None:
    """Read the whitelists and print their warnings."""
    print_warnings(Whitelists.of(settings).warnings)


def opener_of(settings: Settings) -> Opener:
    """Opens files and addresses as the settings say."""
    return partial(open_url, options=FetchOptions.of(settings))


def read_tasks(
    source: str, location: str, settings: Settings, options: SourceOptions, counts: SourceCounts
) -> Iterator[FileTask]:
    """The tasks of a source; one that cannot be read at all is the user's to mend, as a wrong flag is."""
    try:
        yield from read_source(source, location, opener_of(settings), options, counts)
    except (FetchError, StreamError, ExtractError) as error:
        raise SettingError("--input", str(error)) from error


def reported(
    source: str, location: str, settings: Settings, options: SourceOptions, counts: SourceCounts
) -> Iterator[FileTask]:
    """The tasks; behind the last, print what was odd about their source."""
    yield from read_tasks(source, location, settings, options, counts)
    print_source(counts)


def print_problems(problems: Sequence[Problem]) -> None:
    """A line of JSON for each."""
    for problem in problems:
        click.echo(printable_json({"where": problem.where, "problem": problem.what}))


def print_source(counts: SourceCounts, *, err: bool = False) -> None:
    """Print what was found in a source, and what was odd about it."""
    if counts.allowed_amount_files:
        names = ", ".join(map(printable, map(file_name, counts.allowed_amount_examples[:NAMES_SHOWN])))
        more = ", ..." if counts.allowed_amount_files > NAMES_SHOWN else ""
        click.echo(
            f"Not ingested: {counts.allowed_amount_files} allowed-amounts file(s); they hold no negotiated rates. "
            f"Their names: {names}{more}",
            err=err,
        )
    if counts.mirrors:
        click.echo(f"Mirrors: {counts.mirrors} address(es) of files that are read elsewhere.", err=err)
    if counts.problem_count:
        click.echo(f"Problems in the source: {counts.problem_count}", err=True)
        for problem in counts.problems[:PROBLEMS_SHOWN]:
            click.echo(f"  {printable(str(problem))}", err=True)
