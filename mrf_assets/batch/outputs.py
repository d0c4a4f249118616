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
    (first, *_) = str(error).splitlines() or [type(error).__name__]
    return StoreError(str(path), f"cannot be read ({first}); move it away")


@contextmanager
def _nothing_left(paths: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """What a block writes goes away with its error."""
    try:
        yield
    except Exception:
        for path in paths():
            path.unlink(missing_ok=True)
        raise


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
                found, rows = file.schema_arrow, file.metadata.num_rows
        except pa.ArrowException as error:
            raise _unreadable(path, error) from error
        if found.names != self._schema.names:
            raise StoreError(str(path), "is not of this command; give another --output")
        try:
            found.empty_table().cast(self._schema)
        except pa.ArrowException as error:
            raise _unreadable(path, error) from error
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
        """All rows, in pieces and in our types: parts may have been written anew by another program."""
        names = self._schema.names if columns is None else list(columns)
        schema = pa.schema([self._schema.field(name) for name in names])
        with _refusals(self.path):
            for path in (self.path / name for name in self._names()):
                try:
                    with pq.ParquetFile(path) as file:
                        for batch in file.iter_batches(_READ_ROWS, columns=names):
                            yield pa.Table.from_batches([batch]).select(names).cast(schema)
                except (pa.ArrowException, ValueError, TypeError) as error:
                    raise _unreadable(path, error) from error

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:
        """New parts, numbered after the last, under names that nobody reads."""
        parts: list[Part] = []
        with _refusals(self.path), _nothing_left(lambda: self.path.glob(f"part-*{_NEXT}")):
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
            lines, size_bytes = self._lines_behind(0)
            self._require_one_torn_line(size_bytes)
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
        with _refusals(self.path), self.path.open("rb") as file:
            lines = _whole_lines(file, len(self._schema))
            _, end = next(lines, ([], 0))
            try:
                while page := list(islice(lines, _READ_ROWS)):
                    rows = [{field.name: _from_text(line[at], field.type) for at, field in wanted} for line, _ in page]
                    yield pa.Table.from_pylist(rows, schema=schema)
                    end = page[-1][1]
            except (pa.ArrowException, ValueError, TypeError) as error:
                raise _unreadable(self.path, error) from error
            self._require_one_torn_line(end)

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:  # noqa: ARG002 - as `append`
        """A new file under a name that nobody reads."""
        with _refusals(self.path):
            self._next.unlink(missing_ok=True)
            with _nothing_left(lambda: [self._next]):
                return [self._write(pieces, self._next)]

    def settle(self, parts: Sequence[Part]) -> None:  # noqa: ARG002 - there is one
        """Put the new file in the old one's place."""
        with _refusals(self.path):
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

    csv.field_size_limit(_MOST_CELL_CHARACTERS)  # of the whole process; 131,072 at first
    lines = csv.reader(texts(), strict=True)
    while True:
        try:
            line = next(lines)
        except (StopIteration, csv.Error):  # strict: a quote that is not closed
            return
        if len(line) != cells or not raw.endswith(b"\n"):
            return
        yield line, end


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
    (pa.types.is_boolean, lambda text: bool(("false", "true").index(text.lower()))),
    (pa.types.is_integer, int),
    (pa.types.is_floating, float),
    (pa.types.is_date, dt.date.fromisoformat),
    (pa.types.is_timestamp, dt.datetime.fromisoformat),
    (pa.types.is_list, orjson.loads),
)


def _from_text(text: str, kind: pa.DataType) -> Any:  # noqa: ANN401 - a value of that type
    return None if text == "" else next(read for is_kind, read in _READERS if is_kind(kind))(text)
