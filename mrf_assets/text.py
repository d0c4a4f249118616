r"""Characters that are no text: they steer terminals, turn the direction of writing, or are not seen at all.

U+202E shows `exe.nosj` as `json.exe`, and what stands around it the wrong way, too. Names and texts of strangers are
shown without them: on consoles, in logs, in Dagster's UI, in CSVs for people. Tables have what the payer wrote.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import quote

# Unicode's categories Cc, Cf, Cs, Zl and Zp, as of version 16; a test holds it. Joiners in emoji and in some scripts
# are among them: those texts stay legible.
UNPRINTABLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u180e\\u200b-\\u200f"
    "\\u2028-\\u202e\\u2060-\\u2064\\u2066-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\U000110bd\\U000110cd"
    "\\U00013430-\\U0001343f\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0001\\U000e0020-\\U000e007f]"
)


def printable(text: str) -> str:
    """Text of strangers with U+FFFD for what is no text."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def printable_lines(text: str) -> str:
    """The same, with line ends and tabs as they are."""
    return UNPRINTABLE.sub(lambda found: found[0] if found[0] in "\t\r\n" else "\N{REPLACEMENT CHARACTER}", text)


def printable_values(value: object) -> object:
    """The same for all texts and keys of a JSON value."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): printable_values(each) for key, each in value.items()}
    return [printable_values(each) for each in value] if isinstance(value, list | tuple) else value


def percent_escaped(text: str) -> str:
    """An address with escapes for what is no text: the same address (RFC 3987, 3.1), and it can be shown."""
    return UNPRINTABLE.sub(lambda found: quote(found.group(), errors="surrogatepass"), text)


def printable_json(value: object, indent: int | None = None) -> str:
    """JSON for a console: readable letters as they are, what could steer a terminal as escapes."""
    lines = json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    return "\n".join(UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in lines)


class PrintableFormatter(logging.Formatter):
    """Log lines for a console."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        return "\n".join(map(printable, super().format(record).split("\n")))


@contextmanager
def package_log(*, verbose: bool) -> Iterator[None]:
    """What our own modules say goes to stderr; other libraries tell addresses."""
    ours, handler = logging.getLogger("mrf_assets"), logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(before)
        ours.removeHandler(handler)


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
