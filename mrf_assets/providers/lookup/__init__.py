"""A batch of look-ups against a slow, rate-limited service: parallel, resumable, exact.

Knows nothing of what is looked up. In the order in which an item passes:
- items: items, their outcomes, options, and the request to stop,
- ledger_file, waiting_rows, ledger: what is to do, and the rows that wait for an output, in one SQLite file,
- limiter, pool: the requests,
- cost, statistics, budget: what the requests took, how it reads, and when it is enough,
- cells, output_faults, parquet_output, csv_output, outputs: the rows,
- run: a ledger and an output brought forward,
- recovery: both in agreement, before and after a run.
"""

from mrf_assets.providers.lookup.budget import LookUpBudget
from mrf_assets.providers.lookup.items import (
    Answer,
    Item,
    LookUp,
    LookUpFailure,
    LookUpOptions,
    Outcome,
    Result,
    Row,
    Stop,
    Unfinished,
)
from mrf_assets.providers.lookup.ledger import FailedItem, Ledger
from mrf_assets.providers.lookup.outputs import Output, held, output_at
from mrf_assets.providers.lookup.pool import Pool, in_thread, process_batch
from mrf_assets.providers.lookup.recovery import Fresh, adopt, drop_replaced, recover, renew, start_over
from mrf_assets.providers.lookup.run import LookUpReport, LookUpRun, failures_of
from mrf_assets.providers.lookup.statistics import Pulse, Statistics, counts_text, pace_text, spent_text

__all__ = [
    "Answer",
    "FailedItem",
    "Fresh",
    "Item",
    "Ledger",
    "LookUp",
    "LookUpBudget",
    "LookUpFailure",
    "LookUpOptions",
    "LookUpReport",
    "LookUpRun",
    "Outcome",
    "Output",
    "Pool",
    "Pulse",
    "Result",
    "Row",
    "Statistics",
    "Stop",
    "Unfinished",
    "adopt",
    "counts_text",
    "drop_replaced",
    "failures_of",
    "held",
    "in_thread",
    "output_at",
    "pace_text",
    "process_batch",
    "recover",
    "renew",
    "spent_text",
    "start_over",
]
