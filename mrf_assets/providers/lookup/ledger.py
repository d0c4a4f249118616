"""Which items of a batch are to do, done or given up.

An item's state and its row change in one transaction, so a crash loses both or neither.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from mrf_assets.errors import StoreError
from mrf_assets.files import as_sqlite_errors, sync
from mrf_assets.providers.lookup.items import Item, LookUpFailure, Outcome, Result, Row
from mrf_assets.providers.lookup.ledger_file import LOCK_SUFFIX, open_ledger
from mrf_assets.providers.lookup.waiting_rows import WaitingRows, put_in_line

_REASONS = "SELECT reason, count(*) FROM items WHERE state = 'failed' GROUP BY reason"
_PAGE = 100  # rows of one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedItem:
    """An item that was given up, as the ledger keeps it."""

    key: str
    reason: str
    error: str
    http_status: int | None
    attempts: int
    last_updated: str


class Ledger(WaitingRows):
    """The state of one batch; one process at a time. Use as a context manager."""

    def add(self, entries: Iterable[Item | LookUpFailure], *, replaced_reason: str | None = None) -> int:
        """Take in items, and some that are given up without a try; returns how many.

        Items that are known keep their state, and get the higher priority of both. What was given up for the reason
        `replaced_reason`, and is not among the entries any more, is forgotten: somebody corrected it.
        """
        count, now = 0, _now()
        with self._transaction() as db:
            # An entry that comes again takes the mark away.
            db.execute("UPDATE items SET attempts = -1 WHERE state = 'failed' AND reason = ?", [replaced_reason])
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
            for key, reason, error, status, attempts, last_updated in rows:
                yield FailedItem(
                    key=key,
                    reason=reason,
                    error=error,
                    http_status=status,
                    attempts=attempts,
                    last_updated=last_updated,
                )

    def commit(self, outcomes: Sequence[Outcome], output: str) -> None:
        """Keep outcomes: states and rows, all or none."""
        rows = [outcome.row for outcome in outcomes if isinstance(outcome, Result)]
        now = _now()
        with self._transaction() as db:
            put_in_line(db, output, rows)
            db.executemany(
                "UPDATE items SET state = ?, attempts = attempts + ?, reason = ?, error = ?, http_status = ?, "
                "last_updated = ? WHERE key = ?",
                [_update(outcome, now) for outcome in outcomes],
            )

    def carry(self, keys: Sequence[str], rows: Sequence[Row], output: str) -> None:
        """Take over rows of an earlier batch, which were looked up not long ago; `keys` are those of the rows."""
        with self._transaction() as db:
            put_in_line(db, output, rows)
            db.executemany(
                "UPDATE items SET state = 'done', reason = NULL, error = NULL, http_status = NULL, last_updated = ? "
                "WHERE key = ?",
                [(_now(), key) for key in keys],
            )

    def finish(self, keys: Iterable[str]) -> int:
        """These have their row already, and need no look-up; returns how many items that are."""
        done = "UPDATE items SET state = 'done', reason = NULL, error = NULL WHERE key = ? AND state <> 'done'"
        with self._transaction() as db:
            return db.executemany(done, ([key] for key in keys)).rowcount

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
                self._db = open_ledger(self.path)
                raise StoreError(
                    str(self.path), "is open in another program (sqlite3?); close it there, and start again"
                )
            path.replace(self.path)
            sync(self.path.parent)
            path.with_name(path.name + LOCK_SUFFIX).unlink(missing_ok=True)
            self._db = open_ledger(self.path)


def _looked_into(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    has_log = path.with_name(path.name + "-wal").exists()
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}", uri=True))


def _entry(entry: Item | LookUpFailure, now: str) -> tuple[Any, ...]:
    if isinstance(entry, LookUpFailure):
        item, state, reason, error = entry.item, "failed", entry.reason, entry.detail
    else:
        item, state, reason, error = entry, "pending", None, None
    return (item.key, item.priority, orjson.dumps(item.facts).decode(), state, reason, error, now)


def _update(outcome: Outcome, now: str) -> tuple[Any, ...]:
    match outcome:
        case Result():
            return ("done", outcome.requests, None, None, None, now, outcome.item.key)
        case LookUpFailure():
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
