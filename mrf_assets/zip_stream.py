"""The members of a zip as they come: one of 19.5 GB (Kaiser) needs no disk and no memory.

Names are given as they are written and are never used as paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from stream_unzip import (
    MissingPasswordError,
    PasswordError,
    TruncatedDataError,
    UnsupportedFeatureError,
    UnzipError,
    stream_unzip,
)

from mrf_assets.errors import CorruptArchive, LimitExceeded, TruncatedFile, UnsupportedContent

_CHUNK_BYTES = 1 << 20
_LEAST_END = 22  # bytes of the record that ends a zip, without its comment
_LONGEST_END = _LEAST_END + 0xFFFF


def zip_members(blocks: Iterable[bytes], most_members: int, url: str) -> Iterator[tuple[bytes, Iterator[bytes]]]:
    """Yield (name, content in pieces) of each member; the content of one has to be read before the next.

    To be used in `told_errors`.

    Raises:
        LimitExceeded: More than `most_members`.
    """
    end = _End(blocks)
    members = stream_unzip(end.blocks(), chunk_size=_CHUNK_BYTES)
    for nth, (name, _, chunks) in enumerate(members, start=1):
        if nth > most_members:
            raise LimitExceeded(url, "max_zip_members", f"is a zip of more than {most_members} files")
        yield name, chunks
    if not end.is_whole:
        raise TruncatedDataError


@contextmanager
def told_errors(url: str, read_bytes: Callable[[], int]) -> Iterator[None]:
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


class _End:
    """Blocks of a zip, and whether its end was among them: members are whole before it, the file is not."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._tail = iter(blocks), b""

    def blocks(self) -> Iterator[bytes]:
        for block in self._blocks:
            self._tail = (self._tail + block)[-_LONGEST_END:]
            yield block

    @property
    def is_whole(self) -> bool:
        for _ in self.blocks():
            pass
        begin = self._tail.rfind(b"PK\x05\x06")
        if begin < 0 or len(self._tail) < begin + _LEAST_END:
            return False
        comment = int.from_bytes(self._tail[begin + _LEAST_END - 2 : begin + _LEAST_END], "little")
        return len(self._tail) >= begin + _LEAST_END + comment
