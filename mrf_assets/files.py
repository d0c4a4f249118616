"""Files that appear whole, and whose turn it is to write them."""

from __future__ import annotations

import fcntl
import glob
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mrf_assets.clock import is_due

logger = logging.getLogger(__name__)

_ABANDONED_SECONDS = 86_400.0
_MOST_OF_A_NAME = 200  # bytes of 255; the rest is ours


def sync(path: Path) -> None:
    """Down to the disk: after a power cut a rename must not point to files without content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` when the block ends, and not if it fails.

    The name is this writer's alone: under one name two of them would write into one file, and publish it half done. It
    stands in `folder`, by default beside `path`; what killed writers left there a day ago is removed.

    Raises:
        OSError: As the block, or the file system, says.
    """
    folder = folder or path.parent
    prefix = f".{os.fsdecode(os.fsencode(path.name)[:_MOST_OF_A_NAME])}."
    _remove_abandoned(folder, prefix)
    partial = folder / f"{prefix}{secrets.token_hex(8)}.partial"
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    for partial in folder.glob(f"{glob.escape(prefix)}{'[0-9a-f]' * 16}.partial*"):
        with suppress(OSError):
            if is_due(partial.stat().st_mtime, _ABANDONED_SECONDS, time.time()):
                partial.unlink()


@contextmanager
def sole(path: Path) -> Iterator[None]:
    """Hold a lock file that stands there only meanwhile; it goes with the process.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: It cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(path, file.fileno()):
                continue  # its holder removed it between our two steps
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


@contextmanager
def locked(path: Path, waits_for: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, alone or with all who share it; it goes with the process.

    Who has to wait logs for what.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for %s", waits_for)
            fcntl.flock(file, kind)
        yield
