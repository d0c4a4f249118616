"""What was found -> a CSV, one row per file; and one for each portal without any.

`file_url` is the real address, signature and all, for `mrf run` and people use it: the file is readable by its owner
alone, as the plan and the registry of indexes are. All other columns are safe to show.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mrf_assets.discover.values import PortalResult
from mrf_assets.files import as_store_error, atomic_write
from mrf_assets.text import disarmed, percent_escaped, printable

_COLUMNS = ("file_url", "kind", "payer", "portal", "way", "status", "reason", "found_at")


def write_found(results: Iterable[PortalResult], path: Path, *, raw_text: bool = False) -> int:
    """Write the file, visible only when whole; returns how many rows name a file.

    Texts that a spreadsheet would run are disarmed, unless `raw_text` is asked for.

    Raises:
        StoreError: It cannot be written.
    """
    files = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(_COLUMNS)
                for row in _rows(results):
                    files += bool(row[0])
                    writer.writerow([_line(text) if raw_text else disarmed(_line(text)) for text in row])
    except OSError as error:
        raise as_store_error(path, error) from error
    return files


def _rows(results: Iterable[PortalResult]) -> Iterator[tuple[str, ...]]:
    for result in results:
        portal_cells = (result.portal.payer_name, result.portal.shown)
        found_at = result.found_at.isoformat(timespec="seconds")
        for file in result.files:  # without the reason why there is no more: by the ten thousand it fills disks
            yield percent_escaped(file.url), file.kind, *portal_cells, file.way, result.status, "", found_at
        if not result.files:
            yield "", "", *portal_cells, "", result.status, result.reason, found_at


def _line(text: str) -> str:
    return printable(" ".join(text.split()) if any(char in text for char in "\r\n\t") else text)
