"""What is known of the watched indexes: the sensor's memory, beside the plan and not in its cursor.

One SQLite file holds, per index, when and how it was read; per network, which version it has and what
Dagster was told of it; per file, what tells its version. Links are not here: the plan has them
(`task_store`). The file is readable by its owner alone.

Dagster takes over what a tick returns after the tick has ended, or never, if the daemon is killed
between. So a telling is first *offered* under a tick number that only the returned cursor carries;
the next tick brings the cursor back, and what was offered up to it counts as told. All else is
offered again, with the same run keys, which Dagster does not start twice.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import IO

from mrf_assets.clock import SKEW_SECONDS
from mrf_assets.fetch import Validators
from mrf_assets.files import as_sqlite_errors, sqlite_transaction
from mrf_assets.urls import canonical_url
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

_READING = """
CREATE TEMP TABLE listed (network_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE seen (
    network_id TEXT, file_id TEXT, facts TEXT, host TEXT, period TEXT, PRIMARY KEY (network_id, file_id)
) WITHOUT ROWID;
CREATE TEMP TABLE changed (network_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_CHANGED = """
INSERT INTO changed
SELECT network_id FROM (SELECT network_id, file_id, facts FROM seen EXCEPT SELECT network_id, file_id, facts FROM file)
UNION
SELECT network_id FROM (
    SELECT network_id, file_id, facts FROM file WHERE network_id IN (SELECT network_id FROM seen)
    EXCEPT SELECT network_id, file_id, facts FROM seen
)
"""

# What Dagster should know of a network now: its version, or that it is gone.
RETIRED = "retired"
_STATE = f"CASE WHEN retired_at IS NULL THEN version WHEN told IS NOT NULL THEN '{RETIRED}' END"
_PENDING = f"offered_tick IS NULL AND told IS NOT ({_STATE}) AND ({_STATE}) IS NOT NULL"

_OFFERS = f"""
SELECT network_id, name, payer, address, priority, ({_STATE}) AS state, version, generation, reason, batch_id,
       host, period, network.files, told, requested, partition_tick
FROM network JOIN source_index ON name = index_name AND is_registered
WHERE {_PENDING} ORDER BY retired_at IS NULL, priority DESC, network.rowid LIMIT ?
"""  # noqa: S608 - our own

# Of "SELECTION.REST" what is kept is "SELECTION.": it is no request, and what was read stays known.
_READ_ONCE_MORE = "request = substr(request, 1, instr(request, '.'))"

_BUSY_SECONDS = 60.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What Dagster is told of one network."""

    network_id: str
    index_name: str
    payer: str
    source: str  # canonical address of the index
    priority: int
    version: str  # 16 hex digits; the data version of the network's files
    reason: str  # "new", "files" (added, removed, renamed or other plans), "content", "retired", "revived"
    batch_id: str
    host: str
    period: str | None
    files: int
    is_retired: bool
    run_key: str | None  # None: nothing is to run

    @property
    def needs_run(self) -> bool:
        """Whether its data are to be made anew."""
        return self.run_key is not None


class Reading:
    """An index while it is read anew: what it names, before any of it counts."""

    def __init__(self, connection: sqlite3.Connection, index_name: str) -> None:
        self._connection, self.index_name = connection, index_name
        self.listed_files = 0  # those of other indexes' networks counted
        self.networks_settled = 0

    def claim(self, network_id: str) -> bool:
        """Note that the index names a network; False where another index has it: the first one keeps it."""
        self._connection.execute("INSERT OR IGNORE INTO listed VALUES (?)", (network_id,))
        row = self._connection.execute(
            "SELECT 1 FROM network JOIN source_index ON name = index_name AND is_registered"
            " WHERE network_id = ? AND index_name != ? AND retired_at IS NULL",
            (network_id, self.index_name),
        ).fetchone()
        return row is None

    def add(self, network_id: str, file_id: str, facts: str, host: str, period: str | None) -> None:
        """Take one file of a network that is ours; equal `facts` are an equal file."""
        self._connection.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", (network_id, file_id, facts, host, period)
        )

    @property
    def networks(self) -> int:
        """How many it names so far."""
        (count,) = self._connection.execute("SELECT count(*) FROM listed").fetchone()
        return int(count)


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

    def sync(self, registered: Sequence[RegisteredIndex]) -> None:
        """Take over which indexes there are; the networks of one that is gone stay as they are, watched by none."""
        with self._transaction() as connection:
            connection.execute("UPDATE source_index SET is_registered = 0")
            connection.executemany(
                "INSERT INTO source_index (name, payer, address, priority) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET payer = excluded.payer, address = excluded.address,"
                " priority = excluded.priority, is_registered = 1",
                [(index.name, index.payer, canonical_url(index.url), int(index.priority)) for index in registered],
            )
            gone = "(SELECT name FROM source_index WHERE NOT is_registered)"
            # Another index may name them too: it is read once more, to take them over.
            connection.execute(
                f"UPDATE source_index SET {_READ_ONCE_MORE} WHERE name IN"  # noqa: S608 - our own
                " (SELECT DISTINCT other.index_name FROM listing"
                " JOIN network USING (network_id) JOIN listing other USING (network_id)"
                f" WHERE listing.index_name IN {gone} AND network.index_name = listing.index_name)"
            )
            connection.execute(f"DELETE FROM listing WHERE index_name IN {gone}")  # noqa: S608 - our own
            connection.execute(f"UPDATE network SET index_name = NULL WHERE index_name IN {gone}")  # noqa: S608 - our own
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
    def reading(self, name: str) -> Iterator[Reading]:
        """Take down what an index names; `settle` makes it count.

        One at a time, over all processes: two indexes that name one new network must not both get it.
        """
        with self._lock_file(_SETTLING) as handle, self._connect() as connection:
            fcntl.flock(handle, fcntl.LOCK_EX)
            connection.executescript(_READING)
            yield Reading(connection, name)

    def settle(
        self, reading: Reading, *, request: str, validators: Validators, digest: str | None, batch_id: str, now: float
    ) -> None:
        """Make a reading count, all of it at once: changed networks, new ones, those that left."""
        connection, name = reading._connection, reading.index_name  # noqa: SLF001 - one unit
        networks, files = reading.networks, reading.listed_files
        connection.execute("BEGIN IMMEDIATE")  # rolled back where the connection is closed before the commit
        connection.execute("DELETE FROM listing WHERE index_name = ?", (name,))
        connection.execute("INSERT INTO listing SELECT ?, network_id FROM listed", (name,))
        connection.execute(_CHANGED)
        connection.execute("INSERT OR IGNORE INTO network (network_id) SELECT network_id FROM changed")
        connection.execute(
            "DELETE FROM file WHERE network_id IN (SELECT network_id FROM changed)"
            " AND (network_id, file_id) NOT IN (SELECT network_id, file_id FROM seen)"
        )
        connection.execute(
            "INSERT INTO file (network_id, file_id, facts) SELECT network_id, file_id, seen.facts FROM seen"
            " WHERE network_id IN (SELECT network_id FROM changed) ON CONFLICT DO UPDATE SET facts = excluded.facts"
        )
        connection.execute(
            "UPDATE network SET retired_at = NULL, reason = 'revived', batch_id = ?"
            " WHERE retired_at IS NOT NULL AND network_id IN (SELECT network_id FROM seen)",
            (batch_id,),
        )
        connection.execute(
            "UPDATE network SET index_name = ?, host = found.host, period = found.period, files = found.files FROM"
            " (SELECT network_id, min(host) AS host, max(period) AS period, count(*) AS files FROM seen"
            " GROUP BY 1) found WHERE found.network_id = network.network_id",
            (name,),
        )
        _renew(connection, "files", batch_id)
        self._retire(connection, name, batch_id, now)
        connection.execute(
            "UPDATE source_index SET request = ?, etag = ?, last_modified = ?, size_bytes = ?, sha256 = ?,"
            " polled_at = ?, read_at = ?, reading_since = NULL, networks = ?, files = ?,"
            " failures = 0, error = NULL, is_alerted = 0 WHERE name = ?",
            (
                *(request, validators.etag, validators.last_modified, validators.size_bytes, digest),
                *(now, now, networks, files, name),
            ),
        )
        connection.execute("COMMIT")
        reading.networks_settled = networks

    @staticmethod
    def _retire(connection: sqlite3.Connection, name: str, batch_id: str, now: float) -> None:
        """What an index no longer names is retired, unless another one names it: that takes it over when it is read."""
        left = (
            "index_name = ? AND retired_at IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM listed WHERE listed.network_id = network.network_id)"
        )
        named = "EXISTS (SELECT 1 FROM listing WHERE listing.network_id = network.network_id)"
        connection.execute(
            f"UPDATE source_index SET {_READ_ONCE_MORE} WHERE name IN"  # noqa: S608 - our own
            " (SELECT DISTINCT listing.index_name FROM listing"
            f" JOIN network ON listing.network_id = network.network_id WHERE network.{left})",
            (name,),
        )
        connection.execute(f"UPDATE network SET index_name = NULL WHERE {left} AND {named}", (name,))  # noqa: S608 - our own
        connection.execute(
            f"UPDATE network SET retired_at = ?, reason = 'retired', batch_id = ? WHERE {left}",  # noqa: S608 - our own
            (now, batch_id, name),
        )

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
                _renew(connection, "content", batch_id)

    # Dagster is told.

    def settle_cursor(self, cursor: str | None) -> None:
        """Count as told what was offered up to a cursor; a cursor that is none of ours asks for everything anew."""
        with self._transaction() as connection:
            store_id, last_tick = _memory(connection)
            tick = _tick_of(cursor, store_id)
            connection.execute(
                "UPDATE network SET told = offered, requested = CASE WHEN offered_run THEN offered ELSE requested END,"
                " offered = NULL, offered_tick = NULL WHERE offered_tick <= ?",
                (tick,),
            )
            connection.execute("UPDATE network SET offered = NULL, offered_tick = NULL WHERE offered_tick IS NOT NULL")
            connection.execute("UPDATE network SET partition_tick = NULL WHERE partition_tick > ?", (tick,))
            if tick == 0 and last_tick > 0:
                connection.execute("UPDATE network SET told = NULL, requested = NULL")

    def offer(self, *, runs: int, networks: int, partitions: int) -> tuple[str, list[Offer], list[str]]:
        """What Dagster should be told next, at most so much of it.

        Returns:
            The cursor to return, tellings in order of priority, and the partition keys to add first.
        """
        with self._transaction() as connection:
            store_id, last_tick = _memory(connection)
            tick = last_tick + 1
            offers: list[Offer] = []
            keys: list[str] = []
            connection.row_factory = sqlite3.Row
            for row in connection.execute(_OFFERS, (networks,)).fetchall():
                needs_run = row["state"] not in (RETIRED, row["requested"])
                if needs_run and runs == 0:
                    continue
                runs -= needs_run
                if row["partition_tick"] is None and row["state"] != RETIRED:
                    keys.append(row["network_id"])
                offers.append(_offer(row, store_id, needs_run=needs_run))
            connection.executemany(
                "UPDATE network SET offered = ?, offered_run = ?, offered_tick = ? WHERE network_id = ?",
                [(RETIRED if it.is_retired else it.version, int(it.needs_run), tick, it.network_id) for it in offers],
            )
            rows = connection.execute(
                "SELECT network_id FROM network WHERE partition_tick IS NULL AND retired_at IS NULL"
                " AND index_name IS NOT NULL AND offered_tick IS NULL LIMIT ?",
                (max(partitions - len(keys), 0),),
            )
            keys += [row[0] for row in rows]
            connection.executemany(
                "UPDATE network SET partition_tick = ? WHERE network_id = ?", [(tick, key) for key in keys]
            )
            if offers or keys:
                connection.execute("UPDATE memory SET last_tick = ?", (tick,))
            else:
                tick = last_tick
        return json.dumps({"store": store_id, "tick": tick}), offers, keys

    # People are told.

    def statuses(self) -> list[IndexStatus]:
        """Every index, by name."""
        with self._connect() as connection:
            rows = connection.execute(
                f"SELECT name, networks, source_index.files, count(retired_at), ifnull(sum({_PENDING}), 0), polled_at,"  # noqa: S608 - our own
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
        with self._refusals():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(_SCHEMA)
                yield connection

    def _refusals(self) -> AbstractContextManager[None]:
        return as_sqlite_errors(self._path, "the memory of indexes cannot be kept")


def _memory(connection: sqlite3.Connection) -> tuple[str, int]:
    row = connection.execute("SELECT store_id, last_tick FROM memory").fetchone()
    if row is None:
        row = secrets.token_hex(4), 0
        connection.execute("INSERT INTO memory VALUES (?, ?)", row)
    return str(row[0]), int(row[1])


def _tick_of(cursor: str | None, store_id: str) -> int:
    """The tick that a cursor brings back; 0 for none, and for another store's."""
    try:
        found = json.loads(cursor or "{}")
        return int(found["tick"]) if found["store"] == store_id else 0
    except (ValueError, TypeError, KeyError):  # edited by hand in the UI
        return 0


def _renew(connection: sqlite3.Connection, reason: str, batch_id: str) -> None:
    """Give the networks of the table `changed` the versions that their files have now."""
    rows = connection.execute(
        "SELECT network_id, file_id, facts, mark FROM file WHERE network_id IN (SELECT network_id FROM changed)"
        " ORDER BY network_id, file_id"
    )
    versions = (
        (sha256(json.dumps([row[1:] for row in files]).encode()).hexdigest()[:16], network_id)
        for network_id, files in groupby(rows, key=lambda row: row[0])
    )
    connection.executemany(
        "UPDATE network SET generation = generation + (version != ?1), batch_id = ?4,"
        " reason = CASE version WHEN '' THEN 'new' ELSE ?3 END, version = ?1 WHERE network_id = ?2",
        ((version, network_id, reason, batch_id) for version, network_id in versions),
    )


def _offer(row: sqlite3.Row, store_id: str, *, needs_run: bool) -> Offer:
    return Offer(
        network_id=row["network_id"],
        index_name=row["name"],
        payer=row["payer"],
        source=row["address"],
        priority=row["priority"],
        version=row["version"],
        reason=row["reason"],
        batch_id=row["batch_id"],
        host=row["host"],
        period=row["period"],
        files=row["files"],
        is_retired=row["state"] == RETIRED,
        # The store's id: a folder that was emptied is filled anew, though Dagster knows the version. The
        # generation: a version that comes back after another one is made anew.
        run_key=f"{row['network_id']}@{row['version']}.{store_id}.{row['generation']}" if needs_run else None,
    )
