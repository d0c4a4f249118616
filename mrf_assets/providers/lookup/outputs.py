"""Where a batch's rows end: a folder of parquet parts, or one CSV file.

An output appends, and can be put back to what a ledger says is committed. What takes the place of rows is
written beside them (`rewrite`), committed in the ledger, and moved there (`settle`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from mrf_assets.errors import StoreError
from mrf_assets.files import as_store_error, exclusive
from mrf_assets.providers.lookup.csv_output import CsvFile
from mrf_assets.providers.lookup.parquet_output import ParquetParts
from mrf_assets.providers.lookup.waiting_rows import Part


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
            UnexpectedRows: Something committed is gone, or rows stand there that were written by another batch.
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
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(output.path.with_name(f".{output.path.name}.lock")))
        except BlockingIOError:
            raise StoreError(
                str(output.path), "another process writes to it; wait for it, or give another --output"
            ) from None
        except OSError as error:
            raise as_store_error(output.path.parent, error) from error
        yield
