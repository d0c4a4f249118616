"""One call for a batch: register, run N networks at a time, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import dagster as dg

from mrf_assets.alerts import check_alert_urls
from mrf_assets.batches.manifest import NetworkRecord
from mrf_assets.clock import is_in_future
from mrf_assets.defs.partitions import add_networks
from mrf_assets.defs.resources import Ingestor, config_of
from mrf_assets.defs.run_records import (
    batch_records,
    published_facts,
)
from mrf_assets.errors import SettingError
from mrf_assets.files import require_room
from mrf_assets.ingest.pipeline import with_checked_arguments
from mrf_assets.ingest.plan import PlannedBatch, TaskStore
from mrf_assets.priority import PRIORITY_TAG, Priority, priority_of, score
from mrf_assets.runner.batch_run import Batch, BatchRun
from mrf_assets.runner.history import (
    SETTINGS_NAME,
    belongs_to,
    ensure_dagster_home,
    latest_batch_of,
    plan_of,
    started_at,
)
from mrf_assets.runner.workers import (
    settle_orphans,
    stop_abandoned,
)
from mrf_assets.settings import Operations, Settings, dagster_home, machine_path
from mrf_assets.settings.paths import require_folder
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.whitelist import Whitelists

_DAY_SECONDS = 86_400
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a batch is run, and what is recorded of where it came from: nothing of it changes a row."""

    workers: int = 1  # networks at a time; with one, details go to the console, else to `logs/<time>/`
    source_type: str = "tasks"  # for the manifest and as a tag of each run
    source_input: str = ""  # the same
    verbose: bool = False  # Dagster's own events and debug logs, too
    priority: Priority | None = None  # of all networks; None: from the plans, age and bytes of each
    min_priority: Priority | None = None  # networks below it are left out
    operations: Operations = field(default_factory=Operations.from_environment)  # alerts, prices and budget


def run_batch(tasks: Iterable[FileTask], settings: Settings, options: BatchOptions) -> dict[str, Any]:
    """Ingest the networks of `tasks`, some at a time, one Dagster run each, those of high priority first.

    Args:
        tasks: What to ingest, from `sources`.
        settings: Where it goes and how it is read; what is unchanged is skipped unless they say otherwise.
        options: How the batch is run.

    Returns:
        The manifest's summary, with `batch_id`, `manifest_file`, `total_tasks`, `networks_not_run`,
        `networks_left_out`, `interrupted_by` (a signal number or None) and `stopped_by_budget`.

    Raises:
        InputError: Whitelists, settings or `extra_args` that cannot be used; nothing was started.
        StoreError: The output folder cannot be written, or its disk is full.
    """
    batch = Batch.new(options.source_type, options.source_input)
    settings = settings.changed(
        output_dir=settings.output_dir.absolute(),
        skip_unchanged=True if settings.skip_unchanged is None else settings.skip_unchanged,
    )
    _check(settings, options.operations, options.workers)
    tasks = _with_first_read(with_checked_arguments(tasks, settings))
    ensure_dagster_home()
    plan = TaskStore.under(settings.output_dir)
    networks = list(plan.save(tasks))
    with dg.DagsterInstance.get() as instance:
        add_networks(instance, networks)
        publications = {} if options.priority is not None else published_facts(instance, networks)
    plans = {key: len({each for task in plan.load(key) for each in task.plans}) for key in networks}
    priorities = _priorities(plans, publications, options.priority)
    least = options.min_priority
    selection = {key: value for key, value in priorities.items() if least is None or value >= least}
    planned_batch = PlannedBatch(
        batch_id=batch.batch_id,
        source_type=batch.source_type,
        source_input=batch.source_input,
        # Equal ones stay in the order of the source.
        priorities=dict(sorted(selection.items(), key=lambda each: -each[1])),
        config=config_of(settings),
    )
    plan.save_batch(planned_batch)
    run = BatchRun(
        batch=batch,
        planned_batch=planned_batch,
        networks=list(planned_batch.priorities),
        plan=plan,
        settings=settings,
        operations=options.operations,
        workers=options.workers,
        verbose=options.verbose,
    )
    return run.execute() | {"networks_left_out": len(priorities) - len(selection)}


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
        workers: As in `BatchOptions`.
        verbose: The same.
        operations: The same; a batch that used up its budget needs a larger one.

    Returns:
        As `run_batch`, for the whole batch; its manifest is rewritten.

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
        planned_batch = (
            None if batch_id is None else plan.load_batch(batch_id) or _planned_elsewhere(batch_id, records, plan)
        )
        if planned_batch is None:
            raise SettingError("batch", f"{batch_id or 'none'} is not known here; `mrf stats` lists them")
        _take_over(instance, plan, planned_batch.batch_id)
        records = batch_records(instance, planned_batch.batch_id)
        # The folder may have been moved since.
        settings = Ingestor(**planned_batch.config).settings.changed(output_dir=folder)
        _check(settings, operations, workers)
        add_networks(instance, list(planned_batch.priorities))
    if under_way := [key for key, record in records.items() if record.status in ("running", "queued")]:
        raise SettingError(
            "batch", f"{planned_batch.batch_id} is still running ({len(under_way)} networks); `mrf status` shows it"
        )
    is_selected = _failed if failed_only else _never_ended
    run = BatchRun(
        batch=Batch(
            batch_id=planned_batch.batch_id,
            start_time=started_at(planned_batch.batch_id, records.values()),
            source_type=planned_batch.source_type,
            source_input=planned_batch.source_input,
        ),
        planned_batch=planned_batch,
        networks=[key for key in planned_batch.priorities if is_selected(records.get(key))],
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
        processes = stop_abandoned(instance, batch_id)
    if processes:
        logger.warning(
            "the process that ran batch %s is gone; took over from its %d worker(s), which were stopped",
            *(batch_id, processes),
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


def _failed(record: NetworkRecord | None) -> bool:
    return record is not None and record.status == "failed"


def _never_ended(record: NetworkRecord | None) -> bool:
    return record is None or record.status == "canceled" or record.is_lost


def _check(settings: Settings, operations: Operations, workers: int) -> None:
    """What can be said before anything starts."""
    if workers < 1:
        raise SettingError("workers", f"is {workers}; it must be 1 or more")
    require_folder(settings.output_dir)
    Whitelists.of(settings)
    check_alert_urls(operations.alert_urls)
    require_room(settings.output_dir, settings.min_free_bytes)


def planned_priorities(tasks: Iterable[FileTask], priority: Priority | None) -> dict[str, int]:
    """Network -> the priority with which `run_batch` would run it; writes nothing."""
    plans: dict[str, set[Plan]] = {}
    for task in tasks:
        plans.setdefault(task.network_id, set()).update(task.plans)
    publications: Mapping[str, tuple[float, int | None]] = {}
    home = dagster_home()
    if priority is None and (home / SETTINGS_NAME).exists():
        with dg.DagsterInstance.from_config(str(home)) as instance:
            publications = published_facts(instance, plans)
    return _priorities({key: len(plan_set) for key, plan_set in plans.items()}, publications, priority)


def _priorities(
    plans: Mapping[str, int], publications: Mapping[str, tuple[float, int | None]], priority: Priority | None
) -> dict[str, int]:
    """What was asked for, or the score of each network: of how many plans use it, and of what is published of it."""
    if priority is not None:
        return dict.fromkeys(plans, int(priority))
    now, priorities = time.time(), dict[str, int]()
    for key, count_of_plans in plans.items():
        seconds, source_bytes = publications.get(key, (None, None))
        points = score(
            plans=count_of_plans,
            source_bytes=source_bytes,
            days_since_published=None
            if seconds is None or is_in_future(seconds, now)
            else (now - seconds) / _DAY_SECONDS,
        )
        priorities[key] = int(priority_of(points))
    return priorities


def _with_first_read(tasks: Iterable[FileTask]) -> Iterator[FileTask]:
    """The same tasks, the first one taken already: a source that cannot be read leaves no trace on disk."""
    iterator = iter(tasks)
    return chain(list(islice(iterator, 1)), iterator)
