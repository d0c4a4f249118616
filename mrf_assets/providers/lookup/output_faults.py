"""What an output says of files that cannot be read or trusted, and how it leaves nothing half-written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mrf_assets.errors import StoreError, UnexpectedRows

NEXT = ".next"  # what is to take the place of all
READ_ROWS = 1_000  # of one piece


def unexpected(path: Path) -> UnexpectedRows:
    """The error of rows of another batch."""
    return UnexpectedRows(
        str(path),
        "holds rows that the ledger of this batch does not name; give the --checkpoint that wrote them, "
        "or another --output, or move them away",
    )


def unreadable(path: Path, error: Exception) -> StoreError:
    """The error of a file that is not ours, or torn."""
    (first, *_) = str(error).splitlines() or [type(error).__name__]
    return StoreError(str(path), f"cannot be read ({first}); move it away")


@contextmanager
def nothing_left(paths: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """What a block writes goes away with its error."""
    try:
        yield
    except Exception:
        for path in paths():
            path.unlink(missing_ok=True)
        raise
