"""Which processes still work on a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil

from mrf_assets.defs.processes import MACHINE_TAG, STARTED_TAG, WORKER_TAG, is_orphan, worker_tags


def _tags(pid: int) -> dict[str, str]:
    began = psutil.Process(pid).create_time()
    return {WORKER_TAG: str(pid), STARTED_TAG: str(began), MACHINE_TAG: platform.node()}


def test_a_run_of_this_process_is_no_orphan() -> None:
    """It is alive."""
    assert not is_orphan(worker_tags())


def test_a_run_of_a_killed_process_is_an_orphan_before_anybody_has_waited_for_it() -> None:
    """As under a first process of a container that never does."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        tags = _tags(worker.pid)
        assert not is_orphan(tags)
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        assert is_orphan(tags)
    assert is_orphan(tags)


def test_a_process_that_was_given_the_same_id_later_is_another() -> None:
    """As after a restart of the machine, or of a container, where ids begin anew."""
    ours = worker_tags()

    assert is_orphan(ours | {STARTED_TAG: str(float(ours[STARTED_TAG]) - 60)})


def test_a_run_of_another_machine_or_of_dagsters_own_launcher_is_not_judged() -> None:
    """Their process ids say nothing here."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ended:
        tags = _tags(ended.pid)
    assert is_orphan(tags)
    assert not is_orphan(tags | {MACHINE_TAG: "another"})
    assert not is_orphan({})
