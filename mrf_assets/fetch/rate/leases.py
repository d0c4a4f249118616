"""Who is alive: each process holds a lock on a file of its own, which the kernel frees when it dies."""

from __future__ import annotations

import fcntl
import os
import secrets
import weakref
from contextlib import suppress
from pathlib import Path

_SUFFIX = ".lease"


class Lease:
    """A locked file in `folder` that says that this process lives.

    It ends with the process, even by `kill -9`, or by `close`. Files of the dead are removed when a new one is made.
    """

    def __init__(self, folder: Path) -> None:
        for path in folder.glob(f"*{_SUFFIX}"):
            is_alive(folder, path.name.removesuffix(_SUFFIX))
        while True:
            self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
            self._path = folder / f"{self.name}{_SUFFIX}"
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if self.is_held:
                break
            os.close(self._fd)  # it was taken for a dead one's before it was locked
        self.close = weakref.finalize(self, _release, self._path, self._fd, os.getpid())

    @property
    def is_held(self) -> bool:
        """False once the file is gone, such as by a cleaner of temporary folders."""
        return os.fstat(self._fd).st_nlink > 0


def _release(path: Path, fd: int, owner: int) -> None:
    """Give a lease back; a forked child closes its copy, and the parent's lease stays."""
    if os.getpid() == owner:
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        os.close(fd)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process that made the lease lives; the file of a dead one is removed."""
    path = folder / f"{name}{_SUFFIX}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        with suppress(FileNotFoundError):
            path.unlink()
        return False
    finally:
        os.close(fd)
