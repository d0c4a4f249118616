"""Dagster's launcher of one machine, which can also tell whether a run's process is still there.

Without that a power cut leaves runs STARTED: they hold their places in the queue until `max_runtime_seconds`,
a day. With it, run monitoring fails them and run retries start them again. `dagster.yaml` names this class.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

# None of these is exported; they are what Dagster's own launchers are made of.
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from mrf_assets.defs.processes import LOST, WORKER_TAG, is_orphan

_ANSWER_SECONDS = 10


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs as `DefaultRunLauncher`, and supports run monitoring."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run is there; what cannot be told counts as there."""
        if WORKER_TAG in run.tags:
            return self._of_command_line(run)
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]  # Dagster's own
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no server is known that runs it")
        try:
            answer: Any = deserialize_value(
                client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=_ANSWER_SECONDS),
                CanCancelExecutionResult,
            )
        except DagsterUserCodeUnreachableError as error:
            # A busy server answers late, one that is gone refuses.
            code = getattr(error.__cause__, "code", None)
            if code is not None and code().name == "UNAVAILABLE":
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the server that ran it is gone")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its server is slow to answer")
        if answer.can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")

    @staticmethod
    def _of_command_line(run: dg.DagsterRun) -> CheckRunHealthResult:
        if is_orphan(run.tags):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, LOST)
        return CheckRunHealthResult(WorkerStatus.RUNNING)
