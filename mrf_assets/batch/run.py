"""One run of a batch: items out of a ledger, through the pool, into the ledger and an output."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mrf_assets.batch.cost import Budget, Prices
from mrf_assets.batch.ledger import Ledger
from mrf_assets.batch.outputs import Output, output_at
from mrf_assets.batch.pool import Pool
from mrf_assets.batch.statistics import Statistics
from mrf_assets.batch.values import Failure, Item, Outcome, Row

logger = logging.getLogger(__name__)

# A part is written once what waits is a twentieth of what is written: the first ten rows are
# visible at once, and a million rows make 300 parts.
_PART_SHARE = 20
_MOST_PART_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What came of one run."""

    statistics: Statistics
    stopped: str | None  # why it ended early
    written_rows: int  # in the output, earlier runs included
    cost_dollars: float


class Batch:
    """Brings a ledger and an output forward."""

    def __init__(
        self,
        ledger: Ledger,
        output: Output,
        schema: pa.Schema,
        pool: Pool,
        *,
        budget: Budget | None = None,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        on_checkpoint: Callable[[list[Outcome]], None] = lambda _: None,
    ) -> None:
        self._ledger, self._output, self._schema, self._pool = ledger, output, schema, pool
        self._budget = budget or Budget(None, Prices())
        self._on_outcome, self._on_checkpoint = on_outcome, on_checkpoint
        self._name = str(output.path)
        self._left = pool.options.limit

    async def run(self) -> BatchReport:
        """Look up what is to do; returns when all of it has an outcome, or the batch was stopped.

        Raises:
            StoreError: Ledger or output cannot be written. What was committed stays.
        """
        statistics, options = self._pool.statistics, self._pool.options
        counts = self._ledger.counts()
        statistics.total = counts.total()
        statistics.completed_before, statistics.failed_before = counts["done"], counts["failed"]
        written = sum(part.rows for part in self._ledger.parts(self._name))
        fresh: list[Outcome] = []
        async for outcome in self._pool.outcomes(self._feed()):
            fresh.append(outcome)
            self._on_outcome(outcome)
            if len(fresh) >= options.checkpoint_interval:
                written += self._checkpoint(fresh, written)
                fresh = []
        self._commit(fresh)
        self._ledger.release()
        written += self._timed_drain(0)
        return BatchReport(
            statistics=statistics,
            stopped=self._pool.stop.reason,
            written_rows=written,
            cost_dollars=self._budget.prices.cost_of(statistics),
        )

    def _feed(self) -> Iterator[Item]:
        """Items in order of priority, claimed in small pages: memory stays flat."""
        options = self._pool.options
        page_size = max(options.checkpoint_interval, options.max_workers)
        while self._left is None or self._left > 0:
            page = self._ledger.claim(min(page_size, self._left or page_size), options.least_priority)
            if not page:
                return
            self._left = None if self._left is None else self._left - len(page)
            yield from page

    def _checkpoint(self, fresh: list[Outcome], written: int) -> int:
        self._commit(fresh)
        self._budget.check(self._pool.statistics, self._pool.stop)
        threshold = min(max(written // _PART_SHARE, self._pool.options.checkpoint_interval), _MOST_PART_ROWS)
        return self._timed_drain(threshold)

    def _commit(self, fresh: list[Outcome]) -> None:
        if not fresh:
            return
        began = time.monotonic()
        logger.debug("Batch inserting %d", len(fresh))
        self._ledger.commit(fresh, self._schema, self._name)
        self._pool.statistics.write_seconds += time.monotonic() - began
        self._on_checkpoint(fresh)

    def _timed_drain(self, threshold: int) -> int:
        began = time.monotonic()
        rows = _drain(self._ledger, self._output, threshold)
        self._pool.statistics.write_seconds += time.monotonic() - began
        return rows


def recover(ledger: Ledger, output: Output, schema: pa.Schema) -> None:
    """Put ledger and outputs into agreement, whatever happened to the last run.

    Raises:
        StoreError: Rows that were written are gone, or something else stands in their place.
    """
    released = ledger.release()
    if released:
        logger.info("%d look-ups were under way when the last run ended; they are done again", released)
    for name in ledger.outputs():  # a crash of `--retry-failed --output other` leaves rows for another output
        if name != str(output.path) and ledger.waiting_rows(name):
            other = output_at(Path(name), schema)
            other.restore(ledger.parts(name))
            _drain(ledger, other, 0)
    output.restore(ledger.parts(str(output.path)))
    _drain(ledger, output, 0)


def _drain(ledger: Ledger, output: Output, threshold: int) -> int:
    """Write what waits, if it is so many rows; returns how many were written."""
    name, written = str(output.path), 0
    waiting = ledger.waiting_rows(name)
    while waiting and waiting >= threshold:
        rows, last = ledger.waiting(name, _MOST_PART_ROWS)
        assert rows is not None
        ledger.written(name, output.append(rows, len(ledger.parts(name))), last)
        written, waiting = written + rows.num_rows, waiting - rows.num_rows
    return written


def start_over(
    ledger: Ledger,
    output: Output,
    schema: pa.Schema,
    entries: Iterable[Item | Failure],
    keep: Callable[[Row], str | None] | None = None,
) -> int:
    """Begin anew with these items, and some that are given up already; returns how many rows of the output are kept.

    `keep` gives the key of a row that is fresh enough, else None. The old ledger and output are what
    counts until the new ledger is complete; `recover` then brings the output in line.
    """
    kept = 0
    if keep is not None:
        recover(ledger, output, schema)
    with ledger.successor() as new:
        new.add(entries)
        for rows in output.read() if keep is not None else ():
            keys = [keep(row) for row in rows.to_pylist()] if keep else []
            wanted = [key is not None and new.knows(key) for key in keys]
            if any(wanted):
                fresh = [key for key, is_wanted in zip(keys, wanted, strict=True) if key is not None and is_wanted]
                new.carry(fresh, rows.filter(pa.array(wanted)), str(output.path))
                kept += len(fresh)
    return kept


def failures_of(outcomes: Iterable[Outcome]) -> Iterator[Failure]:
    """Those that were given up."""
    return (outcome for outcome in outcomes if isinstance(outcome, Failure))
