"""Rows of a batch in one CSV file, which is cut off behind its last committed byte."""

from __future__ import annotations

import csv
import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa

from mrf_assets.errors import StoreError, UnexpectedRows
from mrf_assets.files import as_store_errors, sync
from mrf_assets.providers.lookup.cells import from_text, to_text
from mrf_assets.providers.lookup.output_faults import NEXT, READ_ROWS, nothing_left, unexpected, unreadable
from mrf_assets.providers.lookup.waiting_rows import Part

_CSV_NAME = "rows"
_MAX_CELL_CHARACTERS = 2**31 - 1  # a raw answer may be of any length, and what was written must be readable


class _Lines:
    """Lines that end in a line feed, though both signs of a line's end are quoted; Python quotes its own alone."""

    END = "\r\n"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """One line."""
        self.lines.append(line.removesuffix(self.END) + "\n")


class CsvFile:
    """One CSV file with a header; lists are JSON, times ISO 8601, and no cell is a formula."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path.absolute(), schema

    @property
    def _next(self) -> Path:
        return self.path.with_name(f".{self.path.name}{NEXT}")

    def found(self) -> list[Part]:
        """The rows that are whole."""
        with as_store_errors(self.path):
            if not self.path.exists() or not self.path.stat().st_size:
                return []
            self._require_ours()
            lines, size_bytes = self._lines_behind(0)
            self._require_one_torn_line(size_bytes)
        return [Part(name=_CSV_NAME, rows=max(lines - 1, 0), size_bytes=size_bytes)]  # the header is no row

    def _require_ours(self) -> None:
        if not self._is_ours():
            raise StoreError(str(self.path), "exists and is not of this command; give another --output")

    def restore(self, parts: Sequence[Part], leftover_rows: int) -> None:
        """Cut off what is not committed; a file that no batch wrote is refused."""
        committed_bytes = max((part.size_bytes for part in parts), default=0)
        with as_store_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < committed_bytes:
                raise UnexpectedRows(
                    str(self.path),
                    f"is shorter than the {committed_bytes} bytes the batch wrote; put it back or start over",
                )
            if size and not committed_bytes:
                self._require_ours()
            if size > committed_bytes:
                if self._is_longer(committed_bytes, leftover_rows):
                    raise unexpected(self.path)
                os.truncate(self.path, committed_bytes)
            self._next.unlink(missing_ok=True)

    def _is_longer(self, offset_bytes: int, rows: int) -> bool:
        """True if more than so many rows stand behind an offset; a last line that is torn is none."""
        lines, size_bytes = self._lines_behind(offset_bytes)
        return lines > (rows if offset_bytes else rows + 1) or not self._is_one_line(offset_bytes + size_bytes)

    def _lines_behind(self, offset_bytes: int) -> tuple[int, int]:
        """How many whole lines stand behind an offset, and their bytes; at the offset 0, the header is one."""
        with self.path.open("rb") as file:
            file.seek(offset_bytes)
            ends = enumerate((end for _, end in _whole_lines(file, len(self._schema))), 1)
            return next(iter(deque(ends, maxlen=1)), (0, 0))

    def _is_one_line(self, offset_bytes: int) -> bool:
        """Whether no more than one line stands behind an offset: a crash tears one, whatever signs it ends in."""
        with self.path.open("rb") as file:
            file.seek(offset_bytes)
            lines = csv.reader(io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline=""))
            return next(islice(lines, 1, None), None) is None

    def _require_one_torn_line(self, offset_bytes: int) -> None:
        if not self._is_one_line(offset_bytes):
            problem = f"behind byte {offset_bytes}, where a line has not {len(self._schema)} cells"
            raise StoreError(str(self.path), f"cannot be read {problem}; mend it, or move it away")

    def _is_ours(self) -> bool:
        """Whether it begins with our header, or is a torn beginning of it."""
        with self.path.open("rb") as file:
            return self._header().startswith(file.read(len(self._header())))

    def _header(self) -> bytes:
        return (",".join(self._schema.names) + "\n").encode()

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:  # noqa: ARG002 - one file, however many appends
        """Append lines."""
        with as_store_errors(self.path):
            return self._write(pieces, self.path)

    def _write(self, pieces: Iterable[pa.Table], path: Path) -> Part:
        """Lines at the end of a file, down to the disk."""
        count = 0
        with path.open("ab") as file:
            if file.tell() == 0:
                file.write(self._header())
            for rows in pieces:
                lines = _Lines()
                writer = csv.writer(lines, lineterminator=_Lines.END)
                columns = [[to_text(value) for value in column.to_pylist()] for column in rows.columns]
                writer.writerows(zip(*columns, strict=True))
                file.write("".join(lines.lines).encode())
                count += rows.num_rows
            file.flush()
            os.fsync(file.fileno())
            return Part(name=_CSV_NAME, rows=count, size_bytes=file.tell())

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, in pieces."""
        if not self.path.exists():
            return
        names = self._schema.names if columns is None else columns
        indexed_fields = [(self._schema.get_field_index(name), self._schema.field(name)) for name in names]
        schema = pa.schema([field for _, field in indexed_fields])
        with as_store_errors(self.path), self.path.open("rb") as file:
            lines = _whole_lines(file, len(self._schema))
            _, end = next(lines, ([], 0))
            try:
                while page := list(islice(lines, READ_ROWS)):
                    rows = [
                        {field.name: from_text(line[at], field.type) for at, field in indexed_fields}
                        for line, _ in page
                    ]
                    yield pa.Table.from_pylist(rows, schema=schema)
                    end = page[-1][1]
            except (pa.ArrowException, ValueError, TypeError) as error:
                raise unreadable(self.path, error) from error
            self._require_one_torn_line(end)

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:  # noqa: ARG002 - as `append`
        """A new file under a name that nobody reads."""
        with as_store_errors(self.path):
            self._next.unlink(missing_ok=True)
            with nothing_left(lambda: [self._next]):
                return [self._write(pieces, self._next)]

    def settle(self, parts: Sequence[Part]) -> None:  # noqa: ARG002 - there is one
        """Put the new file in the old one's place."""
        with as_store_errors(self.path):
            if self._next.exists():
                self._next.replace(self.path)
                sync(self.path.parent)


def _whole_lines(file: IO[bytes], cells: int) -> Iterator[tuple[list[str], int]]:
    """The lines of a CSV, and where each ends, in bytes, up to the first that is torn."""
    end, raw = 0, b""

    def texts() -> Iterator[str]:
        nonlocal end, raw
        for raw in file:
            end += len(raw)
            yield raw.decode(errors="surrogateescape")  # Arrow refuses what is not UTF-8

    csv.field_size_limit(_MAX_CELL_CHARACTERS)  # of the whole process; 131,072 at first
    lines = csv.reader(texts(), strict=True)
    while True:
        try:
            line = next(lines)
        except (StopIteration, csv.Error):  # strict: a quote that is not closed
            return
        if len(line) != cells or not raw.endswith(b"\n"):
            return
        yield line, end
