"""Which processes still work on a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.defs.processes import (
    COORDINATOR_STARTED_TAG,
    COORDINATOR_TAG,
    MACHINE_TAG,
    STARTED_TAG,
    WORKER_TAG,
    coordinator_tags,
    is_abandoned,
    is_orphan,
    is_still_running,
    stop_worker,
    worker_tags,
)
from mrf_assets_tests.dagster_fixtures import REPOSITORY, Payer, Place, kill_all_of, processes_of, wait_for
from mrf_assets_tests.mrf_server import MrfServer

_WORKER = """
import json
from mrf_assets.defs.processes import worker_tags
print(json.dumps(worker_tags()), flush=True)
input()
"""


@contextmanager
def _worker() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A process, and the tags of its runs."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())


def test_a_run_of_this_process_is_no_orphan() -> None:
    """It is alive."""
    assert not is_orphan(worker_tags())


def test_a_run_of_a_killed_process_is_an_orphan_before_anybody_has_waited_for_it() -> None:
    """As under a first process of a container that never does."""
    began_before = time.time()
    with _worker() as (worker, tags):
        assert not is_orphan(tags)
        assert is_still_running(worker.pid, began_before=time.time())
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        assert is_orphan(tags)
        assert not is_still_running(worker.pid, began_before=time.time())
    assert is_orphan(tags)
    assert not is_still_running(worker.pid, began_before=began_before)


def test_a_run_is_abandoned_once_the_coordinator_of_its_worker_is_gone() -> None:
    """Not before, and not where a run names no coordinator, or is of another machine."""
    with _worker() as (coordinator, tags):
        of_run = worker_tags() | {COORDINATOR_TAG: tags[WORKER_TAG], COORDINATOR_STARTED_TAG: tags[STARTED_TAG]}
        assert not is_abandoned(of_run)
        coordinator.kill()
        coordinator.wait()
        assert is_abandoned(of_run)
    assert not is_abandoned(of_run | {MACHINE_TAG: "another"})
    assert not is_abandoned(worker_tags())
    assert not is_abandoned(worker_tags() | coordinator_tags())


def test_a_worker_that_nobody_reaps_is_stopped() -> None:
    """It stays listed as a zombie until this process waits for it, which it does not."""
    with _worker() as (worker, tags):
        assert stop_worker(tags)
        assert is_orphan(tags)
        assert not stop_worker(tags)
        worker.wait()


def test_a_process_that_was_given_the_same_id_later_is_another() -> None:
    """As after a restart of the machine, or of a container, where ids begin anew."""
    with _worker() as (_, tags):
        assert is_orphan(worker_tags() | {STARTED_TAG: tags[STARTED_TAG]})
    assert not is_still_running(os.getpid(), began_before=time.time() - 86_400)


def test_a_run_of_another_machine_or_of_dagsters_own_launcher_is_not_judged() -> None:
    """Their process ids say nothing here."""
    with _worker() as (_, tags):
        pass
    assert is_orphan(tags)
    assert not is_orphan(tags | {MACHINE_TAG: "another"})
    assert not is_orphan({name: value for name, value in tags.items() if name != WORKER_TAG})


_STEPS: dict[str, dict[str, Any]] = {
    "discover_portals": {"discovered_indexes": {"config": {"portals": ["{held}"], "enable_scraping": False}}},
    "enrich_npis": {"npi_registry": {"config": {"mode": "bulk_only"}}},
    "ingest": {},
}


@pytest.mark.parametrize("job", _STEPS)
def test_a_step_ends_with_its_run(job: str, tmp_path: Path) -> None:
    """The run's process was killed in the middle of a download; the step would go on next to the run's retry."""
    place = Place(tmp_path)
    with MrfServer() as server, place.instance():
        payer = Payer(server)
        payer.publish("a")
        if job != "discover_portals":  # which needs no lake
            place.mrf(*("run", "--source", "url", "--input", payer.url("a"), "--network-id", "a"))
        held = Payer.path("a") if job == "ingest" else "/page.html"
        server.put("/page.html", b"<html></html>")
        gate = server.hold(held, at=1)
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"ops": _STEPS[job]}).replace("{held}", server.url(held)))
        process = subprocess.Popen(
            [*(sys.executable, "-m", "dagster", "job", "execute", "-m", "mrf_assets.definitions", "-j", job),
             *("-c", str(config)), *(("--tags", json.dumps({"dagster/partition": "a"})) if job == "ingest" else ())],
            cwd=REPOSITORY,
            env=place.environment
            | {"MRF_NPI_FILES_URL": server.url(held), "MRF_SKIP_UNCHANGED": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert gate.reached.wait(120)
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_for("every process of the run to end", lambda: not processes_of(place), 60)
        finally:
            gate.release()
            kill_all_of(place)
            process.wait()
