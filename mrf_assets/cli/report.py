"""`mrf changes` and `mrf report`: what moved since the month before, and all of it on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mrf_assets.cli.options import MEMORY, PUBLISHED_DIR, TAXONOMY_OPTION, LocalPath, from_flags
from mrf_assets.errors import SettingError
from mrf_assets.lake.store import Store
from mrf_assets.quality.changes import Changes, write_changes
from mrf_assets.settings import Settings
from mrf_assets.text import printable

_PATH = LocalPath()
_PIPED_WIDTH = 1_000  # characters
_SHIFTS_TOLD = 5


@click.command("changes")
@click.argument("networks", nargs=-1)
@PUBLISHED_DIR
@MEMORY
def changes_command(networks: tuple[str, ...], **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Compare the two latest periods of NETWORKS, by default of all; writes the table rate_changes of each."""
    settings = from_flags(Settings, **flags)
    selection = networks or Store(settings.output_dir.absolute()).networks()
    if not selection:
        raise SettingError("--output-dir", f"nothing is published in {settings.output_dir}; run `mrf run` first")
    table = Table()
    for column in ("network", "since", "added", "removed", "raised", "lowered", "median ratio", "moved most", "drift"):
        table.add_column(column, justify="right" if column in ("added", "removed", "raised", "lowered") else "left")
    for network in selection:
        table.add_row(*_row(write_changes(settings, network)))
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


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


def _row(changes: Changes) -> list[str]:
    if changes.period is None:
        return [printable(changes.network_id), "one period", *[""] * 7]
    shifts = [f"{it.billing_code_type} {it.billing_code} x{it.ratio:.2f}" for it in changes.shifts[:_SHIFTS_TOLD]]
    drift_rules = [result.check.name for result in changes.drift if not result.passed]
    return [
        printable(changes.network_id),
        f"{changes.previous_period} to {changes.period}",
        *(f"{count:,}" for count in (changes.added, changes.removed, changes.raised, changes.lowered)),
        "" if changes.median_ratio is None else f"{changes.median_ratio:.3f}",
        printable(", ".join(shifts)),
        ", ".join(drift_rules) or "none",
    ]
