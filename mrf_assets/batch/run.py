"""One run of a batch: items out of a ledger, through the pool, into the ledger and an output."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mrf_assets.batch.cost import Budget, Prices
from mrf_assets.batch.ledger import Ledger, Part
from mrf_assets.batch.outputs import Output, output_at, table_of
from mrf_assets.batch.pool import Pool
from mrf_assets.batch.statistics import Statistics
from mrf_assets.batch.values import Failure, Item, Outcome, Result, Row

logger = logging.getLogger(__name__)

# A part is written once what waits is a twentieth of what is written: the first ten rows are
# visible at once, and a million rows make 300 parts.
_PART_SHARE = 20
_MOST_PART_ROWS = 5_000  # with their JSON some 50 MB
_REPLACES = "replaces"  # note of a ledger: the output whose old rows go


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
        self._ledger, self._pool = ledger, pool
        self._drain = Drain(ledger, output, schema)
        self._budget = budget or Budget(None, Prices())
        self._on_outcome, self._on_checkpoint = on_outcome, on_checkpoint
        self._left = pool.options.limit

    async def run(self) -> BatchReport:
        """Look up what is to do; returns when all of it has an outcome, or the batch was stopped.

        Raises:
            StoreError: Ledger or output cannot be written. What was committed stays.
        """
        statistics, options = self._pool.statistics, self._pool.options
        counts = self._ledger.counts()
        statistics.total = counts.total()
        # What it counts already was done by a run before this one with the same statistics.
        statistics.completed_before = max(counts["done"] - statistics.completed, 0)
        statistics.failed_before = max(counts["failed"] - statistics.failed, 0)
        fresh: list[Outcome] = []
        writing = asyncio.ensure_future(asyncio.sleep(0))  # one part at a time, beside the look-ups
        try:
            async for outcome in self._pool.outcomes(self._feed()):
                fresh.append(outcome)
                self._on_outcome(outcome)
                if len(fresh) < options.checkpoint_interval:
                    continue
                self._checkpoint(fresh)
                fresh = []
                if writing.done() and self._drain.is_due(options.checkpoint_interval):
                    await writing  # raises what went wrong in it
                    writing = asyncio.ensure_future(self._drain.write_part())
            self._checkpoint(fresh)
        finally:
            await writing
        self._ledger.release()
        while self._drain.waiting:
            await self._drain.write_part()
        statistics.write_seconds += self._drain.blocked_seconds
        return BatchReport(
            statistics=statistics,
            stopped=self._pool.stop.reason,
            written_rows=self._drain.written,
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

    def _checkpoint(self, fresh: list[Outcome]) -> None:
        """Keep what is new; budgets are looked at."""
        if not fresh:
            return
        began = time.monotonic()
        logger.debug("Batch inserting %d", len(fresh))
        self._ledger.commit(fresh, self._drain.name)
        self._drain.waiting += sum(isinstance(outcome, Result) for outcome in fresh)
        self._pool.statistics.write_seconds += time.monotonic() - began
        self._on_checkpoint(fresh)
        self._budget.check(self._pool.statistics, self._pool.stop)


class Drain:
    """Brings rows from a ledger into an output, a part at a time."""

    def __init__(self, ledger: Ledger, output: Output, schema: pa.Schema) -> None:
        self.name = str(output.path)
        self._ledger, self._output, self._schema = ledger, output, schema
        parts = ledger.parts(self.name)
        self.written = sum(part.rows for part in parts)
        self._parts = len(parts)
        self.waiting = ledger.waiting_rows(self.name)
        self.blocked_seconds = 0.0  # of the event loop

    def is_due(self, least_rows: int) -> bool:
        """True once what waits is a twentieth of what is written, or five thousand rows."""
        return self.waiting >= min(max(self.written // _PART_SHARE, least_rows), _MOST_PART_ROWS)

    async def write_part(self) -> None:
        """Write what waits; the file in a thread, because disks make wait."""
        began = time.monotonic()
        rows, last = self._ledger.waiting(self.name, _MOST_PART_ROWS)
        between = time.monotonic()
        part = await asyncio.to_thread(self._append, rows)
        after = time.monotonic()
        self._ledger.written(self.name, part, last)
        self._count(part)
        self.blocked_seconds += between - began + time.monotonic() - after

    def write_all(self) -> None:
        """Write all that waits, here and now."""
        while self.waiting:
            rows, last = self._ledger.waiting(self.name, _MOST_PART_ROWS)
            part = self._append(rows)
            self._ledger.written(self.name, part, last)
            self._count(part)

    def _append(self, rows: Sequence[Row]) -> Part:
        return self._output.append(table_of(rows, self._schema), self._parts)

    def _count(self, part: Part) -> None:
        self._parts += 1
        self.written += part.rows
        self.waiting -= part.rows


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
            other.restore(ledger.parts(name), ledger.waiting_rows(name))
            Drain(ledger, other, schema).write_all()
    name = str(output.path)
    replaces = ledger.noted(_REPLACES) == name  # said by `start_over`: what stands there is an earlier batch's
    output.restore(ledger.parts(name), None if replaces else ledger.waiting_rows(name))
    if replaces:
        ledger.note(_REPLACES, "")
    Drain(ledger, output, schema).write_all()


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
        new.note(_REPLACES, str(output.path))
        new.add(entries)
        for rows in output.read() if keep is not None else ():
            by_key = {keep(row): row for row in rows.to_pylist()} if keep else {}
            fresh = {key: row for key, row in by_key.items() if key is not None and new.knows(key)}
            new.carry(list(fresh), list(fresh.values()), str(output.path))
            kept += len(fresh)
    return kept


def failures_of(outcomes: Iterable[Outcome]) -> Iterator[Failure]:
    """Those that were given up."""
    return (outcome for outcome in outcomes if isinstance(outcome, Failure))
