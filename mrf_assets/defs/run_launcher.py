"""Dagster's launcher of one machine, which can also tell whether a run's process is still there.

Without that a power cut leaves runs STARTED: they hold their places in the queue until `max_runtime_seconds`,
a day. With it, run monitoring fails them and run retries start them again. `dagster.yaml` names this class.

A code server that hears nothing from its daemon for twenty seconds ends itself: a laptop that was shut, a virtual
machine that was stopped. Its runs go on without it, and those that would begin there wait for the next one, which
the daemon starts within a minute.
"""

from __future__ import annotations

import re
from typing import Any

import dagster as dg

# None of these is exported; they are what Dagster's own launchers are made of.
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from mrf_assets.defs.processes import LOST, WORKER_TAG, is_alive, is_orphan

_ANSWER_SECONDS = 10
_ENDING = "telling it to shut down"  # what a server says that waits for its runs and takes no more
_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs as `DefaultRunLauncher`, and supports run monitoring."""

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
            return _health(self._outlives_its_server(run), "the server that ran it is gone")
        return _health(answer.can_cancel, "its process is gone")

    def _outlives_its_server(self, run: dg.DagsterRun) -> bool:
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            if found := _STARTED.match(entry.message):
                return is_alive(int(found[1]), began_before=entry.timestamp)
        return False


def _health(is_there: bool, why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.RUNNING if is_there else WorkerStatus.NOT_FOUND, why)
