"""Read one watched index: what it names now goes into the plan, what has changed into the memory.

An index that cannot be read, is empty or has shrunk absurdly changes nothing. What follows from
changes is `tick`'s business.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import chain, islice

from mrf_assets.errors import IndexShrunk, MrfError, NotModified, TimeSpent
from mrf_assets.fetch import FetchOptions, Gate, Slot, Validators, open_url
from mrf_assets.ingest.plan import TaskStore, plain_value
from mrf_assets.settings import Settings
from mrf_assets.sources import SourceCounts, SourceOptions, read_index
from mrf_assets.stream.raw_file import RawFile
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.text import printable
from mrf_assets.urls.address import Address
from mrf_assets.watch.listing import Listing, settle
from mrf_assets.watch.memory import IndexStatus, IndexStore
from mrf_assets.watch.registry import RegisteredIndex
from mrf_assets.whitelist import read_code_whitelist

logger = logging.getLogger(__name__)

_QUICK_SECONDS = 5.0  # for a question that a tick waits for


def source_options(index: RegisteredIndex) -> SourceOptions:
    """What the registry says of how much of an index is read."""
    return SourceOptions(structures=index.structures, match=index.match, max_files=index.max_files)


def request_digest(index: RegisteredIndex) -> str:
    """Names what is asked of an index, as "SELECTION.REST": which of its networks, and where and for what.

    Raises:
        ListFileError: The whitelist cannot be read.
    """
    options = source_options(index)
    selection = _digest([options.structures, options.match, options.max_files])
    return f"{selection}.{_digest([index.url.shown, _codes_digest(index)])}"


def _digest(facts: Sequence[object]) -> str:
    return sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _codes_digest(index: RegisteredIndex) -> str | None:
    return None if index.cpt_whitelist is None else read_code_whitelist(index.cpt_whitelist).sha256


class _ImpatientGate:
    """Asks hosts in turn as everybody does, and gives up where the turn does not come in time."""

    def __init__(self, gate: Gate, deadline: float) -> None:
        self._gate, self._deadline = gate, deadline

    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Slot]:
        del sleep

        def wait(seconds: float) -> None:
            if time.monotonic() + seconds > self._deadline:
                raise TimeSpent(host, "all its places are taken; it is asked later")
            time.sleep(seconds)

        return self._gate.slot(host, sleep=wait)


def quick_options(settings: Settings, seconds: float) -> FetchOptions:
    """For questions that a tick waits for: one attempt, in about so many seconds."""
    options = FetchOptions.of(settings)
    return options.changed(
        connect_timeout_seconds=min(seconds, options.connect_timeout_seconds),
        read_timeout_seconds=min(seconds, options.read_timeout_seconds),
        total_timeout_seconds=seconds,
        max_retries=0,
        gate=_ImpatientGate(options.gate, time.monotonic() + seconds),
    )


def is_unmodified(index: RegisteredIndex, validators: Validators, settings: Settings) -> bool:
    """Whether the server says at once that an index is as it was; False in doubt, for a reading to find out."""
    try:
        with open_url(index.url, quick_options(settings, _QUICK_SECONDS), if_changed_from=validators):
            return False
    except NotModified:
        return True
    except MrfError:
        return False


def read_registered(
    index: RegisteredIndex, settings: Settings, now: Callable[[], float] = time.time, *, batch_id: str | None = None
) -> bool:
    """Read an index if it has changed; False where another process is at it. What goes wrong is noted in the memory."""
    store = IndexStore.under(settings.output_dir)
    with store.alone(index.name) as is_ours:
        if is_ours:
            store.begins(index.name, now())
            try:
                _read(index, settings, store, now, batch_id or new_batch_id())
            except MrfError as error:
                logger.warning("index %s: not read, nothing changes: %s", index.name, printable(str(error)))
                store.failed(index.name, str(error), now())
        return is_ours


def new_batch_id() -> str:
    """What the runs that follow from one look have in common; begins with its time, in UTC."""
    return f"{dt.datetime.now(tz=dt.UTC):%Y%m%d_%H%M%S}-{secrets.token_hex(2)}"


def _read(
    index: RegisteredIndex, settings: Settings, store: IndexStore, now: Callable[[], float], batch_id: str
) -> None:
    request = request_digest(index)
    validators, last_digest, _ = store.last_read(index.name, request)
    files: list[RawFile] = []

    @contextmanager
    def open_index(address: Address) -> Iterator[RawFile]:
        with open_url(address, FetchOptions.of(settings), if_changed_from=validators) as raw:
            files.append(raw)
            yield raw

    tasks = read_index(index.url, open_index, source_options(index), SourceCounts())
    try:
        tasks = chain(list(islice(tasks, 1)), tasks)  # the index is read to its end before the first task
        file = files[0]
        # Where the reading stopped early, the hash is of a beginning whose length the network chose.
        digest = None if index.structures else file.sha256
        if digest is not None and digest == last_digest:
            store.unchanged(index.name, now(), _validators(file))  # new ones: the next look is a question again
            return
        with store.reading(index.name) as listing:
            # Another address names the same networks: payers move their indexes every month.
            is_comparable = store.has_read_selection(index.name, request)
            before = next(it for it in store.statuses() if it.name == index.name) if is_comparable else None
            own_tasks = _own_tasks(tasks, index, listing, before)
            TaskStore.under(settings.output_dir).save(own_tasks)
            settle(listing, request=request, validators=_validators(file), digest=digest, batch_id=batch_id, now=now())
        logger.info("index %s: read, %d networks, %d files", index.name, listing.networks_settled, listing.listed_files)
    except NotModified:
        store.unchanged(index.name, now())


def _validators(file: RawFile) -> Validators:
    return Validators(etag=file.etag, last_modified=file.last_modified, size_bytes=file.size_bytes)


def _own_tasks(
    tasks: Iterator[FileTask], index: RegisteredIndex, listing: Listing, before: IndexStatus | None
) -> Iterator[FileTask]:
    """The tasks that are this index's own, taken down as they pass.

    Raises:
        IndexShrunk: Behind the last one, so that none of them is saved.
    """
    codes = _codes_digest(index)
    whitelist = None if index.cpt_whitelist is None else str(index.cpt_whitelist)
    last: tuple[tuple[Plan, ...] | None, str] = (None, "")
    listed_files = 0
    for task in tasks:
        listed_files += 1
        if not listing.claim(task.network_id):
            continue
        if task.plans is not last[0]:
            last = task.plans, sha256(json.dumps([plain_value(plan) for plan in task.plans]).encode()).hexdigest()
        identity, period = task.identity, task.identity.period or task.index_period
        # All that is published of a file and that its index says. Plans too: they are a table.
        facts = [identity.rule_version, period, identity.part, identity.parts, task.mirror_urls, codes, last[1]]
        listing.add(task.network_id, task.file_id, _digest(facts), task.address.host or "local", period)
        yield replace(task, index_whitelist=whitelist)
    listing.listed_files = listed_files
    if before is not None:
        for what, old_count, new_count in (
            ("networks", before.networks, listing.networks),
            ("files", before.files, listed_files),
        ):
            if new_count < old_count * index.smallest_share and new_count < old_count - 1:
                raise IndexShrunk(index.url, what, old_count, new_count)
