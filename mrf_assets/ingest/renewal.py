"""A new link for a file whose own was refused: signed links expire, and the index has newer ones.

The plan knows the index; many workers may meet the same expiry at once, so an index is read
again by one of them, and what it says serves all for some minutes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mrf_assets.clock import is_due
from mrf_assets.errors import AccessRefused, MrfError
from mrf_assets.ingest.plan import Renewal, TaskStore
from mrf_assets.settings import Limits
from mrf_assets.sources import SourceOptions, read_index
from mrf_assets.stream.raw_file import Opener
from mrf_assets.tasks import FileTask
from mrf_assets.urls.address import Address

logger = logging.getLogger(__name__)

_FRESH_SECONDS = (
    300.0  # no index is read again sooner: links live for hours at least (UHC), mostly weeks (BCBSA, Cigna)
)


def renewed_task(
    task: FileTask,
    refusal: AccessRefused,
    plan: TaskStore,
    open_url: Opener,
    *,
    limits: Limits,
    now: Callable[[], float] = time.time,
) -> FileTask:
    """The file with the link that its index has now; reads the index if nobody did just before.

    Raises:
        AccessRefused: There is none, and why; or the file came from no index.
    """
    index_address = task.index_address
    if index_address is None:
        raise refusal
    with plan.renewing(index_address):
        file = _planned(task, plan)
        renewal = plan.renewal(index_address)
        is_stale = renewal is None or is_due(renewal.read_time, _FRESH_SECONDS, now())
        if file.address == task.address and is_stale:
            _read_again(index_address, plan, open_url, limits, now)
            file, renewal = _planned(task, plan), plan.renewal(index_address)
    if file.address == task.address:
        answer = refusal.reason.partition(";")[0]
        raise AccessRefused(task.address, f"{answer}; {_why_no_link(task, renewal)}")
    return file


def _planned(task: FileTask, plan: TaskStore) -> FileTask:
    """The file as it is planned now; itself where it is planned no longer."""
    tasks = plan.load(task.network_id)
    same = [it for it in tasks if it.file_id == task.file_id]
    same_place = [it for it in tasks if it.place == task.place]
    return (same or same_place or [task])[0]


def _read_again(
    index_address: Address, plan: TaskStore, open_url: Opener, limits: Limits, now: Callable[[], float]
) -> None:
    logger.info("a link was refused; reading its index again: %s", index_address)
    try:
        plan.renew(index_address, read_index(index_address, open_url, SourceOptions(limits=limits)), now())
    except MrfError as error:
        plan.fail_renewal(index_address, str(error), now())


def _why_no_link(task: FileTask, renewal: Renewal | None) -> str:
    if renewal is None:  # planned anew in between
        return "it was planned anew meanwhile; run it again"
    if renewal.failure:
        return f"and its index cannot be read again ({renewal.failure}): run it over a newer address of the index"
    if task.file_id in renewal.missing:
        return f"and its index {task.index_address} names it no longer: run it over the index again"
    return f"and its index {task.index_address} still has the same link: try again later, or ask the payer"
