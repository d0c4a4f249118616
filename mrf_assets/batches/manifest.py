"""The manifest: an export of run metadata in the form that batch scripts used to write by hand.

One entry per source file. The plan says what there was to do, the records how it went.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mrf_assets.errors import StoreError
from mrf_assets.files import as_store_error, atomic_write
from mrf_assets.ingest.results import WhitelistCounts
from mrf_assets.tasks import FileTask

NO_OUTPUT_FILES = ("providers", "rates")  # null in the entry of a network that failed
_PAUSE_SHARE = 4.0  # of the time that the last writing took: with thousands of networks it grows with each

MANIFEST_NAME = "manifest.json"  # in the output folder


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """How one network's run went, as the event log tells."""

    network_id: str
    run_id: str
    batch_id: str | None
    status: str  # success, failed, canceled, running or queued
    error: str | None
    facts: Mapping[str, Any]  # the run's metadata as plain values
    tags: Mapping[str, str]
    seconds: float | None
    end_time: dt.datetime | None
    start_time: dt.datetime | None = None  # None: it never began
    is_lost: bool = False  # it failed for what happened to its process, not for its input
    is_read: bool = True  # False: `facts` and `error` are left out, for there are too many runs

    @property
    def has_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status not in ("running", "queued")


def build_manifest(
    *,
    batch_id: str | None,
    extraction_run: str,
    source_type: str | None,
    source_input: str | None,
    output_dir: Path,
    networks: Iterable[tuple[NetworkRecord, list[FileTask]]],
    planned_files: int | None = None,
) -> dict[str, Any]:
    """The manifest as JSON values.

    `extraction_run` is an ISO time; paths of output files are relative to `output_dir`;
    `planned_files` counts the files of networks that were not run, too.
    """
    extractions: list[dict[str, Any]] = []
    statuses: list[str] = []
    networks_unchanged, whitelist_counts = 0, None
    for record, tasks in networks:
        statuses.append(_status(record))
        networks_unchanged += _is_unchanged(record)
        if (of_network := _whitelist_counts(record)) is not None:
            whitelist_counts = of_network if whitelist_counts is None else whitelist_counts + of_network
        extractions.extend(_entries(record, tasks, output_dir))
    extractions.sort(key=lambda entry: (entry.pop("_position"), entry["url"]))
    successes = sum(entry["status"] == "success" for entry in extractions)
    total = len(extractions) if planned_files is None else planned_files
    return {
        "extraction_run": extraction_run,
        "batch_id": batch_id,
        "source_type": source_type,
        "source_input": source_input,
        "total_tasks": total,
        "extractions": extractions,
        "summary": {
            "successful": successes,
            "failed": len(extractions) - successes,
            "not_run": total - len(extractions),
            "networks_successful": statuses.count("success"),
            "networks_failed": len(statuses) - statuses.count("success"),
            "networks_unchanged": networks_unchanged,  # of the successful ones
            **({} if whitelist_counts is None else {"whitelist": asdict(whitelist_counts)}),
        },
    }


def _status(record: NetworkRecord) -> str:
    return "success" if record.status == "success" else "failed"


def _whitelist_counts(record: NetworkRecord) -> WhitelistCounts | None:
    """What whitelists kept of a network; None where it was read without one, or not to its end."""
    versions = record.facts.get("versions") or {}
    is_filtered = any(versions.get(name) for name in ("code_whitelist_sha256", "tin_whitelist_sha256"))
    return WhitelistCounts.of(record.facts) if is_filtered else None


def _is_unchanged(record: NetworkRecord) -> bool:
    """Whether the network was left as it is published."""
    return bool(record.facts.get("unchanged"))


def _entries(record: NetworkRecord, tasks: Sequence[FileTask], output_dir: Path) -> Iterator[dict[str, Any]]:
    """One entry per file: of those that the run says it worked on, else of those that are planned."""
    tasks_by_id = {task.file_id: task for task in tasks}
    worked_on: Sequence[Mapping[str, Any]] = record.facts.get("files") or [
        {
            "file_id": task.file_id,
            "index": task.position,
            "source_url": str(task.address),
            "filename": task.filename,
            "output_prefix": task.output_prefix,
        }
        for task in tasks
    ]
    for file in worked_on:
        yield _entry(record, file, tasks_by_id.get(file["file_id"]), output_dir)


def _entry(record: NetworkRecord, file: Mapping[str, Any], task: FileTask | None, output_dir: Path) -> dict[str, Any]:
    start = record.start_time or record.end_time
    timestamp = record.facts.get("extraction_timestamp") or (start.isoformat(timespec="seconds") if start else None)
    seconds = record.seconds
    entry: dict[str, Any] = {
        "_position": file["index"],
        "url": file["source_url"],
        "source_url": file["source_url"],
        "filename": file["filename"],
        "output_prefix": file["output_prefix"],
        "network_id": record.network_id,
        "extraction_timestamp": timestamp,
        "status": _status(record),
        "unchanged": _is_unchanged(record),
        "output_files": _output_files(record, output_dir),
        "error": record.error,
        "duration_seconds": None if seconds is None else round(seconds, 3),
        "plans": [
            {
                "plan_name": plan.plan_name,
                "plan_id_type": plan.plan_id_type,
                "plan_id": plan.plan_id,
                "plan_market_type": plan.plan_market_type,
            }
            for plan in (task.plans if task else ())
        ],
    }
    if task and task.arguments:
        entry["extra_args"] = dict(task.arguments)
    if "mrf/log_file" in record.tags:  # with more than one worker alone
        entry["log_file"] = record.tags["mrf/log_file"]
    return entry


def _output_files(record: NetworkRecord, output_dir: Path) -> dict[str, list[str] | None]:
    files: Mapping[str, list[str]] = record.facts.get("output_files") or {}
    if _status(record) == "failed":
        return dict.fromkeys(NO_OUTPUT_FILES)
    return {
        table: [
            str(Path(path).relative_to(output_dir)) if Path(path).is_relative_to(output_dir) else path for path in paths
        ]
        for table, paths in files.items()
    }


def write_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Write it as JSON, visible only when whole.

    Raises:
        StoreError: The folder cannot be written.
    """
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise as_store_error(path, error) from error


@dataclass(slots=True, kw_only=True)
class GrowingManifest:
    """The manifest of a batch that is under way, so that one that is killed leaves what it has done."""

    path: Path
    tasks_of: Callable[[str], list[FileTask]]  # asked once for each network: 5,000 take 6 s
    build: Callable[[Iterable[tuple[NetworkRecord, list[FileTask]]]], Mapping[str, Any]]
    records: dict[str, NetworkRecord] = field(default_factory=dict)  # of networks that have ended
    _tasks: dict[str, list[FileTask]] = field(default_factory=dict)
    _pause_until: float = 0.0
    _is_behind: bool = False

    def begin(self) -> None:
        """Put it in the place of the manifest of the batch before.

        Raises:
            StoreError: The folder cannot be written.
        """
        for network_id in self.records.keys() - self._tasks.keys():
            self._tasks[network_id] = self.tasks_of(network_id)
        networks = ((record, self._tasks[network_id]) for network_id, record in self.records.items())
        write_manifest(self.build(networks), self.path)

    def add(self, record: NetworkRecord) -> None:
        """One more network has ended; what cannot be written now is reported at the end of the batch."""
        self.records[record.network_id] = record
        self._tasks.pop(record.network_id, None)  # its run may have renewed the addresses of its files
        self._is_behind = True
        self.catch_up()

    def catch_up(self) -> None:
        """Write what a pause held back; call it every now and then while networks run."""
        start = time.monotonic()
        if self._is_behind and start >= self._pause_until:
            with suppress(StoreError):
                self.begin()
            self._is_behind = False
            end = time.monotonic()
            self._pause_until = end + _PAUSE_SHARE * (end - start)
