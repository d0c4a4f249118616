"""The readers against each other on new documents until the time is up: `make fuzz MINUTES=30`.

A round is a run of the tests marked `fuzz` in one process per core, each with examples of its own. What differs is
printed with the line that reproduces it, and ends everything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click

_MODULE = Path(__file__).parent / "extract" / "fast" / "test_equals_oracle.py"
_PYTEST = (
    *("-m", "pytest", "-q", "-s", "-x", "-m", "fuzz", "-p", "no:cacheprovider"),
    *("--timeout", "3600", "--hypothesis-profile", "fuzz", str(_MODULE)),
)
_COMPARED = re.compile(r"^([0-9]+) documents compared$", re.MULTILINE)


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="one per core")
def main(minutes: float, processes: int) -> None:
    """Run rounds; the last one is finished, which takes about a minute."""
    started, documents, rounds = time.monotonic(), 0, 0
    while time.monotonic() - started < 60 * minutes:
        documents += _round(processes)
        rounds += 1
        click.echo(
            f"{(time.monotonic() - started) / 60:.1f} min, {rounds} rounds: {documents:,} documents, no difference"
        )


def _round(processes: int) -> int:
    """How many documents were compared; leaves the program where two outcomes differ."""
    running = [
        subprocess.Popen((sys.executable, *_PYTEST), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(processes)
    ]
    outputs = [process.communicate()[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            click.echo(output)
            sys.exit(1)
    return sum(int(found) for output in outputs for found in _COMPARED.findall(output))


if __name__ == "__main__":
    main()
