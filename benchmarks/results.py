"""RESULTS.md: a chapter for each benchmark, written anew by its own run alone."""

from __future__ import annotations

import datetime as dt
import os
import platform
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
READER, CATALOG, SENSOR, ENGINE = "The reader", "Catalog and queries", "The sensor of indexes", "The batch engine"
DISCOVERY = "Discovery"
_ORDER = (READER, CATALOG, SENSOR, ENGINE, DISCOVERY)
_TITLE = "# Measured\n\nTrust the ratios inside one table: absolute figures are the machine's and the hour's.\n"
_WIDTH = 120


def write_chapter(
    title: str, sections: Sequence[str], *, command: str, about: str, libraries: Sequence[str], path: Path = RESULTS
) -> None:
    """Put a chapter in its place: how it was made, what its figures mean, and its tables."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    made = (
        f"Written by `{command}` on {dt.datetime.now(tz=dt.UTC):%Y-%m-%d}: {os.cpu_count()} cores (load average of the "
        f"last 15 minutes: {os.getloadavg()[2]:.1f}), Python {platform.python_version()}, {versions}."
    )
    head = textwrap.fill(f"{made} {' '.join(about.split())}", _WIDTH, break_long_words=False, break_on_hyphens=False)
    chapters = _chapters(path) | {title: "\n".join((head, *sections)).strip() + "\n"}
    kept = [name for name in _ORDER if name in chapters]
    path.write_text("\n".join((_TITLE, *(f"## {name}\n\n{chapters[name]}" for name in kept))))


def _chapters(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    _, *chapters = path.read_text().split("\n## ")
    split = (chapter.partition("\n\n") for chapter in chapters)
    return {title: f"{content.strip()}\n" for title, _, content in split}
