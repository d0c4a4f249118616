"""NPIs looked up, from a ledger into an output: the one road of `mrf enrich` and of the assets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from mrf_assets.providers.lookup import (
    Fresh,
    Item,
    Ledger,
    LookUp,
    LookUpBudget,
    LookUpFailure,
    LookUpOptions,
    LookUpReport,
    LookUpRun,
    Outcome,
    Output,
    Pool,
    Statistics,
    Stop,
    adopt,
    drop_replaced,
    held,
    output_at,
    recover,
    renew,
    start_over,
)
from mrf_assets.settings import EnrichSettings, Prices

logger = logging.getLogger(__name__)

KEY = "npi"  # the column that is the key of an item
_KEYS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NpiRequests:
    """How the registry is asked, and who hears of it."""

    settings: EnrichSettings
    options: LookUpOptions
    statistics: Statistics
    stop: Stop = field(default_factory=Stop)
    budget_dollars: float | None = None
    on_outcome: Callable[[Outcome], None] = lambda _: None
    on_checkpoint: Callable[[list[Outcome]], None] = lambda _: None
    on_beat: Callable[[], None] = lambda: None  # each second, also while no look-up ends


class NpiLookUps:
    """A ledger and an output of rows of NPIs; `opened` makes one."""

    def __init__(self, ledger: Ledger, output: Output, schema: pa.Schema) -> None:
        self.ledger, self.output, self._schema = ledger, output, schema

    @classmethod
    @contextmanager
    def opened(cls, ledger: Path, output: Path, schema: pa.Schema) -> Iterator[Self]:
        """Both, for this process alone.

        Raises:
            StoreError: One of them cannot be written, or another process has it.
        """
        place = output_at(output, schema)
        with Ledger(ledger) as open_ledger, held(place):
            yield cls(open_ledger, place, schema)

    @property
    def rows(self) -> int:
        """How many stand in the output now."""
        return sum(part.rows for part in self.ledger.parts(self._name))

    @property
    def _name(self) -> str:
        return self.ledger.name_of(self.output.path)

    def adopt(self, entries: Iterable[Item | LookUpFailure]) -> int:
        """Where the ledger was lost: make it out of the rows that are there; returns how many they are."""
        if adopted_rows := adopt(self.ledger, self.output, entries, KEY):
            logger.warning("%s is lost; %d rows of %s are taken over", self.ledger.path, adopted_rows, self.output.path)
        return adopted_rows

    def start_over(self, entries: Iterable[Item | LookUpFailure], fresh: Fresh | None) -> int:
        """Begin again with these items; returns how many need no look-up."""
        return start_over(self.ledger, self.output, self._schema, entries, fresh)

    def recover(self) -> None:
        """Put ledger and output into agreement, and write what waits."""
        recover(self.ledger, self.output, self._schema)

    def renew(self, keys: Iterable[str]) -> int:
        """What is done is to be done again; returns how many items."""
        return renew(self.ledger, self.output, keys)

    def carry(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take over rows that nobody had to ask for."""
        self.ledger.carry([str(row[KEY]) for row in rows], rows, self._name)
        self.recover()

    def missing(self, *, failed_but_for: str | None = None) -> pa.Table:
        """The NPIs that are to do; and those given up, but for one reason, if it is given."""
        lists = self.ledger.pages_of_keys(_KEYS_AT_ONCE, failed_but_for=failed_but_for)
        pages = [pa.array(map(int, keys), pa.int64()) for keys in lists]
        return pa.table({KEY: pa.chunked_array(pages, pa.int64())})

    async def ask(self, requests: NpiRequests, refine: Callable[[LookUp], LookUp] = lambda it: it) -> LookUpReport:
        """Ask the registry for what is to do; `refine` makes the rows of the output out of its answers."""
        from mrf_assets.providers.nppes.client import NppesClient  # noqa: PLC0415 - imports aiohttp, 0.15 s

        settings = requests.settings
        async with NppesClient.of(settings) as client:
            pool = Pool(
                refine(client.look_up),
                requests.options,
                statistics=requests.statistics,
                budget=LookUpBudget(requests.budget_dollars, settings.part(Prices)),
                stop=requests.stop,
            )
            return await LookUpRun(
                self.ledger,
                self.output,
                self._schema,
                pool,
                on_outcome=requests.on_outcome,
                on_checkpoint=requests.on_checkpoint,
                on_beat=requests.on_beat,
            ).run()

    def drop_replaced(self) -> None:
        """Keep the last row of each NPI alone."""
        drop_replaced(self.ledger, self.output, KEY)
