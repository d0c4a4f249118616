"""Which process works on a run, and what happens when one of them is killed."""

import multiprocessing
import os
import platform
import threading
from collections.abc import Mapping
from pathlib import Path

import psutil

WORKER_TAG = "mrf/worker"  # process id
STARTED_TAG = "mrf/worker_started"  # a process id is given again
MACHINE_TAG = "mrf/machine"  # on which it is one
_CLOCK_SECONDS = 5.0  # by which the machine's clock may drift meanwhile
_BOOT_SECONDS = psutil.boot_time()  # moves with the clock: a virtual machine's is set anew after a pause
_START_TICKS = 19  # of the fields behind the name in /proc/<pid>/stat
LOST = "its worker process is gone; run it again"


def worker_tags() -> dict[str, str]:
    """On a run that this process works on itself, as those of the command line do."""
    return {WORKER_TAG: str(os.getpid()), STARTED_TAG: _birth(psutil.Process()), MACHINE_TAG: platform.node()}


def _birth(process: psutil.Process) -> str:
    """Tells a process from others of its id, whatever happens to the machine's clock where that can be had."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        _, _, facts = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")
    except OSError:  # no Linux, or no such process any more
        return f"{process.create_time():.0f}"
    return f"{boot}/{facts.split()[_START_TICKS]}"


def is_orphan(tags: Mapping[str, str]) -> bool:
    """Whether the worker of an unfinished run is gone; of another machine's, and of Dagster's own, it cannot be told.

    One that was killed and whom nobody has waited for is gone too: in a container without an init it stays listed.
    """
    if WORKER_TAG not in tags or tags.get(MACHINE_TAG) != platform.node():
        return False
    try:
        process = psutil.Process(int(tags[WORKER_TAG]))
        return _birth(process) != tags[STARTED_TAG] or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # somebody else's by now, but alive
        return False


def is_alive(pid: int, *, began_before: float) -> bool:
    """Whether a process of this machine that was there at a time, in Unix seconds, still is."""
    try:
        process = psutil.Process(pid)
        clock_was_set_by = psutil.boot_time() - _BOOT_SECONDS
        began = process.create_time() - clock_was_set_by
        return began <= began_before + _CLOCK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
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
