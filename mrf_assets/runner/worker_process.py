"""What a process of its own does for one network: a run of Dagster, and its log."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import dagster as dg

from mrf_assets.child_processes import ForwardingHandler, end_with_parent
from mrf_assets.definitions import build_defs
from mrf_assets.defs.processes import (
    worker_tags,
)
from mrf_assets.errors import DiskFull
from mrf_assets.files import full_disk_behind
from mrf_assets.ingest.results import Progress
from mrf_assets.lake.store import Store
from mrf_assets.settings import Settings, dagster_home
from mrf_assets.text import PrintableFormatter

GRACE_SECONDS = 30.0  # for an interrupted run to clean up behind itself


BATCH_TAG = "mrf/batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkJob:
    """One network to run."""

    network_id: str
    run_config: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    log_path: Path | None = None  # everything the run prints goes there; None leaves it on the console
    echo: bool = False  # to the console as well as to `log_path`


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOutcome:
    """How one network ended."""

    network_id: str
    success: bool
    seconds: float
    unchanged: bool = False  # left as it is published
    error: str | None = None  # where the run's own events cannot tell, such as a killed worker
    run_id: str | None = None  # None: no run was made, or it cannot be told which
    is_recorded: bool = True  # False: Dagster's storage had no room for it, and `success` is what was published


_settings: list[Settings] = []  # of this worker process


def run_in_process() -> dg.JobDefinition:
    """The job that workers run; found by name in each of them."""
    return build_defs(_settings[0]).resolve_job_def("ingest_in_process")


def _progress(record: logging.LogRecord) -> Progress | None:
    return getattr(record, "mrf_progress", None)


@contextmanager
def _output_of(job: NetworkJob) -> Iterator[None]:
    """Send all output of this process to the job's log, that of C libraries too."""
    if job.log_path is None:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    descriptors = os.dup(1), os.dup(2)
    with job.log_path.open("ab", buffering=0) as log, ExitStack() as copying:
        target = copying.enter_context(_copied(log, descriptors[1], job.network_id)) if job.echo else log.fileno()
        os.dup2(target, 1)
        os.dup2(target, 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in zip((1, 2), descriptors, strict=True):
                os.dup2(old, number)
    for old in descriptors:
        os.close(old)


@contextmanager
def _copied(log: IO[bytes], console: int, network_id: str) -> Iterator[int]:
    """A file descriptor; each line written to it goes to the log, and with the network's name to the console."""
    read_end, write_end = os.pipe()

    def copy() -> None:
        with os.fdopen(read_end, "rb") as lines:
            for line in lines:
                log.write(line)
                with suppress(OSError):  # a console that was closed must not end the run
                    os.write(console, f"[{network_id}] ".encode() + line)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        yield write_end
    finally:
        os.close(write_end)
        thread.join(GRACE_SECONDS)


def work(parent: Connection, settings: Settings, log_level: int) -> None:
    """Run jobs until None comes. A process group of its own keeps the terminal's Ctrl-C with the parent."""
    os.setsid()
    end_with_parent()  # a download may go on for hours, and `mrf resume` would have to wait for it
    _settings.append(settings)
    logging.captureWarnings(True)
    package = logging.getLogger("mrf_assets")
    package.setLevel(log_level)
    package.addHandler(ForwardingHandler(parent, _progress))
    printer = logging.StreamHandler()
    printer.setFormatter(PrintableFormatter("  %(asctime)s %(message)s", "%H:%M:%S"))
    package.addHandler(printer)
    job = dg.reconstructable(run_in_process)
    with ExitStack() as stack:
        home = cache(lambda: stack.enter_context(dg.DagsterInstance.get()))  # a failure is not kept
        try:
            while (task := parent.recv()) is not None:
                start = time.monotonic()
                with _output_of(task):
                    outcome = _run_recorded(job, home, task, settings.output_dir)
                parent.send(replace(outcome, seconds=time.monotonic() - start))
        except (KeyboardInterrupt, EOFError, BrokenPipeError):
            os._exit(130)


def home_without_room(error: BaseException) -> DiskFull | None:
    """Whether Dagster failed because DAGSTER_HOME takes nothing more; its own errors do not tell."""
    return full_disk_behind(error, dagster_home(), "a DAGSTER_HOME")


def _run_recorded(
    job: Any,  # noqa: ANN401 - Dagster's reconstructable job is not public
    home: Callable[[], dg.DagsterInstance],
    task: NetworkJob,
    output_dir: Path,
) -> NetworkOutcome:
    """Run a network; where its record cannot be written, say whether it was published all the same."""
    before = published_tables(output_dir, task.network_id)
    try:
        return _run(job, home(), task)
    except Exception as error:
        if (full := home_without_room(error)) is None:
            raise
        is_published = published_tables(output_dir, task.network_id) != before
        return NetworkOutcome(
            network_id=task.network_id, success=is_published, seconds=0, error=str(full), is_recorded=False
        )


def published_tables(output_dir: Path, network_id: str) -> dict[str, list[str]]:
    """Table -> paths of what is published of a network now, all periods."""
    store, tables = Store(output_dir), dict[str, list[str]]()
    for period in store.periods(network_id):
        for table, paths in store.tables(network_id, period).items():
            tables.setdefault(table, []).extend(map(str, paths))
    return tables


def _run(job: Any, instance: dg.DagsterInstance, task: NetworkJob) -> NetworkOutcome:  # noqa: ANN401 - Dagster's reconstructable job is not public
    tags = {
        **task.tags,
        **worker_tags(),
        "dagster/partition": task.network_id,
    }
    try:
        with dg.execute_job(job, instance=instance, run_config=task.run_config, tags=tags) as result:
            unchanged = any(event.is_asset_observation for event in result.all_events)
            return NetworkOutcome(
                network_id=task.network_id,
                success=result.success,
                seconds=0,
                unchanged=unchanged,
                run_id=result.run_id,
            )
    except dg.DagsterError as error:  # the run could not even be made: configuration, storage
        message = f"{type(error).__name__}: {error}"
        return NetworkOutcome(network_id=task.network_id, success=False, seconds=0, error=message)


@contextmanager
def as_far_as_home_has_room() -> Iterator[None]:
    """What cannot be written about a run stays as it is; `settle_orphans` ends it once there is room."""
    try:
        yield
    except Exception as error:
        if home_without_room(error) is None:
            raise
