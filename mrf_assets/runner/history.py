"""What is known of batches that were begun: statistics and manifest, out of plan and event log."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from mrf_assets.batches.jobs import PlatformStatistics, count_jobs
from mrf_assets.batches.manifest import NetworkRecord, build_manifest
from mrf_assets.batches.statistics import BatchStatistics, FollowUp, together
from mrf_assets.defs.partitions import limit_registry

# None of these is exported.
from mrf_assets.defs.private_dagster import InstigatorType, PartitionBackfill, SensorInstigatorData
from mrf_assets.defs.processes import WORKER_TAG
from mrf_assets.defs.run_records import (
    BATCH,
    PARTITION,
    all_records,
    backfill_goes_on,
    batch_records,
    batch_runs,
    count_batch,
    job_runs,
    latest_batch,
    records_by_batch,
    why_failed,
)
from mrf_assets.errors import SettingError
from mrf_assets.files import atomic_write, full_disk, is_full
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.lake.store import Store
from mrf_assets.settings import Operations, dagster_home, machine_path
from mrf_assets.submit import AFTER_TAG, FOLLOWER, THEN_TAG, state_of, why_not_followed

SETTINGS_NAME = "dagster.yaml"
_SEEN_NAME = ".dagster.yaml.seen"  # SHA-256 of the packaged settings that were told of last
logger = logging.getLogger(__name__)

STARTED_FORM = "%Y%m%d_%H%M%S"  # of the time in batch ids and log folders, UTC


def ensure_dagster_home() -> Path:
    """Make DAGSTER_HOME usable: the folder, and instance settings if it has none."""
    home = dagster_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        if is_new := not (home / SETTINGS_NAME).exists():
            with atomic_write(home / SETTINGS_NAME) as partial:
                shutil.copyfile(_packaged_settings(), partial)
        _warn_of_other_settings(home)
    except OSError as error:
        if is_full(error):
            raise full_disk(home, error, "a DAGSTER_HOME") from None
        raise SettingError(
            "DAGSTER_HOME", f"{home} cannot be used ({error.strerror}); set it to a folder of yours"
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)  # Dagster and the worker processes read it there
    if is_new:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            limit_registry(instance)
    return home


@contextmanager
def _records() -> Iterator[dg.DagsterInstance]:
    """Dagster's records, for commands that only read: these make no DAGSTER_HOME, and find nothing without one."""
    home = dagster_home()
    if not home.is_dir() or not any(home.iterdir()):
        with dg.DagsterInstance.ephemeral() as nothing:
            yield nothing
        return
    ensure_dagster_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


def _packaged_settings() -> Path:
    """The instance settings that come with this version."""
    here = Path(__file__).parents[1]
    packaged = here / SETTINGS_NAME  # in a wheel; in a checkout it stands one folder up
    return packaged if packaged.exists() else here.parent / SETTINGS_NAME


def _warn_of_other_settings(home: Path) -> None:
    """Say once for each version where a home's own settings, which nobody overwrites, are not those of the package."""
    packaged = _packaged_settings()
    seen_file, version = home / _SEEN_NAME, sha256(packaged.read_bytes()).hexdigest()
    if seen_file.exists() and seen_file.read_text() == version:
        return
    try:
        own, ours = ({**yaml.safe_load(each.read_bytes())} for each in (home / SETTINGS_NAME, packaged))
    except (yaml.YAMLError, TypeError):  # Dagster says what is wrong with it
        return
    if names := [name for name, value in _flat(ours) if dict(_flat(own)).get(name) != value]:
        logger.warning(
            "%s is not as this version has it: %s; it stays as it is, and %s is the newer one",
            *(home / SETTINGS_NAME, ", ".join(names), packaged),
        )
    with suppress(OSError):  # told again, then
        seen_file.write_text(version)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name -> value; lists are values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def batch_statistics(
    output_dir: Path | str,
    batch_id: str | None = None,
    *,
    operations: Operations | None = None,
    cache: dict[str, NetworkRecord] | None = None,
) -> BatchStatistics:
    """How a batch goes: one of the command line or the sensors, or a backfill of the UI by its id.

    `cache` keeps the records by run id for the next call, which then reads only what is new.

    Raises:
        SettingError: There is no such batch.
    """
    plan = plan_of(machine_path("output_dir", output_dir).absolute())
    with _records() as instance:
        batch_id = batch_id or latest_batch_of(instance, plan)
        planned_batch = None if batch_id is None else plan.load_batch(batch_id)
        backfill = None if batch_id is None else instance.get_backfill(batch_id)
        runs = [] if batch_id is None else batch_runs(instance, batch_id, cache)
        is_going_on = batch_id is not None and backfill_goes_on(instance, batch_id)
        follow_up = None if backfill is None else _follow_up(instance, backfill, is_going_on=is_going_on)
    if planned_batch is None and backfill is None and not runs:
        raise SettingError("batch", f"{batch_id or 'none'} is not known to DAGSTER_HOME={dagster_home()}")
    if cache is not None:
        cache.update({run.run_id: run for run in runs})
    statistics = count_batch(
        batch_id,
        None if planned_batch is None else list(planned_batch.priorities),
        runs,
        operations or Operations.from_environment(),
        backfill=backfill,
    )
    is_driven = is_going_on or (planned_batch is not None and plan.is_held(planned_batch.batch_id))
    return replace(statistics, is_driven=is_driven, follow_up=follow_up)


def _follow_up(instance: dg.DagsterInstance, backfill: PartitionBackfill, *, is_going_on: bool) -> FollowUp | None:
    job = backfill.tags.get(THEN_TAG)
    if job is None or backfill.status.value in ("CANCELED", "CANCELING", "FAILED", "FAILING"):
        return None
    runs = instance.get_runs(dg.RunsFilter(tags={AFTER_TAG: backfill.backfill_id}), limit=1)
    if runs:
        state = state_of(runs[0].status.value, runs[0].tags)
        return FollowUp(job=job, state=state, error=why_failed(instance, runs[0].run_id) if state == "failed" else None)
    end_time = backfill.backfill_end_timestamp or backfill.backfill_timestamp
    sensors = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    states = [each.instigator_data for each in sensors if each.instigator_name == FOLLOWER]
    cursors = [each.cursor for each in states if isinstance(each, SensorInstigatorData) and each.cursor]
    reason = None if is_going_on else why_not_followed(backfill.backfill_id, end_time, cursors)
    return FollowUp(job=job, state="queued" if reason is None else "canceled", error=reason)


def is_told_here(output_dir: Path | str, batch_id: str) -> bool:
    """Whether plan and DAGSTER_HOME know all of a batch: not of a single run, nor of what follows a backfill."""
    folder = machine_path("output_dir", output_dir).absolute()
    if Store(folder).state_dir.is_dir() and TaskStore.under(folder).load_batch(batch_id) is not None:
        return True
    with _records() as instance:
        backfill = instance.get_backfill(batch_id)
        if backfill is not None:
            return THEN_TAG not in backfill.tags
        return instance.get_runs_count(dg.RunsFilter(tags={BATCH: batch_id})) > 0


def all_statistics(
    output_dir: Path | str, since: dt.datetime, *, operations: Operations | None = None
) -> list[BatchStatistics]:
    """The statistics of every batch that ran since then, the newest first; runs without a batch are one.

    A batch is told with all its runs, those of before too.
    """
    plan = plan_of(machine_path("output_dir", output_dir).absolute())
    operations = operations or Operations.from_environment()
    statistics = []
    with _records() as instance:
        for batch_id, runs in records_by_batch(instance, since).items():
            planned_batch = plan.load_batch(batch_id)
            networks = None if planned_batch is None else list(planned_batch.priorities)
            backfill = instance.get_backfill(batch_id)
            statistics.append(count_batch(batch_id or None, networks, runs, operations, backfill=backfill))
    return statistics


def platform_statistics(
    output_dir: Path | str, since: dt.datetime, *, operations: Operations | None = None
) -> PlatformStatistics:
    """What `mrf stats` shows: every batch that ran since then, their sum, and the other jobs of DAGSTER_HOME.

    Raises:
        SettingError: Nothing was ever planned under this folder.
    """
    operations = operations or Operations.from_environment()
    batches = all_statistics(output_dir, since, operations=operations)
    with _records() as instance:
        jobs = count_jobs(job_runs(instance, since))
    return PlatformStatistics(total=together(batches, operations), batches=batches, jobs=jobs)


def latest_batch_of(instance: dg.DagsterInstance, plan: TaskStore) -> str | None:
    """The batch of this output folder that ran last; one that was planned after it and has not begun goes before."""
    last_run, last_plan = latest_batch(instance, partial(belongs_to, plan)), plan.latest_batch()
    if last_run is None or last_plan is None:
        return last_run or last_plan
    return last_plan if last_plan > last_run and not batch_runs(instance, last_plan) else last_run


def belongs_to(plan: TaskStore, tags: Mapping[str, str]) -> bool:
    """Whether a run wrote to the plan's folder: several folders may share one DAGSTER_HOME.

    Batches of the command line are planned; of those of sensors and the UI the networks are.
    """
    if WORKER_TAG in tags:
        return plan.load_batch(tags.get("mrf/batch", "")) is not None
    return bool(plan.load(tags.get(PARTITION, "")))


def plan_of(output_dir: Path) -> TaskStore:
    """The plan of an output folder; SettingError where nothing was ever planned under it."""
    if not Store(output_dir).state_dir.is_dir():
        raise SettingError("--output-dir", f"{output_dir} holds no plan; name the folder that `mrf run` wrote to")
    return TaskStore.under(output_dir)


def export_manifest(output_dir: Path, batch_id: str | None = None, *, everything: bool = False) -> dict[str, Any]:
    """The manifest of a batch (by default the latest), or of the latest run of every network.

    Raises:
        SettingError: There is no such batch, or nothing was ever planned under this folder.
    """
    plan = plan_of(output_dir)
    with _records() as instance:
        batch_id = None if everything else batch_id or latest_batch(instance, partial(belongs_to, plan))
        if batch_id is None and not everything:
            raise SettingError(
                "DAGSTER_HOME",
                f"no batch of {output_dir} has run with {dagster_home()}; set it as for `mrf run`, or use --all",
            )
        records = all_records(instance) if batch_id is None else batch_records(instance, batch_id)
    if batch_id is not None and not records:
        raise SettingError(
            "--batch", f"{batch_id} has no runs in DAGSTER_HOME={dagster_home()}; without --batch it is the latest"
        )
    tags = next(iter(records.values())).tags if batch_id else {}
    planned_batch = None if batch_id is None else plan.load_batch(batch_id)
    return build_manifest(
        batch_id=batch_id,
        extraction_run=started_at(batch_id, records.values()).isoformat(timespec="seconds"),
        source_type=tags.get("mrf/source_type"),
        source_input=tags.get("mrf/source_input"),
        output_dir=output_dir,
        networks=[
            (record, tasks)
            for key, record in records.items()
            if record.status not in ("running", "queued") and ((tasks := plan.load(key)) or record.facts)
        ],
        planned_files=None if planned_batch is None else plan.count_files(planned_batch.priorities),
    )


def started_at(batch_id: str | None, records: Iterable[NetworkRecord]) -> dt.datetime:
    """When a batch began, from its id or its first run; now, for an export over all batches."""
    if batch_id is None:
        return dt.datetime.now(tz=dt.UTC)
    with suppress(ValueError):
        return dt.datetime.strptime(batch_id.partition("-")[0], STARTED_FORM).replace(tzinfo=dt.UTC)
    return min((each.start_time for each in records if each.start_time), default=dt.datetime.now(tz=dt.UTC))
