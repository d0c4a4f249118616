"""Texts of strangers in CSV files that people open: a spreadsheet runs what begins like a formula."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from typing import IO

# OWASP, "CSV injection", with the full-width forms that spreadsheets of East Asia take for the plain ones.
_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_APOSTROPHE = "'"


def disarmed(text: str) -> str:
    """The text behind an apostrophe where a spreadsheet would run it, or it begins with one: `armed` undoes it."""
    return _APOSTROPHE + text if text.startswith((*_BEGINNINGS, _APOSTROPHE)) else text


def row_writer(file: IO[str]) -> Callable[[Iterable[str]], None]:
    """Writes a row of cells as a line of CSV.

    Python leaves a lone carriage return without quotes, and a spreadsheet begins a row behind it.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(cells: Iterable[str]) -> None:
        row = list(cells)
        writer = quoted if any("\r" in cell for cell in row) else plain
        writer.writerow(row)

    return write


def armed(cell: str) -> str:
    """What `disarmed` was given."""
    return cell.removeprefix(_APOSTROPHE)
