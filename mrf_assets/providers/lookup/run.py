"""One run of a batch: items out of a ledger, through the pool, into the ledger and an output."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, closing, suppress
from dataclasses import dataclass

import pyarrow as pa

from mrf_assets.providers.lookup.cells import table_of
from mrf_assets.providers.lookup.items import Item, LookUpFailure, Outcome, Result
from mrf_assets.providers.lookup.ledger import Ledger
from mrf_assets.providers.lookup.outputs import Output
from mrf_assets.providers.lookup.pool import Pool
from mrf_assets.providers.lookup.statistics import Statistics
from mrf_assets.providers.lookup.waiting_rows import Part

logger = logging.getLogger(__name__)

# A part is written once what waits is a twentieth of what is written: the first ten rows are
# visible at once, and a million rows make 300 parts.
_PART_SHARE = 20
_MAX_PART_ROWS = 5_000
_PAGE_ROWS = 500  # in memory at a time; with their JSON some 5 MB
_PAGE_ITEMS = 50  # claimed at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpReport:
    """What came of one run."""

    statistics: Statistics
    stop_reason: str | None  # why it ended early
    written_rows: int  # in the output, earlier runs included
    cost_dollars: float
    reasons: Mapping[str, int]  # why items of the batch are given up, and how many, earlier runs included


class LookUpRun:
    """Brings a ledger and an output forward."""

    def __init__(
        self,
        ledger: Ledger,
        output: Output,
        schema: pa.Schema,
        pool: Pool,
        *,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        on_checkpoint: Callable[[list[Outcome]], None] = lambda _: None,
        on_beat: Callable[[], None] = lambda: None,
        beat_seconds: float = 1.0,
    ) -> None:
        self._ledger, self._pool = ledger, pool
        self._drain = Drain(ledger, output, schema)
        self._on_outcome, self._on_checkpoint = on_outcome, on_checkpoint
        self._on_beat, self._beat_seconds = on_beat, beat_seconds  # also while no look-up ends
        self._remaining_items = pool.options.limit
        self._syncer = _one_thread("ledger-sync")
        self._syncing: asyncio.Future[None] | None = None

    async def run(self) -> LookUpReport:
        """Look up what is to do; returns when all of it has an outcome, or the batch was stopped.

        Raises:
            StoreError: Ledger or output cannot be written. What was committed stays.
        """
        async with self._heartbeat():
            return await self._work_off()

    @asynccontextmanager
    async def _heartbeat(self) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(self._beat_seconds)
                self._on_beat()

        heartbeat = asyncio.ensure_future(beat())
        try:
            yield
        finally:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeat  # raises what went wrong in it

    async def _work_off(self) -> LookUpReport:
        statistics, options = self._pool.statistics, self._pool.options
        statistics.count_batch(self._ledger.counts())
        fresh: list[Outcome] = []
        writing = asyncio.ensure_future(asyncio.sleep(0))  # one part at a time, beside the look-ups
        try:
            # Closed here, whatever breaks: look-ups under way must not outlive their client.
            async with aclosing(self._pool.outcomes(self._feed())) as outcomes:
                async for outcome in outcomes:
                    fresh.append(outcome)
                    self._on_outcome(outcome)
                    if len(fresh) < options.checkpoint_interval:
                        continue
                    await self._checkpoint(fresh)
                    fresh = []
                    if writing.done() and self._drain.is_due(options.checkpoint_interval):
                        await writing  # raises what went wrong in it
                        writing = asyncio.ensure_future(self._drain.write_part())
            await self._checkpoint(fresh)
        finally:
            await writing
            await self._synced()
        self._ledger.release()
        while self._drain.waiting_rows:
            await self._drain.write_part()
        statistics.write_seconds += self._drain.blocked_seconds
        return LookUpReport(
            statistics=statistics,
            stop_reason=self._pool.stop.reason,
            written_rows=self._drain.written_rows,
            cost_dollars=statistics.cost(self._pool.budget.prices),
            reasons=self._ledger.reasons(),
        )

    def _feed(self) -> Iterator[Item]:
        """Items in order of priority, claimed in small pages: memory stays flat."""
        while self._remaining_items is None or self._remaining_items > 0:
            page = self._ledger.claim(
                min(_PAGE_ITEMS, self._remaining_items or _PAGE_ITEMS), self._pool.options.least_priority
            )
            if not page:
                return
            self._remaining_items = None if self._remaining_items is None else self._remaining_items - len(page)
            yield from page

    async def _synced(self) -> None:
        """When the last checkpoint but this is on the disk."""
        if self._syncing is not None:
            await self._syncing

    async def _checkpoint(self, fresh: list[Outcome]) -> None:
        """Keep what is new."""
        if not fresh:
            return
        start = time.monotonic()
        logger.debug("Batch inserting %d", len(fresh))
        await self._synced()  # a power cut costs one checkpoint that was on its way, however slow the disk is
        self._ledger.commit(fresh, self._drain.name)
        self._syncing = asyncio.get_running_loop().run_in_executor(self._syncer, self._ledger.sync)
        self._drain.waiting_rows += sum(isinstance(outcome, Result) for outcome in fresh)
        self._pool.statistics.write_seconds += time.monotonic() - start
        self._on_checkpoint(fresh)


def _one_thread(name: str) -> ThreadPoolExecutor:
    """Always the same: glibc gives each thread memory of its own, and in turn six of them kept 20 to 50 MB more."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)


class Drain:
    """Brings rows from a ledger into an output, a part at a time."""

    def __init__(self, ledger: Ledger, output: Output, schema: pa.Schema) -> None:
        self.name = ledger.name_of(output.path)
        self._ledger, self._output, self._schema = ledger, output, schema
        parts = ledger.parts(self.name)
        self.written_rows = sum(part.rows for part in parts)
        self._last = parts[-1] if parts else None
        self.waiting_rows = ledger.waiting_rows(self.name)
        self._writer = _one_thread("part-writer")
        self.blocked_seconds = 0.0  # of the event loop

    def is_due(self, least_rows: int) -> bool:
        """True once what waits is a twentieth of what is written, or five thousand rows."""
        return self.waiting_rows >= min(max(self.written_rows // _PART_SHARE, least_rows), _MAX_PART_ROWS)

    async def write_part(self) -> None:
        """Write what waits; in a thread, because disks make wait."""
        start = time.monotonic()
        until = self._ledger.waiting_until(self.name, _MAX_PART_ROWS)
        between = time.monotonic()
        part = await asyncio.get_running_loop().run_in_executor(self._writer, self._append, until)
        after = time.monotonic()
        self._written(part, until)
        self.blocked_seconds += between - start + time.monotonic() - after

    def write_all(self) -> None:
        """Write all that waits, here and now."""
        while self.waiting_rows:
            until = self._ledger.waiting_until(self.name, _MAX_PART_ROWS)
            self._written(self._append(until), until)

    def _append(self, until: int) -> Part:
        self._ledger.sync()  # else rows could stand in the output, after a power cut, that nothing names
        # Closed here, whatever breaks: its connection belongs to this thread.
        with closing(self._ledger.waiting(self.name, until, _PAGE_ROWS)) as pages:
            return self._output.append((table_of(rows, self._schema) for rows in pages), self._last)

    def _written(self, part: Part, until: int) -> None:
        """The part is on the disk: only now may its rows be forgotten."""
        self._ledger.written(self.name, part, until)
        self._last = part
        self.written_rows += part.rows
        self.waiting_rows -= part.rows


def failures_of(outcomes: Iterable[Outcome]) -> Iterator[LookUpFailure]:
    """Those that were given up."""
    return (outcome for outcome in outcomes if isinstance(outcome, LookUpFailure))
