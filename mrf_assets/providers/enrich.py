"""`mrf enrich` without its console: input -> ledger -> registry -> output and reports."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.providers.estimate import EnrichOptions, require_prices
from mrf_assets.providers.fill_rates import NameConfidences, Quality
from mrf_assets.providers.inputs import INVALID, EnrichmentInput
from mrf_assets.providers.lookup import (
    Answer,
    Fresh,
    Item,
    Ledger,
    LookUp,
    LookUpFailure,
    LookUpOptions,
    LookUpReport,
    Outcome,
    Output,
    Result,
    Row,
    Statistics,
    Stop,
    failures_of,
)
from mrf_assets.providers.names import best_match, registry_names
from mrf_assets.providers.npi_look_ups import KEY, NpiLookUps, NpiRequests
from mrf_assets.providers.nppes.bulk import BulkRegistry
from mrf_assets.providers.nppes.bulk_index import BulkIndex
from mrf_assets.providers.run_files import RunFiles, errors_of, utc_now, write_json
from mrf_assets.schema import ENRICHED
from mrf_assets.settings import EnrichSettings, Prices

logger = logging.getLogger(__name__)

_NO_MATCH = {"business_name": None, "matched_name": None, "name_confidence": None}


@dataclass(slots=True, kw_only=True)
class Enrichment:
    """One run, from the input to the report."""

    options: EnrichOptions
    settings: EnrichSettings
    on_begun: Callable[[], None] = lambda: None  # the ledger is that of this run
    on_ready: Callable[[Statistics], None] = lambda _: None  # counts are known, nothing is asked yet
    on_outcome: Callable[[Outcome], None] = lambda _: None
    on_beat: Callable[[], None] = lambda: None  # each second of the look-ups, also while none of them ends
    stop: Stop = field(default_factory=Stop)
    names: NameConfidences = field(default_factory=NameConfidences)  # of this run
    bulk_bytes: int = 0  # downloaded for the stage `deep`
    bulk_repairs: Counter[str] = field(default_factory=Counter)  # in what was downloaded for it, by kind

    def __post_init__(self) -> None:
        require_prices(self.options, self.settings)

    def run(self, drive: Callable[[Coroutine[Any, Any, LookUpReport]], LookUpReport] = asyncio.run) -> LookUpReport:
        """Look up what is to do; `drive` sees to the event loop, in which only the look-ups run.

        What is read and written before and after them may be interrupted at any time: it is gone on with, or done anew.

        Raises:
            SettingError: The input cannot be read, or a setting is wrong.
            StoreError: Ledger or output cannot be written.
            FetchError: The stage `deep` cannot have its files.
            StreamError: They are not what they claim to be.
        """
        self.fetch_bulk()
        files = RunFiles(self.options.checkpoint)
        files.progress.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            npis = stack.enter_context(NpiLookUps.opened(files.ledger, self.options.output, ENRICHED.arrow))
            ledger = npis.ledger
            self._prepare(npis, files)
            statistics = Statistics(workers=self._workers(ledger))
            refine = self._refine(npis, stack)
            statistics.count_batch(ledger.counts())
            self.on_ready(statistics)
            statistics.received_bytes = self.bulk_bytes
            requests = NpiRequests(
                settings=self.settings,
                options=self.options.batch,
                statistics=statistics,
                stop=self.stop,
                budget_dollars=self.options.budget_dollars,
                on_outcome=self._ended,
                on_checkpoint=lambda outcomes: self._checkpointed(ledger, files, statistics, outcomes),
                on_beat=self.on_beat,
            )
            start = time.monotonic()
            report = drive(npis.ask(requests, refine))
            if report.stop_reason is None:  # else the next run does it: a stop is not made to wait for it
                npis.drop_replaced()
                report = replace(report, written_rows=npis.rows)
            files.write_progress(ledger, statistics, self._live_facts(statistics), now=True)
            self._write_report(files, ledger, npis.output, report, time.monotonic() - start)
        return report

    def _prepare(self, npis: NpiLookUps, files: RunFiles) -> None:
        """Bring ledger and output to where this run begins."""
        options, source = self.options, EnrichmentInput(self.options.location, self.settings.output_dir)
        ledger = npis.ledger
        if options.retry_failed:
            retries = ledger.retry_failed(INVALID)
            self.on_begun()
            logger.info("%d failed look-ups are tried again", retries)
        elif options.resume:
            npis.adopt(_logging_failures(source, files))
            ledger.add(_logging_failures(source, files, is_known=ledger.knows), replaced_reason=INVALID)
        else:
            fresh_rows = npis.start_over(_logging_failures(source, files), self._fresh())
            self.on_begun()
            if options.max_age is None:
                logger.info("Cache fallback disabled - will always fetch fresh data")
            else:
                logger.info("%d rows are younger than %s and stay", fresh_rows, options.max_age)
        if ledger.noted("started_at") is None:
            ledger.note("started_at", utc_now())
        npis.recover()

    def _fresh(self) -> Fresh | None:
        if self.options.max_age is None:
            return None
        return Fresh.younger_than(self.options.max_age, key=KEY, at="fetched_at")

    def _workers(self, ledger: Ledger) -> int:
        """No more than there is work for."""
        pending = ledger.pending(self.options.batch.least_priority)
        return max(1, min(self.options.batch.max_workers, pending))

    def fetch_bulk(self) -> None:
        """The stage `deep`: have the newest bulk files.

        Raises:
            FetchError: The page or a file cannot be had.
            StreamError: A file is not what it claims to be.
            StoreError: There is no room for it.
        """
        if "deep" in self.options.stages:
            bulk = self._bulk
            options = FetchOptions.of(self.settings)
            downloads = bulk.refresh(
                self.settings.npi_files_url, partial(open_url, options=options), partial(probe, options=options)
            )
            self.bulk_bytes, self.bulk_repairs = bulk.received_bytes, bulk.repairs
            logger.info("bulk files: %s", ", ".join(downloads) or "those that are here are the newest")
            time.sleep(self.options.stage_delay_seconds)

    @property
    def _bulk(self) -> BulkRegistry:
        return BulkRegistry(Reference(self.settings.output_dir).bulk)

    def _refine(self, npis: NpiLookUps, stack: ExitStack) -> Callable[[LookUp], LookUp]:
        """What the stages make of the registry's answers."""
        index = stack.enter_context(BulkIndex(self._bulk, npis.missing())) if "deep" in self.options.stages else None

        def refined(look_up: LookUp) -> LookUp:
            completed = look_up if index is None else index.completing(look_up)
            return with_names(completed, with_confidence="org" in self.options.stages)

        return refined

    def _checkpointed(self, ledger: Ledger, files: RunFiles, statistics: Statistics, outcomes: list[Outcome]) -> None:
        files.log_failures(failures_of(outcomes))
        files.write_progress(ledger, statistics, self._live_facts(statistics))

    def _ended(self, outcome: Outcome) -> None:
        if isinstance(outcome, Result):
            self.names.add(outcome.row["name_confidence"])
        self.on_outcome(outcome)

    def _live_facts(self, statistics: Statistics) -> dict[str, Any]:
        dollars = statistics.cost(self.settings.part(Prices))
        return {"cost_dollars": round(dollars, 6), "name_confidence_histogram": self.names.as_facts()}

    def _write_report(
        self, files: RunFiles, ledger: Ledger, output: Output, report: LookUpReport, seconds: float
    ) -> None:
        statistics, counts = report.statistics, ledger.counts()
        finished_items = statistics.completed + statistics.failed
        write_json(
            files.report,
            {
                "finished_at": utc_now(),
                "stopped": report.stop_reason,
                "seconds": round(seconds, 3),
                "output": str(output.path) if report.written_rows else None,
                "total_records": counts.total(),
                "completed": counts["done"],
                "failed": counts["failed"],
                "pending": counts["pending"],
                "success_rate_percent": _percent(statistics.batch_success_rate),
                "status_histogram": _status_histogram(ledger, output),
                **errors_of(ledger),
                "cost_dollars": round(report.cost_dollars, 6),
                "cost_per_record_dollars": round(report.cost_dollars / finished_items, 8) if finished_items else None,
                "this_run": statistics.as_facts(),
                "quality": Quality.of(output).as_facts(),
                "bulk_repairs": dict(self.bulk_repairs),
                "options": self.options.as_facts(),
                "hint": tuning_hint(statistics, self.options.batch),
            },
        )


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _logging_failures(
    source: EnrichmentInput, files: RunFiles, is_known: Callable[[str], bool] = lambda _key: False
) -> Iterator[Item | LookUpFailure]:
    for row in source.rows():
        failure = row.failure
        if failure is not None and not is_known(failure.item.key):
            files.log_failures([failure])
        yield failure or row.item


def with_names(look_up: LookUp, *, with_confidence: bool) -> LookUp:
    """Add the columns about the payer's name; they are filled where `with_confidence` is true."""

    async def call(item: Item) -> Answer:
        answer = await look_up(item)
        return Answer(
            row={**answer.row, **_match(item, answer.row, with_confidence=with_confidence)},
            size_bytes=answer.size_bytes,
        )

    return call


def _match(item: Item, row: Row, *, with_confidence: bool) -> dict[str, Any]:
    business_name = item.facts.get("business_name")
    if not with_confidence or not business_name:
        return {**_NO_MATCH, "business_name": business_name}
    name, confidence = best_match(business_name, registry_names(row))
    return {"business_name": business_name, "matched_name": name, "name_confidence": confidence}


def _status_histogram(ledger: Ledger, output: Output) -> dict[str, int]:
    invalid = ledger.reasons()[INVALID]
    return dict(Quality.of(output).statuses) | {"invalid": invalid, "error": ledger.counts()["failed"] - invalid}


def tuning_hint(statistics: Statistics, options: LookUpOptions) -> str:
    """What to turn for a faster run, going by what this one measured."""
    if statistics.requests_refused > statistics.requests * 0.05:
        return "many requests were refused: raise MRF_RATE_LIMIT_DELAY, or set --max-rpm"
    if statistics.success_rate < 0.95 and statistics.requests_failed:  # noqa: PLR2004 - what was asked for
        return "many look-ups failed: raise MRF_MAX_RETRIES, then --retry-failed"
    if statistics.utilisation > 0.9 and options.max_workers < 20:  # noqa: PLR2004 - the workers are the limit
        return "the workers were busy all the time: raise --max-workers"
    if statistics.requests and statistics.utilisation < 0.5 and not statistics.requests_refused:  # noqa: PLR2004
        return "the workers waited for the start rate: lower MRF_RATE_LIMIT_DELAY"
    return "nothing stands out"
