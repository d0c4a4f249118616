"""One call for a batch: register, run N networks at a time, report.

`python -m mrf_assets.batch_orchestrator` is `mrf run`.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import dagster as dg

from mrf_assets.console import BatchConsole
from mrf_assets.defs.partitions import add_networks
from mrf_assets.defs.resources import config_of
from mrf_assets.defs.run_records import all_records, batch_record, batch_records, latest_batch
from mrf_assets.disk import require_room
from mrf_assets.errors import SettingError
from mrf_assets.extract import READERS
from mrf_assets.manifest import NetworkRecord, build_manifest, write_manifest
from mrf_assets.pipeline import Wanted
from mrf_assets.settings import Settings, dagster_home
from mrf_assets.store import Store
from mrf_assets.task_store import TaskStore
from mrf_assets.tasks import FileTask
from mrf_assets.urls import canonical_url, host_of
from mrf_assets.workers import BATCH_TAG, NetworkJob, Outcome, run_networks

_TAG_CHARACTERS = 250  # an index's address in a run tag
MANIFEST_NAME = "manifest.json"
_STARTED = "%Y%m%d_%H%M%S"  # the form of the time in batch ids and log folders, UTC


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
        started = dt.datetime.now(tz=dt.UTC)
        return cls(
            batch_id=f"{started:{_STARTED}}-{secrets.token_hex(2)}",
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


def ensure_dagster_home() -> Path:
    """Make DAGSTER_HOME usable: the folder, and instance settings if it has none."""
    home = dagster_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            here = Path(__file__).parent
            packaged = here / "dagster.yaml"  # in a wheel; in a checkout it stands one folder up
            shutil.copyfile(packaged if packaged.exists() else here.parent / "dagster.yaml", home / "dagster.yaml")
    except OSError as error:
        raise SettingError(
            "DAGSTER_HOME", f"{home} cannot be used ({error.strerror}); set it to a folder of yours"
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)  # Dagster and the worker processes read it there
    return home


def execute_batch(
    tasks: Iterable[FileTask],
    output_dir: Path | str,
    workers: int = 1,
    cpt_whitelist: Path | str | None = None,
    **kwargs: Any,  # noqa: ANN401 - fields of Settings, and those named below
) -> dict[str, Any]:
    """Ingest the networks of `tasks`, `workers` at a time, one Dagster run each.

    Args:
        tasks: What to ingest, from `sources`.
        output_dir: Where parquet, plan, logs and manifest go.
        workers: How many networks at a time; with one, details go to the console, else to `logs/<time>/`.
        cpt_whitelist: File of billing codes to keep.
        **kwargs: Other fields of `Settings` (`skip_unchanged` is on unless said otherwise); `source_type` and
            `source_input` for the manifest; `verbose` for Dagster's own events and debug logs.

    Returns:
        The manifest's summary, with `batch_id`, `manifest_file`, `total_tasks`, `networks_not_run` and
        `interrupted_by` (a signal number or None).

    Raises:
        InputError: Whitelists or settings that cannot be used; nothing was started.
        StoreError: The output folder cannot be written, or its disk is full.
    """
    batch = Batch.new(kwargs.pop("source_type", "tasks"), kwargs.pop("source_input", ""))
    verbose = bool(kwargs.pop("verbose", False))
    if workers < 1:
        raise SettingError("workers", f"is {workers}; it must be 1 or more")
    settings = Settings.from_environment(
        output_dir=Path(output_dir).absolute(),
        cpt_whitelist=None if cpt_whitelist is None else Path(cpt_whitelist),
        **kwargs,
    )
    if settings.skip_unchanged is None:
        settings = replace(settings, skip_unchanged=True)
    Wanted.of(settings)
    if settings.reader not in READERS:
        raise SettingError("reader", f"is {settings.reader!r}; use one of: {', '.join(sorted(READERS))}")
    require_room(settings.output_dir, settings.min_free_bytes)
    tasks = _begun(tasks)
    ensure_dagster_home()
    plan = TaskStore.under(settings.output_dir)
    networks = plan.save(tasks)
    settings = _share_cores(settings, at_a_time=max(min(workers, len(networks)), 1))
    Store(settings.output_dir).sweep()
    with dg.DagsterInstance.get() as instance:
        add_networks(instance, list(networks))
    return _run(batch, networks, plan, settings, workers=workers, verbose=verbose)


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


def _run(
    batch: Batch, networks: dict[str, int], plan: TaskStore, settings: Settings, *, workers: int, verbose: bool
) -> dict[str, Any]:
    log_dir = f"logs/{batch.started:{_STARTED}}" if workers > 1 else None
    if log_dir:
        (settings.output_dir / log_dir).mkdir(parents=True, exist_ok=True)
    jobs = [_job(batch, key, plan.load(key), settings, log_dir=log_dir, verbose=verbose) for key in networks]
    console = BatchConsole(len(networks), workers, log_dir, with_bar=not verbose)
    outcomes: dict[str, Outcome] = {}
    with dg.DagsterInstance.get() as instance:

        def ended(outcome: Outcome) -> None:
            outcomes[outcome.network_id] = outcome
            record = None if outcome.success else _record(instance, batch, outcome)
            console.ended(
                outcome.network_id,
                success=outcome.success,
                unchanged=outcome.unchanged,
                seconds=outcome.seconds,
                error=record.error if record else None,
                log_file=_log_file(log_dir, outcome.network_id),
            )

        console.open()
        try:
            interrupted_by = run_networks(
                jobs,
                workers,
                batch.batch_id,
                settings,
                on_start=lambda job: console.started(job.network_id, plan.load(job.network_id)),
                on_done=ended,
                on_progress=console.progress,
                log_level=logging.DEBUG if verbose else logging.INFO,
            )
        finally:
            console.close()
        records = batch_records(instance, batch.batch_id)
        done = [
            (records.get(key) or _record(instance, batch, outcomes[key]), key) for key in networks if key in outcomes
        ]
        manifest = build_manifest(
            batch_id=batch.batch_id,
            extraction_run=batch.started.isoformat(timespec="seconds"),
            source_type=batch.source_type,
            source_input=batch.source_input,
            output_dir=settings.output_dir,
            networks=((record, plan.load(key)) for record, key in done),
            planned_files=sum(networks.values()),
        )
    manifest_file = settings.output_dir / MANIFEST_NAME
    write_manifest(manifest, manifest_file)
    failures = [(key, record.error or "") for record, key in done if record.status != "success"]
    console.summary(failures, settings.output_dir, manifest_file, len(networks) - len(done))
    return {
        **manifest["summary"],
        "batch_id": batch.batch_id,
        "manifest_file": str(manifest_file),
        "total_tasks": manifest["total_tasks"],
        "networks_not_run": len(networks) - len(done),
        "interrupted_by": interrupted_by,
    }


def export_manifest(output_dir: Path, batch_id: str | None = None, *, everything: bool = False) -> dict[str, Any]:
    """The manifest of a batch (by default the latest), or of the latest run of every network.

    Raises:
        SettingError: There is no such batch, or nothing was ever planned under this folder.
    """
    if not Store(output_dir).state_dir.is_dir():
        raise SettingError("--output-dir", f"{output_dir} holds no plan; name the folder that `mrf run` wrote to")
    ensure_dagster_home()
    plan = TaskStore.under(output_dir)
    with dg.DagsterInstance.get() as instance:
        batch_id = None if everything else batch_id or latest_batch(instance)
        if batch_id is None and not everything:
            raise SettingError(
                "DAGSTER_HOME", f"no batch has run with {dagster_home()}; set it as for `mrf run`, or use --all"
            )
        records = all_records(instance) if batch_id is None else batch_records(instance, batch_id)
    if batch_id is not None and not records:
        raise SettingError(
            "--batch", f"{batch_id} has no runs in DAGSTER_HOME={dagster_home()}; without --batch it is the latest"
        )
    tags = next(iter(records.values())).tags if batch_id else {}
    return build_manifest(
        batch_id=batch_id,
        extraction_run=_started(batch_id).isoformat(timespec="seconds"),
        source_type=tags.get("mrf/source_type"),
        source_input=tags.get("mrf/source_input"),
        output_dir=output_dir,
        networks=[
            (record, tasks)
            for key, record in records.items()
            if record.status != "running" and ((tasks := plan.load(key)) or record.facts)
        ],
    )


def _started(batch_id: str | None) -> dt.datetime:
    """When a batch began, from its id; now, for an export over all batches."""
    if batch_id is None:
        return dt.datetime.now(tz=dt.UTC)
    return dt.datetime.strptime(batch_id.partition("-")[0], _STARTED).replace(tzinfo=dt.UTC)


def _record(instance: dg.DagsterInstance, batch: Batch, outcome: Outcome) -> NetworkRecord:
    """What the event log knows of a network, or, where it has no run, what its worker said."""
    return batch_record(instance, batch.batch_id, outcome.network_id) or NetworkRecord(
        network_id=outcome.network_id,
        run_id="",
        batch_id=batch.batch_id,
        status="failed",
        error=outcome.error,
        facts={},
        tags=batch.tags,
        seconds=outcome.seconds,
        ended=dt.datetime.now(tz=dt.UTC),
    )


def _log_file(log_dir: str | None, network_id: str) -> str | None:
    return f"{log_dir}/{network_id}_extraction.log" if log_dir else None


def _job(
    batch: Batch, network_id: str, tasks: list[FileTask], settings: Settings, *, log_dir: str | None, verbose: bool
) -> NetworkJob:
    log_file = _log_file(log_dir, network_id)
    tags = batch.tags | {
        "mrf/host": host_of(tasks[0].url) or "local",
        **({"mrf/log_file": log_file} if log_file else {}),
    }
    # A sequential run shows our own log lines; Dagster's events join them where asked, and in log files.
    level = "DEBUG" if verbose or log_file else "CRITICAL"
    return NetworkJob(
        network_id=network_id,
        run_config={
            "resources": {"ingestor": {"config": config_of(settings)}},
            "loggers": {"console": {"config": {"log_level": level}}},
        },
        tags=tags,
        log_path=None if log_file is None else settings.output_dir / log_file,
        echo=verbose,
    )


if __name__ == "__main__":
    from mrf_assets.cli import main

    main(["run", *sys.argv[1:]])
