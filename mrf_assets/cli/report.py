"""`mrf changes` and `mrf report`: what moved since the month before, and all of it on one page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mrf_assets.cli.options import MEMORY, PUBLISHED_DIR, TAXONOMY_OPTION, LocalPath, from_flags
from mrf_assets.errors import SettingError
from mrf_assets.lake.store import Store
from mrf_assets.quality.changes import CHANGED, METHOD_CHANGED, NOT_PAIRED, Changes, write_changes
from mrf_assets.settings import Settings
from mrf_assets.text import printable

_PATH = LocalPath()
_MAX_SHOWN_SHIFTS = 4


@click.command("changes")
@click.argument("networks", nargs=-1)
@PUBLISHED_DIR
@MEMORY
def changes_command(networks: tuple[str, ...], **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Compare the two latest periods of NETWORKS, by default of all, price by price of each TIN.

    Writes the tables rate_changes and membership_changes of each.
    """
    settings = from_flags(Settings, **flags)
    selection = networks or Store(settings.output_dir.absolute()).networks()
    if not selection:
        raise SettingError("--output-dir", f"nothing is published in {settings.output_dir}; run `mrf run` first")
    for network in selection:
        for line in _lines(write_changes(settings, network)):
            click.echo(printable(line))


@click.command("report")
@click.argument("networks", nargs=-1)
@click.option("--output", type=_PATH, help="Write it there.  [default: report.html in the output folder]")
@click.option(
    "--code",
    "codes",
    multiple=True,
    help="Show the prices of this code; may be repeated.  [default: those of most networks]",
)
@click.option(
    "--codes",
    "most_codes",
    type=click.IntRange(1, 50),
    default=6,
    show_default=True,
    help="How many codes, where no --code names them.",
)
@PUBLISHED_DIR
@TAXONOMY_OPTION
@MEMORY
def report_command(
    networks: tuple[str, ...],
    output: Path | None,
    codes: tuple[str, ...],
    most_codes: int,
    **flags: Any,  # noqa: ANN401 - click's values
) -> None:
    """Write one HTML page about NETWORKS, by default all: coverage, prices, changes, quality, providers, run times."""
    from mrf_assets.report import write_report  # noqa: PLC0415 - imports matplotlib, 0.5 s

    settings = from_flags(Settings, **flags)
    page = write_report(settings, networks, path=output, codes=codes, most_codes=most_codes)
    for hint in page.figures.hints:
        click.echo(f"Hint: {printable(hint)}", err=True)
    providers = "" if page.figures.providers is None else f"; {page.figures.providers.summary}"
    click.echo(f"{page.path}: {len(page.figures.coverage):,} network(s){printable(providers)}")


def _lines(changes: Changes) -> Iterator[str]:
    """What changed in a network, in shares of what stands in both months, for a terminal of 80 columns."""
    if changes.period is None:
        yield f"{changes.network_id}: one period, nothing to compare"
        return
    head = f"{changes.network_id}, {changes.previous_period} to {changes.period}"
    if changes.refused_because is not None:
        yield f"{head}: {changes.refused_because}"
        return
    yield f"{head}: {changes.count(CHANGED):,} of {changes.compared:,} TIN-prices changed"
    ratio = "" if changes.median_ratio is None else f"; median {changes.median_ratio:.3f} of {changes.dollar_changes:,}"
    yield f"  {changes.raised:,} raised, {changes.lowered:,} lowered{ratio}{' in dollars' if ratio else ''}"
    yield f"  {changes.count(METHOD_CHANGED):,} by another method, {changes.count(NOT_PAIRED):,} not paired"
    yield (
        f"  added: {changes.count('tin added'):,} by TINs, {changes.count('code added'):,} of new codes; "
        f"removed: {changes.count('tin removed'):,} and {changes.count('code removed'):,}"
    )
    yield f"  NPIs: {changes.joined:,} joined, {changes.left:,} left"
    if changes.shifts:
        yield f"  moved most: {', '.join(f'{it.title} x{it.ratio:.2f}' for it in changes.shifts[:_MAX_SHOWN_SHIFTS])}"
    yield f"  drift: {', '.join(it.check.name for it in changes.drift if not it.passed) or 'none'}"
    if changes.note is not None:
        yield f"  {changes.note}"
