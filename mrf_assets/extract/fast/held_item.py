"""One item whose end was not seen yet: its text, on disk where it is too much for memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

from mrf_assets.extract.fast.elements import ListPart
from mrf_assets.extract.fast.exact import Segment, is_crowded
from mrf_assets.extract.interface import Request

_BYTES_PER_ROW = 400  # of one element of rates, about: turns a limit in rows into one in bytes


class HeldItem:
    """The text of one item, in order: pieces of its head, and parts of its rates unless they are not wanted."""

    def __init__(self, offset: int, request: Request) -> None:
        self.offset = offset
        self.is_crowded = False  # more than the quick parsers can hold
        self.head: list[Segment] = []  # lists of rates and unknown values are cut out of it
        self.head_bytes = 0
        self._limits, self._dir = request.limits, request.spool_dir
        self._most_bytes = request.item_rows_in_memory * _BYTES_PER_ROW
        self._order: list[int] = []  # for each piece of head, how many parts stand before it
        self._parts: list[ListPart] = []  # the text of those on disk is empty
        self._spool_lengths: list[int] = []  # lengths of the parts on disk: the first ones
        self._held_bytes = 0
        self._spool: IO[bytes] | None = None

    def add_head(self, offset: int, text: bytes) -> None:
        """Take a piece of the head."""
        self.head.append((offset, text))
        self.head_bytes += len(text)
        self.is_crowded |= 2 * self.head_bytes > self._limits.max_element_values  # as in `is_crowded`
        self._order.append(len(self._parts))

    def add_part(self, part: ListPart) -> None:
        """Take a part of a list of rates."""
        self._parts.append(part)
        self._held_bytes += len(part.text)
        self.is_crowded |= is_crowded(part.text, self._limits)
        if self._held_bytes > self._most_bytes:
            self._to_disk()

    def _to_disk(self) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(dir=self._dir)  # noqa: SIM115 - closed by close()
        for index in range(len(self._spool_lengths), len(self._parts)):
            part = self._parts[index]
            self._spool.write(part.text)
            self._spool_lengths.append(len(part.text))
            self._parts[index] = part._replace(text=b"")
        self._held_bytes = 0

    def parts(self) -> Iterator[ListPart]:
        """The parts of the rates, in order."""
        if self._spool is not None:
            self._spool.seek(0)
        for index, part in enumerate(self._parts):
            if self._spool is not None and index < len(self._spool_lengths):
                yield part._replace(text=self._spool.read(self._spool_lengths[index]))
            else:
                yield part

    def segments(self) -> Iterator[Segment]:
        """The whole item, in order."""
        heads = iter(zip(self._order, self.head, strict=True))
        order, head = next(heads, (-1, (0, b"")))
        for index, part in enumerate(self.parts()):
            while order == index:
                yield head
                order, head = next(heads, (-1, (0, b"")))
            yield part.offset, part.text
        while order >= 0:
            yield head
            order, head = next(heads, (-1, (0, b"")))

    def close(self) -> None:
        """Free the disk."""
        if self._spool is not None:
            self._spool.close()
