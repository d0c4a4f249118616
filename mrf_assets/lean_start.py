"""Programs of ours import this before all else: what a process would spend at no use to us is left out.

- The threads of numpy's BLAS, one for each core, spin before they sleep, which cost 0.10 to 0.15 s of CPU in every
  process, and nothing here multiplies matrices.
- glibc's malloc gives what is freed back to the system at once, and asks for it again for the next block: 17,000 to
  120,000 page faults of a file of 0.1 to 1.3 GB. Told to keep some of it, a process takes 4 to 6 % less CPU, and its
  peak of memory is the same (benchmarks/NOTES.md).

Who imports us as a library keeps both as they are.
"""

import ctypes

from mrf_assets.settings import spare_blas_threads

_MB = 1 << 20
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_KEPT = ((_TRIM_THRESHOLD, 64 * _MB), (_TOP_PAD, 8 * _MB), (_MMAP_THRESHOLD, 32 * _MB))


def _keep_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc alone has it
        for option, size_bytes in _KEPT:
            libc.mallopt(option, size_bytes)


spare_blas_threads()
_keep_freed_memory()
