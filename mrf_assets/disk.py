"""How much room there is where we write; a disk without room is told in one way, whoever meets it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrf_assets.errors import DiskFull, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SQLITE_LOG_INDEX_BYTES = 32_768  # https://sqlite.org/walformat.html, section 2


def require_room(folder: Path, kept_bytes: int, coming_bytes: int = 0) -> None:
    """Refuse to go on where `coming_bytes` would leave less than `kept_bytes` free on the folder's disk.

    Raises:
        DiskFull: With what is free and what is needed.
    """
    free_bytes = _free_bytes(folder)
    if free_bytes is not None and free_bytes < kept_bytes + coming_bytes:
        raise DiskFull(str(folder), free_bytes, coming_bytes, kept_bytes)


def is_full(error: OSError) -> bool:
    """Whether it says that there is no room left, or no quota."""
    return error.errno in _FULL


def refusal(folder: Path, error: OSError) -> StoreError:
    """What the file system refused, as one line for a person."""
    if is_full(error):
        return _full(folder)
    return StoreError(
        str(folder), f"cannot be written ({error.strerror or error}); check the folder, its owner and its disk"
    )


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes a StoreError."""
    try:
        yield
    except OSError as error:
        raise refusal(folder, error) from error


@contextmanager
def sqlite_refusals(path: Path, what: str) -> Iterator[None]:
    """What stands in the way of a database becomes a StoreError; `what` could not be done with it."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise sqlite_refusal(path, what, error) from error


@contextmanager
def sqlite_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, for a connection with `isolation_level=None`: it takes the lock for writing at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def sqlite_refusal(path: Path, what: str, error: OSError | sqlite3.Error) -> StoreError:
    """The same for a database; `what` could not be done with it."""
    if isinstance(error, OSError):
        without_room = is_full(error)
    else:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits are details
        # Without room for the index of its log SQLite says "disk I/O error".
        has_no_log = code == sqlite3.SQLITE_IOERR and _free_bytes(path.parent) in range(_SQLITE_LOG_INDEX_BYTES)
        without_room = code == sqlite3.SQLITE_FULL or has_no_log
    if without_room:
        return _full(path.parent)
    return StoreError(str(path), f"{what} ({error}); check the folder and its owner")


def _full(folder: Path) -> DiskFull:
    return DiskFull(str(folder), _free_bytes(folder) or 0, 0, 0)


def _free_bytes(folder: Path) -> int | None:
    """Free for this user on the disk of a folder that may not be there yet; None where the system does not say."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
