"""Rows of a batch in a folder of parquet parts, each written under another name and renamed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import StoreError, UnexpectedRows
from mrf_assets.files import as_store_errors, sync
from mrf_assets.providers.lookup.output_faults import NEXT, READ_ROWS, nothing_left, unexpected, unreadable
from mrf_assets.providers.lookup.waiting_rows import Part

_PART = re.compile(r"\Apart-([0-9]{6})\.parquet\Z")
_PARTIAL = ".new"
_REWRITTEN_ROWS = 50_000  # of one part
_COMPRESSION: Final = "zstd"


class ParquetParts:
    """`<path>/part-000001.parquet` and so on."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path.absolute(), schema

    def found(self) -> list[Part]:
        """The parts that stand there."""
        with as_store_errors(self.path):
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
        with as_store_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            names = self._names()
            committed = {part.name for part in parts}
            if lost := sorted(committed - set(names)):
                raise UnexpectedRows(
                    str(self.path / lost[0]), "is gone, though the batch wrote it; put it back or start over"
                )
            for part in parts:
                if (self.path / part.name).stat().st_size != part.size_bytes:
                    raise unexpected(self.path / part.name)
            leftovers = [name for name in names if name not in committed]
            if leftover_rows < sum(self._rows(name) for name in leftovers):
                raise unexpected(self.path)
            for path in (*(self.path / name for name in leftovers), *self._not_visible()):
                path.unlink()

    def _not_visible(self) -> list[Path]:
        return [path for path in self.path.glob("part-*") if path.name.endswith((_PARTIAL, NEXT))]

    def _rows(self, name: str) -> int:
        path = self.path / name
        try:
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except pa.ArrowException as error:
            raise unreadable(path, error) from error
        if schema.names != self._schema.names:
            raise StoreError(str(path), "is not of this command; give another --output")
        try:
            schema.empty_table().cast(self._schema)
        except pa.ArrowException as error:
            raise unreadable(path, error) from error
        return int(rows)

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Write one part, visible only when whole."""
        with as_store_errors(self.path):
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
        with as_store_errors(self.path):
            for path in (self.path / name for name in self._names()):
                try:
                    with pq.ParquetFile(path) as file:
                        for batch in file.iter_batches(READ_ROWS, columns=names):
                            yield pa.Table.from_batches([batch]).select(names).cast(schema)
                except (pa.ArrowException, ValueError, TypeError) as error:
                    raise unreadable(path, error) from error

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:
        """New parts, numbered after the last, under names that nobody reads."""
        parts: list[Part] = []
        with as_store_errors(self.path), nothing_left(lambda: self.path.glob(f"part-*{NEXT}")):
            for pages in _of_many_rows(pieces, _REWRITTEN_ROWS):
                parts.append(self._write(pages, _number(last) + 1 + len(parts), NEXT))
            sync(self.path)
        return parts

    def settle(self, parts: Sequence[Part]) -> None:
        """Show the new parts, then remove the old ones: whoever reads meanwhile finds each row, some twice."""
        with as_store_errors(self.path):
            for part in parts:
                if (self.path / (part.name + NEXT)).exists():
                    self._show(part, NEXT)
            sync(self.path)
            for name in set(self._names()) - {part.name for part in parts}:
                (self.path / name).unlink()
            sync(self.path)


def _number(part: Part | None) -> int:
    match = _PART.match(part.name) if part else None
    return int(match[1]) if match else 0


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
