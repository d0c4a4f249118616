"""The plan: which files each network has, kept between planning and running.

A run knows its partition key alone; this says what to fetch for it. It is the one place
where signed URLs are stored, so the file is readable by its owner alone and stands
outside what is published. Saving a network replaces its earlier plan as a whole.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from mrf_assets.errors import StoreError
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (network_id TEXT, position INTEGER, task TEXT NOT NULL, plans TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS files_by_network ON files (network_id, position);
CREATE TABLE IF NOT EXISTS plan_sets (digest TEXT PRIMARY KEY, plans TEXT NOT NULL);
"""
_BUSY_SECONDS = 60.0


class TaskStore:
    """The planned files of every network, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._plans: dict[str, tuple[Plan, ...]] = {}  # files of one structure share thousands

    @classmethod
    def under(cls, output_dir: Path) -> TaskStore:
        """The plan that belongs to an output folder."""
        return cls(output_dir.absolute() / ".mrf" / "tasks.sqlite")

    def save(self, tasks: Iterable[FileTask]) -> dict[str, int]:
        """Replace the plans of the networks that occur; returns network_id -> number of files, in order."""
        saved: dict[str, int] = {}
        with self._connect() as connection, connection:
            for task in tasks:
                if task.network_id not in saved:
                    connection.execute("DELETE FROM files WHERE network_id = ?", [task.network_id])
                saved[task.network_id] = saved.get(task.network_id, 0) + 1
                row = asdict(task)
                # Files of one structure share thousands of plans: each distinct list is kept once.
                plans = json.dumps(row.pop("plans"))
                digest = sha256(plans.encode()).hexdigest()
                connection.execute("INSERT OR IGNORE INTO plan_sets VALUES (?, ?)", [digest, plans])
                connection.execute(
                    "INSERT INTO files VALUES (?, ?, ?, ?)", [task.network_id, task.position, json.dumps(row), digest]
                )
            connection.execute("DELETE FROM plan_sets WHERE digest NOT IN (SELECT plans FROM files)")
        return saved

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

    def networks(self) -> list[str]:
        """All planned networks, in key order."""
        with self._connect() as connection:
            return [key for (key,) in connection.execute("SELECT DISTINCT network_id FROM files ORDER BY 1")]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as connection:
                # Runs read their plan while the next index is saved.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(_SCHEMA)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                str(self._path), f"the plan cannot be kept ({error}); check the folder and its owner"
            ) from error


def _task(row: dict[str, Any], plans: tuple[Plan, ...]) -> FileTask:
    identity = NetworkIdentity(**row.pop("identity"))
    return FileTask(**row | {"identity": identity, "mirror_urls": tuple(row["mirror_urls"]), "plans": plans})
