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

import fcntl
import hashlib
import logging
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mrf_assets.files import as_store_errors, locked
from mrf_assets.lake.generations import (
    expire,
    expire_orphans,
    files_of_network,
    generations_in,
    purge_expired,
)
from mrf_assets.lake.publish import (
    READERS_GRACE_SECONDS,
    Stage,
    TableFile,
    network_dir,
    table_files,
    tables_in,
    undo_half_replacement,
)
from mrf_assets.schema import STORED_TABLES
from mrf_assets.tasks import FileTask

logger = logging.getLogger(__name__)


def part_labels(tasks: Sequence[FileTask]) -> dict[str, str]:
    """file_id -> the label in its files' names: `00002-of-00007`.

    Two files that claim the same part (a user gave one network id to both) get their file_id added.
    """
    plain = {task.file_id: f"{task.identity.part:05d}-of-{task.identity.parts:05d}" for task in tasks}
    names = list(plain.values())
    return {file_id: label if names.count(label) == 1 else f"{label}-{file_id[:8]}" for file_id, label in plain.items()}


class Store:
    """The output folder."""

    def __init__(self, root: Path, grace_seconds: float = READERS_GRACE_SECONDS) -> None:
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
        network_dir(self.root, network_id)  # an unsafe key is refused before anything is written
        directory = self.state_dir / "staging" / secrets.token_hex(8)
        with as_store_errors(self.root), ExitStack() as resources:
            with self._gate():
                directory.mkdir(parents=True)
                lock = resources.enter_context((directory / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)  # tells `sweep` that this process lives
            resources.callback(shutil.rmtree, directory, ignore_errors=True)
            yield Stage(self.root, network_id, directory, self._grace_seconds)

    @contextmanager
    def turn(self, network_id: str, labels: Sequence[str]) -> Iterator[None]:
        """From before the first byte is read until all is published: nobody else ingests these parts.

        A run that began earlier, and is slow, would publish what it read over what a later one read. Different parts,
        each ingested by itself, go on side by side; who ingests several waits for the whole network.

        Raises:
            StoreError: The folder cannot be written.
        """
        with ExitStack() as resources:
            is_alone = len(labels) == 1
            waits_for = f"another ingest of {network_id}"
            self._lock(resources, f"{network_id}/reading", waits_for, shared=is_alone)
            if is_alone:
                self._lock(resources, f"{network_id}/{labels[0]}", f"{waits_for}, part {labels[0]}")
            yield

    @contextmanager
    def publication(self, network_id: str) -> Iterator[None]:
        """From `carry_over` until all is published: what another publishes in between would be lost.

        Raises:
            StoreError: The folder cannot be written.
        """
        with ExitStack() as resources:
            self._lock(resources, f"{network_id}/publication", f"the publication of other parts of {network_id}")
            yield

    def _lock(self, resources: ExitStack, name: str, waits_for: str, *, shared: bool = False) -> None:
        path = self.state_dir / "locks" / hashlib.sha256(name.encode()).hexdigest()[:32]
        with as_store_errors(self.root):
            resources.enter_context(locked(path, waits_for, shared=shared))

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
        leftovers = 0
        with as_store_errors(self.root), self._gate():
            for directory in (self.state_dir / "staging").glob("*"):
                try:
                    with (directory / "lock").open("w") as lock:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(directory, ignore_errors=True)
                        leftovers += 1
                except OSError:  # held by a living process, or just gone
                    continue
            for aside in self.root.glob("network_id=*/.period=*"):
                undo_half_replacement(aside)
                leftovers += 1
            expire_orphans(self.root, self._grace_seconds)
            purge_expired(self.root)
        if leftovers:
            logger.info("removed %d leftovers of interrupted runs", leftovers)
        return leftovers

    def networks(self) -> list[str]:
        """The partition keys that have something published."""
        directories = {path.parent.name for path in self.root.glob("network_id=*/period=*")}
        return sorted(name.removeprefix("network_id=").replace("%3D", "=") for name in directories)

    def periods(self, network_id: str) -> list[str]:
        """The published periods of a network, oldest first."""
        return sorted(p.name.removeprefix("period=") for p in network_dir(self.root, network_id).glob("period=*"))

    def tables(self, network_id: str, period: str) -> dict[str, list[Path]]:
        """Table -> its published files, which are gone once the period is replaced; `retained_tables` has others."""
        return tables_in(network_dir(self.root, network_id) / f"period={period}")

    def retained_tables(self, network_id: str) -> dict[str, dict[str, list[Path]]]:
        """Period, oldest first -> table -> its published files, which stay readable where they are replaced meanwhile.

        Raises:
            StoreError: Tables of a period are missing, or a file has no name of ours.
        """
        tables: dict[str, dict[str, list[Path]]] = {}
        for file in files_of_network(self.root, network_dir(self.root, network_id)):
            tables.setdefault(file.period, {name: [] for name in STORED_TABLES})[file.table].append(file.path)
        return tables

    def files(self, network_id: str, period: str) -> list[TableFile]:
        """The published files of a period, table by table."""
        directory = network_dir(self.root, network_id) / f"period={period}"
        return [file for name, paths in tables_in(directory).items() for file in table_files(name, paths, directory)]

    def prune(self, network_id: str, keep_periods: int, exempt_periods: Sequence[str] = ()) -> list[str]:
        """Remove the oldest periods beyond `keep_periods`, but none of those exempt; returns those removed."""
        periods = [period for period in self.periods(network_id)[:-keep_periods] if period not in exempt_periods]
        for period in periods:
            for generation in generations_in(network_dir(self.root, network_id) / f"period={period}"):
                expire(self.root, generation, self._grace_seconds)
            grave = self.state_dir / "staging" / secrets.token_hex(8)
            grave.parent.mkdir(parents=True, exist_ok=True)
            (network_dir(self.root, network_id) / f"period={period}").rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
        purge_expired(self.root)
        return periods
