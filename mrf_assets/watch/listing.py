"""What one index names, taken down while it is read, and made to count all at once.

The tables are those of `memory`; what is about Dagster is in `offers`.
"""

from __future__ import annotations

import json
import sqlite3
from hashlib import sha256
from itertools import groupby

from mrf_assets.fetch import Validators

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

# Of "SELECTION.REST" what is kept is "SELECTION.": it is no request, and what was read stays known.
READ_ONCE_MORE = "request = substr(request, 1, instr(request, '.'))"


class Listing:
    """An index while it is read anew: what it names, before any of it counts."""

    def __init__(self, connection: sqlite3.Connection, index_name: str) -> None:
        connection.executescript(_READING)
        self.connection, self.index_name = connection, index_name
        self.listed_files = 0  # those of other indexes' networks counted
        self.networks_settled = 0

    def claim(self, network_id: str) -> bool:
        """Note that the index names a network; False where another index has it: the first one keeps it."""
        self.connection.execute("INSERT OR IGNORE INTO listed VALUES (?)", (network_id,))
        row = self.connection.execute(
            "SELECT 1 FROM network JOIN source_index ON name = index_name AND is_registered"
            " WHERE network_id = ? AND index_name != ? AND retired_at IS NULL",
            (network_id, self.index_name),
        ).fetchone()
        return row is None

    def add(self, network_id: str, file_id: str, facts: str, host: str, period: str | None) -> None:
        """Take one file of a network that is ours; equal `facts` are an equal file."""
        self.connection.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", (network_id, file_id, facts, host, period)
        )

    @property
    def networks(self) -> int:
        """How many it names so far."""
        (count,) = self.connection.execute("SELECT count(*) FROM listed").fetchone()
        return int(count)


def settle(
    listing: Listing, *, request: str, validators: Validators, digest: str | None, batch_id: str, now: float
) -> None:
    """Make a reading count, all of it at once: changed networks, new ones, those that left."""
    connection, name = listing.connection, listing.index_name
    networks, files = listing.networks, listing.listed_files
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
    renew_versions(connection, "files", batch_id)
    _retire(connection, name, batch_id, now)
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
    listing.networks_settled = networks


def _retire(connection: sqlite3.Connection, name: str, batch_id: str, now: float) -> None:
    """What an index no longer names is retired, unless another one names it: that takes it over when it is read."""
    unclaimed = (
        "index_name = ? AND retired_at IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM listed WHERE listed.network_id = network.network_id)"
    )
    has_listing = "EXISTS (SELECT 1 FROM listing WHERE listing.network_id = network.network_id)"
    connection.execute(
        f"UPDATE source_index SET {READ_ONCE_MORE} WHERE name IN"  # noqa: S608 - our own
        " (SELECT DISTINCT listing.index_name FROM listing"
        f" JOIN network ON listing.network_id = network.network_id WHERE network.{unclaimed})",
        (name,),
    )
    connection.execute(f"UPDATE network SET index_name = NULL WHERE {unclaimed} AND {has_listing}", (name,))  # noqa: S608 - our own
    connection.execute(
        f"UPDATE network SET retired_at = ?, reason = 'retired', batch_id = ? WHERE {unclaimed}",  # noqa: S608 - our own
        (now, batch_id, name),
    )


def renew_versions(connection: sqlite3.Connection, reason: str, batch_id: str) -> None:
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
