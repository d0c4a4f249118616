"""One batch under way: its networks one after another, and what is printed and recorded of each."""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from mrf_assets.alerts import send_alert
from mrf_assets.batches.budget import BatchBudget
from mrf_assets.batches.manifest import MANIFEST_NAME, GrowingManifest, NetworkRecord, build_manifest, write_manifest
from mrf_assets.batches.statistics import batch_alert, count, latest_runs
from mrf_assets.defs.resources import config_of
from mrf_assets.defs.run_records import (
    batch_record,
    batch_runs,
    run_record,
)
from mrf_assets.errors import StoreError
from mrf_assets.ingest.plan import PlannedBatch, TaskStore
from mrf_assets.ingest.results import WhitelistCounts
from mrf_assets.lake.store import Store
from mrf_assets.priority import PRIORITY_TAG
from mrf_assets.runner.console import BatchConsole
from mrf_assets.runner.history import (
    STARTED_FORM,
)
from mrf_assets.runner.worker_process import BATCH_TAG, NetworkJob, NetworkOutcome, home_without_room, published_tables
from mrf_assets.runner.workers import (
    run_networks,
)
from mrf_assets.settings import Operations, Settings
from mrf_assets.tasks import FileTask
from mrf_assets.urls.address import Address

_TAG_CHARACTERS = 250  # an index's address in a run tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a batch is called and where it came from."""

    batch_id: str
    start_time: dt.datetime
    source_type: str
    source_input: str  # canonical

    @classmethod
    def new(cls, source_type: str, source_input: str) -> Batch:
        """A batch that starts now."""
        start_time = dt.datetime.now(tz=dt.UTC)
        return cls(
            batch_id=f"{start_time:{STARTED_FORM}}-{secrets.token_hex(2)}",
            start_time=start_time,
            source_type=source_type,
            source_input=str(Address(source_input)),
        )

    @property
    def tags(self) -> dict[str, str]:
        """On every run of the batch."""
        return {
            BATCH_TAG: self.batch_id,
            "mrf/source_type": self.source_type,
            "mrf/source_input": self.source_input[:_TAG_CHARACTERS],
        }


def _share_cores(settings: Settings, at_a_time: int) -> Settings:
    """The cores that networks leave free go to the parts of each, and to reading ahead."""
    cores = os.cpu_count() or 1
    parts = settings.part_processes or max(cores // at_a_time, 1)
    # Without a free core the thread only costs: 7 % of CPU time (benchmarks/NOTES.md).
    return settings.changed(part_processes=parts, read_ahead=settings.read_ahead and at_a_time < cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """Networks of a batch to run now: all of it, or what is left."""

    batch: Batch
    planned_batch: PlannedBatch
    networks: list[str]
    plan: TaskStore
    settings: Settings
    operations: Operations
    workers: int
    verbose: bool

    def execute(self) -> dict[str, Any]:
        """Run them, write the batch's manifest, tell how it went."""
        with self.plan.held(self.batch.batch_id):
            return self._execute()

    def _execute(self) -> dict[str, Any]:
        settings = _share_cores(self.settings, at_a_time=max(min(self.workers, len(self.networks)), 1))
        Store(settings.output_dir).sweep()
        log_dir = f"logs/{dt.datetime.now(tz=dt.UTC):{STARTED_FORM}}" if self.workers > 1 else None
        if log_dir:
            (settings.output_dir / log_dir).mkdir(parents=True, exist_ok=True)
        jobs = [self._job(key, settings, log_dir) for key in self.networks]
        shown_logs = None if log_dir is None else _from_here(settings.output_dir / log_dir)
        console = BatchConsole(
            len(jobs), self.workers, shown_logs, positions=self._positions(), with_bar=not self.verbose
        )
        outcomes: dict[str, NetworkOutcome] = {}
        with dg.DagsterInstance.get() as instance:
            runs_before = batch_runs(instance, self.batch.batch_id)
            budget = BatchBudget(self.batch.batch_id, runs_before, self.operations, console.warn)
            manifest = GrowingManifest(
                path=settings.output_dir / MANIFEST_NAME,
                tasks_of=self.plan.load,
                build=self._manifest,
                records={key: each for key, each in latest_runs(runs_before).items() if each.has_ended},
            )
            manifest.begin()

            def ended(outcome: NetworkOutcome) -> bool:
                if not outcome.is_recorded and all(each.is_recorded for each in outcomes.values()):
                    console.warn(f"{outcome.error}; no other network is begun, and `mrf resume` continues the batch")
                outcomes[outcome.network_id] = outcome
                record = self._record(instance, outcome)
                console.ended(
                    outcome.network_id,
                    success=outcome.success,
                    unchanged=outcome.unchanged,
                    seconds=outcome.seconds if record.seconds is None else record.seconds,  # as in the manifest
                    error=None if outcome.success else record.error,
                    log_file=_log_file(shown_logs, outcome.network_id),
                )
                manifest.add(record)
                return outcome.is_recorded and budget.allows_more(record)

            console.open()
            try:
                interrupted_by = run_networks(
                    jobs if budget.has_some_left else [],
                    self.workers,
                    self.batch.batch_id,
                    settings,
                    on_start=lambda job: console.started(job.network_id, self.plan.load(job.network_id)),
                    on_done=ended,
                    on_progress=console.progress,
                    on_look=manifest.catch_up,
                    log_level=logging.DEBUG if self.verbose else logging.INFO,
                )
            finally:
                console.close()
            runs = self._runs(instance, {each.run_id: each for each in manifest.records.values()})
        have_one = {run.network_id for run in runs}
        unrecorded = [each for key, each in outcomes.items() if key not in have_one or not each.is_recorded]
        runs = [*map(self._without_run, unrecorded), *runs]  # the newest first
        return self._report(runs, outcomes, console, budget, interrupted_by)

    def _report(
        self,
        runs: list[NetworkRecord],
        outcomes: dict[str, NetworkOutcome],
        console: BatchConsole,
        budget: BatchBudget,
        interrupted_by: int | None,
    ) -> dict[str, Any]:
        records = latest_runs(runs)
        of_batch = [records[key] for key in self.planned_batch.priorities if key in records]
        manifest = self._manifest((record, self.plan.load(record.network_id)) for record in of_batch)
        manifest_file = self.settings.output_dir / MANIFEST_NAME
        refusal: StoreError | None = None
        try:
            write_manifest(manifest, manifest_file)
        except StoreError as error:  # people must see the counts first
            refusal = error
        statistics = count(self.batch.batch_id, list(self.planned_batch.priorities), runs, self.operations)
        failures = [
            (key, records[key].error or "") for key in self.networks if key in outcomes and not outcomes[key].success
        ]
        whitelist_counts = manifest["summary"].get("whitelist")
        console.summary(
            failures,
            self.settings.output_dir,
            manifest_file,
            len(self.networks) - len(outcomes),
            batch=statistics,
            whitelist_counts=None if whitelist_counts is None else WhitelistCounts(**whitelist_counts),
        )
        reason = budget.reason if budget.is_used_up else None
        if interrupted_by is not None:
            reason = f"It was stopped by {signal.Signals(interrupted_by).name}; `mrf resume` goes on."
        send_alert(batch_alert(statistics, reason=reason), self.operations.alert_urls)
        if refusal is not None:
            raise refusal
        return {
            **manifest["summary"],
            "batch_id": self.batch.batch_id,
            "manifest_file": str(manifest_file),
            "total_tasks": manifest["total_tasks"],
            "networks_not_run": len(self.planned_batch.priorities) - len(of_batch),
            "interrupted_by": interrupted_by,
            "stopped_by_budget": budget.is_used_up,
        }

    def _positions(self) -> dict[str, int]:
        """The batch's networks, numbered as they stand in the source."""
        first = self.plan.first_positions()
        in_order = sorted(self.planned_batch.priorities, key=lambda key: first.get(key, 0))
        return {key: number for number, key in enumerate(in_order, 1)}

    def _manifest(self, networks: Iterable[tuple[NetworkRecord, list[FileTask]]]) -> dict[str, Any]:
        return build_manifest(
            batch_id=self.batch.batch_id,
            extraction_run=self.batch.start_time.isoformat(timespec="seconds"),
            source_type=self.batch.source_type,
            source_input=self.batch.source_input,
            output_dir=self.settings.output_dir,
            networks=networks,
            planned_files=self.plan.count_files(self.planned_batch.priorities),
        )

    def _runs(self, instance: dg.DagsterInstance, cache: dict[str, NetworkRecord]) -> list[NetworkRecord]:
        """What the event log knows of the batch; what was read before where its disk has no room to read it."""
        try:
            return batch_runs(instance, self.batch.batch_id, cache)
        except Exception as error:
            if home_without_room(error) is None:
                raise
            return [record for run_id, record in cache.items() if run_id]

    def _record(self, instance: dg.DagsterInstance, outcome: NetworkOutcome) -> NetworkRecord:
        """What the event log knows of a network, or, where it has no run, what its worker said."""
        record = None
        if outcome.is_recorded:
            try:
                if outcome.run_id is not None:
                    record = run_record(instance, outcome.run_id)
                else:
                    record = batch_record(instance, self.batch.batch_id, outcome.network_id)
            except Exception as error:
                if home_without_room(error) is None:
                    raise
        return record or self._without_run(outcome)

    def _without_run(self, outcome: NetworkOutcome) -> NetworkRecord:
        """A network whose run could not be made, or not be recorded to its end."""
        output_files = published_tables(self.settings.output_dir, outcome.network_id) if outcome.success else {}
        return NetworkRecord(
            network_id=outcome.network_id,
            run_id="",
            batch_id=self.batch.batch_id,
            status="success" if outcome.success else "failed",
            error=None if outcome.success else outcome.error,
            facts={"output_files": output_files} if outcome.success else {},
            tags=self.batch.tags,
            seconds=outcome.seconds,
            end_time=dt.datetime.now(tz=dt.UTC),
        )

    def _job(self, network_id: str, settings: Settings, log_dir: str | None) -> NetworkJob:
        log_file = _log_file(log_dir, network_id)
        (first, *_) = self.plan.load(network_id)
        tags = self.batch.tags | {
            "mrf/host": first.address.host or "local",
            PRIORITY_TAG: str(self.planned_batch.priorities[network_id]),
            **({"mrf/log_file": log_file} if log_file else {}),
        }
        # A sequential run shows our own log lines; Dagster's events join them where asked, and in log files.
        level = "DEBUG" if self.verbose or log_file else "CRITICAL"
        return NetworkJob(
            network_id=network_id,
            run_config={
                "resources": {"ingestor": {"config": config_of(settings)}},
                "loggers": {"console": {"config": {"log_level": level}}},
            },
            tags=tags,
            log_path=None if log_file is None else settings.output_dir / log_file,
            echo=self.verbose,
        )


def _from_here(path: Path) -> str:
    """A path that can be opened from where the user stands, as short as it gets."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _log_file(log_dir: str | None, network_id: str) -> str | None:
    return f"{log_dir}/{network_id}_extraction.log" if log_dir else None
