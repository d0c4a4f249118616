"""What is known of the watched indexes: the sensor's memory, beside the plan and not in its cursor.

One SQLite file holds, per index, when and how it was read; per network, which version it has and what
Dagster was told of it; per file, what tells its version. Links are not here: the plan has them
(`ingest.plan`). The file is readable by its owner alone.

Dagster takes over what a tick returns after the tick has ended, or never, if the daemon is killed
between. So a telling is first *offered* under a tick number that only the returned cursor carries;
the next tick brings the cursor back, and what was offered up to it counts as told. All else is
offered again, with the same run keys, which Dagster does not start twice.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mrf_assets.clock import SKEW_SECONDS
from mrf_assets.fetch import Validators
from mrf_assets.files import as_sqlite_errors, private_sqlite, sqlite_transaction
from mrf_assets.watch.listing import READ_ONCE_MORE, Listing, renew_versions
from mrf_assets.watch.offers import PENDING, Offer, make_offers, settle_cursor
from mrf_assets.watch.registry import RegisteredIndex

_SCHEMA = """
CREATE TABLE IF NOT EXISTS memory (store_id TEXT NOT NULL, last_tick INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS source_index (
    name TEXT PRIMARY KEY, payer TEXT, address TEXT, priority INTEGER, is_registered INTEGER NOT NULL DEFAULT 1,
    request TEXT, etag TEXT, last_modified TEXT, size_bytes INTEGER, sha256 TEXT,
    polled_at REAL, read_at REAL, reading_since REAL,
    networks INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, error TEXT, is_alerted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS listing (
    index_name TEXT, network_id TEXT, PRIMARY KEY (network_id, index_name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS network (
    network_id TEXT PRIMARY KEY, index_name TEXT,
    version TEXT NOT NULL DEFAULT '', generation INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT 'new',
    batch_id TEXT, host TEXT, period TEXT, files INTEGER, retired_at REAL, probed_at REAL,
    told TEXT, requested TEXT, offered TEXT, offered_run INTEGER, offered_tick INTEGER, partition_tick INTEGER
);
CREATE INDEX IF NOT EXISTS network_by_index ON network (index_name);
CREATE INDEX IF NOT EXISTS network_by_probe ON network (probed_at) WHERE retired_at IS NULL;
CREATE INDEX IF NOT EXISTS network_offered ON network (offered_tick) WHERE offered_tick IS NOT NULL;
CREATE TABLE IF NOT EXISTS file (
    network_id TEXT, file_id TEXT, facts TEXT NOT NULL, mark TEXT NOT NULL DEFAULT '', PRIMARY KEY (network_id, file_id)
) WITHOUT ROWID;
"""

_BUSY_SECONDS = 60.0
_REFUSED = "the memory of indexes cannot be kept"
_SETTLING = ".settling"  # no index is called so


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """An index as it stands."""

    name: str
    networks: int  # that it names now
    files: int
    retired: int
    pending: int  # networks that Dagster is still to be told of
    polled_at: float | None  # seconds since 1970
    read_at: float | None  # when it was last read anew
    reading_since: float | None
    failures: int  # in a row
    error: str | None  # of the last of them
    is_alerted: bool


class IndexStore:
    """What is known of the indexes under one output folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def under(cls, output_dir: Path) -> IndexStore:
        """The memory that belongs to an output folder."""
        return cls(output_dir.absolute() / ".mrf" / "indexes.sqlite")

    @property
    def exists(self) -> bool:
        """Whether anything was ever kept here."""
        return self._path.exists()

    # What the registry says.

    def sync(self, indexes: Sequence[RegisteredIndex]) -> None:
        """Take over which indexes there are; the networks of one that is gone stay as they are, watched by none."""
        with self._transaction() as connection:
            connection.execute("UPDATE source_index SET is_registered = 0")
            connection.executemany(
                "INSERT INTO source_index (name, payer, address, priority) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET payer = excluded.payer, address = excluded.address,"
                " priority = excluded.priority, is_registered = 1",
                [(index.name, index.payer, index.url.shown, int(index.priority)) for index in indexes],
            )
            removed_indexes = "(SELECT name FROM source_index WHERE NOT is_registered)"
            # Another index may name them too: it is read once more, to take them over.
            connection.execute(
                f"UPDATE source_index SET {READ_ONCE_MORE} WHERE name IN"  # noqa: S608 - our own
                " (SELECT DISTINCT other.index_name FROM listing"
                " JOIN network USING (network_id) JOIN listing other USING (network_id)"
                f" WHERE listing.index_name IN {removed_indexes} AND network.index_name = listing.index_name)"
            )
            connection.execute(f"DELETE FROM listing WHERE index_name IN {removed_indexes}")  # noqa: S608 - our own
            connection.execute(f"UPDATE network SET index_name = NULL WHERE index_name IN {removed_indexes}")  # noqa: S608 - our own
            connection.execute("DELETE FROM source_index WHERE NOT is_registered")

    # One index is read.

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Hold an index against other processes; False where one of them has it. Ends with the process, however."""
        with self._lock_file(name) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[IO[str]]:
        path = self._path.with_name("index_locks") / name
        with self._refusals():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
        with handle:
            yield handle

    def last_read(self, name: str, request: str) -> tuple[Validators | None, str | None, float | None]:
        """Validators and SHA-256 of an index when it was last read as `request` says, and when it was last polled."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT etag, last_modified, size_bytes, sha256, polled_at FROM source_index"
                " WHERE name = ? AND request = ?",
                (name, request),
            ).fetchone()
        if row is None:
            return None, None, None
        return Validators(etag=row[0], last_modified=row[1], size_bytes=row[2]), row[3], row[4]

    def has_read_selection(self, name: str, request: str) -> bool:
        """Whether an index was last read for the same selection of its networks, wherever it lay."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT 1 FROM source_index WHERE name = ?1 AND instr(request, '.') > 0"
                " AND substr(request, 1, instr(request, '.')) = substr(?2, 1, instr(?2, '.'))",
                (name, request),
            ).fetchone()
        return row is not None

    def begins(self, name: str, now: float) -> None:
        """Note that an index is being read."""
        with self._transaction() as connection:
            connection.execute("UPDATE source_index SET reading_since = ? WHERE name = ?", (now, name))

    def unchanged(self, name: str, now: float, validators: Validators | None = None) -> None:
        """Note that an index is as it was, and what its server says of it now where that is known."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE source_index SET polled_at = ?, reading_since = NULL, failures = 0, error = NULL,"
                " is_alerted = 0 WHERE name = ?",
                (now, name),
            )
            if validators is not None:
                connection.execute(
                    "UPDATE source_index SET etag = ?, last_modified = ?, size_bytes = ? WHERE name = ?",
                    (validators.etag, validators.last_modified, validators.size_bytes, name),
                )

    def failed(self, name: str, error: str, now: float) -> None:
        """Note why an index could not be read; nothing else changes."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE source_index SET polled_at = ?, reading_since = NULL, failures = failures + 1, error = ?"
                " WHERE name = ?",
                (now, error, name),
            )

    @contextmanager
    def reading(self, name: str) -> Iterator[Listing]:
        """Take down what an index names; `listing.settle` makes it count.

        One at a time, over all processes: two indexes that name one new network must not both get it.
        """
        with self._lock_file(_SETTLING) as handle, self._connect() as connection:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield Listing(connection, name)

    # Files are asked about.

    def probe_due(self, name: str, wait_seconds: float, now: float, limit: int) -> list[str]:
        """Networks of an index that nobody asked about for so long, the longest waiting first."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT network_id FROM network WHERE retired_at IS NULL AND index_name = ?"
                " AND told = version AND (probed_at IS NULL OR probed_at <= ? OR probed_at > ?)"
                " ORDER BY probed_at LIMIT ?",
                (name, now - wait_seconds, now + SKEW_SECONDS, limit),
            )
            return [network_id for (network_id,) in rows]

    def marks(self, network_id: str) -> dict[str, str]:
        """file_id -> what its server last said of it, as one text; empty where nothing was said yet."""
        with self._connect() as connection:
            return dict(connection.execute("SELECT file_id, mark FROM file WHERE network_id = ?", (network_id,)))

    def probed(
        self, network_id: str, marks: Iterable[tuple[str, str]], *, is_changed: bool, batch_id: str, now: float
    ) -> None:
        """Note what was learned of a network's files; changed content is a new version."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE file SET mark = ? WHERE network_id = ? AND file_id = ?",
                [(mark, network_id, file_id) for file_id, mark in marks],
            )
            connection.execute("UPDATE network SET probed_at = ? WHERE network_id = ?", (now, network_id))
            if is_changed:
                connection.execute("CREATE TEMP TABLE changed (network_id TEXT PRIMARY KEY)")
                connection.execute("INSERT INTO changed VALUES (?)", (network_id,))
                renew_versions(connection, "content", batch_id)

    # Dagster is told.

    def settle_cursor(self, cursor: str | None) -> None:
        """Count as told what was offered up to a cursor, as `offers.settle_cursor`."""
        with self._transaction() as connection:
            settle_cursor(connection, cursor)

    def offer(self, *, runs: int, networks: int, partitions: int) -> tuple[str, list[Offer], list[str]]:
        """What Dagster should be told next, as `offers.make_offers`."""
        with self._transaction() as connection:
            return make_offers(connection, runs=runs, networks=networks, partitions=partitions)

    # People are told.

    def statuses(self) -> list[IndexStatus]:
        """Every index, by name."""
        with self._connect() as connection:
            rows = connection.execute(
                f"SELECT name, networks, source_index.files, count(retired_at), ifnull(sum({PENDING}), 0), polled_at,"  # noqa: S608 - our own
                " read_at, reading_since, failures, error, is_alerted"
                " FROM source_index LEFT JOIN network ON index_name = name GROUP BY name ORDER BY name"
            ).fetchall()
        names = IndexStatus.__dataclass_fields__
        return [IndexStatus(**dict(zip(names, row, strict=True))) for row in rows]

    def alerted(self, name: str) -> None:
        """Note that people know of an index's failure."""
        with self._transaction() as connection:
            connection.execute("UPDATE source_index SET is_alerted = 1 WHERE name = ?", (name,))

    def retired(self, name: str) -> list[tuple[str, float]]:
        """Networks that left an index, with when that was seen, the latest first."""
        with self._connect() as connection:
            return connection.execute(
                "SELECT network_id, retired_at FROM network WHERE index_name = ? AND retired_at IS NOT NULL"
                " ORDER BY retired_at DESC, network_id",
                (name,),
            ).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection, sqlite_transaction(connection):
            yield connection

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with private_sqlite(self._path, _SCHEMA, _REFUSED, busy_seconds=_BUSY_SECONDS) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection

    def _refusals(self) -> AbstractContextManager[None]:
        return as_sqlite_errors(self._path, _REFUSED)
