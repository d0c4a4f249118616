"""`mrf changes` and `mrf report`: what moved since the month before, and all of it on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mrf_assets.changes import Changes, write_changes
from mrf_assets.console import printable
from mrf_assets.errors import SettingError
from mrf_assets.settings import Settings
from mrf_assets.store import Store

_PATH = click.Path(path_type=Path)
_PIPED_WIDTH = 1_000  # characters
_SHIFTS_TOLD = 5


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--output-dir", type=_PATH, help="The output folder.  [default: mrf_output]")
@click.option("--memory-mb", type=int, help="Memory that a comparison may take.  [default: 1024]")
def changes(networks: tuple[str, ...], memory_mb: int | None, **settings: Any) -> None:  # noqa: ANN401 - click's values
    """Compare the two latest periods of NETWORKS, by default of all; writes the table rate_changes of each."""
    given = Settings.from_environment(query_memory_mb=memory_mb, **settings)
    listed = networks or Store(given.output_dir.absolute()).networks()
    if not listed:
        raise SettingError("--output-dir", f"nothing is published in {given.output_dir}; run `mrf run` first")
    table = Table()
    for column in ("network", "since", "added", "removed", "raised", "lowered", "median ratio", "moved most", "drift"):
        table.add_column(column, justify="right" if column in ("added", "removed", "raised", "lowered") else "left")
    for network in listed:
        table.add_row(*_row(write_changes(given, network)))
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def _row(made: Changes) -> list[str]:
    if made.period is None:
        return [printable(made.network_id), "one period", *[""] * 7]
    shifts = [f"{it.billing_code_type} {it.billing_code} x{it.ratio:.2f}" for it in made.shifts[:_SHIFTS_TOLD]]
    drifted = [result.check.name for result in made.drift if not result.passed]
    return [
        printable(made.network_id),
        f"{made.previous_period} to {made.period}",
        *(f"{count:,}" for count in (made.added, made.removed, made.raised, made.lowered)),
        "" if made.median_ratio is None else f"{made.median_ratio:.3f}",
        printable(", ".join(shifts)),
        ", ".join(drifted) or "none",
    ]
