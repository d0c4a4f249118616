"""A download to the disk before the first byte is handed out: the connection lives no longer than it must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from mrf_assets.errors import StoreError
from mrf_assets.files import as_store_error, is_full, require_room
from mrf_assets.stream.raw_file import BLOCK_BYTES, RawFile, TransferCounts

_ROOM_EVERY_BLOCKS = 32


class _SpooledFile:
    """What the server said, and the bytes from the disk."""

    def __init__(self, raw: RawFile, file: IO[bytes]) -> None:
        self.url, self.size_bytes = raw.url, raw.size_bytes
        self.etag, self.last_modified = raw.etag, raw.last_modified
        self.sha256, self.content_encoding = raw.sha256, raw.content_encoding
        self.is_private = raw.is_private
        self.transfer: TransferCounts = raw.transfer
        self._file = file

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        """Reads of the disk do not wait."""


@contextmanager
def spooled(raw: RawFile, folder: Path, kept_bytes: int = 0) -> Iterator[RawFile]:
    """The whole file in a nameless temporary file, which is gone with the context.

    Raises:
        DiskFull: It would leave less than `kept_bytes` free.
        StoreError: The folder takes no more.
        FetchError: From below; nothing was handed out.
    """
    with _temporary(folder) as file:
        require_room(folder, kept_bytes, raw.size_bytes or 0)
        for number, block in enumerate(iter(lambda: raw.read(BLOCK_BYTES), b"")):
            if number % _ROOM_EVERY_BLOCKS == 0:
                require_room(folder, kept_bytes)
            with _translate_errors(folder):
                file.write(block)
        with _translate_errors(folder):
            file.seek(0)
        raw.close()
        yield _SpooledFile(raw, file)


@contextmanager
def _temporary(folder: Path) -> Iterator[IO[bytes]]:
    with _translate_errors(folder):
        file = TemporaryFile(dir=folder, prefix="download-")  # noqa: SIM115 - closed below, outside of the translation
    with file:
        yield file


@contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise as_store_error(folder, error) from None
        raise StoreError(
            str(folder), f"a download cannot be spooled ({error.strerror}); make room, or switch spool_downloads off"
        ) from None
