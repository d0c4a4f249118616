"""N networks at a time, one Dagster run each, in long-lived worker processes.

No daemon is needed. A worker that dies takes its own network with it and no other. SIGINT and
SIGTERM end the runs as CANCELED; what they staged is removed by themselves.
"""

from __future__ import annotations

import logging
import platform
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

import dagster as dg

from mrf_assets.child_processes import start_child
from mrf_assets.defs.private_dagster import free_slots
from mrf_assets.defs.processes import (
    LOST,
    MACHINE_TAG,
    WORKER_TAG,
    coordinator_tags,
    is_abandoned,
    is_orphan,
    stop_worker,
)
from mrf_assets.ingest.results import Progress
from mrf_assets.runner.worker_process import (
    BATCH_TAG,
    GRACE_SECONDS,
    NetworkJob,
    NetworkOutcome,
    as_far_as_home_has_room,
    work,
)
from mrf_assets.settings import Settings

_POLL_SECONDS = 0.5  # how soon a signal is noticed
_OPEN_STATUSES = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    job: NetworkJob
    start: float


class _Pool:
    def __init__(
        self,
        instance: dg.DagsterInstance,
        batch_id: str,
        jobs: Sequence[NetworkJob],
        *,
        settings: Settings,
        log_level: int,
    ) -> None:
        self.instance, self.batch_id, self.settings, self.log_level = instance, batch_id, settings, log_level
        tags = coordinator_tags()
        self.queue = deque(replace(job, tags=job.tags | tags) for job in jobs)
        self.busy = dict[Connection, _Worker]()

    def start_worker(self) -> NetworkJob:
        return self._give(*start_child(work, self.settings, self.log_level))

    def _give(self, connection: Connection, process: SpawnProcess) -> NetworkJob:
        job = self.queue[0]
        connection.send(job)
        self.busy[connection] = _Worker(process, self.queue.popleft(), time.monotonic())
        return job

    def next_job(self, connection: Connection) -> NetworkJob | None:
        """Give a free worker its next job, or let it go."""
        process = self.busy.pop(connection).process
        with suppress(OSError):  # it died between two jobs: the next one goes to a new worker
            if self.queue:
                return self._give(connection, process)
        self._dismiss(connection, process)
        return None

    @staticmethod
    def _dismiss(connection: Connection, process: SpawnProcess) -> None:
        with suppress(OSError):
            connection.send(None)
        connection.close()
        process.join()

    def lost(self, connection: Connection) -> NetworkOutcome:
        """A worker went away without a word."""
        worker = self.busy.pop(connection)
        worker.process.join()
        reason = f"the worker process died ({_exit_words(worker.process.exitcode)}); run it again"
        with as_far_as_home_has_room():
            for run in self._unfinished(worker.process.pid):
                self.instance.report_run_failed(run, reason)
                free_slots(self.instance, run.run_id)
        return self._failed(worker, reason)

    def cancel(self) -> Iterator[NetworkOutcome]:
        """Stop all workers; runs that had not ended yet end as CANCELED."""
        for connection in list(self.busy):
            yield from self._ended(connection)
        for connection, worker in self.busy.items():
            with as_far_as_home_has_room():
                for run in self._unfinished(worker.process.pid):
                    # Without this an interrupted run counts as failed, and run retries would start it again.
                    self.instance.report_run_canceling(run)
            worker.process.terminate()
            connection.close()  # it leaves once its run has ended, rather than wait for the next
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self.busy.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            with as_far_as_home_has_room():
                for run in self._unfinished(worker.process.pid):
                    self.instance.report_run_canceled(run)
                    free_slots(self.instance, run.run_id)
            yield self._failed(worker, "canceled")
        self.busy.clear()

    def _ended(self, connection: Connection) -> Iterator[NetworkOutcome]:
        """What a worker said before it was to stop."""
        with suppress(OSError, EOFError):
            while connection.poll():
                message = connection.recv()
                if isinstance(message, NetworkOutcome):
                    yield message
                    self._dismiss(connection, self.busy.pop(connection).process)
                    return

    def _unfinished(self, pid: int | None) -> Sequence[dg.DagsterRun]:
        tags = {BATCH_TAG: self.batch_id, WORKER_TAG: str(pid)}
        return self.instance.get_runs(dg.RunsFilter(tags=tags, statuses=_OPEN_STATUSES))

    @staticmethod
    def _failed(worker: _Worker, error: str) -> NetworkOutcome:
        seconds = time.monotonic() - worker.start
        return NetworkOutcome(network_id=worker.job.network_id, success=False, seconds=seconds, error=error)


def settle_orphans(instance: dg.DagsterInstance) -> int:
    """Fail the runs of this machine's workers that are gone, such as after a power cut; returns how many."""
    unfinished = dg.RunsFilter(tags={MACHINE_TAG: platform.node()}, statuses=_OPEN_STATUSES)
    orphans = [run for run in instance.get_runs(unfinished) if is_orphan(run.tags)]
    for run in orphans:
        instance.report_run_failed(run, LOST)
        free_slots(instance, run.run_id)
    return len(orphans)


def stop_abandoned(instance: dg.DagsterInstance, batch_id: str) -> int:
    """Stop this machine's workers of a batch whose coordinator is gone, and fail their runs; returns how many runs.

    Workers end with their coordinator; one that cannot, as it is paused or stuck in a disk, must not publish next to
    what takes its place. The caller holds the batch; where lake or DAGSTER_HOME are copies, the coordinator of the
    originals may still run, and so do its workers then.
    """
    unfinished = dg.RunsFilter(tags={BATCH_TAG: batch_id, MACHINE_TAG: platform.node()}, statuses=_OPEN_STATUSES)
    processes = sum(stop_worker(run.tags) for run in instance.get_runs(unfinished) if is_abandoned(run.tags))
    settle_orphans(instance)
    return processes


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def run_networks(
    jobs: Sequence[NetworkJob],
    workers: int,
    batch_id: str,
    settings: Settings,
    *,
    on_start: Callable[[NetworkJob], None],
    on_done: Callable[[NetworkOutcome], bool],
    on_progress: Callable[[Progress], None],
    on_look: Callable[[], None],
    log_level: int = logging.INFO,
) -> int | None:
    """Run every job, at most `workers` at a time; callbacks come in this process, in order of events.

    `on_look` is called twice a second or more often, whatever happens.

    Once `on_done` gives False no other job is begun; those under way run to their end.

    Returns:
        The number of the signal that stopped the batch early, or None.
    """
    signals = list[int]()

    def note(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    with dg.DagsterInstance.get() as instance, _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), note):
        settle_orphans(instance)
        pool = _Pool(instance, batch_id, jobs, settings=settings, log_level=log_level)
        try:
            while (pool.queue or pool.busy) and not signals:
                while pool.queue and len(pool.busy) < workers:
                    on_start(pool.start_worker())
                for connection in wait(list(pool.busy), timeout=_POLL_SECONDS):
                    assert isinstance(connection, Connection)
                    _take(pool, connection, on_start, on_done, on_progress)
                on_look()
        finally:
            for outcome in pool.cancel():
                on_done(outcome)
    return signals[0] if signals else None


def _take(
    pool: _Pool,
    connection: Connection,
    on_start: Callable[[NetworkJob], None],
    on_done: Callable[[NetworkOutcome], bool],
    on_progress: Callable[[Progress], None],
) -> None:
    try:
        message = connection.recv()
    except (EOFError, ConnectionResetError):
        if not on_done(pool.lost(connection)):
            pool.queue.clear()
        return
    if isinstance(message, Progress):
        on_progress(message)
        return
    if not on_done(message):
        pool.queue.clear()
    if job := pool.next_job(connection):
        on_start(job)


@contextmanager
def _handling(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a signal handler for a while (main thread alone: elsewhere Python cannot)."""
    before: Mapping[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
