"""Dagster's launcher of one machine, which can also tell whether a run's process is still there.

Without that a power cut leaves runs STARTED: they hold their places in the queue until `max_runtime_seconds`,
a day. With it, run monitoring fails them and run retries start them again. `dagster.yaml` names this class.

A code server that hears nothing from its daemon for twenty seconds ends itself: a laptop that was shut, a virtual
machine that was stopped. Its runs go on without it, and those that would begin there wait for the next one, which
the daemon starts within a minute.

Dagster's records in SQLite are written by many processes at once, which wait for each other: its run storage for five
seconds, its event log for thirty. Where a disk is busy for longer, the one error costs more than itself: the daemon
that repeats failed runs goes on behind those that it was about to repeat. Importing this module, as the daemon and
the code location do, lets every connection of the process wait a minute, and keeps the engines of its storages.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

# None of these is exported; they are what Dagster's own launchers are made of.
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClassData, deserialize_value
from sqlalchemy import event
from sqlalchemy.engine import Engine

from mrf_assets.defs.private_dagster import keep_engines
from mrf_assets.defs.processes import LOST, WORKER_TAG, is_orphan, is_still_running

_ANSWER_SECONDS = 10
_NEXT_SERVER_SECONDS = 90.0  # until the daemon has another one; a run that is failed before cannot be repeated there
_ENDING = "telling it to shut down"  # what a server says that waits for its runs and takes no more
_LOCK_WAIT_MILLISECONDS = 60_000
_START_MESSAGE = re.compile(r"Started process for run \(pid: (\d+)\)")

# Without it the backfill daemon gives up a backfill, and cancels its queued runs, once its code server cannot load.
os.environ["DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"] = "1"


keep_engines()


@event.listens_for(Engine, "connect")
def _wait_for_locks(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {_LOCK_WAIT_MILLISECONDS}")


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs as `DefaultRunLauncher`, and supports run monitoring."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._own_run_ids = set[str]()  # by this process
        self._without_server = dict[str, float]()  # run -> since when

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run's process.

        Raises:
            DagsterUserCodeUnreachableError: The code server is gone, or about to go; the run belongs back in the queue.
        """
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if _ENDING in str(error):
                raise DagsterUserCodeUnreachableError(str(error)) from error
            raise
        self._own_run_ids.add(context.dagster_run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run's process, through its server or without it; False if there is none to interrupt."""
        try:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]  # Dagster's own
        except DagsterUserCodeUnreachableError:
            pid = next(self._processes(run_id), None)
            if pid is None:
                raise
            os.kill(pid, signal.SIGINT)  # as its server would have it do to itself
            return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run is there; what cannot be told counts as there."""
        if WORKER_TAG in run.tags:  # the command line's own
            return _health(not is_orphan(run.tags), LOST)
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]  # Dagster's own
        if client is None:
            return _health(True, "no server is known that runs it")
        try:
            answer: Any = deserialize_value(
                client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=_ANSWER_SECONDS),
                CanCancelExecutionResult,
            )
        except DagsterUserCodeUnreachableError as error:
            # A busy server answers late, one that is gone refuses.
            code = getattr(error.__cause__, "code", None)
            if code is None or code().name != "UNAVAILABLE":
                return _health(True, "its server is slow to answer")
            is_there = any(self._processes(run.run_id)) or self._waits_for_server(run.run_id)
            return _health(is_there, "the server that ran it is gone")
        return _health(answer.can_cancel, "its process is gone")

    def _processes(self, run_id: str) -> Iterator[int]:
        """Those that work on a run; a run that was put back into the queue may have had another before."""
        for entry in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            match = _START_MESSAGE.match(entry.message)
            if match and is_still_running(int(match[1]), began_before=entry.timestamp):
                yield int(match[1])

    def _waits_for_server(self, run_id: str) -> bool:
        """Whether this daemon lost its own code server so lately that it has no other yet."""
        if run_id not in self._own_run_ids:
            return False
        since = self._without_server.setdefault(run_id, time.monotonic())
        return time.monotonic() - since < _NEXT_SERVER_SECONDS


def _health(is_there: bool, why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.RUNNING if is_there else WorkerStatus.NOT_FOUND, why)
