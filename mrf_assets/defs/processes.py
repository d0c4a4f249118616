"""Which process works on a run, and what happens when one of them is killed."""

import multiprocessing
import os
import platform
import threading
from collections.abc import Mapping

import psutil

WORKER_TAG = "mrf/worker"  # process id
STARTED_TAG = "mrf/worker_started"  # when it began, Unix seconds: a process id is given again after a restart
MACHINE_TAG = "mrf/machine"  # on which it is one
_CLOCK_SECONDS = 5.0  # by which the machine's clock may be set meanwhile
LOST = "its worker process is gone; run it again"


def worker_tags() -> dict[str, str]:
    """On a run that this process works on itself, as those of the command line do."""
    began = psutil.Process().create_time()
    return {WORKER_TAG: str(os.getpid()), STARTED_TAG: f"{began:.2f}", MACHINE_TAG: platform.node()}


def is_orphan(tags: Mapping[str, str]) -> bool:
    """Whether the worker of an unfinished run is gone; of another machine's, and of Dagster's own, it cannot be told.

    One that was killed and whom nobody has waited for is gone too: in a container without an init it stays listed.
    """
    if WORKER_TAG not in tags or tags.get(MACHINE_TAG) != platform.node():
        return False
    try:
        process = psutil.Process(int(tags[WORKER_TAG]))
        is_another = abs(process.create_time() - float(tags[STARTED_TAG])) > _CLOCK_SECONDS
        return is_another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # somebody else's by now, but alive
        return False


def is_alive(pid: int, *, began_before: float) -> bool:
    """Whether a process of this machine that was there at a time, in Unix seconds, still is."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= began_before + _CLOCK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or somebody else's by now
        return False


def end_with_parent() -> None:
    """End this process at once when the one that started it is gone.

    The step of a run whose own process was killed would go on and publish, beside the run's retry.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
