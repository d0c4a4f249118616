"""The batch engine with a service of your own: `python examples/batch_examples.py`.

`mrf_assets.providers.lookup` knows nothing of NPPES: it works off any "look up one item". Here the service is
a coroutine that refuses who asks too often and sometimes fails, as services do.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa

from mrf_assets.errors import LookUpFailed
from mrf_assets.providers.lookup import (
    Answer,
    Item,
    Ledger,
    LookUpFailure,
    LookUpOptions,
    LookUpRun,
    Pool,
    Result,
    output_at,
    process_batch,
    recover,
)

COLUMNS: list[tuple[str, pa.DataType]] = [("word", pa.string()), ("length", pa.int32())]
SCHEMA = pa.schema(COLUMNS)
WINDOW_SECONDS, ALLOWED = 0.1, 10  # of the service: so many requests in each window
FAILURE_SHARE = 0.1
DICE = random.Random(7)  # noqa: S311 - an example's dice
asked_in: Counter[int] = Counter()  # window -> requests


async def look_up(item: Item) -> Answer:
    """A service for a hundred requests a second that refuses the others; of its answers 10 % fail."""
    await asyncio.sleep(0.002)
    now = time.monotonic()
    window = int(now / WINDOW_SECONDS)
    asked_in[window] += 1
    if asked_in[window] > ALLOWED:
        wait_seconds = (window + 1) * WINDOW_SECONDS - now
        raise LookUpFailed(
            "rate_limited", "HTTP 429", http_status=429, is_refusal=True, retry_after_seconds=wait_seconds
        )
    if DICE.random() < FAILURE_SHARE:
        raise LookUpFailed("http_500", "HTTP 500", http_status=500)
    return Answer(row={"word": item.key, "length": len(item.key)})


async def in_memory() -> None:
    """The short form: outcomes as they come, errors among them."""
    words = (Item(key=word) for word in ("bundle", "ffs", "capitation"))
    async for outcome in process_batch(words, look_up, max_workers=20):
        match outcome:
            case Result():
                print(f"{outcome.row['word']} has {outcome.row['length']} letters, after {outcome.requests} request(s)")
            case LookUpFailure():
                print(f"{outcome.item.key}: {outcome.reason}")


async def with_ledger(folder: Path) -> int:
    """The whole: resumable, with an output that has each row once; run it again and nothing is asked."""
    options = LookUpOptions(max_workers=20, rate_limit_delay_seconds=0.001, backoff_seconds=0.01)
    output = output_at(folder / "words", SCHEMA)
    with Ledger(folder / "words.sqlite") as ledger:
        ledger.add(Item(key=f"word-{number}", priority=number) for number in range(200))
        recover(ledger, output, SCHEMA)
        report = await LookUpRun(ledger, output, SCHEMA, Pool(look_up, options)).run()
    numbers = report.statistics
    print(f"{numbers.completed} of {numbers.total} done with {numbers.requests} requests, {report.written_rows} rows")
    return 0 if numbers.completed + numbers.failed == numbers.total else 1


if __name__ == "__main__":
    asyncio.run(in_memory())
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(asyncio.run(with_ledger(Path(scratch))))
