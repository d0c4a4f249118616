"""Which process works on a run, and what happens when one of them is killed.

A run names its process by id and birth, and holds no lease as processes of `fetch.rate` do: Dagster starts a run's
process before any code of ours runs in it, and a process that was killed leaves its open locks to its children.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mrf_assets.child_processes import end_with_parent
from mrf_assets.errors import SettingError

if TYPE_CHECKING:
    import dagster as dg

    StepContext = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext

# Dagster shows tags of this prefix nowhere in its UI, and gives them out by no GraphQL.
_HIDDEN = ".dagster/mrf_"
WORKER_TAG = f"{_HIDDEN}worker"  # process id
STARTED_TAG = f"{_HIDDEN}worker_started"  # a process id is given again
MACHINE_TAG = f"{_HIDDEN}machine"  # on which it is one
COORDINATOR_TAG = f"{_HIDDEN}coordinator"  # process id of the one that gave the worker its run, on the same machine
COORDINATOR_STARTED_TAG = f"{_HIDDEN}coordinator_started"
_CLOCK_SECONDS = 5.0  # by which the machine's clock may drift meanwhile
_BOOT_SECONDS = psutil.boot_time()  # moves with the clock: a virtual machine's is set anew after a pause
_START_TICKS = 19  # of the fields behind the name in /proc/<pid>/stat
_KILL_SECONDS, _LOOK_SECONDS = 60.0, 0.05  # until a worker that was killed is gone
LOST = "its worker process is gone; run it again"


def worker_tags() -> dict[str, str]:
    """On a run that this process works on itself, as those of the command line do."""
    return {WORKER_TAG: str(os.getpid()), STARTED_TAG: _birth(psutil.Process()), MACHINE_TAG: platform.node()}


def coordinator_tags() -> dict[str, str]:
    """On the runs of the workers that this process started."""
    return {COORDINATOR_TAG: str(os.getpid()), COORDINATOR_STARTED_TAG: _birth(psutil.Process())}


def _birth(process: psutil.Process) -> str:
    """Tells a process from others of its id, whatever happens to the machine's clock where that can be had."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        _, _, facts = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")
    except OSError:  # no Linux, or no such process any more
        return f"{process.create_time():.0f}"
    return f"{boot}/{facts.split()[_START_TICKS]}"


def stop_worker(tags: Mapping[str, str]) -> bool:
    """Kill the worker of a run on this machine and wait for its end; False where it is gone already, or not ours."""
    if not _is_of_this_machine(tags) or is_orphan(tags):
        return False
    try:
        psutil.Process(int(tags[WORKER_TAG])).kill()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        raise SettingError("batch", f"process {tags[WORKER_TAG]} of another user works on it; end it first") from None
    deadline = time.monotonic() + _KILL_SECONDS
    while not is_orphan(tags):  # psutil's own wait never ends where nobody reaps a zombie
        if time.monotonic() > deadline:
            raise SettingError("batch", f"process {tags[WORKER_TAG]} cannot be stopped; end it, then resume")
        time.sleep(_LOOK_SECONDS)
    return True


def is_orphan(tags: Mapping[str, str]) -> bool:
    """Whether the worker of an unfinished run is gone; of another machine's, and of Dagster's own, it cannot be told.

    One that was killed and whom nobody has waited for is gone too: in a container without an init it stays listed.
    """
    return _is_of_this_machine(tags) and _is_gone(tags[WORKER_TAG], tags[STARTED_TAG])


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """Whether the coordinator of a run's worker is gone; of a run that does not name one, it cannot be told.

    A lock in the lake cannot tell: whoever copied the lake has one lock, and its coordinator has the other.
    """
    return (
        _is_of_this_machine(tags)
        and COORDINATOR_TAG in tags
        and _is_gone(tags[COORDINATOR_TAG], tags[COORDINATOR_STARTED_TAG])
    )


def _is_of_this_machine(tags: Mapping[str, str]) -> bool:
    return WORKER_TAG in tags and tags.get(MACHINE_TAG) == platform.node()


def _is_gone(pid: str, birth: str) -> bool:
    try:
        process = psutil.Process(int(pid))
        return _birth(process) != birth or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # somebody else's by now, but alive
        return False


def is_still_running(pid: int, *, began_before: float) -> bool:
    """Whether a process of this machine that was there at a time, in Unix seconds, still is."""
    try:
        process = psutil.Process(pid)
        clock_was_set_by = psutil.boot_time() - _BOOT_SECONDS
        start = process.create_time() - clock_was_set_by
        return start <= began_before + _CLOCK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or somebody else's by now
        return False


def is_step_process(context: StepContext) -> bool:
    """Whether this process is there for one step of a run, and has that run's process above it."""
    return context.op_execution_context.job_def.executor_def.name == "multiprocess"


def end_with_run(context: StepContext) -> None:
    """End a step's process at once when its run's process is gone: the run's retry would work next to it.

    Every asset calls this first. A run's own process is no step's, and outlives its code server.
    """
    if is_step_process(context):
        end_with_parent()
