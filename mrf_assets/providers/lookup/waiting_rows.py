"""The rows of a ledger that wait to be written, and the parts of outputs that are written.

`parts` says what of each output is committed; what lies on the disk beyond that is a leftover
of a crash, and its rows are still here: commits are on the disk (`sync`) before their rows are
written anywhere else.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mrf_assets.providers.lookup.items import Row
from mrf_assets.providers.lookup.ledger_file import LedgerFile

_WAITING_ROWS = 1_000  # of one entry of `waiting`, with their JSON at most some 10 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of an output that is committed."""

    name: str
    rows: int
    size_bytes: int


class WaitingRows(LedgerFile):
    """The rows of a batch on their way into its outputs."""

    def name_of(self, output: Path) -> str:
        """How an output is called here: its way from this folder, so that both can be moved, or mounted elsewhere.

        Where they have no folder in common, its whole path.
        """
        folder, place = self.path.parent.resolve(), output.parent.resolve() / output.name
        common = Path(os.path.commonpath([folder, place]))
        return str(place) if common == Path(common.anchor) else os.path.relpath(place, folder)

    def place_of(self, name: str) -> Path:
        """Where the output of that name is now."""
        return Path(os.path.normpath(self.path.parent.resolve() / name))

    def waiting_rows(self, output: str) -> int:
        """Rows of an output that are committed here, and not written there yet."""
        with self._refusals():
            (count,) = self._db.execute(
                "SELECT coalesce(sum(rows), 0) FROM waiting WHERE output = ?", [output]
            ).fetchone()
        return int(count)

    def waiting_until(self, output: str, most_rows: int) -> int:
        """The position up to which the oldest waiting rows are to be written: so many, and what came with the last."""
        rows, last = 0, -1
        with self._refusals():
            query = "SELECT position, rows FROM waiting WHERE output = ? ORDER BY position"
            for position, count in self._db.execute(query, [output]):
                rows, last = rows + count, position
                if rows >= most_rows:
                    break
        return last

    def waiting(self, output: str, until: int, page_rows: int) -> Generator[list[dict[str, Any]]]:
        """Waiting rows up to a position, in pages; times are ISO 8601 texts.

        Reads over a connection of its own, so that it can be used in any thread; it is to be closed in that one.
        """
        with self._refusals(), closing(sqlite3.connect(self.path)) as db:
            page: list[dict[str, Any]] = []
            query = "SELECT json FROM waiting WHERE output = ? AND position <= ? ORDER BY position"
            for (data,) in db.execute(query, [output, until]):
                page += orjson.loads(data)
                if len(page) >= page_rows:
                    yield page
                    page = []
            if page:
                yield page

    def written(self, output: str, part: Part, last: int) -> None:
        """The waiting rows up to a position stand in an output now."""
        with self._transaction() as db:
            db.execute("DELETE FROM waiting WHERE output = ? AND position <= ?", [output, last])
            db.execute(
                "INSERT INTO parts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, "
                "size_bytes = excluded.size_bytes",
                [output, part.name, part.rows, part.size_bytes],
            )

    def adopt(self, output: str, parts: Iterable[Part]) -> None:
        """What stands in an output is of this batch now, whoever wrote it."""
        with self._transaction() as db:
            db.executemany("INSERT INTO parts VALUES (?, ?, ?, ?)", _part_rows(output, parts))

    def rewritten(self, output: str, parts: Iterable[Part], note: str) -> None:
        """An output consists of these parts alone now; the note under this name says so until it is taken away."""
        with self._transaction() as db:
            db.execute("DELETE FROM parts WHERE output = ?", [output])
            db.executemany("INSERT INTO parts VALUES (?, ?, ?, ?)", _part_rows(output, parts))
            db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", [note, output])

    def outputs(self) -> list[str]:
        """The names of all outputs that this batch was written to, or has rows for."""
        with self._refusals():
            return [
                output
                for (output,) in self._db.execute(
                    "SELECT output FROM parts UNION SELECT output FROM waiting ORDER BY 1"
                )
            ]

    def parts(self, output: str) -> list[Part]:
        """What of an output is committed."""
        with self._refusals():
            rows = self._db.execute(
                "SELECT name, rows, size_bytes FROM parts WHERE output = ? ORDER BY name", [output]
            ).fetchall()
        return [Part(name=name, rows=count, size_bytes=size) for name, count, size in rows]


def put_in_line(db: sqlite3.Connection, output: str, rows: Sequence[Row]) -> None:
    """Let rows wait for an output, as part of a transaction."""
    # JSON, not Arrow: ten rows of 45 columns take a tenth of the time.
    for first in range(0, len(rows), _WAITING_ROWS):
        page = rows[first : first + _WAITING_ROWS]
        db.execute("INSERT INTO waiting (output, rows, json) VALUES (?, ?, ?)", [output, len(page), orjson.dumps(page)])


def _part_rows(output: str, parts: Iterable[Part]) -> Iterator[tuple[str, str, int, int]]:
    return ((output, part.name, part.rows, part.size_bytes) for part in parts)
