"""What is published already and would come out the same: it is left alone, and nothing is downloaded.

The published tables are the record. A part of a network is unchanged where all that an ingest
would write of it and that is known without reading the file stands there already (its `files`
row, its plans), and where the server says by ETag, or by Last-Modified and size, that the
content is the one that was read. Whoever cannot say so is read again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.fetch import Validators
from mrf_assets.lake.publish import TableFile
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, PLANS, TABLES
from mrf_assets.tasks import FileTask

_PROBES_AT_ONCE = 8  # of one network; how many one host gets is the limiter's business
_PERIOD_OUTSIDE = ("name", "index")  # sources of a period that are known before the file is read
_FAILED_REFERENCES = "remote_reference_failed"

ProbeFile = Callable[[FileTask], Validators | None]
Parts = Mapping[str, Mapping[str, TableFile]]  # label -> table -> its file


@dataclass(frozen=True, slots=True, kw_only=True)
class UnchangedPart:
    """One part of a network as it is published."""

    task: FileTask
    period: str
    row: dict[str, Any]  # of `files`
    files: Mapping[str, TableFile]

    @property
    def extraction_time(self) -> dt.datetime:
        """When it was extracted."""
        return dt.datetime.fromtimestamp(self.files[FILES.name].path.stat().st_mtime, tz=dt.UTC)


def plan_rows(task: FileTask) -> list[dict[str, Any]]:
    """The rows of `plans` of one file."""
    return [{"file_id": task.file_id, **asdict(plan)} for plan in task.plans]


def unchanged_parts(
    store: Store,
    parts: Sequence[tuple[FileTask, str]],
    row_of: Callable[[FileTask], Mapping[str, Any]],
    probe: ProbeFile,
) -> list[UnchangedPart]:
    """The parts of one network as they are published; empty unless every one of them is unchanged.

    `parts` are files with their labels, `row_of` gives what an ingest would write into `files` without
    reading, `probe` asks the server. It is asked only where all else is equal.
    """
    try:
        parts_of_period: dict[str, Parts] = {}
        published_parts: list[UnchangedPart] = []
        for task, label in parts:
            part = _published_part(store, task, label, parts_of_period)
            if part is None or not _would_be_written_again(part, row_of(task)):
                return []
            published_parts.append(part)
    except (OSError, pa.ArrowInvalid):  # replaced while it was looked at, or no parquet
        return []
    return published_parts if _all_the_same(published_parts, probe) else []


def _published_part(
    store: Store, task: FileTask, label: str, parts_of_period: dict[str, Parts]
) -> UnchangedPart | None:
    """One part, out of its period; where the address tells none, out of the latest that has it."""
    for period in [task.period] if task.period else reversed(store.periods(task.network_id)):
        if period not in parts_of_period:
            parts_of_period[period] = _by_label(store.files(task.network_id, period))
        files = parts_of_period[period].get(label, {})
        if files.keys() == TABLES.keys():
            (row,) = pq.read_table(files[FILES.name].path).to_pylist() or ({},)
            if row.get("file_id") == task.file_id:
                counts = {name: dict(row[name] or ()) for name in ("repairs", "ignored_keys")}
                return UnchangedPart(task=task, period=period, row=row | counts, files=files)
    return None


def _by_label(files: Sequence[TableFile]) -> Parts:
    files_of_label: dict[str, dict[str, TableFile]] = {}
    for file in files:
        files_of_label.setdefault(file.label, {})[file.table] = file
    return files_of_label


def _would_be_written_again(part: UnchangedPart, new_row: Mapping[str, Any]) -> bool:
    """True if an ingest of the same content would write the same."""
    row, task = part.row, part.task
    source = "name" if task.identity.period else "index" if task.index_period else None
    is_same_period = row["period_source"] == source if source else row["period_source"] not in _PERIOD_OUTSIDE
    return (
        is_same_period
        and all(name in row and row[name] == value for name, value in new_row.items())
        and not row["repairs"].get(_FAILED_REFERENCES)  # they may be there by now
        and pq.read_table(part.files[PLANS.name].path).to_pylist() == plan_rows(task)
    )


def _all_the_same(parts: Sequence[UnchangedPart], probe: ProbeFile) -> bool:
    """Whether the servers say so of every file; the first that does not ends the asking."""
    with ThreadPoolExecutor(max(min(_PROBES_AT_ONCE, len(parts)), 1), thread_name_prefix="probe") as pool:
        answers = [pool.submit(probe, part.task) for part in parts]
        for part, answer in zip(parts, answers, strict=True):
            validators = answer.result()
            if validators is None or not validators.same_as(_as_read(part.row)):
                pool.shutdown(wait=False, cancel_futures=True)
                return False
    return bool(parts)


def _as_read(row: Mapping[str, Any]) -> Validators:
    """What the server said of a file when it was read."""
    return Validators(etag=row["etag"], last_modified=row["last_modified"], size_bytes=row["size_bytes"])
