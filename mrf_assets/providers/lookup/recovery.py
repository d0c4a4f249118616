"""Ledger and outputs in agreement: after a crash, before a new start, and once newer rows stand next to old ones."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

import pyarrow as pa

from mrf_assets.clock import SKEW_SECONDS
from mrf_assets.errors import UnexpectedRows
from mrf_assets.providers.lookup.items import Item, LookUpFailure
from mrf_assets.providers.lookup.ledger import Ledger
from mrf_assets.providers.lookup.outputs import Output, held, output_at
from mrf_assets.providers.lookup.run import Drain, logger

# Notes of a ledger; the value is an output.
_RENEWING = "renewing"  # rows of it are replaced by later ones


_STARTED_OVER = "started_over"  # and rows of items that are not wanted any more go


_SETTLING = "settling"  # it was rewritten, and the new rows have to be moved to their place


def recover(ledger: Ledger, output: Output, schema: pa.Schema) -> None:
    """Put ledger and outputs into agreement, whatever happened to the last run.

    Raises:
        StoreError: Rows that were written are gone, or something else stands in their place.
    """
    _release(ledger)
    with _advised(ledger):
        for other in _others_with_rows(ledger, output, schema):
            with held(other):
                _recover_one(ledger, other, schema)
        _recover_one(ledger, output, schema)


@contextmanager
def _advised(ledger: Ledger) -> Iterator[None]:
    """Also a ledger may be what is in the wrong place; only here is known which one it is."""
    try:
        yield
    except UnexpectedRows as error:
        advice = f"or remove {ledger.path}: a new one is made out of the rows that are there"
        raise UnexpectedRows(error.path, f"{error.reason}; {advice}") from error


def _release(ledger: Ledger) -> None:
    look_ups = ledger.release()
    if look_ups:
        logger.info("%d look-ups were under way when the last run ended; they are done again", look_ups)


def _others_with_rows(ledger: Ledger, output: Output, schema: pa.Schema) -> Iterator[Output]:
    """A crash of `--retry-failed --output other` leaves rows for another output."""
    for name in ledger.outputs():
        if name != ledger.name_of(output.path) and _is_unfinished(ledger, name):
            yield output_at(ledger.place_of(name), schema)


def _is_unfinished(ledger: Ledger, name: str) -> bool:
    return ledger.waiting_rows(name) > 0 or ledger.noted(_SETTLING) == name


def _recover_one(ledger: Ledger, output: Output, schema: pa.Schema) -> None:
    name = ledger.name_of(output.path)
    if ledger.noted(_SETTLING) == name:
        _settle(ledger, output)
    output.restore(ledger.parts(name), ledger.waiting_rows(name))
    Drain(ledger, output, schema).write_all()


def _recover_what_matches(ledger: Ledger, output: Output, schema: pa.Schema, *, must_match: bool) -> None:
    """The same before a new start, which goes on where only the old ledger was wrong about the rows."""
    _release(ledger)
    for other in _others_with_rows(ledger, output, schema):
        with held(other), _with_loss_warning(ledger, other):
            _recover_one(ledger, other, schema)
    if must_match or _is_unfinished(ledger, ledger.name_of(output.path)):
        with nullcontext() if must_match else _with_loss_warning(ledger, output):
            _recover_one(ledger, output, schema)


@contextmanager
def _with_loss_warning(ledger: Ledger, output: Output) -> Iterator[None]:
    try:
        yield
    except UnexpectedRows as error:
        if lost := ledger.waiting_rows(ledger.name_of(output.path)):
            logger.warning("%s. The batch begins anew; %d rows that waited for it are given up", error, lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Which rows of an output are young enough; they need no look-up."""

    key: str  # column that, as text, is the key of the item
    at: str  # column with the time of the look-up
    since: dt.datetime
    until: dt.datetime | None = None  # a later time was taken by a wrong clock; None: any time is right

    @classmethod
    def younger_than(cls, max_age: dt.timedelta, *, key: str, at: str) -> Fresh:
        """Rows of the last days, and none of the future."""
        now = dt.datetime.now(tz=dt.UTC)
        return cls(key=key, at=at, since=now - max_age, until=now + dt.timedelta(seconds=SKEW_SECONDS))

    def keys(self, rows: pa.Table) -> list[str]:
        """The items of those rows."""
        keys, times = rows[self.key].to_pylist(), rows[self.at].to_pylist()
        until = self.until or dt.datetime.max.replace(tzinfo=dt.UTC)
        return [str(key) for key, at in zip(keys, times, strict=True) if at is not None and self.since <= at <= until]


def start_over(
    ledger: Ledger,
    output: Output,
    schema: pa.Schema,
    entries: Iterable[Item | LookUpFailure],
    fresh: Fresh | None = None,
) -> int:
    """Begin anew with these items, and some that are given up already; returns how many need no look-up.

    The rows of the output stay, and are of this batch from now on; `drop_replaced` removes them once there are new
    ones. What the old batch looked up and did not write yet is written first, also into other outputs. The old ledger
    is what counts until the new one is complete.

    Raises:
        StoreError: The output is not ours, or with `fresh`, rows of it are not of this batch.
    """
    _recover_what_matches(ledger, output, schema, must_match=fresh is not None)
    name, parts, fresh_rows = ledger.name_of(output.path), output.found(), 0
    with ledger.successor() as new:
        new.add(entries)
        if parts:
            new.adopt(name, parts)
            new.note(_RENEWING, name)
            new.note(_STARTED_OVER, name)
        if fresh is not None:
            for rows in output.read([fresh.key, fresh.at]):
                fresh_rows += new.finish(fresh.keys(rows))
    return fresh_rows


def adopt(ledger: Ledger, output: Output, entries: Iterable[Item | LookUpFailure], key: str) -> int:
    """Where a ledger was lost: a new one, whose items are done if the output has a row of them; returns its rows.

    `key` is the column that, as text, is the key of the item. Nothing is done where the ledger knows of any item or
    output, and where there are no rows.

    Raises:
        StoreError: What stands there is not ours, or cannot be read.
    """
    if ledger.counts().total() or ledger.outputs() or not (parts := output.found()):
        return 0
    with ledger.successor() as new:
        new.add(entries)
        new.adopt(ledger.name_of(output.path), parts)
        new.note(_RENEWING, ledger.name_of(output.path))  # the lost batch may have been about to replace some
        for rows in output.read([key]):
            new.finish(str(value) for value in rows[key].to_pylist())
    return sum(part.rows for part in parts)


def renew(ledger: Ledger, output: Output, keys: Iterable[str]) -> int:
    """What is done is to be done again; the old rows stay until `drop_replaced`; returns how many items."""
    ledger.note(_RENEWING, ledger.name_of(output.path))
    return ledger.renew(keys)


def drop_replaced(ledger: Ledger, output: Output, key: str) -> int:
    """Where an item has more than one row, the last one written stays; returns how many rows are gone.

    After `start_over`, once nothing is left to do, rows of other items go too. Readers find all rows at any time.

    Raises:
        StoreError: The output cannot be written; it is as it was then.
    """
    name = ledger.name_of(output.path)
    if ledger.noted(_RENEWING) != name:
        return 0
    parts = ledger.parts(name)
    is_over = not ledger.pending()
    with closing(sqlite3.connect("")) as db:  # on the disk if it must be
        db.execute("CREATE TABLE newest (key TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID")
        rows = 0
        for piece in output.read([key]):
            places = [(str(value), rows + place) for place, value in enumerate(piece[key].to_pylist())]
            db.executemany("INSERT OR REPLACE INTO newest VALUES (?, ?)", places)
            if is_over and ledger.noted(_STARTED_OVER) == name:
                unwanted_keys = ledger.unknown(key for key, _ in places)
                db.executemany("DELETE FROM newest WHERE key = ?", ([key] for key in unwanted_keys))
            rows += piece.num_rows
        (remaining_rows,) = db.execute("SELECT count(*) FROM newest").fetchone()
        if remaining_rows < rows:
            logger.info("%d rows were replaced; %d stay", rows - remaining_rows, remaining_rows)
            newest = (place for (place,) in db.execute("SELECT place FROM newest ORDER BY place"))
            new = output.rewrite(_at(newest, output.read()), parts[-1] if parts else None)
            ledger.rewritten(name, new, _SETTLING)
            ledger.sync()
            _settle(ledger, output)
    if is_over and not ledger.counts()["failed"]:
        ledger.note(_RENEWING, "")
        ledger.note(_STARTED_OVER, "")
    return int(rows - remaining_rows)


def _settle(ledger: Ledger, output: Output) -> None:
    output.settle(ledger.parts(ledger.name_of(output.path)))
    ledger.note(_SETTLING, "")


def _at(places: Iterator[int], pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows at these places, which ascend."""
    begin, place = 0, next(places, None)
    for piece in pieces:
        offsets = []
        while place is not None and place < begin + piece.num_rows:
            offsets.append(place - begin)
            place = next(places, None)
        begin += piece.num_rows
        if offsets:
            yield piece.take(offsets)
