"""Files of our own disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import IO

from mrf_assets.errors import FetchError, NotFoundAtSource
from mrf_assets.fetch.opened import OpenedFile, Validators
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.urls import local_path
from mrf_assets.urls.address import Address


class LocalFile(OpenedFile):
    """An opened local file, as a `RawFile`."""

    is_private = True

    def __init__(self, address: Address, file: IO[bytes], validators: Validators, transfer: TransferCounts) -> None:
        super().__init__(address, validators, transfer)
        self._file = file

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def close(self) -> None:
        """Reads of the disk do not wait; `open_local` closes the file."""


@contextmanager
def open_local(address: Address) -> Iterator[LocalFile]:
    """Open a path or a `file://` URL.

    Raises:
        NotFoundAtSource: No such file.
        FetchError: Not to be read.
    """
    with _translate_errors(address):
        file = local_path(address.real).open("rb")
    with file:
        yield LocalFile(address, file, _validators(os.fstat(file.fileno())), TransferCounts())


def local_validators(address: Address) -> Validators:
    """What the disk says of a file; errors as those of `open_local`."""
    with _translate_errors(address):
        return _validators(local_path(address.real).stat())


def _validators(facts: os.stat_result) -> Validators:
    return Validators(
        etag=f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"',
        last_modified=formatdate(facts.st_mtime, usegmt=True),
        size_bytes=facts.st_size,
    )


@contextmanager
def _translate_errors(address: Address) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFoundAtSource(address, "no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FetchError(address, f"cannot be read ({reason}); check the path and its permissions") from None
