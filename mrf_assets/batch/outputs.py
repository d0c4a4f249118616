"""Where a batch's rows end: a folder of parquet parts, or one CSV file.

An output appends, and can be put back to what a ledger says is committed. A part is written
under another name and renamed; a CSV is cut off behind its last committed byte. What takes the
place of rows is written beside them (`rewrite`), committed in the ledger, and moved there (`settle`).
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.batch.ledger import Part
from mrf_assets.batch.values import Row
from mrf_assets.disk import refusal
from mrf_assets.errors import StoreError, StrangeRows
from mrf_assets.whole_files import sole, sync

_PART = re.compile(r"\Apart-([0-9]{6})\.parquet\Z")
_PARTIAL = ".new"
_NEXT = ".next"
_READ_ROWS = 1_000
_REWRITTEN_ROWS = 50_000  # of one part
_COMPRESSION: Final = "zstd"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # what a spreadsheet would run; OWASP "CSV injection"
_CSV_NAME = "rows"
_MOST_CELL_CHARACTERS = 2**31 - 1  # a raw answer may be of any length, and what was written must be readable


class Output(Protocol):
    """Something that rows are appended to."""

    path: Path

    def found(self) -> list[Part]:
        """All whole rows of ours that stand there, whoever wrote them.

        Raises:
            StoreError: Something stands there that is not ours, or cannot be read.
        """

    def restore(self, parts: Sequence[Part], leftover_rows: int) -> None:
        """Remove what is not committed: at most so many rows.

        A crash leaves no more than what waits in the ledger; more was written by a batch of another ledger.

        Raises:
            StrangeRows: Something committed is gone, or rows stand there that were written by another batch.
            StoreError: Something stands there that is not ours, or cannot be changed.
        """

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Write rows so that they survive a power cut, piece by piece; `last` is the newest part that is committed."""

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, or some columns of them, in pieces, in the order in which they were written."""

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:
        """Write beside the output what takes its place; nobody sees it, and the output stays, until `settle`."""

    def settle(self, parts: Sequence[Part]) -> None:
        """Let what `rewrite` gave take the place of all else; where that is done already, nothing happens."""


def output_at(path: Path, schema: pa.Schema) -> Output:
    """A CSV file where the name says so, else a folder of parquet parts."""
    return CsvFile(path, schema) if path.suffix.lower() == ".csv" else ParquetParts(path, schema)


@contextmanager
def held(output: Output) -> Iterator[None]:
    """One process at a time writes to an output, whatever its ledger is.

    Raises:
        StoreError: Another does now, or the lock cannot be made.
    """
    with ExitStack() as holding:
        try:
            holding.enter_context(sole(output.path.with_name(f".{output.path.name}.lock")))
        except BlockingIOError:
            raise StoreError(
                str(output.path), "another process writes to it; wait for it, or give another --output"
            ) from None
        except OSError as error:
            raise refusal(output.path.parent, error) from error
        yield


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from error


def _strange(path: Path) -> StrangeRows:
    return StrangeRows(
        str(path),
        "holds rows that the ledger of this batch does not name; give the --checkpoint that wrote them, "
        "or another --output, or move them away",
    )


def _unreadable(path: Path, error: Exception) -> StoreError:
    return StoreError(str(path), f"cannot be read ({str(error).splitlines()[0]}); move it away")


class ParquetParts:
    """`<path>/part-000001.parquet` and so on."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path.absolute(), schema

    def found(self) -> list[Part]:
        """The parts that stand there."""
        with _refusals(self.path):
            return [
                Part(name=name, rows=self._rows(name), size_bytes=(self.path / name).stat().st_size)
                for name in self._names()
            ]

    def _names(self) -> list[str]:
        if not self.path.exists():
            return []
        return sorted(path.name for path in self.path.iterdir() if _PART.match(path.name))

    def restore(self, parts: Sequence[Part], leftover_rows: int) -> None:
        """Remove parts that are not committed."""
        with _refusals(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            names = self._names()
            committed = {part.name for part in parts}
            if lost := sorted(committed - set(names)):
                raise StrangeRows(
                    str(self.path / lost[0]), "is gone, though the batch wrote it; put it back or start over"
                )
            for part in parts:
                if (self.path / part.name).stat().st_size != part.size_bytes:
                    raise _strange(self.path / part.name)
            leftovers = [name for name in names if name not in committed]
            if leftover_rows < sum(self._rows(name) for name in leftovers):
                raise _strange(self.path)
            for path in (*(self.path / name for name in leftovers), *self._not_visible()):
                path.unlink()

    def _not_visible(self) -> list[Path]:
        return [path for path in self.path.glob("part-*") if path.name.endswith((_PARTIAL, _NEXT))]

    def _rows(self, name: str) -> int:
        path = self.path / name
        try:
            with pq.ParquetFile(path) as file:
                names, rows = file.schema_arrow.names, file.metadata.num_rows
        except pa.ArrowException as error:
            raise _unreadable(path, error) from error
        if names != self._schema.names:
            raise StoreError(str(path), "is not of this command; give another --output")
        return int(rows)

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Write one part, visible only when whole."""
        with _refusals(self.path):
            part = self._write(pieces, _number(last) + 1, _PARTIAL)
            self._show(part, _PARTIAL)
            sync(self.path)
        return part

    def _write(self, pieces: Iterable[pa.Table], number: int, suffix: str) -> Part:
        """One part under a name that nobody reads, down to the disk."""
        name, rows = f"part-{number:06d}.parquet", 0
        partial = self.path / (name + suffix)
        with pq.ParquetWriter(partial, self._schema, compression=_COMPRESSION) as writer:
            for piece in pieces:
                writer.write_table(piece)  # one row group: no more than a piece is held
                rows += piece.num_rows
        sync(partial)
        return Part(name=name, rows=rows, size_bytes=partial.stat().st_size)

    def _show(self, part: Part, suffix: str) -> None:
        (self.path / (part.name + suffix)).replace(self.path / part.name)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, in pieces."""
        with _refusals(self.path):
            for path in (self.path / name for name in self._names()):
                try:
                    with pq.ParquetFile(path) as file:
                        for batch in file.iter_batches(_READ_ROWS, columns=None if columns is None else list(columns)):
                            yield pa.Table.from_batches([batch])
                except pa.ArrowException as error:
                    raise _unreadable(path, error) from error

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:
        """New parts, numbered after the last, under names that nobody reads."""
        parts: list[Part] = []
        with _refusals(self.path):
            for pages in _of_many_rows(pieces, _REWRITTEN_ROWS):
                parts.append(self._write(pages, _number(last) + 1 + len(parts), _NEXT))
            sync(self.path)
        return parts

    def settle(self, parts: Sequence[Part]) -> None:
        """Show the new parts, then remove the old ones: whoever reads meanwhile finds each row, some twice."""
        with _refusals(self.path):
            for part in parts:
                if (self.path / (part.name + _NEXT)).exists():
                    self._show(part, _NEXT)
            sync(self.path)
            for name in set(self._names()) - {part.name for part in parts}:
                (self.path / name).unlink()
            sync(self.path)


def _number(part: Part | None) -> int:
    found = _PART.match(part.name) if part else None
    return int(found[1]) if found else 0


def _of_many_rows(pieces: Iterable[pa.Table], most_rows: int) -> Iterator[Iterator[pa.Table]]:
    """The same pieces in groups of so many rows; each group has to be used up before the next."""
    rest = iter(pieces)

    def group(piece: pa.Table) -> Iterator[pa.Table]:
        rows = piece.num_rows
        yield piece
        while rows < most_rows and (more := next(rest, None)) is not None:
            rows += more.num_rows
            yield more

    while (first := next(rest, None)) is not None:
        yield group(first)


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

    @property
    def _next(self) -> Path:
        return self.path.with_name(f".{self.path.name}{_NEXT}")

    def found(self) -> list[Part]:
        """The rows that are whole."""
        with _refusals(self.path):
            if not self.path.exists() or not self.path.stat().st_size:
                return []
            self._require_ours()
            lines, size_bytes, is_torn_once = self._lines_behind(0)
        if not is_torn_once:
            raise StoreError(
                str(self.path),
                f"cannot be read behind byte {size_bytes}, where a line has not {len(self._schema)} cells; "
                "mend it, or move it away",
            )
        return [Part(name=_CSV_NAME, rows=max(lines - 1, 0), size_bytes=size_bytes)]  # the header is no row

    def _require_ours(self) -> None:
        if not self._is_ours():
            raise StoreError(str(self.path), "exists and is not of this command; give another --output")

    def restore(self, parts: Sequence[Part], leftover_rows: int) -> None:
        """Cut off what is not committed; a file that no batch wrote is refused."""
        committed = max((part.size_bytes for part in parts), default=0)
        with _refusals(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < committed:
                raise StrangeRows(
                    str(self.path), f"is shorter than the {committed} bytes the batch wrote; put it back or start over"
                )
            if size and not committed:
                self._require_ours()
            if size > committed:
                if self._is_longer(committed, leftover_rows):
                    raise _strange(self.path)
                os.truncate(self.path, committed)
            self._next.unlink(missing_ok=True)

    def _is_longer(self, offset_bytes: int, rows: int) -> bool:
        """True if more than so many rows stand behind an offset; a last line that is torn is none."""
        lines, _, is_torn_once = self._lines_behind(offset_bytes)
        return lines > (rows if offset_bytes else rows + 1) or not is_torn_once  # with the header

    def _lines_behind(self, offset_bytes: int) -> tuple[int, int, bool]:
        """How many whole lines stand behind an offset, their bytes, and if no more than a torn one follows."""
        with self.path.open("rb") as file:
            file.seek(offset_bytes)
            ends = enumerate(_ends_of_lines(file, len(self._schema)), 1)
            lines, size_bytes = next(iter(deque(ends, maxlen=1)), (0, 0))
            file.seek(offset_bytes + size_bytes)
            rest = csv.reader(io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline=""))
            return lines, size_bytes, len(list(islice(rest, 2))) < 2  # noqa: PLR2004 - a crash tears one

    def _is_ours(self) -> bool:
        """Whether it begins with our header, or is a torn beginning of it."""
        with self.path.open("rb") as file:
            return self._header().startswith(file.read(len(self._header())))

    def _header(self) -> bytes:
        return (",".join(self._schema.names) + "\n").encode()

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:  # noqa: ARG002 - one file, however many appends
        """Append lines."""
        with _refusals(self.path):
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
                columns = [[_to_text(value) for value in column.to_pylist()] for column in rows.columns]
                writer.writerows(zip(*columns, strict=True))
                file.write("".join(lines.written).encode())
                count += rows.num_rows
            file.flush()
            os.fsync(file.fileno())
            return Part(name=_CSV_NAME, rows=count, size_bytes=file.tell())

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, in pieces."""
        if not self.path.exists():
            return
        names = self._schema.names if columns is None else columns
        wanted = [(self._schema.get_field_index(name), self._schema.field(name)) for name in names]
        schema = pa.schema([field for _, field in wanted])
        with _refusals(self.path), self.path.open(newline="", encoding="utf-8") as file:
            csv.field_size_limit(_MOST_CELL_CHARACTERS)  # of the whole process; 131,072 at first
            lines = csv.reader(file)
            next(lines, None)
            while page := list(islice(lines, _READ_ROWS)):
                rows = [{field.name: _from_text(line[place], field.type) for place, field in wanted} for line in page]
                yield pa.Table.from_pylist(rows, schema=schema)

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:  # noqa: ARG002 - as `append`
        """A new file under a name that nobody reads."""
        with _refusals(self.path):
            self._next.unlink(missing_ok=True)
            return [self._write(pieces, self._next)]

    def settle(self, parts: Sequence[Part]) -> None:  # noqa: ARG002 - there is one
        """Put the new file in the old one's place."""
        with _refusals(self.path):
            if self._next.exists():
                self._next.replace(self.path)
                sync(self.path.parent)


def _ends_of_lines(file: IO[bytes], cells: int) -> Iterator[int]:
    """Where each whole line of a CSV ends, in bytes, up to the first that is torn."""
    end, raw = 0, b""

    def texts() -> Iterator[str]:
        nonlocal end, raw
        for raw in file:
            end += len(raw)
            yield raw.decode(errors="replace")

    csv.field_size_limit(_MOST_CELL_CHARACTERS)
    lines = csv.reader(texts(), strict=True)
    while True:
        try:
            line = next(lines)
        except (StopIteration, csv.Error):  # strict: a quote that is not closed
            return
        if len(line) != cells or not raw.endswith(b"\n"):
            return
        yield end


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
