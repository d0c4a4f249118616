"""What one run is about to publish for one network: staged parts, their periods, and the step that shows them."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from mrf_assets.errors import StoreError
from mrf_assets.files import sync
from mrf_assets.lake.generations import (
    FileName,
    expire,
    generations_in,
    new_generation,
    purge_expired,
    retain,
)
from mrf_assets.lake.part_writer import PartWriter
from mrf_assets.lake.set_tins import complete_set_tins
from mrf_assets.schema import TABLES
from mrf_assets.settings import Settings

logger = logging.getLogger(__name__)

_SAFE_KEY = re.compile(r"\A[a-z0-9][a-z0-9_.~=-]*\Z")
_PERIOD = re.compile(r"\A[0-9]{4}-[0-9]{2}\Z")

READERS_GRACE_SECONDS: Final = Settings().grace_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One parquet file."""

    table: str
    path: Path
    rows: int
    size_bytes: int

    @property
    def label(self) -> str:
        """Which part of the network it holds, as `part_labels` says."""
        name = FileName.of(self.path.name)
        assert name is not None  # `_tables` finds no other
        return name.label


class Stage:
    """What one run is about to publish for one network; gone when the run ends."""

    def __init__(
        self, root: Path, network_id: str, directory: Path, grace_seconds: float = READERS_GRACE_SECONDS
    ) -> None:
        self._root, self.network_id, self.directory = root, network_id, directory
        self._grace_seconds = grace_seconds

    def part(self, label: str) -> PartWriter:
        """A writer for one file's tables; `settle` gives them their period afterwards."""
        incoming = self.directory / "incoming"
        incoming.mkdir(exist_ok=True)
        return PartWriter(incoming, label)

    def set_aside(self, label: str) -> dict[str, Path]:
        """Move a written part out of the way, to be written again from; table -> its file."""
        aside = self.directory / "aside"
        aside.mkdir(exist_ok=True)
        return {name: path.rename(aside / path.name) for name, path in self._incoming(label).items()}

    def _incoming(self, label: str) -> dict[str, Path]:
        return {name: self.directory / "incoming" / f"{name}-{label}.parquet" for name in TABLES}

    def settle(self, label: str, period: str) -> None:
        """Put one part's tables into the period they belong to."""
        if not _PERIOD.match(period):
            raise StoreError(period, "is no period of the form YYYY-MM")
        target = self.directory / f"period={period}"
        target.mkdir(exist_ok=True)
        for path in self._incoming(label).values():
            path.rename(target / path.name)

    def periods(self) -> list[str]:
        """The periods that this stage holds, oldest first."""
        return sorted(p.name.removeprefix("period=") for p in self.directory.glob("period=*"))

    def tables(self, period: str) -> dict[str, list[Path]]:
        """Table -> its staged files of one period."""
        return tables_in(self.directory / f"period={period}")

    def publish(self, period: str) -> list[TableFile]:
        """Make one period visible, replacing what stood there, in one step.

        What was replaced stays readable by its own names for the grace time.
        """
        staging_dir = self.directory / f"period={period}"
        complete_set_tins(staging_dir)
        target = self._published(period)
        target.parent.mkdir(parents=True, exist_ok=True)
        generation = new_generation()
        for path in list(staging_dir.iterdir()):
            if name := FileName.of(path.name):
                path = path.rename(staging_dir / name.published(generation))  # noqa: PLW2901 - the same file
            sync(path)
        sync(staging_dir)
        files = [file for name, paths in tables_in(staging_dir).items() for file in table_files(name, paths, target)]
        retain(self._root, staging_dir, target, generation)
        self._expire(target)
        try:
            staging_dir.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            _exchange(staging_dir, target)
            self._expire(staging_dir)  # what was really replaced: others may have published in between
        sync(target.parent)
        purge_expired(self._root)
        return files

    def _expire(self, directory: Path) -> None:
        for generation in generations_in(directory):
            expire(self._root, generation, self._grace_seconds)

    def carry_over(self, period: str) -> list[str]:
        """Take in the published parts of this network that are not staged; returns their labels.

        Who ingests part 2 of 3 must not make parts 1 and 3 disappear. Parts of another count (`-of-5`
        where `-of-3` is staged) are an older or another cut of the network, and are replaced.
        """
        staging_dir = self.directory / f"period={period}"
        parts = {name.part for path in staging_dir.iterdir() if (name := FileName.of(path.name))}
        counts = {part.partition("-of-")[2] for part in parts}
        labels = set()
        for path in self._published(period).glob("*.parquet"):
            name = FileName.of(path.name)
            if name and name.part not in parts and name.part.partition("-of-")[2] in counts:
                os.link(path, staging_dir / name.staged_anew())
                labels.add(name.part)
        return sorted(labels)

    def _published(self, period: str) -> Path:
        return network_dir(self._root, self.network_id) / f"period={period}"


def network_dir(root: Path, network_id: str) -> Path:
    """Where the published periods of a network are."""
    if not _SAFE_KEY.match(network_id):
        raise StoreError(network_id, "is no safe partition key")
    # DuckDB refuses all networks at once where one key holds a bare `=`: "Hive partition mismatch".
    return root / f"network_id={network_id.replace('=', '%3D')}"


def tables_in(directory: Path) -> dict[str, list[Path]]:
    """Table -> its files in the directory of one period."""
    return {name: sorted(directory.glob(f"{name}-[0-9]*.parquet")) for name in TABLES}


def table_files(table: str, paths: Sequence[Path], target: Path) -> Iterator[TableFile]:
    """Describe files of a table as they are once they stand in `target`."""
    for path in paths:
        yield TableFile(
            table=table, path=target / path.name, rows=pq.read_metadata(path).num_rows, size_bytes=path.stat().st_size
        )


def _exchange(staging_dir: Path, target: Path) -> None:
    """Swap two directories in one step of the file system (Linux and macOS)."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(staging_dir), os.fsencode(target))
    swap = 2  # RENAME_EXCHANGE, RENAME_SWAP
    at_cwd = -100  # AT_FDCWD
    try:
        if sys.platform == "darwin":
            result = libc.renamex_np(*names, swap)
        else:
            result = libc.renameat2(at_cwd, names[0], at_cwd, names[1], swap)
        code = ctypes.get_errno() if result else 0
    except AttributeError:  # a C library older than the call
        code = errno.ENOSYS
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot swap
        logger.warning("%s: the file system cannot swap directories; replacing in two steps", target.parent)
        _replace_in_two_steps(staging_dir, target)
    elif code:
        raise OSError(code, os.strerror(code), str(target))


def _replace_in_two_steps(staging_dir: Path, target: Path) -> None:
    """Swap two directories; readers may find nothing for an instant, and `sweep` repairs a crash in it."""
    aside = target.with_name(f".{target.name}")
    target.rename(aside)
    staging_dir.rename(target)
    aside.rename(staging_dir)


def undo_half_replacement(aside: Path) -> None:
    """Give back, or remove, what a crash between two renames left aside."""
    target = aside.with_name(aside.name.removeprefix("."))
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(target)


def row_counts(files: Sequence[TableFile]) -> Mapping[str, int]:
    """Rows per table."""
    counts = dict.fromkeys(TABLES, 0)
    for file in files:
        counts[file.table] += file.rows
    return counts
