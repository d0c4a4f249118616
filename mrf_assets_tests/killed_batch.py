"""A batch that kills itself at a step: `python -m mrf_assets_tests.killed_batch FOLDER OUTPUT STEP`.

The process is gone as with `kill -9`; the tests look at what it leaves, and go on with it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mrf_assets.providers.lookup import (
    Answer,
    Fresh,
    Item,
    Ledger,
    LookUpOptions,
    LookUpRun,
    Outcome,
    Output,
    Pool,
    drop_replaced,
    output_at,
    recover,
    start_over,
)
from mrf_assets.providers.lookup.waiting_rows import Part

_COLUMNS: dict[str, pa.DataType] = {"key": pa.string(), "round": pa.int64(), "at": pa.timestamp("us", tz="UTC")}
SCHEMA = pa.schema(_COLUMNS)
ITEMS = 45
OPTIONS = LookUpOptions(max_workers=4, checkpoint_interval=10, rate_limit_delay_seconds=0.0, adaptive=False)
FIRST, SECOND = 1, 2
# In their order. Those of the second round come after a first that went well.
STEPS = {
    FIRST: ("look_up", "checkpoint", "append", "piece", "appended"),
    SECOND: ("checkpoint", "rewrite", "rewritten", "settle", "settled"),
}


class Around:
    """An output that stands before a real one."""

    def __init__(self, inner: Output) -> None:
        self.inner, self.path = inner, inner.path

    def found(self) -> list[Part]:
        """Passed on."""
        return self.inner.found()

    def restore(self, parts: Sequence[Part], leftover_rows: int) -> None:
        """Passed on."""
        self.inner.restore(parts, leftover_rows)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Passed on."""
        return self.inner.read(columns)

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Passed on."""
        return self.inner.append(pieces, last)

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:
        """Passed on."""
        return self.inner.rewrite(pieces, last)

    def settle(self, parts: Sequence[Part]) -> None:
        """Passed on."""
        self.inner.settle(parts)


class Killing(Around):
    """An output that stands before a real one; the process ends at a step."""

    def __init__(self, inner: Output, step: str) -> None:
        super().__init__(inner)
        self._step, self.appends = step, 0

    def kill_at(self, step: str) -> None:
        """The end, if it is that step's."""
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """The second time."""
        self.appends += 1
        if self.appends == 1:
            return self.inner.append(pieces, last)
        self.kill_at("append")
        part = self.inner.append(self._torn(pieces), last)
        self.kill_at("appended")
        return part

    def _torn(self, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for piece in pieces:
            yield piece.slice(0, 3)
            self.kill_at("piece")
            yield piece.slice(3)

    def rewrite(self, pieces: Iterable[pa.Table], last: Part | None) -> list[Part]:
        """Before and after."""
        self.kill_at("rewrite")
        parts = self.inner.rewrite(pieces, last)
        self.kill_at("rewritten")
        return parts

    def settle(self, parts: Sequence[Part]) -> None:
        """Before and after."""
        self.kill_at("settle")
        self.inner.settle(parts)
        self.kill_at("settled")


def items() -> Iterator[Item]:
    """Those of each round."""
    return (Item(key=str(number)) for number in range(ITEMS))


def go(ledger: Ledger, output: Output, number: int, calls: list[str], step: str = "") -> None:
    """One run of one round; keys that are asked for are written to `calls`."""
    killing = Killing(output, step)
    checkpoints = 0

    async def look_up(item: Item) -> Answer:
        calls.append(item.key)
        if len(calls) == ITEMS // 2:
            killing.kill_at("look_up")
        await asyncio.sleep(0)
        return Answer(row={"key": item.key, "round": number, "at": dt.datetime.now(tz=dt.UTC)})

    def on_checkpoint(_outcomes: list[Outcome]) -> None:
        nonlocal checkpoints
        checkpoints += 1
        if checkpoints == 3:
            killing.kill_at("checkpoint")

    recover(ledger, killing, SCHEMA)
    batch = LookUpRun(ledger, killing, SCHEMA, Pool(look_up, OPTIONS), on_checkpoint=on_checkpoint)
    asyncio.run(batch.run())
    drop_replaced(ledger, killing, "key")


def begin_second(ledger: Ledger, output: Output) -> None:
    """All rows are too old from now on, and five items are not wanted any more."""
    fresh = Fresh(key="key", at="at", since=dt.datetime.now(tz=dt.UTC) + dt.timedelta(days=1))
    start_over(ledger, output, SCHEMA, list(items())[:-5], fresh)


def main(folder: Path, name: str, number: int, step: str) -> None:
    """Both rounds, up to the step."""
    output = output_at(folder / name, SCHEMA)
    with Ledger(folder / "progress.sqlite") as ledger:
        ledger.add(items())
        go(ledger, output, FIRST, [], step if number == FIRST else "")
        begin_second(ledger, output)
        go(ledger, output, SECOND, [], step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
