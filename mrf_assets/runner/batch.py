"""One call for a batch: register, run N networks at a time, report.

`mrf_assets.batch_orchestrator` is where Python code finds it.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import dagster as dg

from mrf_assets.alerts import check_alert_urls, send_alert
from mrf_assets.batches.budget import Budget
from mrf_assets.batches.manifest import GrowingManifest, NetworkRecord, build_manifest, write_manifest
from mrf_assets.batches.statistics import batch_alert, count, latest_runs
from mrf_assets.clock import is_in_future
from mrf_assets.defs.partitions import add_networks
from mrf_assets.defs.resources import Ingestor, config_of
from mrf_assets.defs.run_records import (
    batch_record,
    batch_records,
    batch_runs,
    published_facts,
    run_record,
)
from mrf_assets.errors import SettingError, StoreError
from mrf_assets.files import require_room
from mrf_assets.ingest.pipeline import with_checked_arguments
from mrf_assets.ingest.plan import PlannedBatch, TaskStore
from mrf_assets.ingest.results import Kept
from mrf_assets.lake.store import Store
from mrf_assets.priority import PRIORITY_TAG, Priority, priority_of, score
from mrf_assets.runner.console import BatchConsole
from mrf_assets.runner.history import (
    SETTINGS_NAME,
    STARTED_FORM,
    belongs_to,
    ensure_dagster_home,
    latest_batch_of,
    plan_of,
    started_at,
)
from mrf_assets.runner.workers import (
    BATCH_TAG,
    NetworkJob,
    Outcome,
    home_without_room,
    published_files,
    run_networks,
    settle_orphans,
    stop_abandoned,
)
from mrf_assets.settings import Operations, Settings, dagster_home, machine_path
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.urls import canonical_url, host_of
from mrf_assets.whitelist import Whitelists

_TAG_CHARACTERS = 250  # an index's address in a run tag
_DAY_SECONDS = 86_400
MANIFEST_NAME = "manifest.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a batch is called and where it came from."""

    batch_id: str
    started: dt.datetime
    source_type: str
    source_input: str  # canonical

    @classmethod
    def new(cls, source_type: str, source_input: str) -> Batch:
        """A batch that starts now."""
        started = _now()
        return cls(
            batch_id=f"{started:{STARTED_FORM}}-{secrets.token_hex(2)}",
            started=started,
            source_type=source_type,
            source_input=canonical_url(source_input),
        )

    @property
    def tags(self) -> dict[str, str]:
        """On every run of the batch."""
        return {
            BATCH_TAG: self.batch_id,
            "mrf/source_type": self.source_type,
            "mrf/source_input": self.source_input[:_TAG_CHARACTERS],
        }


def execute_batch(
    tasks: Iterable[FileTask],
    output_dir: Path | str,
    workers: int = 1,
    cpt_whitelist: Path | str | None = None,
    **kwargs: Any,  # noqa: ANN401 - fields of Settings, and those named below
) -> dict[str, Any]:
    """Ingest the networks of `tasks`, `workers` at a time, one Dagster run each, those of high priority first.

    Args:
        tasks: What to ingest, from `sources`.
        output_dir: Where parquet, plan, logs and manifest go.
        workers: How many networks at a time; with one, details go to the console, else to `logs/<time>/`.
        cpt_whitelist: File of billing codes to keep.
        **kwargs: Other fields of `Settings` (`skip_unchanged` is on unless said otherwise); `source_type` and
            `source_input` for the manifest; `verbose` for Dagster's own events and debug logs; `priority` for all
            networks instead of their scores, `min_priority` to leave out those below; `operations` for alerts,
            prices and budget.

    Returns:
        The manifest's summary, with `batch_id`, `manifest_file`, `total_tasks`, `networks_not_run`,
        `networks_left_out`, `interrupted_by` (a signal number or None) and `stopped_by_budget`.

    Raises:
        InputError: Whitelists, settings or `extra_args` that cannot be used; nothing was started.
        StoreError: The output folder cannot be written, or its disk is full.
    """
    batch = Batch.new(kwargs.pop("source_type", "tasks"), kwargs.pop("source_input", ""))
    verbose = bool(kwargs.pop("verbose", False))
    priority, min_priority = kwargs.pop("priority", None), kwargs.pop("min_priority", None)
    operations = kwargs.pop("operations", None) or Operations.from_environment()
    settings = Settings.from_environment(
        output_dir=machine_path("output_dir", output_dir).absolute(),
        cpt_whitelist=None if cpt_whitelist is None else machine_path("cpt_whitelist", cpt_whitelist),
        **kwargs,
    )
    if settings.skip_unchanged is None:
        settings = replace(settings, skip_unchanged=True)
    _check(settings, operations, workers)
    tasks = _begun(with_checked_arguments(tasks, settings))
    ensure_dagster_home()
    plan = TaskStore.under(settings.output_dir)
    networks = list(plan.save(tasks))
    with dg.DagsterInstance.get() as instance:
        add_networks(instance, networks)
        published = {} if priority is not None else published_facts(instance, networks)
    plans = {key: len({each for task in plan.load(key) for each in task.plans}) for key in networks}
    priorities = _priorities(plans, published, priority)
    kept = {key: found for key, found in priorities.items() if min_priority is None or found >= min_priority}
    planned = PlannedBatch(
        batch_id=batch.batch_id,
        source_type=batch.source_type,
        source_input=batch.source_input,
        # Equal ones stay in the order of the source.
        priorities=dict(sorted(kept.items(), key=lambda each: -each[1])),
        config=config_of(settings),
    )
    plan.save_batch(planned)
    run = _Run(
        batch=batch,
        planned=planned,
        networks=list(planned.priorities),
        plan=plan,
        settings=settings,
        operations=operations,
        workers=workers,
        verbose=verbose,
    )
    return run.execute() | {"networks_left_out": len(priorities) - len(kept)}


def continue_batch(
    output_dir: Path | str,
    batch_id: str | None = None,
    *,
    failed_only: bool,
    workers: int = 1,
    verbose: bool = False,
    operations: Operations | None = None,
) -> dict[str, Any]:
    """Run networks of an earlier batch again, under its id and with its settings.

    Args:
        output_dir: The output folder of the batch.
        batch_id: Which batch; None is the one that was planned last.
        failed_only: The networks that failed; else those that never ran to their end: not begun, canceled,
            or lost with their process.
        workers: As in `execute_batch`.
        verbose: The same.
        operations: The same; a batch that used up its budget needs a larger one.

    Returns:
        As `execute_batch`, over the whole batch; its manifest is written anew.

    Raises:
        SettingError: There is no such batch, or it is still running.
    """
    operations = operations or Operations.from_environment()
    folder = machine_path("output_dir", output_dir).absolute()
    plan = plan_of(folder)
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        settle_orphans(instance)
        batch_id = batch_id or latest_batch_of(instance, plan)
        records = {} if batch_id is None else batch_records(instance, batch_id)
        planned = None if batch_id is None else plan.load_batch(batch_id) or _planned_elsewhere(batch_id, records, plan)
        if planned is None:
            raise SettingError("batch", f"{batch_id or 'none'} is not known here; `mrf stats` lists them")
        _take_over(instance, plan, planned.batch_id)
        records = batch_records(instance, planned.batch_id)
        # The folder may have been moved since.
        settings = replace(Ingestor(**planned.config).settings, output_dir=folder)
        _check(settings, operations, workers)
        add_networks(instance, list(planned.priorities))
    if under_way := [key for key, record in records.items() if record.status in ("running", "queued")]:
        raise SettingError(
            "batch", f"{planned.batch_id} is still running ({len(under_way)} networks); `mrf status` shows it"
        )
    wanted = _failed if failed_only else _never_ended
    run = _Run(
        batch=Batch(
            batch_id=planned.batch_id,
            started=started_at(planned.batch_id, records.values()),
            source_type=planned.source_type,
            source_input=planned.source_input,
        ),
        planned=planned,
        networks=[key for key in planned.priorities if wanted(records.get(key))],
        plan=plan,
        settings=settings,
        operations=operations,
        workers=workers,
        verbose=verbose,
    )
    return run.execute() | {"networks_left_out": 0}


def _take_over(instance: dg.DagsterInstance, plan: TaskStore, batch_id: str) -> None:
    """Stop the workers that outlived the process which ran a batch.

    Raises:
        SettingError: That process still runs.
    """
    with plan.held(batch_id):
        stopped = stop_abandoned(instance, batch_id)
    if stopped:
        logger.warning(
            "the process that ran batch %s is gone; took over from its %d worker(s), which were stopped",
            *(batch_id, stopped),
        )


def _planned_elsewhere(batch_id: str, records: dict[str, NetworkRecord], plan: TaskStore) -> PlannedBatch | None:
    """A batch of a sensor or of the UI: the networks that it has runs of, and the settings of the environment."""
    if not records:
        return None
    if strangers := [key for key, record in records.items() if not belongs_to(plan, record.tags)]:
        raise SettingError(
            "batch", f"{batch_id} has networks that {plan.path} does not know ({strangers[0]}); check --output-dir"
        )
    tags = next(iter(records.values())).tags
    return PlannedBatch(
        batch_id=batch_id,
        source_type=tags.get("mrf/source_type", "dagster"),
        source_input=tags.get("mrf/source_input", ""),
        priorities={key: int(record.tags.get(PRIORITY_TAG, Priority.NORMAL)) for key, record in records.items()},
        config=config_of(Settings.from_environment()),
    )


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


def _failed(record: NetworkRecord | None) -> bool:
    return record is not None and record.status == "failed"


def _never_ended(record: NetworkRecord | None) -> bool:
    return record is None or record.status == "canceled" or record.is_lost


def _check(settings: Settings, operations: Operations, workers: int) -> None:
    """What can be said before anything starts."""
    if workers < 1:
        raise SettingError("workers", f"is {workers}; it must be 1 or more")
    Whitelists.of(settings)
    check_alert_urls(operations.alert_urls)
    require_room(settings.output_dir, settings.min_free_bytes)


def planned_priorities(tasks: Iterable[FileTask], given: Priority | None) -> dict[str, int]:
    """Network -> the priority with which `execute_batch` would run it; writes nothing."""
    plans: dict[str, set[Plan]] = {}
    for task in tasks:
        plans.setdefault(task.network_id, set()).update(task.plans)
    published: Mapping[str, tuple[float, int | None]] = {}
    home = dagster_home()
    if given is None and (home / SETTINGS_NAME).exists():
        with dg.DagsterInstance.from_config(str(home)) as instance:
            published = published_facts(instance, plans)
    return _priorities({key: len(found) for key, found in plans.items()}, published, given)


def _priorities(
    plans: Mapping[str, int], published: Mapping[str, tuple[float, int | None]], given: Priority | None
) -> dict[str, int]:
    """What was asked for, or the score of each network: of how many plans use it, and of what is published of it."""
    if given is not None:
        return dict.fromkeys(plans, int(given))
    now, found = _now().timestamp(), dict[str, int]()
    for key, count_of_plans in plans.items():
        seconds, source_bytes = published.get(key, (None, None))
        points = score(
            plans=count_of_plans,
            source_bytes=source_bytes,
            days_since_published=None
            if seconds is None or is_in_future(seconds, now)
            else (now - seconds) / _DAY_SECONDS,
        )
        found[key] = int(priority_of(points))
    return found


def _share_cores(settings: Settings, at_a_time: int) -> Settings:
    """The cores that networks leave free go to the parts of each, and to reading ahead."""
    cores = os.cpu_count() or 1
    parts = settings.part_processes or max(cores // at_a_time, 1)
    # Without a free core the thread only costs: 7 % of CPU time (benchmarks/NOTES.md).
    return replace(settings, part_processes=parts, read_ahead=settings.read_ahead and at_a_time < cores)


def _begun(tasks: Iterable[FileTask]) -> Iterator[FileTask]:
    """The same tasks, the first one taken already: a source that cannot be read leaves no trace on disk."""
    coming = iter(tasks)
    return chain(list(islice(coming, 1)), coming)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Networks of a batch to run now: all of it, or what is left."""

    batch: Batch
    planned: PlannedBatch
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
        log_dir = f"logs/{_now():{STARTED_FORM}}" if self.workers > 1 else None
        if log_dir:
            (settings.output_dir / log_dir).mkdir(parents=True, exist_ok=True)
        jobs = [self._job(key, settings, log_dir) for key in self.networks]
        shown_logs = None if log_dir is None else _from_here(settings.output_dir / log_dir)
        console = BatchConsole(
            len(jobs), self.workers, shown_logs, positions=self._positions(), with_bar=not self.verbose
        )
        outcomes: dict[str, Outcome] = {}
        with dg.DagsterInstance.get() as instance:
            runs_before = batch_runs(instance, self.batch.batch_id)
            budget = Budget(self.batch.batch_id, runs_before, self.operations, console.warn)
            manifest = GrowingManifest(
                path=settings.output_dir / MANIFEST_NAME,
                tasks_of=self.plan.load,
                build=self._manifest,
                records={key: each for key, each in latest_runs(runs_before).items() if each.has_ended},
            )
            manifest.begin()

            def ended(outcome: Outcome) -> bool:
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
        outcomes: dict[str, Outcome],
        console: BatchConsole,
        budget: Budget,
        interrupted_by: int | None,
    ) -> dict[str, Any]:
        records = latest_runs(runs)
        of_batch = [records[key] for key in self.planned.priorities if key in records]
        manifest = self._manifest((record, self.plan.load(record.network_id)) for record in of_batch)
        manifest_file = self.settings.output_dir / MANIFEST_NAME
        refusal: StoreError | None = None
        try:
            write_manifest(manifest, manifest_file)
        except StoreError as error:  # people must see the counts first
            refusal = error
        counted = count(self.batch.batch_id, list(self.planned.priorities), runs, self.operations)
        failures = [
            (key, records[key].error or "") for key in self.networks if key in outcomes and not outcomes[key].success
        ]
        kept = manifest["summary"].get("whitelist")
        console.summary(
            failures,
            self.settings.output_dir,
            manifest_file,
            len(self.networks) - len(outcomes),
            batch=counted,
            kept=None if kept is None else Kept(**kept),
        )
        reason = budget.reason if budget.is_used_up else None
        if interrupted_by is not None:
            reason = f"It was stopped by {signal.Signals(interrupted_by).name}; `mrf resume` goes on."
        send_alert(batch_alert(counted, reason=reason), self.operations.alert_urls)
        if refusal is not None:
            raise refusal
        return {
            **manifest["summary"],
            "batch_id": self.batch.batch_id,
            "manifest_file": str(manifest_file),
            "total_tasks": manifest["total_tasks"],
            "networks_not_run": len(self.planned.priorities) - len(of_batch),
            "interrupted_by": interrupted_by,
            "stopped_by_budget": budget.is_used_up,
        }

    def _positions(self) -> dict[str, int]:
        """The batch's networks, numbered as they stand in the source."""
        first = self.plan.first_positions()
        in_order = sorted(self.planned.priorities, key=lambda key: first.get(key, 0))
        return {key: number for number, key in enumerate(in_order, 1)}

    def _manifest(self, networks: Iterable[tuple[NetworkRecord, list[FileTask]]]) -> dict[str, Any]:
        return build_manifest(
            batch_id=self.batch.batch_id,
            extraction_run=self.batch.started.isoformat(timespec="seconds"),
            source_type=self.batch.source_type,
            source_input=self.batch.source_input,
            output_dir=self.settings.output_dir,
            networks=networks,
            planned_files=self.plan.count_files(self.planned.priorities),
        )

    def _runs(self, instance: dg.DagsterInstance, known: dict[str, NetworkRecord]) -> list[NetworkRecord]:
        """What the event log knows of the batch; what was read before where its disk has no room to read it."""
        try:
            return batch_runs(instance, self.batch.batch_id, known)
        except Exception as error:
            if home_without_room(error) is None:
                raise
            return [record for run_id, record in known.items() if run_id]

    def _record(self, instance: dg.DagsterInstance, outcome: Outcome) -> NetworkRecord:
        """What the event log knows of a network, or, where it has no run, what its worker said."""
        known = None
        if outcome.is_recorded:
            try:
                if outcome.run_id is not None:
                    known = run_record(instance, outcome.run_id)
                else:
                    known = batch_record(instance, self.batch.batch_id, outcome.network_id)
            except Exception as error:
                if home_without_room(error) is None:
                    raise
        return known or self._without_run(outcome)

    def _without_run(self, outcome: Outcome) -> NetworkRecord:
        """A network whose run could not be made, or not be recorded to its end."""
        output_files = published_files(self.settings.output_dir, outcome.network_id) if outcome.success else {}
        return NetworkRecord(
            network_id=outcome.network_id,
            run_id="",
            batch_id=self.batch.batch_id,
            status="success" if outcome.success else "failed",
            error=None if outcome.success else outcome.error,
            facts={"output_files": output_files} if outcome.success else {},
            tags=self.batch.tags,
            seconds=outcome.seconds,
            ended=_now(),
        )

    def _job(self, network_id: str, settings: Settings, log_dir: str | None) -> NetworkJob:
        log_file = _log_file(log_dir, network_id)
        (first, *_) = self.plan.load(network_id)
        tags = self.batch.tags | {
            "mrf/host": host_of(first.url) or "local",
            PRIORITY_TAG: str(self.planned.priorities[network_id]),
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
