"""Where a batch's rows end: a folder of parquet parts, or one CSV file.

An output appends, and can be put back to what a ledger says is committed. A part is written
under another name and renamed; a CSV is cut off behind its last committed byte.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.batch.ledger import Part
from mrf_assets.batch.values import Row
from mrf_assets.errors import StoreError
from mrf_assets.whole_files import sync

_PART = re.compile(r"\Apart-([0-9]{6})\.parquet\Z")
_PARTIAL = ".new"
_READ_ROWS = 1_000
_COMPRESSION: Final = "zstd"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # what a spreadsheet would run; OWASP "CSV injection"
_CSV_NAME = "rows"
_MOST_CELL_CHARACTERS = 2**31 - 1  # a raw answer may be of any length, and what was written must be readable


class Output(Protocol):
    """Something that rows are appended to."""

    path: Path

    def restore(self, parts: Sequence[Part], leftover_rows: int | None) -> None:
        """Remove what is not committed: of our columns at most so many rows, None is any number.

        A crash leaves no more than what waits in the ledger; more was written by a batch of another ledger.

        Raises:
            StoreError: Something committed is gone, or something stands there that is not ours.
        """

    def append(self, rows: pa.Table, parts: int) -> Part:
        """Write rows so that they survive a power cut; `parts` are committed before."""

    def read(self) -> Iterator[pa.Table]:
        """All rows, in pieces."""


def output_at(path: Path, schema: pa.Schema) -> Output:
    """A CSV file where the name says so, else a folder of parquet parts."""
    return CsvFile(path, schema) if path.suffix.lower() == ".csv" else ParquetParts(path, schema)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(str(path), f"cannot be written ({error.strerror or error}); check folder and disk") from error


def _strange(path: Path) -> StoreError:
    return StoreError(
        str(path),
        "holds rows that the ledger of this batch does not name; give the --checkpoint that wrote them, "
        "or another --output, or move them away",
    )


class ParquetParts:
    """`<path>/part-000001.parquet` and so on."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path.absolute(), schema

    def restore(self, parts: Sequence[Part], leftover_rows: int | None) -> None:
        """Remove parts that are not committed."""
        with _refusals(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            found = {path.name for path in self.path.iterdir()}
            committed = {part.name for part in parts}
            if lost := sorted(committed - found):
                raise StoreError(
                    str(self.path / lost[0]), "is gone, though the batch wrote it; put it back or start over"
                )
            for part in parts:
                if (self.path / part.name).stat().st_size != part.size_bytes:
                    raise _strange(self.path / part.name)
            leftovers = sorted(name for name in found - committed if _PART.match(name) and self._is_ours(name))
            if leftover_rows is not None and leftover_rows < sum(self._rows(name) for name in leftovers):
                raise _strange(self.path)
            for name in (*leftovers, *(name for name in found if name.endswith(_PARTIAL))):
                (self.path / name).unlink()

    def _is_ours(self, name: str) -> bool:
        if pq.read_schema(self.path / name).names != self._schema.names:
            raise StoreError(str(self.path / name), "is not of this command; give another --output")
        return True

    def _rows(self, name: str) -> int:
        return int(pq.read_metadata(self.path / name).num_rows)

    def append(self, rows: pa.Table, parts: int) -> Part:
        """Write one part, visible only when whole."""
        target = self.path / f"part-{parts + 1:06d}.parquet"
        partial = target.with_name(target.name + _PARTIAL)
        with _refusals(self.path):
            pq.write_table(rows, partial, compression=_COMPRESSION)
            size_bytes = partial.stat().st_size
            sync(partial)
            partial.replace(target)
            sync(self.path)
        return Part(name=target.name, rows=rows.num_rows, size_bytes=size_bytes)

    def read(self) -> Iterator[pa.Table]:
        """All rows, in pieces."""
        with _refusals(self.path):
            for path in sorted(self.path.glob("part-*.parquet")):
                for batch in pq.ParquetFile(path).iter_batches(_READ_ROWS):
                    yield pa.Table.from_batches([batch])


class _Lines:
    """Lines that end in a line feed, though both signs of a line's end are quoted; Python quotes its own alone."""

    END = "\r\n"

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        """One line."""
        self.written.append(line.removesuffix(self.END) + "\n")


class CsvFile:
    """One CSV file with a header; lists are JSON, times ISO 8601, and no cell is a formula."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path.absolute(), schema

    def restore(self, parts: Sequence[Part], leftover_rows: int | None) -> None:
        """Cut off what is not committed; a file that no batch wrote is refused."""
        committed = max((part.size_bytes for part in parts), default=0)
        with _refusals(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < committed:
                raise StoreError(
                    str(self.path), f"is shorter than the {committed} bytes the batch wrote; put it back or start over"
                )
            if not committed and size and not self._is_ours():
                raise StoreError(str(self.path), "exists and is not of this command; give another --output")
            if size > committed:
                if leftover_rows is not None and self._is_longer(committed, leftover_rows):
                    raise _strange(self.path)
                os.truncate(self.path, committed)

    def _is_longer(self, offset_bytes: int, rows: int) -> bool:
        """True if more than so many rows, whole or torn, stand behind an offset."""
        with self.path.open("rb") as file:
            file.seek(offset_bytes)
            text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
            csv.field_size_limit(_MOST_CELL_CHARACTERS)
            lines = csv.reader(text)
            return next(islice(lines, rows if offset_bytes else rows + 1, None), None) is not None  # with the header

    def _is_ours(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(self._header())) == self._header()

    def _header(self) -> bytes:
        return (",".join(self._schema.names) + "\n").encode()

    def append(self, rows: pa.Table, parts: int) -> Part:  # noqa: ARG002 - one file, however many appends
        """Append lines."""
        lines = _Lines()
        writer = csv.writer(lines, lineterminator=_Lines.END)
        columns = [[_to_text(value) for value in column.to_pylist()] for column in rows.columns]
        writer.writerows(zip(*columns, strict=True))
        with _refusals(self.path), self.path.open("ab") as file:
            if file.tell() == 0:
                file.write(self._header())
            file.write("".join(lines.written).encode())
            file.flush()
            os.fsync(file.fileno())
            size_bytes = file.tell()
        return Part(name=_CSV_NAME, rows=rows.num_rows, size_bytes=size_bytes)

    def read(self) -> Iterator[pa.Table]:
        """All rows, in pieces."""
        if not self.path.exists():
            return
        with _refusals(self.path), self.path.open(newline="", encoding="utf-8") as file:
            csv.field_size_limit(_MOST_CELL_CHARACTERS)  # of the whole process; 131,072 at first
            lines = csv.reader(file)
            next(lines, None)
            page: list[dict[str, Any]] = []
            for line in lines:
                values = zip(self._schema, line, strict=True)
                page.append({field.name: _from_text(text, field.type) for field, text in values})
                if len(page) == _READ_ROWS:
                    yield pa.Table.from_pylist(page, schema=self._schema)
                    page = []
            if page:
                yield pa.Table.from_pylist(page, schema=self._schema)


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as the ledger keeps them, in the types of an output."""
    times = [field for field in schema if pa.types.is_temporal(field.type)]
    typed = [
        {**row, **{field.name: _from_text(row.get(field.name) or "", field.type) for field in times}} for row in rows
    ]
    return pa.Table.from_pylist(typed, schema=schema)


def _to_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + value if value.startswith(_FORMULA) else value
        case list() | dict():
            return orjson.dumps(value).decode()
        case dt.datetime() | dt.date():
            return value.isoformat()
        case _:
            return str(value)


_READERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str], Any]], ...] = (
    (pa.types.is_string, lambda text: text.removeprefix("'")),
    (pa.types.is_boolean, lambda text: text == "true"),
    (pa.types.is_integer, int),
    (pa.types.is_floating, float),
    (pa.types.is_date, dt.date.fromisoformat),
    (pa.types.is_timestamp, dt.datetime.fromisoformat),
    (pa.types.is_list, orjson.loads),
)


def _from_text(text: str, kind: pa.DataType) -> Any:  # noqa: ANN401 - a value of that type
    return None if text == "" else next(read for is_kind, read in _READERS if is_kind(kind))(text)
