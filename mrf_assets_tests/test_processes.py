"""Which processes still work on a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from mrf_assets.defs.processes import MACHINE_TAG, WORKER_TAG, is_orphan, worker_tags


def _tags(pid: int) -> dict[str, str]:
    return {WORKER_TAG: str(pid), MACHINE_TAG: platform.node()}


def test_a_run_of_this_process_is_no_orphan() -> None:
    """It is alive."""
    assert not is_orphan(worker_tags())


def test_a_run_of_a_killed_process_is_an_orphan_before_anybody_has_waited_for_it() -> None:
    """As under a first process of a container that never does."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        assert not is_orphan(_tags(worker.pid))
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        assert is_orphan(_tags(worker.pid))
    assert is_orphan(_tags(worker.pid))


def test_a_run_of_another_machine_or_of_dagsters_own_launcher_is_not_judged() -> None:
    """Their process ids say nothing here."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert not is_orphan(_tags(ended.pid) | {MACHINE_TAG: "another"})
    assert not is_orphan({})
