"""Which items are done, in one SQLite file, and the rows that wait to be written.

An item's state and its row change in one transaction, so a crash loses both or neither.
`parts` says what of each output is committed; what lies on the disk beyond that is a leftover
of a crash, and its rows are still here: commits are on the disk (`sync`) before their rows are
written anywhere else.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import orjson

from mrf_assets.errors import StoreError
from mrf_assets.files import as_sqlite_errors, sqlite_transaction, sync
from mrf_assets.providers.lookup.items import Failure, Item, Outcome, Result, Row

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
_REASONS = "SELECT reason, count(*) FROM items WHERE state = 'failed' GROUP BY reason"
_PAGE = 100  # rows of one statement
_WAITING_ROWS = 1_000  # of one entry of `waiting`, with their JSON at most some 10 MB
_LOCK_SUFFIX = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of an output that is committed."""

    name: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedItem:
    """An item that was given up, as the ledger keeps it."""

    key: str
    reason: str
    error: str
    http_status: int | None
    attempts: int
    last_updated: str


class Ledger:
    """The state of one batch; one process at a time. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def __enter__(self) -> Self:
        with self._refusals():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_name(self.path.name + _LOCK_SUFFIX).open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise StoreError(
                    str(self.path), "another process works on this batch; wait for it, or give another --checkpoint"
                ) from None
            self._db = _open(self.path)
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

    # Names of outputs.

    def name_of(self, output: Path) -> str:
        """How an output is called here: its way from this folder, so that both can be moved, or mounted elsewhere.

        Where they have no folder in common, its whole path.
        """
        folder, place = self.path.parent.resolve(), output.parent.resolve() / output.name
        common = Path(os.path.commonpath([folder, place]))
        return str(place) if common == Path(common.anchor) else os.path.relpath(place, folder)

    def place_of(self, name: str) -> Path:
        """Where the output of that name is now."""
        return Path(os.path.normpath(self.path.parent.resolve() / name))

    # Items.

    def add(self, entries: Iterable[Item | Failure], *, replacing: str | None = None) -> int:
        """Take in items, and some that are given up without a try; returns how many.

        Items that are known keep their state, and get the higher priority of both. What was given up for the reason
        `replacing`, and is not among the entries any more, is forgotten: somebody corrected it.
        """
        count, now = 0, _now()
        with self._transaction() as db:
            # An entry that comes again takes the mark away.
            db.execute("UPDATE items SET attempts = -1 WHERE state = 'failed' AND reason = ?", [replacing])
            rows = (_entry(entry, now) for entry in entries)
            while page := list(islice(rows, _PAGE)):
                db.executemany(
                    "INSERT INTO items (key, priority, facts, state, reason, error, last_updated) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                    "priority = max(priority, excluded.priority), facts = excluded.facts, "
                    "attempts = max(attempts, 0), error = coalesce(excluded.error, error)",
                    page,
                )
                count += len(page)
            db.execute("DELETE FROM items WHERE attempts < 0")
        return count

    def claim(self, count: int, least_priority: float | None = None) -> list[Item]:
        """The next items to do, the most important first; they are running now."""
        least = float("-inf") if least_priority is None else least_priority
        with self._transaction() as db:
            rows = db.execute(
                "UPDATE items SET state = 'running' WHERE position IN (SELECT position FROM items "
                "WHERE state = 'pending' AND priority >= ? ORDER BY priority DESC, position LIMIT ?) "
                "RETURNING priority, position, key, facts",
                [least, count],
            ).fetchall()
        rows.sort(key=lambda row: (-row[0], row[1]))  # RETURNING promises no order
        return [Item(key=key, priority=priority, facts=orjson.loads(facts)) for priority, _, key, facts in rows]

    def release(self) -> int:
        """What is running is to be done again: at the end of a run, and after a crash."""
        with self._transaction() as db:
            return db.execute("UPDATE items SET state = 'pending' WHERE state = 'running'").rowcount

    def retry_failed(self, hopeless_reason: str = "") -> int:
        """What was given up is to be done again, unless for a reason that stays; returns how many items."""
        with self._transaction() as db:
            return db.execute(
                "UPDATE items SET state = 'pending' WHERE state = 'failed' AND reason <> ?", [hopeless_reason]
            ).rowcount

    def renew(self, keys: Iterable[str]) -> int:
        """What is done is to be done again, though its row stays until then; returns how many items."""
        with self._transaction() as db:
            renewal = "UPDATE items SET state = 'pending' WHERE key = ? AND state = 'done'"
            return db.executemany(renewal, ([key] for key in keys)).rowcount

    def counts(self) -> Counter[str]:
        """How many items are in each state."""
        with self._refusals():
            return Counter(dict(self._db.execute("SELECT state, count(*) FROM items GROUP BY state")))

    def reasons(self) -> Counter[str]:
        """Why items were given up, and how many for each reason."""
        with self._refusals():
            return Counter(dict(self._db.execute(_REASONS)))

    def pending(self, least_priority: float | None = None) -> int:
        """How many items of some importance are to do."""
        with self._refusals():
            (count,) = self._db.execute(
                "SELECT count(*) FROM items WHERE state IN ('pending', 'running') AND priority >= ?",
                [float("-inf") if least_priority is None else least_priority],
            ).fetchone()
        return int(count)

    def keys(self, state: str, limit: int) -> list[str]:
        """The keys that came into a state last, newest first."""
        with self._refusals():
            return [
                key
                for (key,) in self._db.execute(
                    "SELECT key FROM items WHERE state = ? ORDER BY position DESC LIMIT ?", [state, limit]
                )
            ]

    def unknown(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that no item has."""
        with self._refusals():
            return [
                key for key in keys if self._db.execute("SELECT 1 FROM items WHERE key = ?", [key]).fetchone() is None
            ]

    def pages_of_keys(self, size: int, *, failed_but_for: str | None = None) -> Iterator[list[str]]:
        """The keys of all items that are to do, in pages; and of those given up, but for one reason, if it is told."""
        last = -1
        while True:
            with self._refusals():
                page = self._db.execute(
                    "SELECT position, key FROM items WHERE (state = 'pending' OR (state = 'failed' AND reason <> ?)) "
                    "AND position > ? ORDER BY position LIMIT ?",
                    [failed_but_for, last, size],
                ).fetchall()
            if not page:
                return
            last = page[-1][0]
            yield [key for _, key in page]

    @staticmethod
    def peek(path: Path, keys: Iterable[str]) -> int:
        """How many of these keys are done, without opening the batch; 0 where there is none."""
        if not path.exists():
            return 0
        with _looked_into(path) as db:
            done = "SELECT 1 FROM items WHERE key = ? AND state = 'done'"
            return sum(db.execute(done, [key]).fetchone() is not None for key in keys)

    @staticmethod
    def peek_reasons(path: Path) -> Counter[str]:
        """Why items are failed, without opening the batch, as one may be at work on it; empty where there is none.

        Raises:
            StoreError: It cannot be read.
        """
        if not path.exists():
            return Counter()
        with as_sqlite_errors(path, "the batch cannot be read"), _looked_into(path) as db:
            return Counter(dict(db.execute(_REASONS)))

    def knows(self, key: str) -> bool:
        """True for an item of this batch."""
        return not self.unknown([key])

    def failed(self, limit: int = -1) -> Iterator[FailedItem]:
        """The items that were given up; of more than the limit the last ones, in the order in which it happened."""
        with self._refusals():
            rows = self._db.execute(
                "SELECT key, reason, error, http_status, attempts, last_updated FROM (SELECT * FROM items "
                "WHERE state = 'failed' ORDER BY last_updated DESC, position DESC LIMIT ?) "
                "ORDER BY last_updated, position",
                [limit],
            )
            for key, reason, error, status, attempts, updated in rows:
                yield FailedItem(
                    key=key,
                    reason=reason,
                    error=error,
                    http_status=status,
                    attempts=attempts,
                    last_updated=updated,
                )

    def commit(self, outcomes: Sequence[Outcome], output: str) -> None:
        """Keep outcomes: states and rows, all or none."""
        rows = [outcome.row for outcome in outcomes if isinstance(outcome, Result)]
        now = _now()
        with self._transaction() as db:
            _wait(db, output, rows)
            db.executemany(
                "UPDATE items SET state = ?, attempts = attempts + ?, reason = ?, error = ?, http_status = ?, "
                "last_updated = ? WHERE key = ?",
                [_update(outcome, now) for outcome in outcomes],
            )

    def carry(self, keys: Sequence[str], rows: Sequence[Row], output: str) -> None:
        """Take over rows of an earlier batch, which were looked up not long ago; `keys` are those of the rows."""
        with self._transaction() as db:
            _wait(db, output, rows)
            db.executemany(
                "UPDATE items SET state = 'done', reason = NULL, error = NULL, http_status = NULL, last_updated = ? "
                "WHERE key = ?",
                [(_now(), key) for key in keys],
            )

    # Rows on their way into an output.

    def waiting_rows(self, output: str) -> int:
        """Rows of an output that are committed here, and not written there yet."""
        with self._refusals():
            (count,) = self._db.execute(
                "SELECT coalesce(sum(rows), 0) FROM waiting WHERE output = ?", [output]
            ).fetchone()
        return int(count)

    def waiting_until(self, output: str, most_rows: int) -> int:
        """The position up to which the oldest waiting rows are to be written: so many, and what came with the last."""
        rows, last = 0, -1
        with self._refusals():
            waiting = "SELECT position, rows FROM waiting WHERE output = ? ORDER BY position"
            for position, count in self._db.execute(waiting, [output]):
                rows, last = rows + count, position
                if rows >= most_rows:
                    break
        return last

    def waiting(self, output: str, until: int, page_rows: int) -> Generator[list[dict[str, Any]]]:
        """Waiting rows up to a position, in pages; times are ISO 8601 texts.

        Reads over a connection of its own, so that it can be used in any thread; it is to be closed in that one.
        """
        with self._refusals(), closing(sqlite3.connect(self.path)) as db:
            page: list[dict[str, Any]] = []
            waiting = "SELECT json FROM waiting WHERE output = ? AND position <= ? ORDER BY position"
            for (data,) in db.execute(waiting, [output, until]):
                page += orjson.loads(data)
                if len(page) >= page_rows:
                    yield page
                    page = []
            if page:
                yield page

    def written(self, output: str, part: Part, last: int) -> None:
        """The waiting rows up to a position stand in an output now."""
        with self._transaction() as db:
            db.execute("DELETE FROM waiting WHERE output = ? AND position <= ?", [output, last])
            db.execute(
                "INSERT INTO parts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, "
                "size_bytes = excluded.size_bytes",
                [output, part.name, part.rows, part.size_bytes],
            )

    def adopt(self, output: str, parts: Iterable[Part]) -> None:
        """What stands in an output is of this batch now, whoever wrote it."""
        with self._transaction() as db:
            db.executemany("INSERT INTO parts VALUES (?, ?, ?, ?)", _part_rows(output, parts))

    def finish(self, keys: Iterable[str]) -> int:
        """These have their row already, and need no look-up; returns how many items that are."""
        done = "UPDATE items SET state = 'done', reason = NULL, error = NULL WHERE key = ? AND state <> 'done'"
        with self._transaction() as db:
            return db.executemany(done, ([key] for key in keys)).rowcount

    def rewritten(self, output: str, parts: Iterable[Part], note: str) -> None:
        """An output consists of these parts alone now; the note under this name says so until it is taken away."""
        with self._transaction() as db:
            db.execute("DELETE FROM parts WHERE output = ?", [output])
            db.executemany("INSERT INTO parts VALUES (?, ?, ?, ?)", _part_rows(output, parts))
            db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", [note, output])

    def outputs(self) -> list[str]:
        """The names of all outputs that this batch was written to, or has rows for."""
        with self._refusals():
            return [
                output
                for (output,) in self._db.execute(
                    "SELECT output FROM parts UNION SELECT output FROM waiting ORDER BY 1"
                )
            ]

    def parts(self, output: str) -> list[Part]:
        """What of an output is committed."""
        with self._refusals():
            rows = self._db.execute(
                "SELECT name, rows, size_bytes FROM parts WHERE output = ? ORDER BY name", [output]
            ).fetchall()
        return [Part(name=name, rows=count, size_bytes=size) for name, count, size in rows]

    # Notes.

    def note(self, name: str, value: str) -> None:
        """Keep a fact about the batch."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", [name, value])

    def noted(self, name: str) -> str | None:
        """A fact about the batch."""
        with self._refusals():
            row = self._db.execute("SELECT value FROM notes WHERE name = ?", [name]).fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def successor(self) -> Iterator[Ledger]:
        """A new ledger that takes this one's place, all at once, when the block ends without an error."""
        path = self.path.with_name(self.path.name + ".new")
        with self._refusals():
            for leftover in self.path.parent.glob(path.name + "*"):
                leftover.unlink()
        with Ledger(path) as new:
            yield new
        with self._refusals():
            # Closing removes the write-ahead log, which must not be taken for the new file's: unless another program
            # has the ledger open, whose closing would then write the new log into the old file.
            self._db.execute("PRAGMA busy_timeout=500")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            if self.path.with_name(self.path.name + "-wal").exists():
                self._db = _open(self.path)
                raise StoreError(
                    str(self.path), "is open in another program (sqlite3?); close it there, and start again"
                )
            path.replace(self.path)
            sync(self.path.parent)
            path.with_name(path.name + _LOCK_SUFFIX).unlink(missing_ok=True)
            self._db = _open(self.path)


def _looked_into(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    has_log = path.with_name(path.name + "-wal").exists()
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}", uri=True))


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    # A commit does not wait for the disk, `sync` does, in another thread: with FULL the event loop stood still for 9 of
    # 52 s while other programs wrote (20,000 look-ups), so for 1.4.
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA wal_autocheckpoint=10000")  # pages; a checkpoint waits for the disk
    db.executescript(_SCHEMA)
    return db


def _wait(db: sqlite3.Connection, output: str, rows: Sequence[Row]) -> None:
    # JSON, not Arrow: ten rows of 45 columns take a tenth of the time.
    for first in range(0, len(rows), _WAITING_ROWS):
        page = rows[first : first + _WAITING_ROWS]
        db.execute("INSERT INTO waiting (output, rows, json) VALUES (?, ?, ?)", [output, len(page), orjson.dumps(page)])


def _part_rows(output: str, parts: Iterable[Part]) -> Iterator[tuple[str, str, int, int]]:
    return ((output, part.name, part.rows, part.size_bytes) for part in parts)


def _entry(entry: Item | Failure, now: str) -> tuple[Any, ...]:
    if isinstance(entry, Failure):
        item, state, reason, error = entry.item, "failed", entry.reason, entry.detail
    else:
        item, state, reason, error = entry, "pending", None, None
    return (item.key, item.priority, orjson.dumps(item.facts).decode(), state, reason, error, now)


def _update(outcome: Outcome, now: str) -> tuple[Any, ...]:
    match outcome:
        case Result():
            return ("done", outcome.requests, None, None, None, now, outcome.item.key)
        case Failure():
            return (
                "failed",
                outcome.requests,
                outcome.reason,
                outcome.detail,
                outcome.http_status,
                now,
                outcome.item.key,
            )
        case _:
            return ("pending", outcome.requests, None, None, None, now, outcome.item.key)


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")
