"""The plan: which files each network has, kept between planning and running.

A run knows its partition key alone; this says what to fetch for it. It is the one place
where signed URLs are stored, so the file is readable by its owner alone and stands
outside what is published. Saving a network replaces its earlier plan as a whole; `renew` gives the
files of one index the links that it has now.

A batch is kept as what there was to do: its networks, in order, and the settings. How it went stands in
Dagster's event log alone.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from mrf_assets.errors import SettingError, StoreError
from mrf_assets.files import as_sqlite_error, private_sqlite
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan, file_id_of
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import is_private_host

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (network_id TEXT, position INTEGER, task TEXT NOT NULL, plans TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS files_by_network ON files (network_id, position);
CREATE TABLE IF NOT EXISTS plan_sets (digest TEXT PRIMARY KEY, plans TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS renewals (
    index_sha256 TEXT PRIMARY KEY, read_time REAL NOT NULL, failure TEXT, missing TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    batch_id TEXT PRIMARY KEY, source_type TEXT NOT NULL, source_input TEXT NOT NULL, config TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batch_networks (
    batch_id TEXT, position INTEGER, network_id TEXT, priority INTEGER, PRIMARY KEY (batch_id, position));
"""
_BUSY_SECONDS = 60.0
_LOCK_ATTEMPTS, _LOCK_WAIT_SECONDS = 5, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """What one batch was to do."""

    batch_id: str
    source_type: str
    source_input: str  # canonical
    priorities: dict[str, int]  # by network, in the order in which they are begun
    config: dict[str, Any]  # the settings as plain values; no secret among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """The latest time that an index was read again for its links."""

    read_time: float  # seconds since 1970
    failure: str | None = None  # why it could not be read
    missing: frozenset[str] = frozenset()  # file_id of the planned files that it names no longer


class TaskStore:
    """The planned files of every network, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._plans: dict[str, tuple[Plan, ...]] = {}  # files of one structure share thousands

    @classmethod
    def under(cls, output_dir: Path) -> TaskStore:
        """The plan that belongs to an output folder."""
        return cls(output_dir.absolute() / ".mrf" / "tasks.sqlite")

    def save(self, tasks: Iterable[FileTask]) -> dict[str, int]:
        """Replace the plans of the networks that occur; returns network_id -> number of files, in order."""
        file_counts: dict[str, int] = {}
        indexes = set[Address]()  # they were read just now
        last: tuple[tuple[Plan, ...] | None, str] = (None, "")
        with self._connect() as connection, connection:
            for task in tasks:
                if task.network_id not in file_counts:
                    connection.execute("DELETE FROM files WHERE network_id = ?", [task.network_id])
                file_counts[task.network_id] = file_counts.get(task.network_id, 0) + 1
                if task.index_address is not None and task.index_address not in indexes:
                    indexes.add(task.index_address)
                    connection.execute(
                        "DELETE FROM renewals WHERE index_sha256 = ?", [_digest(task.index_address.real)]
                    )
                # Files of one structure share thousands of plans: each distinct list is kept once, and told
                # apart from the one before by identity, for sources hand the same tuple on.
                if task.plans is not last[0]:
                    plans = json.dumps([plain_value(plan) for plan in task.plans])
                    last = task.plans, _digest(plans)
                    connection.execute("INSERT OR IGNORE INTO plan_sets VALUES (?, ?)", [last[1], plans])
                connection.execute(
                    "INSERT INTO files VALUES (?, ?, ?, ?)", [task.network_id, task.position, _row(task), last[1]]
                )
            connection.execute("DELETE FROM plan_sets WHERE digest NOT IN (SELECT plans FROM files)")
        return file_counts

    def load(self, network_id: str) -> list[FileTask]:
        """The files of one network; empty where it was never planned."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT task, plans FROM files WHERE network_id = ? ORDER BY position", [network_id]
            ).fetchall()
            for digest in {digest for _, digest in rows} - self._plans.keys():
                (plans,) = connection.execute("SELECT plans FROM plan_sets WHERE digest = ?", [digest]).fetchone()
                self._plans[digest] = tuple(Plan(**plan) for plan in json.loads(plans))
        return [_task(json.loads(task), self._plans[digest]) for task, digest in rows]

    def count_files(self, network_ids: Iterable[str]) -> int:
        """How many files are planned for these networks."""
        networks = set(network_ids)
        with self._connect() as connection:
            counts = connection.execute("SELECT network_id, count(*) FROM files GROUP BY 1").fetchall()
        return sum(count for network_id, count in counts if network_id in networks)

    def first_positions(self) -> dict[str, int]:
        """Network -> the place of its first file in its source, from 1."""
        with self._connect() as connection:
            return dict(connection.execute("SELECT network_id, min(position) FROM files GROUP BY 1").fetchall())

    def save_batch(self, batch: PlannedBatch) -> None:
        """Keep what a new batch is to do."""
        rows = [
            (batch.batch_id, position, network_id, priority)
            for position, (network_id, priority) in enumerate(batch.priorities.items())
        ]
        with self._connect() as connection, connection:
            connection.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?)",
                [batch.batch_id, batch.source_type, batch.source_input, json.dumps(batch.config)],
            )
            connection.executemany("INSERT INTO batch_networks VALUES (?, ?, ?, ?)", rows)

    def load_batch(self, batch_id: str) -> PlannedBatch | None:
        """What a batch was to do; None where it was not planned here."""
        with self._connect() as connection:
            row = connection.execute("SELECT * FROM batches WHERE batch_id = ?", [batch_id]).fetchone()
            networks = connection.execute(
                "SELECT network_id, priority FROM batch_networks WHERE batch_id = ? ORDER BY position", [batch_id]
            ).fetchall()
        if row is None:
            return None
        _, source_type, source_input, config = row
        return PlannedBatch(
            batch_id=batch_id,
            source_type=source_type,
            source_input=source_input,
            priorities=dict(networks),
            config=json.loads(config),
        )

    @contextmanager
    def held(self, batch_id: str) -> Iterator[None]:
        """Work on a batch, as the only process that does; the lock goes with the process.

        Raises:
            SettingError: Another process works on it.
        """
        path = self._lock_path(batch_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        except OSError as error:
            raise StoreError(str(path), f"cannot be locked ({error.strerror}); check the folder") from error
        with file:
            if not _locked(file):
                raise SettingError("batch", f"{batch_id} is still running; `mrf status` shows it")
            yield
            path.unlink(missing_ok=True)

    def is_held(self, batch_id: str) -> bool:
        """Whether a process works on a batch."""
        try:
            with self._lock_path(batch_id).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # it was never begun, or has ended
            return False
        return False

    def _lock_path(self, batch_id: str) -> Path:
        # The id may come from a person: it is no path.
        return self.path.parent / "batches" / f"{sha256(batch_id.encode()).hexdigest()[:16]}.lock"

    def latest_batch(self) -> str | None:
        """The id of the batch that was planned last."""
        with self._connect() as connection:
            row = connection.execute("SELECT batch_id FROM batches ORDER BY rowid DESC LIMIT 1").fetchone()
        return None if row is None else row[0]

    def networks(self) -> list[str]:
        """All planned networks, in key order."""
        with self._connect() as connection:
            return [key for (key,) in connection.execute("SELECT DISTINCT network_id FROM files ORDER BY 1")]

    @contextmanager
    def renewing(self, index_address: Address) -> Iterator[None]:
        """One at a time for each index, over all processes; the others wait."""
        path = self.path.with_name(f"index-{_digest(index_address.real)[:16]}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        except OSError as error:
            raise as_sqlite_error(path, "cannot be locked", error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def renewal(self, index_address: Address) -> Renewal | None:
        """When an index was read again; None where it was not since its files were planned."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT read_time, failure, missing FROM renewals WHERE index_sha256 = ?", [_digest(index_address.real)]
            ).fetchone()
        return row and Renewal(read_time=row[0], failure=row[1], missing=frozenset(json.loads(row[2])))

    def renew(self, index_address: Address, entries: Iterable[FileTask], read_time: float) -> None:
        """Give the planned files of an index the links of its present `entries`.

        An entry is the same file if its address is, signatures aside; else if it alone is the same part
        of the same network and period, which then has moved.
        """
        by_address, by_place = self._planned_of(index_address)
        links: dict[int, Address] = {}
        moved_files: dict[int, list[FileTask]] = {}
        for entry in entries:
            if (rowid := by_address.get(entry.address.shown)) is not None:
                links[rowid] = entry.address
            elif (rowid := by_place.get(entry.place)) is not None:
                moved_files.setdefault(rowid, []).append(entry)
        there = {rowid: files[0] for rowid, files in moved_files.items() if rowid not in links and len(files) == 1}
        missing = sorted(
            file_id_of(address) for address, rowid in by_address.items() if rowid not in links and rowid not in there
        )
        with self._connect() as connection, connection:
            for rowid, link in links.items():
                self._change(connection, rowid, partial(_linked, link=link))
            for rowid, entry in there.items():
                self._change(connection, rowid, partial(_moved, entry=entry))
            connection.execute(
                "INSERT OR REPLACE INTO renewals VALUES (?, ?, NULL, ?)",
                [_digest(index_address.real), read_time, json.dumps(missing)],
            )

    def _planned_of(self, index_address: Address) -> tuple[dict[str, int], dict[tuple[object, ...], int]]:
        """Where the files of an index stand: rowid by address, and by place."""
        by_address: dict[str, int] = {}
        by_place: dict[tuple[object, ...], int] = {}
        with self._connect() as connection:
            for rowid, row in connection.execute(
                "SELECT rowid, task FROM files WHERE json_extract(task, '$.index_address') = ?", [index_address.real]
            ):
                task = _task(json.loads(row), ())
                by_address[task.address.shown] = by_place[task.place] = rowid
        return by_address, by_place

    @staticmethod
    def _change(connection: sqlite3.Connection, rowid: int, change: Callable[[FileTask], FileTask]) -> None:
        row = connection.execute("SELECT task FROM files WHERE rowid = ?", [rowid]).fetchone()
        if row is None:
            return
        connection.execute(
            "UPDATE files SET task = ? WHERE rowid = ?", [_row(change(_task(json.loads(row[0]), ()))), rowid]
        )

    def fail_renewal(self, index_address: Address, failure: str, read_time: float) -> None:
        """Note why an index could not be read again."""
        with self._connect() as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO renewals VALUES (?, ?, ?, '[]')",
                [_digest(index_address.real), read_time, failure],
            )

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        what = "the plan cannot be kept"
        # Runs read their plan while the next index is saved, whose source is read as it is saved: the lock for writing
        # is taken with the first row.
        return private_sqlite(self.path, _SCHEMA, what, busy_seconds=_BUSY_SECONDS, isolation_level="DEFERRED")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


# What was planned anew while the index was read again is another file, and stays as it is.


def _linked(task: FileTask, *, link: Address) -> FileTask:
    """The file with the link that the index has now."""
    return replace(task, address=link) if task.address.shown == link.shown else task


def _moved(task: FileTask, *, entry: FileTask) -> FileTask:
    """The file under the address that the index has now, at its place in the plan."""
    if task.place != entry.place:
        return task
    return replace(
        entry,
        position=task.position,
        output_prefix=task.output_prefix,
        index_address=task.index_address,
        plans=task.plans,
        index_whitelist=task.index_whitelist,
        extra_args=task.extra_args,
    )


def _row(task: FileTask) -> str:
    """A task without its plans, which are kept apart."""
    index = task.index_address
    row = plain_value(task) | {
        "identity": plain_value(task.identity),
        "address": task.address.real,
        "index_address": None if index is None else index.real,
    }
    del row["plans"]
    return json.dumps(row)


def _locked(file: IO[str]) -> bool:
    """Take the lock; who only looks whether it is taken has it for an instant."""
    for _ in range(_LOCK_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_LOCK_WAIT_SECONDS)
    return False


def plain_value(value: FileTask | NetworkIdentity | Plan) -> dict[str, Any]:
    """A value's fields by name; `asdict` copies all that is in them, and took a third of reading a large index."""
    return {name: getattr(value, name) for name in value.__slots__}


def _task(row: dict[str, Any], plans: tuple[Plan, ...]) -> FileTask:
    identity = NetworkIdentity(**row.pop("identity"))
    index = None if row["index_address"] is None else Address(row["index_address"])
    fields = {
        # Of plans that were made before it was noted.
        "is_from_stranger": index is not None and index.is_remote and not is_private_host(index.host),
        **row,
        "identity": identity,
        "address": Address(row["address"]),
        "index_address": index,
        "mirror_urls": tuple(row["mirror_urls"]),
        "plans": plans,
    }
    return FileTask(**fields)
