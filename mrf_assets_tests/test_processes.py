"""Which processes still work on a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mrf_assets.defs.processes import MACHINE_TAG, STARTED_TAG, WORKER_TAG, is_alive, is_orphan, worker_tags

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
        assert is_alive(worker.pid, began_before=time.time())
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        assert is_orphan(tags)
        assert not is_alive(worker.pid, began_before=time.time())
    assert is_orphan(tags)
    assert not is_alive(worker.pid, began_before=began_before)


def test_a_process_that_was_given_the_same_id_later_is_another() -> None:
    """As after a restart of the machine, or of a container, where ids begin anew."""
    with _worker() as (_, tags):
        assert is_orphan(worker_tags() | {STARTED_TAG: tags[STARTED_TAG]})
    assert not is_alive(os.getpid(), began_before=time.time() - 86_400)


def test_a_run_of_another_machine_or_of_dagsters_own_launcher_is_not_judged() -> None:
    """Their process ids say nothing here."""
    with _worker() as (_, tags):
        pass
    assert is_orphan(tags)
    assert not is_orphan(tags | {MACHINE_TAG: "another"})
    assert not is_orphan({name: value for name, value in tags.items() if name != WORKER_TAG})
