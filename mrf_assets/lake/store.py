"""Record batches -> staged parquet -> published partition.

    <root>/network_id=<key>/period=<YYYY-MM>/<table>-<label>-g<generation>.parquet     published, hive style
    <root>/.mrf/staging/<random>/                                                      in the making
    <root>/.mrf/locks/<hash of a network or a part>                                    who may go on

All tables of a network and period stand in one directory, so one rename publishes them
together: a reader that opens the directory gets the old set or the new one, and the names of both
differ (`generations`). A crash leaves the old one; `sweep` removes what dead processes left behind.
An `=` in a key is `%3D` in the path, as readers of hive partitions decode it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import StoreError
from mrf_assets.files import as_store_errors, locked, sync
from mrf_assets.lake.generations import (
    FileName,
    expire,
    expire_orphans,
    files_of_network,
    generations_in,
    new_generation,
    purge_expired,
    retain,
)
from mrf_assets.schema import TABLES, Table
from mrf_assets.tasks import FileTask

logger = logging.getLogger(__name__)

_SAFE_KEY = re.compile(r"\A[a-z0-9][a-z0-9_.~=-]*\Z")
_PERIOD = re.compile(r"\A[0-9]{4}-[0-9]{2}\Z")
# High-cardinality integers: a dictionary only costs time and space (benchmarks/RESULTS.md).
_WITHOUT_DICTIONARY = {"npi"}
# Queries ask for one of these; a row group that does not have it is not read (benchmarks/NOTES.md, "Look-ups").
# By column, the share of row groups that are read in vain: of codes a row group has few, and exactness costs little.
_LOOKED_UP = {"billing_code": 0.001, "npi": 0.05, "tin_value": 0.05}
# Nobody asks for the least and the greatest of these, and to find them is a tenth of writing `rates`; nor of lists'.
_WITHOUT_STATISTICS = {"name", "description", "additional_information"}
_MAX_VALUES: Final = 50_000  # that a row group has by default; filters fold down to fewer
_GRACE_SECONDS: Final = 3_600.0
_COMPRESSION: Final = "zstd"


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


def part_labels(tasks: Sequence[FileTask]) -> dict[str, str]:
    """file_id -> the label in its files' names: `00002-of-00007`.

    Two files that claim the same part (a user gave one network id to both) get their file_id added.
    """
    plain = {task.file_id: f"{task.identity.part:05d}-of-{task.identity.parts:05d}" for task in tasks}
    taken = list(plain.values())
    return {file_id: label if taken.count(label) == 1 else f"{label}-{file_id[:8]}" for file_id, label in plain.items()}


def _dictionary_columns(table: Table) -> list[str]:
    return [leaf for c in table.columns if c.name not in _WITHOUT_DICTIONARY for leaf in _leaves(c.name, c.type)]


def _statistics_columns(table: Table) -> list[str]:
    return [c.name for c in table.columns if c.name not in _WITHOUT_STATISTICS and not pa.types.is_nested(c.type)]


def _bloom_filters(table: Table) -> dict[str, dict[str, float]]:
    return {
        column.name: {"ndv": _MAX_VALUES, "fpp": _LOOKED_UP[column.name]}
        for column in table.columns
        if column.name in _LOOKED_UP
    }


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Parquet's paths of the values below a column."""
    if isinstance(kind, pa.MapType):
        yield from (f"{path}.key_value.key", f"{path}.key_value.value")
    elif isinstance(kind, pa.ListType):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif isinstance(kind, pa.StructType):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path


class PartWriter:
    """The tables of one source file, written as their batches come."""

    def __init__(self, directory: Path, label: str) -> None:
        self._directory, self._label = directory, label
        self._open = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.rows = dict.fromkeys(TABLES, 0)

    def __enter__(self) -> Self:
        for table in TABLES.values():
            writer = pq.ParquetWriter(
                self._directory / f"{table.name}-{self._label}.parquet",
                table.arrow,
                compression=_COMPRESSION,
                use_dictionary=_dictionary_columns(table),  # type: ignore[arg-type]  # the stubs know bool alone
                write_statistics=_statistics_columns(table),
                bloom_filter_options=_bloom_filters(table),
            )
            self._writers[table.name] = self._open.enter_context(writer)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        """Append a batch as one row group."""
        if not batch.num_rows:
            return
        self._writers[table].write_batch(batch, row_group_size=batch.num_rows)
        self.rows[table] += batch.num_rows


class Stage:
    """What one run is about to publish for one network; gone when the run ends."""

    def __init__(self, root: Path, network_id: str, directory: Path, grace_seconds: float = _GRACE_SECONDS) -> None:
        self._root, self.network_id, self.directory = root, network_id, directory
        self._grace_seconds = grace_seconds

    def part(self, label: str) -> PartWriter:
        """A writer for one file's tables; `settle` gives them their period afterwards."""
        incoming = self.directory / "incoming"
        incoming.mkdir(exist_ok=True)
        return PartWriter(incoming, label)

    def set_aside(self, label: str) -> dict[str, Path]:
        """Move a written part out of the way, to be written anew from; table -> its file."""
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
        return _tables(self.directory / f"period={period}")

    def publish(self, period: str) -> list[TableFile]:
        """Make one period visible, replacing what stood there, in one step.

        What was replaced stays readable by its own names for the grace time.
        """
        staged = self.directory / f"period={period}"
        target = self._published(period)
        target.parent.mkdir(parents=True, exist_ok=True)
        generation = new_generation()
        for path in list(staged.iterdir()):
            if name := FileName.of(path.name):
                path = path.rename(staged / name.published(generation))  # noqa: PLW2901 - the same file
            sync(path)
        sync(staged)
        files = [file for name, paths in _tables(staged).items() for file in _describe(name, paths, target)]
        retain(self._root, staged, target, generation)
        self._expire(target)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            _exchange(staged, target)
            self._expire(staged)  # what was really replaced: others may have published in between
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
        staged = self.directory / f"period={period}"
        parts = {name.part for path in staged.iterdir() if (name := FileName.of(path.name))}
        counts = {part.partition("-of-")[2] for part in parts}
        carried = set()
        for path in self._published(period).glob("*.parquet"):
            name = FileName.of(path.name)
            if name and name.part not in parts and name.part.partition("-of-")[2] in counts:
                os.link(path, staged / name.staged_anew())
                carried.add(name.part)
        return sorted(carried)

    def _published(self, period: str) -> Path:
        return _network_dir(self._root, self.network_id) / f"period={period}"


class Store:
    """The output folder."""

    def __init__(self, root: Path, grace_seconds: float = _GRACE_SECONDS) -> None:
        self.root = root
        self._grace_seconds = grace_seconds

    @property
    def state_dir(self) -> Path:
        """Where what is not published is kept."""
        return self.root / ".mrf"

    @contextmanager
    def stage(self, network_id: str) -> Iterator[Stage]:
        """A private place to write; whatever is left in it is removed at the end.

        Raises:
            StoreError: The folder cannot be written, or the disk is full.
        """
        _network_dir(self.root, network_id)  # an unsafe key is refused before anything is written
        directory = self.state_dir / "staging" / secrets.token_hex(8)
        with as_store_errors(self.root), ExitStack() as held:
            with self._gate():
                directory.mkdir(parents=True)
                lock = held.enter_context((directory / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)  # tells `sweep` that this process lives
            held.callback(shutil.rmtree, directory, ignore_errors=True)
            yield Stage(self.root, network_id, directory, self._grace_seconds)

    @contextmanager
    def turn(self, network_id: str, labels: Sequence[str]) -> Iterator[None]:
        """From before the first byte is read until all is published: nobody else ingests these parts.

        A run that began earlier, and is slow, would publish what it read over what a later one read. Different parts,
        each ingested by itself, go on side by side; who ingests several waits for the whole network.

        Raises:
            StoreError: The folder cannot be written.
        """
        with ExitStack() as held:
            is_alone = len(labels) == 1
            waits_for = f"another ingest of {network_id}"
            self._lock(held, f"{network_id}/reading", waits_for, shared=is_alone)
            if is_alone:
                self._lock(held, f"{network_id}/{labels[0]}", f"{waits_for}, part {labels[0]}")
            yield

    @contextmanager
    def publication(self, network_id: str) -> Iterator[None]:
        """From `carry_over` until all is published: what another publishes in between would be lost.

        Raises:
            StoreError: The folder cannot be written.
        """
        with ExitStack() as held:
            self._lock(held, f"{network_id}/publication", f"the publication of other parts of {network_id}")
            yield

    def _lock(self, held: ExitStack, name: str, waits_for: str, *, shared: bool = False) -> None:
        path = self.state_dir / "locks" / hashlib.sha256(name.encode()).hexdigest()[:32]
        with as_store_errors(self.root):
            held.enter_context(locked(path, waits_for, shared=shared))

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """One at a time: a stage that has no lock yet must not look like a leftover."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with (self.state_dir / "lock").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def sweep(self) -> int:
        """Remove what dead processes left behind; returns how many leftovers there were.

        Raises:
            StoreError: The folder cannot be written.
        """
        if not self.state_dir.is_dir():
            return 0
        swept = 0
        with as_store_errors(self.root), self._gate():
            for directory in (self.state_dir / "staging").glob("*"):
                try:
                    with (directory / "lock").open("w") as lock:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(directory, ignore_errors=True)
                        swept += 1
                except OSError:  # held by a living process, or just gone
                    continue
            for aside in self.root.glob("network_id=*/.period=*"):
                _undo_half_replacement(aside)
                swept += 1
            expire_orphans(self.root, self._grace_seconds)
            purge_expired(self.root)
        if swept:
            logger.info("removed %d leftovers of interrupted runs", swept)
        return swept

    def networks(self) -> list[str]:
        """The partition keys that have something published."""
        directories = {path.parent.name for path in self.root.glob("network_id=*/period=*")}
        return sorted(name.removeprefix("network_id=").replace("%3D", "=") for name in directories)

    def periods(self, network_id: str) -> list[str]:
        """The published periods of a network, oldest first."""
        return sorted(p.name.removeprefix("period=") for p in _network_dir(self.root, network_id).glob("period=*"))

    def tables(self, network_id: str, period: str) -> dict[str, list[Path]]:
        """Table -> its published files, which are gone once the period is replaced; `held_tables` has others."""
        return _tables(_network_dir(self.root, network_id) / f"period={period}")

    def held_tables(self, network_id: str) -> dict[str, dict[str, list[Path]]]:
        """Period, oldest first -> table -> its published files, which stay readable where they are replaced meanwhile.

        Raises:
            StoreError: Tables of a period are missing, or a file has no name of ours.
        """
        found: dict[str, dict[str, list[Path]]] = {}
        for file in files_of_network(self.root, _network_dir(self.root, network_id)):
            found.setdefault(file.period, {name: [] for name in TABLES})[file.table].append(file.path)
        return found

    def files(self, network_id: str, period: str) -> list[TableFile]:
        """The published files of a period, table by table."""
        directory = _network_dir(self.root, network_id) / f"period={period}"
        return [file for name, paths in _tables(directory).items() for file in _describe(name, paths, directory)]

    def prune(self, network_id: str, keep_periods: int, spared: Sequence[str] = ()) -> list[str]:
        """Remove the oldest periods beyond `keep_periods`, but none of those spared; returns those removed."""
        removed = [period for period in self.periods(network_id)[:-keep_periods] if period not in spared]
        for period in removed:
            for generation in generations_in(_network_dir(self.root, network_id) / f"period={period}"):
                expire(self.root, generation, self._grace_seconds)
            grave = self.state_dir / "staging" / secrets.token_hex(8)
            grave.parent.mkdir(parents=True, exist_ok=True)
            (_network_dir(self.root, network_id) / f"period={period}").rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
        purge_expired(self.root)
        return removed


def _network_dir(root: Path, network_id: str) -> Path:
    if not _SAFE_KEY.match(network_id):
        raise StoreError(network_id, "is no safe partition key")
    # DuckDB refuses all networks at once where one key holds a bare `=`: "Hive partition mismatch".
    return root / f"network_id={network_id.replace('=', '%3D')}"


def _tables(directory: Path) -> dict[str, list[Path]]:
    return {name: sorted(directory.glob(f"{name}-[0-9]*.parquet")) for name in TABLES}


def _describe(table: str, paths: Sequence[Path], target: Path) -> Iterator[TableFile]:
    for path in paths:
        yield TableFile(
            table=table, path=target / path.name, rows=pq.read_metadata(path).num_rows, size_bytes=path.stat().st_size
        )


def _exchange(staged: Path, target: Path) -> None:
    """Swap two directories in one step of the file system (Linux and macOS)."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(staged), os.fsencode(target))
    swap = 2  # RENAME_EXCHANGE, RENAME_SWAP
    at_cwd = -100  # AT_FDCWD
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, swap)
        else:
            failed = libc.renameat2(at_cwd, names[0], at_cwd, names[1], swap)
        code = ctypes.get_errno() if failed else 0
    except AttributeError:  # a C library older than the call
        code = errno.ENOSYS
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot swap
        logger.warning("%s: the file system cannot swap directories; replacing in two steps", target.parent)
        _replace_in_two_steps(staged, target)
    elif code:
        raise OSError(code, os.strerror(code), str(target))


def _replace_in_two_steps(staged: Path, target: Path) -> None:
    """Swap two directories; readers may find nothing for an instant, and `sweep` repairs a crash in it."""
    aside = target.with_name(f".{target.name}")
    target.rename(aside)
    staged.rename(target)
    aside.rename(staged)


def _undo_half_replacement(aside: Path) -> None:
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
