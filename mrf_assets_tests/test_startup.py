"""What the package's own programs ask of Python and its libraries when they start and end."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys

import pytest


def test_a_program_of_ours_spares_the_threads_of_blas() -> None:
    """Unless somebody has said how many; as a library the package leaves them alone."""
    say = "import {}, os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}

    def told(module: str, **given: str) -> str:
        command = [sys.executable, "-c", say.format(module)]
        return subprocess.run(command, env=plain | given, check=True, capture_output=True, text=True).stdout.strip()

    assert ("1", "3", "None") == (
        told("mrf_assets.__main__"),
        told("mrf_assets.__main__", OPENBLAS_NUM_THREADS="3"),
        told("mrf_assets.lake.catalog"),
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc than glibc's")
def test_a_program_of_ours_keeps_freed_memory_for_the_next_block() -> None:
    """Three blocks of 8 MB at a time, and again: the system gives their pages once, or each time."""
    blocks = "[b'x' * (8 << 20), b'x' * (8 << 20), b'x' * (8 << 20)]"
    take = f"import resource; [{blocks}.clear() for _ in range(30)]; print(resource.getrusage(0).ru_minflt)"

    def faults(module: str) -> int:
        command = [sys.executable, "-c", f"import {module}; {take}"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("mrf_assets.startup") < faults("mrf_assets.settings") - 30 * (8 << 20) // mmap.PAGESIZE


def test_a_program_of_ours_ends_when_all_that_others_left_to_do_is_done() -> None:
    """What was printed is there, threads and `atexit` come first, and the exit code is the one that was given."""
    lines = """import mrf_assets.startup, atexit, threading
class Last:
    def __del__(self): print("taken apart")
last = Last()
atexit.register(print, "at exit")
printed = threading.Event()
threading.Thread(target=lambda: printed.wait() and print("thread")).start()
print("printed")
printed.set()
mrf_assets.startup.leave(3)"""

    found = subprocess.run([sys.executable, "-c", lines], check=False, capture_output=True, text=True)

    assert (3, ["printed", "thread", "at exit"]) == (found.returncode, found.stdout.splitlines())


def test_a_library_takes_itself_apart() -> None:
    """Who imports a module of ours, and does not run the program, ends as Python ends."""
    lines = """import mrf_assets.startup
class Last:
    def __del__(self): print("taken apart")
last = Last()
raise SystemExit(3)"""

    found = subprocess.run([sys.executable, "-c", lines], check=False, capture_output=True, text=True)

    assert (3, "taken apart\n") == (found.returncode, found.stdout)
