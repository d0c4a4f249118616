"""The members of a zip as they come: one of 19.5 GB (Kaiser) needs no disk and no memory.

Names are given as they are written and are never used as paths.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from struct import Struct

from stream_unzip import (
    MissingPasswordError,
    NotStreamUnzippable,
    PasswordError,
    TruncatedDataError,
    UnsupportedFeatureError,
    UnzipError,
    stream_unzip,
)

from mrf_assets.errors import CorruptArchive, LimitExceeded, TruncatedFile, UnsupportedContent

_CHUNK_BYTES = 1 << 20
_MIN_END = 22  # bytes of the record that ends a zip, without its comment
_LONGEST_END = _MIN_END + 0xFFFF
_HEADER = Struct("<4s2xHH16xHH")  # of a member: signature, flags, method, lengths of name and extra field
_LONGEST_HEADER = _HEADER.size + 2 * 0xFFFF
_SIZE_FOLLOWS, _STORED = 1 << 3, 0
# Behind a member without a byte: checksum and two sizes of 4 or of 8 bytes, and what comes next.
_NOTHING = re.compile(rb"(?:PK\x07\x08)?\0{4}(?:\0{8}|\0{16})(?=PK(?:\x03\x04|\x01\x02))")
_LONGEST_NOTHING = 28
_Members = Iterator[tuple[bytes, Iterator[bytes]]]


def zip_members(blocks: Iterable[bytes], most_members: int, url: str, repairs: Counter[str]) -> _Members:
    """Yield (name, content in pieces) of each member; the content of one has to be read before the next.

    Bytes behind the end of the archive are counted as repair `trailing_bytes`. To be used in `translate_errors`.

    Raises:
        LimitExceeded: More than `most_members`.
    """
    end = _End(blocks)
    for nth, member in enumerate(_members(_RewindableBlocks(end.blocks())), start=1):
        if nth > most_members:
            raise LimitExceeded(url, "max_zip_members", f"is a zip of more than {most_members} files")
        yield member
    trailing_bytes = end.trailing_bytes
    if trailing_bytes is None:
        raise TruncatedDataError
    if trailing_bytes:
        repairs["trailing_bytes"] += 1


def _members(source: _RewindableBlocks) -> _Members:
    """All members.

    Those that are stored, and whose sizes follow behind them, have no end that could be seen, unless they are empty:
    so writers of streams put down folders and files of 0 bytes.
    """
    while True:
        try:
            for name, _, chunks in stream_unzip(source.blocks(), chunk_size=_CHUNK_BYTES):
                yield name, chunks
        except NotStreamUnzippable as error:
            (name,) = error.args
            if not source.passes_empty(name):
                raise
            yield name, iter(())
        else:
            return


@contextmanager
def translate_errors(url: str, read_bytes: Callable[[], int]) -> Iterator[None]:
    """What the library raises, from members and from their content, as errors for people.

    Raises:
        TruncatedFile, UnsupportedContent, CorruptArchive: As they say.
    """
    try:
        yield
    except TruncatedDataError:
        raise TruncatedFile(url, read_bytes(), "the zip archive") from None
    except (PasswordError, MissingPasswordError):
        raise UnsupportedContent(url, "the zip is encrypted; unpack it first") from None
    except UnsupportedFeatureError as error:
        kind = type(error).__name__
        raise UnsupportedContent(url, f"the zip cannot be read as it comes ({kind}); unpack it") from None
    except UnzipError as error:
        kind = type(error).__name__
        raise CorruptArchive(url, f"the zip is damaged ({kind}); download it again") from None


class _RewindableBlocks:
    """Blocks of a zip, of which the last ones can be gone back to."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._buffer = iter(blocks), b""

    def blocks(self) -> Iterator[bytes]:
        """The blocks, from where `passes_empty` went back to."""
        if self._buffer:
            yield self._buffer
        for block in self._blocks:
            self._buffer = self._buffer[-_LONGEST_HEADER:] + block
            yield block

    def passes_empty(self, name: bytes) -> bool:
        """Go to the end of the member of that name, if it is stored and empty; False if it is not."""
        begin = -1
        while (begin := self._buffer.find(b"PK\x03\x04", begin + 1)) >= 0:
            self._buffer += b"".join(self._more(begin + _LONGEST_HEADER + _LONGEST_NOTHING - len(self._buffer)))
            header = self._buffer[begin : begin + _HEADER.size]
            if len(header) < _HEADER.size:
                return False
            _, flags, method, name_bytes, extra_bytes = _HEADER.unpack(header)
            name_at = begin + _HEADER.size
            nothing = _NOTHING.match(self._buffer, name_at + name_bytes + extra_bytes)
            is_it = method == _STORED and flags & _SIZE_FOLLOWS and self._buffer[name_at : name_at + name_bytes] == name
            if is_it and nothing:
                self._buffer = self._buffer[nothing.end() :]
                return True
        return False

    def _more(self, size: int) -> Iterator[bytes]:
        while size > 0 and (block := next(self._blocks, b"")):
            size -= len(block)
            yield block


class _End:
    """Blocks of a zip, and whether its end was among them: members are whole before it, the file is not."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._tail = iter(blocks), b""

    def blocks(self) -> Iterator[bytes]:
        for block in self._blocks:
            self._tail = (self._tail + block)[-_LONGEST_END:]
            yield block

    @property
    def trailing_bytes(self) -> int | None:
        """Bytes behind the record that ends the archive; None where there is no such record."""
        for _ in self.blocks():
            pass
        begin = self._tail.rfind(b"PK\x05\x06")
        if begin < 0 or len(self._tail) < begin + _MIN_END:
            return None
        comment = int.from_bytes(self._tail[begin + _MIN_END - 2 : begin + _MIN_END], "little")
        trailing_bytes = len(self._tail) - begin - _MIN_END - comment
        return trailing_bytes if trailing_bytes >= 0 else None
