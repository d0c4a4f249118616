"""One look at all watched indexes: read what is due, ask about files, say what Dagster should know.

`IndexWatch.tick` is all that the sensor does; it knows nothing of Dagster. Its time has a bound: an
index is read by a process of its own, which goes on where a tick ends, and the next tick takes over
what it found. What is known between ticks stands in `memory`.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.child_processes import end_with_parent
from mrf_assets.clock import is_due
from mrf_assets.errors import MrfError
from mrf_assets.fetch import FetchOptions, Validators, probe
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES
from mrf_assets.settings import IndexWatching, Settings
from mrf_assets.tasks import FileTask
from mrf_assets.urls.address import Address
from mrf_assets.watch.memory import IndexStatus, IndexStore
from mrf_assets.watch.offers import Offer
from mrf_assets.watch.reader import is_unmodified, new_batch_id, quick_options, read_registered, request_digest
from mrf_assets.watch.registry import RegisteredIndex, read_registry

logger = logging.getLogger(__name__)

_READERS_AT_ONCE = 2
_PROBES_AT_ONCE = 8
_PROBE_SECONDS = 10.0  # all files that are asked about in a tick
_TELLINGS_AT_ONCE = 1_000  # observations of a tick
_PARTITIONS_AT_ONCE = 25_000  # keys added in a tick: 0.5 s
_FIRST_RETRY_SECONDS = 60.0  # after a failure; then twice as long each time, at most the poll interval
_MAX_DOUBLINGS = 20

SendAlert = Callable[[str, Sequence[str]], bool]  # takes title and lines; whether people were told
Ask = Callable[[Address, FetchOptions], Validators | None]  # what a file's place says of it now
Clock = Callable[[], float]  # seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What came of one look."""

    cursor: str
    partitions: list[str]  # keys to add, before all else
    offers: list[Offer]
    summary: str  # one line for a person


class Readings(Protocol):
    """Starts to read indexes."""

    def __call__(self, indexes: Sequence[RegisteredIndex], settings: Settings, seconds: float, batch_id: str) -> None:
        """Read them for at most so long; what is not read by then goes on, and is found by a later tick."""


class IndexWatch:
    """The watched indexes of one output folder."""

    def __init__(
        self,
        settings: Settings,
        options: IndexWatching,
        *,
        read_indexes: Readings | None = None,
        probe_file: Ask = probe,
        now: Clock = time.time,
    ) -> None:
        self._settings, self._options, self._probe_file, self._now = settings, options, probe_file, now
        self._read_indexes: Readings = read_indexes or read_in_processes
        self._store = IndexStore.under(settings.output_dir)

    def tick(self, cursor: str | None, *, queued_runs: int = 0, alert: SendAlert | None = None) -> Tick:
        """Look at everything that is due.

        Args:
            cursor: What the last tick that Dagster has taken over returned.
            queued_runs: How many runs wait already; no more than `sensor_max_runs` are to wait.
            alert: Told once of each index that begins to fail; of several of a tick together.

        Raises:
            SourceProblems: The registry has problems.
            StoreError: The memory cannot be kept.
        """
        deadline = time.monotonic() + self._options.sensor_tick_seconds
        indexes = read_registry(self._options.registry)
        self._store.sync(indexes)
        self._store.settle_cursor(cursor)
        batch_id = new_batch_id()
        self._poll(indexes, deadline, batch_id)
        self._probe(indexes, deadline, batch_id)
        cursor, offers, partitions = self._store.offer(
            runs=max(self._options.sensor_max_runs - queued_runs, 0),
            networks=_TELLINGS_AT_ONCE,
            partitions=_PARTITIONS_AT_ONCE,
        )
        statuses = self._store.statuses()
        if alert is not None:
            self._send_alert(alert, statuses)  # at the end: who does not answer costs seconds
        return Tick(cursor=cursor, partitions=partitions, offers=offers, summary=_summary(statuses, offers))

    def _poll(self, indexes: Sequence[RegisteredIndex], deadline: float, batch_id: str) -> None:
        statuses = {status.name: status for status in self._store.statuses()}
        due = sorted(
            (index for index in indexes if self._is_due(index, statuses[index.name])),
            key=lambda index: statuses[index.name].polled_at or 0.0,
        )
        changed: list[RegisteredIndex] = []
        for index in due:
            if time.monotonic() >= deadline or len(changed) == _READERS_AT_ONCE:
                break
            if not self._is_as_it_was(index, statuses[index.name]):
                changed.append(index)
        if changed:
            self._read_indexes(changed, self._settings, max(deadline - time.monotonic(), 0.0), batch_id)

    def _is_due(self, index: RegisteredIndex, status: IndexStatus) -> bool:
        if status.reading_since is not None:
            with self._store.alone(index.name) as is_free:
                if not is_free:
                    return False
                self._store.failed(
                    index.name, "the process that read it died, maybe for memory; it is read again", self._now()
                )
            return False
        if status.polled_at is None:
            return True
        wait_seconds = index.poll_minutes * 60
        if status.failures:
            backoff = _FIRST_RETRY_SECONDS * 2.0 ** min(status.failures - 1, _MAX_DOUBLINGS)
            wait_seconds = min(wait_seconds, backoff)
        elif not self._is_asked_as_before(index):
            return True
        return is_due(status.polled_at, wait_seconds, self._now())

    def _is_asked_as_before(self, index: RegisteredIndex) -> bool:
        """Whether the registry asks for what was read last; a list that cannot be read is for the reading to tell."""
        try:
            validators, _, _ = self._store.last_read(index.name, request_digest(index))
        except MrfError:
            return False
        return validators is not None

    def _is_as_it_was(self, index: RegisteredIndex, status: IndexStatus) -> bool:
        try:
            validators, _, _ = self._store.last_read(index.name, request_digest(index))
        except MrfError:
            return False
        if validators is None or status.failures or not is_unmodified(index, validators, self._settings):
            return False
        self._store.unchanged(index.name, self._now())
        return True

    def _probe(self, indexes: Sequence[RegisteredIndex], deadline: float, batch_id: str) -> None:
        """Ask about the files of networks whose turn it is, as many as the tick allows.

        Whoever does not answer in time is asked when the turn comes again: a dead host must not hold up the rest.
        """
        seconds = min(_PROBE_SECONDS, deadline - time.monotonic())
        due = self._due_files(indexes) if seconds > 0 else {}
        if not due:
            return
        options, store = quick_options(self._settings, seconds), Store(self._settings.output_dir.absolute())
        with ThreadPoolExecutor(_PROBES_AT_ONCE, thread_name_prefix="probe") as pool:
            futures = {
                (network_id, task.file_id): pool.submit(
                    self._validators_of, task.address, options.named_by(stranger=task.is_from_stranger)
                )
                for network_id, tasks in due.items()
                for task in random.sample(tasks, len(tasks))  # of a network with too many, others every time
            }
            wait(futures.values(), seconds)
            pool.shutdown(wait=False, cancel_futures=True)
            for network_id, tasks in due.items():
                answers = {task.file_id: futures[network_id, task.file_id] for task in tasks}
                validators = {
                    file_id: it.result() for file_id, it in answers.items() if it.done() and not it.cancelled()
                }
                self._compare(network_id, tasks, validators, store, batch_id)

    def _validators_of(self, address: Address, options: FetchOptions) -> Validators | None:
        try:
            return self._probe_file(address, options)
        except Exception as error:  # noqa: BLE001 - one server's answer must not end the ticks of all payers
            # The type alone: the text may hold the address with its signature.
            logger.error("%s: no answer that can be read (%s)", address, type(error).__name__)  # noqa: TRY400
            return None

    def _due_files(self, indexes: Sequence[RegisteredIndex]) -> dict[str, list[FileTask]]:
        """The files to ask about, by network: those first that have waited longest."""
        plan, room = TaskStore.under(self._settings.output_dir), self._options.sensor_max_probes
        files: dict[str, list[FileTask]] = {}
        for index in indexes:
            wait_seconds = index.poll_minutes * 60
            due = self._store.probe_due(index.name, wait_seconds, self._now(), room) if index.probe_files else ()
            for network_id in due:
                files[network_id] = plan.load(network_id)
                room -= len(files[network_id])
                if room <= 0:
                    return files
        return files

    def _compare(
        self,
        network_id: str,
        tasks: Sequence[FileTask],
        answers: Mapping[str, Validators | None],
        store: Store,
        batch_id: str,
    ) -> None:
        """Hold what servers say now against what they said before, or against what was read for what is published."""
        marks, is_changed = self._store.marks(network_id), False
        published_validators: dict[str, Validators] | None = None
        new_marks: list[tuple[str, str]] = []
        for task in tasks:
            answer = answers.get(task.file_id)
            mark = "" if answer is None else _mark(answer)
            if answer is None or not mark or mark == marks.get(task.file_id):
                continue
            if not marks.get(task.file_id):
                published_validators = (
                    _published_validators(store, network_id) if published_validators is None else published_validators
                )
                last_answer = published_validators.get(task.file_id)
                is_changed = is_changed or (last_answer is not None and _has_changed(last_answer, answer))
            else:
                is_changed = True
            new_marks.append((task.file_id, mark))
        self._store.probed(network_id, new_marks, is_changed=is_changed, batch_id=batch_id, now=self._now())

    def _send_alert(self, alert: SendAlert, statuses: Sequence[IndexStatus]) -> None:
        failures = [status for status in statuses if status.error is not None and not status.is_alerted]
        if not failures:
            return
        title = (
            f"Index {failures[0].name} cannot be read"
            if len(failures) == 1
            else f"{len(failures)} indexes cannot be read"
        )
        lines = [f"{status.name}: {status.error}" for status in failures]
        networks = sum(status.networks for status in failures)
        lines.insert(
            0, f"Nothing changes: {networks} networks stay as they are. `mrf index check` shows what is wrong."
        )
        if alert(title, lines):
            for status in failures:
                self._store.alerted(status.name)


def read_in_processes(indexes: Sequence[RegisteredIndex], settings: Settings, seconds: float, batch_id: str) -> None:
    """Read indexes beside this process: a long one neither ends with a tick nor slows the server down."""
    context = mp.get_context("spawn")
    deadline = time.monotonic() + seconds
    processes = [
        context.Process(target=_read_beside, args=(index, settings, batch_id), daemon=True) for index in indexes
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.0))


def _read_beside(index: RegisteredIndex, settings: Settings, batch_id: str) -> None:
    end_with_parent()  # a daemon process outlives a parent that was killed
    read_registered(index, settings, batch_id=batch_id)


def _mark(validators: Validators) -> str:
    """What tells one state of a file from the next, as one text; empty where nothing does."""
    if validators.etag:
        return validators.etag.removeprefix("W/")
    if validators.last_modified and validators.size_bytes:
        return f"{validators.last_modified} {validators.size_bytes}"
    return ""


def _has_changed(before: Validators, now: Validators) -> bool:
    """Whether both say enough to know that they are two states."""
    return bool(_mark(before)) and bool(before.etag) == bool(now.etag) and _mark(before) != _mark(now)


def _published_validators(store: Store, network_id: str) -> dict[str, Validators]:
    """file_id -> what was said of the file when it was read for what is published."""
    return {row["file_id"]: _validators(row) for row in _published_rows(store, network_id)}


def _published_rows(store: Store, network_id: str) -> Iterator[dict[str, Any]]:
    for period in store.periods(network_id):
        try:
            for path in store.tables(network_id, period).get(FILES.name, []):
                yield from pq.read_table(path, columns=["file_id", "etag", "last_modified", "size_bytes"]).to_pylist()
        except (OSError, pa.ArrowInvalid):  # replaced while it was looked at
            continue


def _validators(row: dict[str, Any]) -> Validators:
    return Validators(etag=row["etag"], last_modified=row["last_modified"], size_bytes=row["size_bytes"])


def _summary(statuses: Sequence[IndexStatus], offers: Sequence[Offer]) -> str:
    if not statuses:
        return "no index is registered; `mrf index add` registers one"
    parts = [
        f"{len(statuses)} indexes with {sum(it.networks for it in statuses)} networks",
        f"{sum(it.needs_run for it in offers)} runs requested",
    ]
    retirements = sum(it.is_retired for it in offers)
    parts += [f"{retirements} networks retired"] if retirements else []
    open_readings = [it.name for it in statuses if it.reading_since is not None]
    parts += [f"being read: {', '.join(open_readings)}"] if open_readings else []
    failures = [f"{it.name} ({it.error})" for it in statuses if it.error is not None]
    parts += [f"FAILING: {'; '.join(failures)}"] if failures else []
    pending_networks = sum(it.pending for it in statuses)  # what was offered just now no longer counts
    parts += [f"{pending_networks} networks wait for the next ticks"] if pending_networks else []
    return ", ".join(parts)
