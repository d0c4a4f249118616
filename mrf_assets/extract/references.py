"""Elements of `provider_references` -> rows of `providers`."""

from __future__ import annotations

from collections.abc import Iterator

from mrf_assets.extract.exact import located_elements
from mrf_assets.extract.interface import TableBatch
from mrf_assets.extract.reference import FileReader
from mrf_assets.extract.values import Obj


class ReferenceReader:
    """Reads pieces of the section, cut behind elements."""

    def __init__(self, file: FileReader) -> None:
        self._file, self._tally, self._url = file, file.tally, file.request.url

    def not_a_reference(self, value: object) -> None:
        """Reject what is no object."""
        self._tally.provider_groups_read += 1
        self._tally.reject(
            self._file.root_offset, "provider_group", "provider_references", "not_an_object", value
        )

    def read(self, offset: int, text: bytes, *, is_first: bool, is_last: bool) -> Iterator[TableBatch]:
        """Read a piece of the list; `offset` is its place in the file."""
        before = b"[" if is_first else b"[0 "
        piece = before + text + b"]"
        values = located_elements([(offset - len(before), piece)], self._url, self._tally)
        for value in values if is_first else values[1:]:
            if isinstance(value, Obj):
                self._tally.provider_groups_read += 1
                yield from self._file.write_reference(value)
            else:
                self.not_a_reference(value)
