"""What one item has to keep until its end is seen, on disk beyond a number of rows."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from mrf_assets.extract.interface import Request

_T = TypeVar("_T")


class Waiting(Generic[_T]):
    """What one item has to keep until its end, on disk beyond a number of rows."""

    def __init__(self, request: Request) -> None:
        self._most, self._dir = request.item_rows_in_memory, request.spool_dir
        self._things: list[_T] = []
        self._rows = 0
        self._spool: Any = None

    def add(self, thing: _T, rows: int) -> None:
        """Keep a thing that makes so many rows."""
        self._things.append(thing)
        self._rows += rows
        if self._rows >= self._most:
            self._spool = self._spool or tempfile.TemporaryFile(dir=self._dir)  # noqa: SIM115 - closed by close()
            pickle.dump(self._things, self._spool)
            self._things, self._rows = [], 0

    def take(self, things: list[_T]) -> None:
        """Move them here, a row each."""
        for thing in things:
            self.add(thing, 1)
        things.clear()

    def __iter__(self) -> Iterator[_T]:
        if self._spool is not None:
            end = self._spool.tell()
            self._spool.seek(0)
            while self._spool.tell() < end:
                yield from pickle.load(self._spool)  # noqa: S301 - written by this process, in an unnamed file
        yield from self._things

    def close(self) -> None:
        """Remove what is on disk."""
        if self._spool is not None:
            self._spool.close()
