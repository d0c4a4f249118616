"""Files that appear whole, and whose turn it is to write them."""

from __future__ import annotations

import errno
import fcntl
import glob
import logging
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from mrf_assets.clock import is_due
from mrf_assets.errors import DiskFull, StoreError

logger = logging.getLogger(__name__)

_ABANDONED_SECONDS = 86_400.0
_MAX_NAME_BYTES = 200  # bytes of 255; the rest is ours


def sync(path: Path) -> None:
    """Down to the disk: after a power cut a rename must not point to files without content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_write(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` when the block ends, and not if it fails.

    The name is this writer's alone: under one name two of them would write into one file, and publish it half done. It
    stands in `folder`, by default beside `path`; what killed writers left there a day ago is removed.

    Raises:
        OSError: As the block, or the file system, says.
    """
    folder = folder or path.parent
    prefix = f".{os.fsdecode(os.fsencode(path.name)[:_MAX_NAME_BYTES])}."
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
def exclusive(path: Path) -> Iterator[None]:
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


def as_store_error(folder: Path, error: OSError) -> StoreError:
    """What the file system refused, of a folder or of a file in it, as one line for a person."""
    if is_full(error):
        return full_disk(folder, error)
    return StoreError(
        str(folder), f"cannot be written ({error.strerror or error}); check the folder, its owner and its disk"
    )


@contextmanager
def as_store_errors(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes a StoreError."""
    try:
        yield
    except OSError as error:
        raise as_store_error(folder, error) from error


@contextmanager
def as_sqlite_errors(path: Path, what: str) -> Iterator[None]:
    """What stands in the way of a database becomes a StoreError; `what` could not be done with it."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise as_sqlite_error(path, what, error) from error


def open_sqlite(
    path: Path, schema: str, *, busy_seconds: float, isolation_level: Literal["DEFERRED"] | None = None
) -> sqlite3.Connection:
    """Open a database that others read while it is written, and make its tables where they are missing.

    Args:
        path: Its file.
        schema: Statements that change nothing where the tables exist.
        busy_seconds: How long a statement waits for another writer.
        isolation_level: None leaves transactions to `sqlite_transaction`.
    """
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=isolation_level)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def private_sqlite(
    path: Path, schema: str, what: str, *, busy_seconds: float, isolation_level: Literal["DEFERRED"] | None = None
) -> Iterator[sqlite3.Connection]:
    """A connection for a while to a database that only its owner reads; arguments as in `open_sqlite`.

    Raises:
        StoreError: `what` could not be done with it.
    """
    with as_sqlite_errors(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        database = open_sqlite(path, schema, busy_seconds=busy_seconds, isolation_level=isolation_level)
        with closing(database) as connection:
            yield connection


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


def as_sqlite_error(path: Path, what: str, error: OSError | sqlite3.Error) -> StoreError:
    """The same for a database; `what` could not be done with it."""
    without_room = is_full(error) if isinstance(error, OSError) else _has_no_room(error, path.parent)
    if without_room:
        return full_disk(path.parent, error)
    return StoreError(str(path), f"{what} ({error}); check the folder and its owner")


def _has_no_room(error: sqlite3.Error, folder: Path) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits are details
    if code == sqlite3.SQLITE_FULL:
        return True
    # Without room for its log, or for the log's index, SQLite says "disk I/O error"; without an inode for them
    # "unable to open database file".
    has_no_log = _free_bytes(folder) in range(_SQLITE_LOG_INDEX_BYTES) or _has_no_inodes(folder)
    return code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and has_no_log


def full_disk_behind(error: BaseException, folder: Path, setting: str) -> DiskFull | None:
    """The full disk that an error of another library comes from, if it does.

    That library keeps its files in `folder`, which `setting` names.
    """
    cause: BaseException | None = error
    while cause is not None:
        is_ours = isinstance(cause, OSError) and is_full(cause) and _is_below(cause.filename, folder)
        if is_ours or (isinstance(cause, sqlite3.Error) and _has_no_room(cause, folder)):
            return full_disk(folder, cause, setting)
        cause = cause.__cause__ or cause.__context__
    return None


def _is_below(filename: object, folder: Path) -> bool:
    return isinstance(filename, str) and Path(filename).is_relative_to(folder)


def full_disk(folder: Path, error: BaseException, setting: str = "an --output-dir") -> DiskFull:
    """What is used up there, after an error that says that something is."""
    cause = "quota" if getattr(error, "errno", None) == errno.EDQUOT else "inodes" if _has_no_inodes(folder) else "room"
    return DiskFull(str(folder), _free_bytes(folder) or 0, 0, 0, cause, setting)


def _has_no_inodes(folder: Path) -> bool:
    """Whether the disk has room, but not for another file; systems that count none have no end of them."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            file_system = os.statvfs(place)
            return bool(file_system.f_files) and not file_system.f_favail and bool(file_system.f_bavail)
    return False


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
