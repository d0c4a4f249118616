"""The registry's entries of our NPIs, kept up to date: the bulk files for the many, the API for the rest.

<lake>/reference/npis.parquet                    `schema.NPIS`
<lake>/reference/npi_registry/part-*.parquet     `schema.NPI_REGISTRY`
<lake>/reference/provider_directory.parquet      `schema.PROVIDER_DIRECTORY`
<lake>/.mrf/npi_registry.sqlite                  the ledger: what is looked up, what failed
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import duckdb
import pyarrow.parquet as pq

from mrf_assets.clock import SKEW_SECONDS
from mrf_assets.errors import FetchError, SettingError, StoreError, StreamError
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.providers.inputs import INVALID
from mrf_assets.providers.lookup import (
    Item,
    LookUpFailure,
    LookUpOptions,
    LookUpReport,
    Output,
    Statistics,
    Stop,
)
from mrf_assets.providers.npi_look_ups import NpiLookUps, NpiRequests
from mrf_assets.providers.npis import published_npis
from mrf_assets.providers.nppes import npi_problem
from mrf_assets.providers.nppes.bulk import BulkRegistry, Probe
from mrf_assets.schema import NPI_REGISTRY, NPIS
from mrf_assets.settings import EnrichSettings, Prices
from mrf_assets.stream.raw_file import Opener
from mrf_assets.text import printable

logger = logging.getLogger(__name__)

Mode = Literal["intelligent", "parallel_all", "api_only", "bulk_only"]
MODES: tuple[str, ...] = get_args(Mode)
MANY = 10_000  # NPIs: more than an hour of the API at three a second, and what the bulk file takes to download
_KEYS_AT_ONCE = 10_000
_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "512MB", "threads": 2}


@dataclass(slots=True, kw_only=True)
class RegistryResult:
    """What one update did."""

    npis: int = 0
    known_before: int = 0
    adopted_rows: int = 0  # that stood there, and the ledger was lost
    from_bulk: int = 0
    from_api: int = 0
    failed: int = 0  # invalid ones among them
    reasons: Counter[str] = field(default_factory=Counter)  # why they failed, and how many
    pending: int = 0
    rows: int = 0  # in the registry now
    stop_reason: str | None = None
    bulk_files: list[str] = field(default_factory=list)
    bulk_repairs: Counter[str] = field(default_factory=Counter)  # in the files that this update downloaded, by kind
    statistics: Statistics = field(default_factory=Statistics)
    cost_dollars: float = 0.0

    @property
    def invalid(self) -> int:
        """Published numbers that are no NPI."""
        return self.reasons[INVALID]

    @property
    def report(self) -> LookUpReport:
        """The same, as a run of any other batch reports."""
        return LookUpReport(
            statistics=self.statistics,
            stop_reason=self.stop_reason,
            written_rows=self.rows,
            cost_dollars=self.cost_dollars,
            reasons=self.reasons,
        )


def write_npis(lake: Path) -> int:
    """Count the NPIs of what is published; returns how many there are."""
    return write_table(Reference(lake).npis, NPIS.arrow, published_npis(lake))


@dataclass(slots=True, kw_only=True)
class RegistryUpdate:
    """Looks up the NPIs of `npis.parquet` that are not known, or not fresh."""

    lake: Path
    settings: EnrichSettings
    open_url: Opener
    probe: Probe = lambda _: None  # whether CMS has mended a bulk file that is here; None of it asks nobody
    batch: LookUpOptions
    mode: Mode = "intelligent"
    many: int = MANY
    max_age: dt.timedelta | None = None
    budget_dollars: float | None = None  # for the look-ups over the API
    stop: Stop = field(default_factory=Stop)
    drive: Callable[[Coroutine[Any, Any, LookUpReport]], LookUpReport] = asyncio.run  # the look-ups alone
    on_ready: Callable[[Statistics], None] = lambda _: None  # counts are known, nothing is asked yet
    on_progress: Callable[[Statistics], None] = lambda _: None  # after each look-up over the API, and each second

    def run(self) -> RegistryResult:
        """Bring the registry up to date; what an interrupted update has done stays, and the next goes on.

        Raises:
            SettingError: There is no `npis.parquet` yet, or a mode is not known.
            FetchError: The bulk files cannot be had, and nothing else is allowed.
            StreamError: They are not what they claim to be.
            StoreError: The folder cannot be written, or another process updates it.
        """
        if self.mode not in MODES:
            raise SettingError("mode", f"is {self.mode!r}; choose among {', '.join(MODES)}")
        reference = Reference(self.lake)
        if not reference.npis.exists():
            raise SettingError("npis", f"{reference.npis} is not there; materialize the asset npis first")
        with NpiLookUps.opened(reference.ledger, reference.registry, NPI_REGISTRY.arrow) as npis:
            adopted_rows = self._prepare(npis)
            counts = npis.ledger.counts()
            result = RegistryResult(npis=counts.total(), known_before=counts["done"], adopted_rows=adopted_rows)
            result.statistics.count_batch(counts)
            self.on_ready(result.statistics)
            self._fill(npis, result)
            counts = npis.ledger.counts()
            result.statistics.count_batch(counts)
            result.failed, result.pending = counts["failed"], counts["pending"]
            result.reasons = npis.ledger.reasons()
            npis.drop_replaced()
            result.rows = npis.rows
        result.cost_dollars = result.statistics.cost(self.settings.part(Prices))
        return result

    def _prepare(self, npis: NpiLookUps) -> int:
        """Bring ledger and registry to where this update begins; returns how many rows a lost ledger left."""
        adopted_rows = npis.adopt(self._entries())
        npis.recover()
        npis.ledger.add(self._entries())
        if self.max_age is not None:
            npis.renew(self._stale(npis.output, self.max_age))
        npis.ledger.retry_failed(INVALID)
        return adopted_rows

    def _entries(self) -> Iterator[Item | LookUpFailure]:
        for batch in pq.ParquetFile(Reference(self.lake).npis).iter_batches(columns=["npi", "rates"]):
            for row in batch.to_pylist():
                item = Item(key=str(row["npi"]), priority=float(row["rates"]))
                problem = npi_problem(item.key)
                if problem is None:
                    yield item
                else:
                    yield LookUpFailure(
                        item=item, reason=INVALID, detail=problem, http_status=None, requests=0, seconds=0
                    )

    def _stale(self, output: Output, max_age: dt.timedelta) -> Iterator[str]:
        """The published NPIs whose newest row is older, or of the future; they keep it until there is another."""
        now = dt.datetime.now(tz=dt.UTC)
        if not (files := _files(output)):
            return
        with duckdb.connect(config=_LIMITS) as connection:
            result = connection.execute(
                "SELECT npi FROM read_parquet(?) r SEMI JOIN read_parquet(?) n USING (npi) "
                "GROUP BY npi HAVING max(fetched_at) NOT BETWEEN ? AND ?",
                [
                    [pattern_of(path) for path in files],
                    pattern_of(Reference(self.lake).npis),
                    now - max_age,
                    now + dt.timedelta(seconds=SKEW_SECONDS),
                ],
            )
            while page := result.fetchmany(_KEYS_AT_ONCE):
                yield from (str(npi) for (npi,) in page)

    def _fill(self, npis: NpiLookUps, result: RegistryResult) -> None:
        missing = npis.ledger.pending()
        if not missing:
            return
        is_many = self.mode == "intelligent" and missing > self.many
        if self.mode == "parallel_all":
            self._side_by_side(npis, result)
        elif self.mode == "bulk_only":
            self._from_bulk(npis, result)
        elif is_many:
            self._from_bulk_if_it_can_be_had(npis, result)
        if self.mode != "bulk_only" and npis.ledger.pending() and not self.stop.requested:
            self.drive(self._from_api(npis, result, self.stop))
            why = self._why_the_api_gave_up(result)
            if self.mode == "intelligent" and not is_many and why is not None:
                logger.warning("the API gave up (%s); the bulk files are asked instead", why)
                self._from_bulk_if_it_can_be_had(npis, result)

    def _why_the_api_gave_up(self, result: RegistryResult) -> str | None:
        if self.stop.requested:
            return self.stop.reason if self.stop.is_service_down else None
        return "all look-ups failed" if _all_failed(result.statistics) else None

    def _from_bulk(self, npis: NpiLookUps, result: RegistryResult) -> None:
        bulk = self._bulk()
        try:
            self._refresh(bulk)
        finally:
            result.statistics.received_bytes += bulk.received_bytes
        self._take_over(npis, result, bulk)

    def _bulk(self) -> BulkRegistry:
        return BulkRegistry(Reference(self.lake).bulk)

    def _refresh(self, bulk: BulkRegistry) -> None:
        bulk.refresh(self.settings.npi_files_url, self.open_url, self.probe)

    def _from_bulk_if_it_can_be_had(self, npis: NpiLookUps, result: RegistryResult) -> None:
        """The same where the API is allowed too: CMS's page, its files and our folder of them may break alone."""
        with self._without_bulk_if_need_be():
            self._from_bulk(npis, result)

    @contextmanager
    def _without_bulk_if_need_be(self) -> Iterator[None]:
        try:
            yield
        except (FetchError, StreamError, StoreError) as error:
            if isinstance(error, StoreError) and error.path != str(self._bulk().folder):
                raise  # of the ledger or the registry, which the API needs, too
            logger.warning(
                "the bulk files cannot be used (%s); the API is asked for what is missing", printable(str(error))
            )

    def _take_over(self, npis: NpiLookUps, result: RegistryResult, registry: BulkRegistry) -> None:
        result.bulk_files = [path.name for path in registry.paths]
        result.bulk_repairs = registry.repairs
        for batch in registry.rows(npis.missing(failed_but_for=INVALID)):
            npis.carry(batch.to_pylist())
            result.from_bulk += batch.num_rows

    async def _from_api(self, npis: NpiLookUps, result: RegistryResult, stop: Stop) -> LookUpReport:
        statistics, options = result.statistics, self.batch
        if options.limit is not None:  # of the whole run: `parallel_all` asks the API in two rounds
            options = replace(options, limit=max(options.limit - statistics.completed - statistics.failed, 0))
        statistics.workers = max(statistics.workers, min(self.batch.max_workers, npis.ledger.pending()))
        requests = NpiRequests(
            settings=self.settings,
            options=options,
            statistics=statistics,
            stop=stop,
            budget_dollars=self.budget_dollars,
            on_outcome=lambda _outcome: self.on_progress(statistics),
            on_beat=lambda: self.on_progress(statistics),
        )
        report = await npis.ask(requests)
        result.from_api, result.stop_reason = statistics.completed, report.stop_reason
        return report

    def _side_by_side(self, npis: NpiLookUps, result: RegistryResult) -> None:
        """The API begins with what most prices name; the bulk files, once they are here, give the others."""
        registry, stop = self._bulk(), Stop()

        async def both() -> None:
            download = asyncio.ensure_future(asyncio.to_thread(self._refresh, registry))
            download.add_done_callback(lambda _: stop.request("the bulk files are here"))
            await self._from_api(npis, result, stop)
            await download

        with self._without_bulk_if_need_be():
            try:
                asyncio.run(both())
            finally:
                result.stop_reason = None
                result.statistics.received_bytes += registry.received_bytes
            self._take_over(npis, result, registry)


def _all_failed(statistics: Statistics) -> bool:
    return statistics.failed > 0 and statistics.completed == 0


def _files(output: Output) -> list[str]:
    return [str(path) for path in sorted(output.path.glob("part-*.parquet"))]
