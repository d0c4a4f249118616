"""What Dagster is told of the watched networks: offered under a tick, and told once the cursor brings it back.

The tables are those of `memory`, whose docstring says why.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass

# What Dagster should know of a network now: its version, or that it is gone.
RETIRED = "retired"
_STATE = f"CASE WHEN retired_at IS NULL THEN version WHEN told IS NOT NULL THEN '{RETIRED}' END"
PENDING = f"offered_tick IS NULL AND told IS NOT ({_STATE}) AND ({_STATE}) IS NOT NULL"

_OFFERS = f"""
SELECT network_id, name, payer, address, priority, ({_STATE}) AS state, version, generation, reason, batch_id,
       host, period, network.files, told, requested, partition_tick
FROM network JOIN source_index ON name = index_name AND is_registered
WHERE {PENDING} ORDER BY retired_at IS NULL, priority DESC, network.rowid LIMIT ?
"""  # noqa: S608 - our own


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


def settle_cursor(connection: sqlite3.Connection, cursor: str | None) -> None:
    """Count as told what was offered up to a cursor; a cursor that is none of ours asks for everything anew."""
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


def make_offers(
    connection: sqlite3.Connection, *, runs: int, networks: int, partitions: int
) -> tuple[str, list[Offer], list[str]]:
    """What Dagster should be told next, at most so much of it.

    Returns:
        The cursor to return, tellings in order of priority, and the partition keys to add first.
    """
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
    connection.executemany("UPDATE network SET partition_tick = ? WHERE network_id = ?", [(tick, key) for key in keys])
    if offers or keys:
        connection.execute("UPDATE memory SET last_tick = ?", (tick,))
    else:
        tick = last_tick
    return json.dumps({"store": store_id, "tick": tick}), offers, keys


def _memory(connection: sqlite3.Connection) -> tuple[str, int]:
    row = connection.execute("SELECT store_id, last_tick FROM memory").fetchone()
    if row is None:
        row = secrets.token_hex(4), 0
        connection.execute("INSERT INTO memory VALUES (?, ?)", row)
    return str(row[0]), int(row[1])


def _tick_of(cursor: str | None, store_id: str) -> int:
    """The tick that a cursor brings back; 0 for none, and for another store's."""
    try:
        content = json.loads(cursor or "{}")
        return int(content["tick"]) if content["store"] == store_id else 0
    except (ValueError, TypeError, KeyError):  # edited by hand in the UI
        return 0


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
