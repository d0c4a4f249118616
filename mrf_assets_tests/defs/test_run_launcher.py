"""Runs whose code server is about to go, or gone: with a real server, and runs that are held in their downloads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import ModuleTarget

from mrf_assets.defs.partitions import add_networks
from mrf_assets.fetch import open_url
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.sources import read_source
from mrf_assets_tests.dagster_fixtures import Payer, Place, key, kill_all_of, wait_for, worker_of
from mrf_assets_tests.mrf_server import Gate, MrfServer

_LOCATION = "mrf_assets.definitions"


@dataclass(frozen=True, slots=True)
class Launched:
    """A place with a code server of its own."""

    payer: Payer
    instance: dg.DagsterInstance
    workspace: WorkspaceRequestContext

    def run_of(self, letter: str) -> dg.DagsterRun:
        """A run of a network, not launched yet."""
        location = self.workspace.get_code_location(_LOCATION)
        (repository,) = location.get_repositories().values()
        job = repository.get_full_job("ingest")
        return self.instance.create_run(
            job_name=job.name,
            run_id=None,
            run_config={},
            status=dg.DagsterRunStatus.STARTING,
            tags={"dagster/partition": key(letter)},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=None,
            execution_plan_snapshot=None,
            job_snapshot=job.job_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            asset_selection=None,
            asset_check_selection=None,
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_graph=repository.asset_graph,
        )

    def launch(self, run: dg.DagsterRun) -> None:
        """As the queue does."""
        self.instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=self.workspace))

    def held(self, letter: str) -> tuple[dg.DagsterRun, Gate]:
        """A run that was launched and is in its download."""
        gate = self.payer.server.hold(self.payer.path(letter), at=20)
        run = self.run_of(letter)
        self.launch(run)
        assert gate.reached.wait(240), self.said(run)
        return run, gate

    def said(self, run: dg.DagsterRun) -> list[str]:
        """What a run said of itself."""
        return [entry.message for entry in self.instance.all_logs(run.run_id)]

    def health(self, run: dg.DagsterRun) -> WorkerStatus:
        """What run monitoring is told."""
        return self.instance.run_launcher.check_run_worker_health(self.now(run)).status

    def now(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """The run as it is now."""
        found = self.instance.get_run_by_id(run.run_id)
        assert found
        return found


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """Networks a and b, planned."""
    place = Place(tmp_path)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    with (
        MrfServer() as server,
        place.instance() as instance,
        WorkspaceProcessContext(instance, ModuleTarget(_LOCATION, None, None, _LOCATION)) as process,
    ):
        payer = Payer(server)
        payer.publish("a")
        payer.publish("b")
        tasks = read_source("index", payer.publish_index("ab"), open_url)
        add_networks(instance, list(TaskStore.under(place.output).save(tasks)))
        try:
            yield Launched(payer, instance, process.create_request_context())
        finally:
            monkeypatch.undo()
            kill_all_of(place)


def test_a_run_outlives_its_server_and_can_be_stopped(launched: Launched) -> None:
    """It counts as there until it is not."""
    run, _ = launched.held("a")
    worker = worker_of(launched.instance, run)
    server = worker.parent()
    assert server
    server.kill()
    wait_for("the server to be gone", lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)

    assert WorkerStatus.RUNNING == launched.health(run)
    assert launched.instance.run_launcher.terminate(run.run_id)
    wait_for("the run to end", lambda: launched.now(run).is_finished, every_seconds=0.5)
    assert dg.DagsterRunStatus.CANCELED == launched.now(run).status


def test_a_server_that_is_about_to_go_sends_a_run_back_to_the_queue(launched: Launched) -> None:
    """While the run that it waits for goes on."""
    run, gate = launched.held("a")
    location = launched.workspace.get_code_location(_LOCATION)
    location.client.shutdown_server()  # type: ignore[attr-defined]  # of a code location that is a server

    with pytest.raises(DagsterUserCodeUnreachableError, match="shut down"):
        launched.launch(launched.run_of("b"))
    assert WorkerStatus.RUNNING == launched.health(run)
    gate.release()
    wait_for("the run to end", lambda: launched.now(run).is_finished, every_seconds=0.5)
    assert dg.DagsterRunStatus.SUCCESS == launched.now(run).status


def test_a_run_that_went_with_its_server_is_failed_once_there_can_be_another_server(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its retry needs one; a daemon that was started since has one already."""
    run, _ = launched.held("a")
    worker = worker_of(launched.instance, run)
    server = worker.parent()
    assert server
    server.kill()
    worker.kill()
    wait_for("both to be gone", lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)

    assert WorkerStatus.RUNNING == launched.health(run)
    with dg.DagsterInstance.from_config(launched.instance.root_directory) as of_another_daemon:
        verdict = of_another_daemon.run_launcher.check_run_worker_health(launched.now(run))
        assert WorkerStatus.NOT_FOUND == verdict.status
    monkeypatch.setattr("mrf_assets.defs.run_launcher._NEXT_SERVER_SECONDS", 0.0)
    assert WorkerStatus.NOT_FOUND == launched.health(run)


def test_dagsters_records_wait_longer_for_a_lock_than_they_do_by_themselves(launched: Launched) -> None:
    """Six seconds here, where five would be an error; a retry that meets one is lost for good."""
    run = launched.run_of("a")
    path = Path(launched.instance.root_directory) / "history" / "runs.db"
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(6.0, other.rollback).start()
        launched.instance.add_run_tags(run.run_id, {"waited": "yes"})

    assert "yes" == launched.now(run).tags["waited"]
