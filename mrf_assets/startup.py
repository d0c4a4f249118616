"""Programs of ours import this before all else: what a process would spend at no use to us is left out.

- The threads of numpy's BLAS, one for each core, spin before they sleep, which cost 0.10 to 0.15 s of CPU in every
  process, and nothing here multiplies matrices.
- glibc's malloc gives what is freed back to the system at once, and asks for it again for the next block: 17,000 to
  120,000 page faults of a file of 0.1 to 1.3 GB. Told to keep some of it, a process takes 4 to 6 % less CPU, and its
  peak of memory is the same (benchmarks/NOTES.md).
- At its end Python takes all modules apart, in 0.05 s for a reader and 0.5 s where Dagster was imported. `leave` ends
  the process when nothing but that is left to do.
- The logins of .netrc stay out of all requests: servers of strangers are asked, webhooks and registries.

Who imports us as a library keeps all of it as it is.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
from typing import NoReturn

from mrf_assets.settings import ignore_netrc, spare_blas_threads

_MB = 1 << 20
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_KEPT = ((_TRIM_THRESHOLD, 64 * _MB), (_TOP_PAD, 8 * _MB), (_MMAP_THRESHOLD, 32 * _MB))
_CANNOT_FLUSH = 120  # Python's exit code for it
_exit_codes: list[int] = []  # that `leave` was given


def leave(exit_code: int) -> NoReturn:
    """End the program with this code, once its threads and what others registered with `atexit` have ended."""
    _exit_codes.append(exit_code)
    sys.exit(exit_code)


def _end() -> None:
    """Registered before all others, so it comes behind them."""
    if not _exit_codes:
        return
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        os._exit(_CANNOT_FLUSH)
    os._exit(_exit_codes[-1])


def _keep_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc alone has it
        for option, size_bytes in _KEPT:
            libc.mallopt(option, size_bytes)


atexit.register(_end)
spare_blas_threads()
ignore_netrc()
_keep_freed_memory()
