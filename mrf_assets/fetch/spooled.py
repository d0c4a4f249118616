"""A download to the disk before the first byte is handed out: the connection lives no longer than it must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from mrf_assets.errors import StoreError
from mrf_assets.stream import BLOCK_BYTES, RawFile, TransferCounts


class _SpooledFile:
    """What the server said, and the bytes from the disk."""

    def __init__(self, raw: RawFile, file: IO[bytes]) -> None:
        self.url, self.size_bytes = raw.url, raw.size_bytes
        self.etag, self.last_modified = raw.etag, raw.last_modified
        self.sha256 = raw.sha256
        self.transfer: TransferCounts = raw.transfer
        self._file = file

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        """Reads of the disk do not wait."""


@contextmanager
def spooled(raw: RawFile, folder: Path) -> Iterator[RawFile]:
    """The whole file in a nameless temporary file, which is gone with the context.

    Raises:
        StoreError: The folder takes no more.
        FetchError: From below; nothing was handed out.
    """
    with _temporary(folder) as file:
        while block := raw.read(BLOCK_BYTES):
            with _told_plainly(folder):
                file.write(block)
        with _told_plainly(folder):
            file.seek(0)
        raw.close()
        yield _SpooledFile(raw, file)


@contextmanager
def _temporary(folder: Path) -> Iterator[IO[bytes]]:
    with _told_plainly(folder):
        file = TemporaryFile(dir=folder, prefix="download-")  # noqa: SIM115 - closed below, outside of the translation
    with file:
        yield file


@contextmanager
def _told_plainly(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            str(folder), f"a download cannot be spooled ({error.strerror}); make room, or switch spool_downloads off"
        ) from None
