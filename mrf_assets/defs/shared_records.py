"""Dagster's records in SQLite are written by many processes at once, which wait for each other.

Its run storage waits five seconds, its event log thirty. Where a disk is busy for longer, the one error costs more than
itself: the daemon that repeats failed runs goes on behind those that it was about to repeat. Importing this module lets
every connection of the process wait a minute.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import event
from sqlalchemy.engine import Engine

_WAIT_MILLISECONDS = 60_000


@event.listens_for(Engine, "connect")
def _wait_for_locks(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MILLISECONDS}")
