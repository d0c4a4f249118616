"""Which process works on a run, and what happens when one of them is killed."""

import multiprocessing
import os
import threading

WORKER_TAG = "mrf/worker"  # process id
MACHINE_TAG = "mrf/machine"  # on which it is one


def is_alive(pid: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's by now, but alive
        return True
    return True


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
