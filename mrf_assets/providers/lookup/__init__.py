"""A batch of look-ups against a slow, rate-limited service: parallel, resumable, exact.

Knows nothing of what is looked up. In the order in which an item passes: `values` (items and
outcomes), `ledger` (what is to do), `limiter` and `pool` (the requests), `outputs` (the rows);
`run` puts them together, `statistics`, `progress`, `cost` and `stop` go along.
"""

from mrf_assets.providers.lookup.cost import Budget, Prices, dollars_text
from mrf_assets.providers.lookup.items import (
    Answer,
    BatchOptions,
    Failure,
    Item,
    LookUp,
    Outcome,
    Result,
    Row,
    Unfinished,
)
from mrf_assets.providers.lookup.ledger import FailedItem, Ledger
from mrf_assets.providers.lookup.outputs import Output, held, output_at
from mrf_assets.providers.lookup.pool import Pool, in_thread, process_batch
from mrf_assets.providers.lookup.progress import Pulse, counts_text, pace_text, spent_text
from mrf_assets.providers.lookup.run import (
    Batch,
    BatchReport,
    Fresh,
    adopt,
    drop_replaced,
    failures_of,
    recover,
    renew,
    start_over,
)
from mrf_assets.providers.lookup.statistics import Statistics
from mrf_assets.providers.lookup.stop import Stop

__all__ = [
    "Answer",
    "Batch",
    "BatchOptions",
    "BatchReport",
    "Budget",
    "FailedItem",
    "Failure",
    "Fresh",
    "Item",
    "Ledger",
    "LookUp",
    "Outcome",
    "Output",
    "Pool",
    "Prices",
    "Pulse",
    "Result",
    "Row",
    "Statistics",
    "Stop",
    "Unfinished",
    "adopt",
    "counts_text",
    "dollars_text",
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
