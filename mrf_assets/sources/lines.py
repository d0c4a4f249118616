"""A text file -> numbered lines, and what is wrong with them, told all at once.

For the readers of lists and CSVs, which say what a line means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mrf_assets.errors import Problem, SourceProblems
from mrf_assets.settings import Limits
from mrf_assets.stream.decompress import open_json
from mrf_assets.stream.raw_file import Opener
from mrf_assets.urls.address import Address

_LINE_BYTES = 1 << 20
_MAX_PROBLEMS = 1000


class Problems:
    """Collects what is wrong with a list, to tell all of it at once."""

    def __init__(self, source: Address | str) -> None:
        self._source, self._problems = source, list[Problem]()

    def add(self, where: int | str, what: str) -> None:
        """Note a problem of a line, or of something else that has a name."""
        place = f"line {where}" if isinstance(where, int) else where
        self._problems.append(Problem(place, what))
        if len(self._problems) >= _MAX_PROBLEMS:
            self._problems.append(Problem(place, "reading stopped here; is this a list of files?"))
            self.settle()

    def settle(self) -> None:
        """Raise `SourceProblems` if there are any."""
        if self._problems:
            raise SourceProblems(self._source, tuple(self._problems))


def numbered_lines(address: Address, open_url: Opener, problems: Problems, limits: Limits) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line with its end; lines that are not UTF-8 are problems."""
    with open_url(address) as raw:
        blocks = open_json(raw, expect="text", limits=limits).blocks()
        for number, line in enumerate(_split(blocks), start=1):
            if len(line) > _LINE_BYTES:
                problems.add(number, "is longer than 1 MiB; this is no list of files")
                problems.settle()
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                problems.add(number, f"is not UTF-8 at its byte {error.start + 1}; save the file as UTF-8")
                text = "\n"
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends: LF, CRLF or CR (Excel for Mac)."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).splitlines(keepends=True)
        yield from lines
        if len(rest) > _LINE_BYTES:
            break
    yield from rest.splitlines(keepends=True)
