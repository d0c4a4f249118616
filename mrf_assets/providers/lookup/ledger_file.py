"""The SQLite file of a ledger: its tables, its lock, its transactions and its notes."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Self

from mrf_assets.errors import StoreError
from mrf_assets.files import as_sqlite_errors, open_sqlite, sqlite_transaction, sync

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, priority REAL NOT NULL, facts TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0, reason TEXT, error TEXT, http_status INTEGER, last_updated TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS items_to_do ON items (state, priority DESC, position);
CREATE TABLE IF NOT EXISTS waiting (position INTEGER PRIMARY KEY, output TEXT NOT NULL, rows INTEGER NOT NULL,
    json BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS parts (output TEXT NOT NULL, name TEXT NOT NULL, rows INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, PRIMARY KEY (output, name));
"""
LOCK_SUFFIX = ".lock"
_BUSY_SECONDS = 5.0  # for a program that looks into it; no other one writes


class LedgerFile:
    """One file for one process at a time. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def __enter__(self) -> Self:
        with self._refusals():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_name(self.path.name + LOCK_SUFFIX).open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise StoreError(
                    str(self.path), "another process works on this batch; wait for it, or give another --checkpoint"
                ) from None
            self._db = open_ledger(self.path)
            sync(self.path.parent)
            return self

    def __exit__(self, *_exc: object) -> None:
        self._db.close()
        self._lock.close()

    def _refusals(self) -> AbstractContextManager[None]:
        return as_sqlite_errors(self.path, "the batch cannot be kept")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._refusals(), sqlite_transaction(self._db):
            yield self._db

    def sync(self) -> None:
        """Come back when all that is committed is on the disk; in any thread.

        A power cut before that takes the last commits with it, and never makes the file inconsistent.
        """
        with self._refusals(), suppress(FileNotFoundError):  # what is not in the log is in the file, and on the disk
            sync(self.path.with_name(self.path.name + "-wal"))

    def note(self, name: str, value: str) -> None:
        """Keep a fact about the batch."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", [name, value])

    def noted(self, name: str) -> str | None:
        """A fact about the batch."""
        with self._refusals():
            row = self._db.execute("SELECT value FROM notes WHERE name = ?", [name]).fetchone()
        return None if row is None else str(row[0])


def open_ledger(path: Path) -> sqlite3.Connection:
    """Open the file, and make its tables where they are missing."""
    db = open_sqlite(path, _SCHEMA, busy_seconds=_BUSY_SECONDS)
    # A commit does not wait for the disk, `sync` does, in another thread: with FULL the event loop stood still for 9 of
    # 52 s while other programs wrote (20,000 look-ups), so for 1.4.
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA wal_autocheckpoint=10000")  # pages; a checkpoint waits for the disk
    return db
