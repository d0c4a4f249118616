"""What a run tells of a network, as Dagster metadata: the facts the manifest is made from.

Numbers that a person follows over time are metadata of their own, so that Dagster plots them.
No value here holds a signature: addresses are canonical.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import dagster as dg

from mrf_assets.batches.manifest import NO_OUTPUT_FILES
from mrf_assets.defs.printable_metadata import printable_metadata
from mrf_assets.ingest.results import FileResult, NetworkResult, cost_of_files
from mrf_assets.lake.publish import row_counts
from mrf_assets.schema import Table
from mrf_assets.tasks import FileTask

_MAX_FILES = 1_000  # of one network listed in an event
_ERROR_CHARACTERS = 500


def task_facts(tasks: Sequence[FileTask], tags: Mapping[str, str]) -> dict[str, Any]:
    """What is known of a network before it is read."""
    first = tasks[0]
    return {
        "index": first.position,
        "url": str(first.address),
        "filename": first.filename,
        "network_id": first.network_id,
        "prefix": first.output_prefix,
        "plans": len({plan for task in tasks for plan in task.plans}),
        **({"log_file": dg.MetadataValue.path(tags["mrf/log_file"])} if "mrf/log_file" in tags else {}),
    }


def failure_facts(
    tasks: Sequence[FileTask], tags: Mapping[str, str], error: str, seconds: float, cost: Mapping[str, int]
) -> dict[str, Any]:
    """Metadata of a failed network; `cost` is what was fetched in vain, where it is known."""
    facts = task_facts(tasks, tags) if tasks else {}
    return printable_metadata(
        facts
        | dict(cost)
        | {
            "success": False,
            "duration_seconds": round(seconds, 3),
            "extraction_timestamp": _time_text(dt.datetime.now(tz=dt.UTC) - dt.timedelta(seconds=seconds)),
            "output_files": dg.MetadataValue.json(dict.fromkeys(NO_OUTPUT_FILES)),
            "error": error[-_ERROR_CHARACTERS:],
            "files": dg.MetadataValue.json([_planned_file(task) for task in tasks[:_MAX_FILES]]),
        }
    )


def table_facts(table: Table, result: NetworkResult, tags: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of one table's materialization."""
    tasks = [file.task for file in result.files]
    files = [file for file in result.published if file.table == table.name]
    rows = row_counts(result.published)
    rows_in = rows[table.name]
    json_bytes = sum(file.row["json_size_bytes"] for file in result.files)
    folder = files[-1].path.parent
    totals = {
        name: sum(file.row[name] for file in result.files)
        for name in ("items_read", "items_kept", "prices_read", "prices_rejected", "prices_filtered")
    }
    facts = (
        task_facts(tasks, tags)
        | {
            "dagster/partition_row_count": rows_in,
            "dagster/uri": folder.as_uri(),
            "path": dg.MetadataValue.path(folder),
            "periods": ", ".join(result.periods),
            "carried_parts": ", ".join(result.carried_parts) or "none",
            "size_bytes": sum(file.size_bytes for file in files),
            "source_json_bytes": json_bytes,
            "duration_seconds": round(result.seconds, 3),
            "repairs_total": sum(result.repairs.values()),
            "repairs": dg.MetadataValue.json(dict(sorted(result.repairs.items()))),
            "ignored_keys": dg.MetadataValue.json(_ignored(result.files)),
            "rejects_total": sum(result.rejects.values()),
            "rejects": dg.MetadataValue.json(dict(sorted(result.rejects.items()))),
            "cpu_seconds": round(result.cpu_seconds, 3),
            "success": True,
            "error": dg.MetadataValue.null(),
            "unchanged": result.unchanged_since is not None,
            "extraction_timestamp": _time_text(result.unchanged_since or result.start_time),
            "output_files": dg.MetadataValue.json(_output_files(result)),
            "files": dg.MetadataValue.json([_read_file(file) for file in result.files[:_MAX_FILES]]),
            "versions": dg.MetadataValue.json(_versions(result.files[0])),
            "summary": dg.MetadataValue.md(_summary(result, rows)),
        }
        | totals
        | cost_of_files(result.files)
    )
    if result.unchanged_since is None:  # what was not done has no speed
        facts |= {
            "json_mb_per_second": round(json_bytes / 1e6 / result.seconds, 3),
            "rows_per_second": round(rows_in / result.seconds, 1),
        }
    return printable_metadata(facts)


def data_version(result: NetworkResult) -> str:
    """Names what was published: equal for equal source bytes, whitelists and naming rules."""
    facts = sorted(
        [file.row[name] or "" for name in ("file_id", "sha256", "code_whitelist_sha256", "tin_whitelist_sha256")]
        for file in result.files
    )
    rules = result.files[0].row["network_id_rule_version"]
    return sha256(json.dumps([facts, result.carried_parts, rules]).encode()).hexdigest()[:16]


def _output_files(result: NetworkResult) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for file in result.published:
        names.setdefault(file.table, []).append(str(file.path))
    return names


def _planned_file(task: FileTask) -> dict[str, Any]:
    return {
        "file_id": task.file_id,
        "index": task.position,
        "source_url": str(task.address),
        "filename": task.filename,
        "output_prefix": task.output_prefix,
    }


def _read_file(file: FileResult) -> dict[str, Any]:
    columns = ("size_bytes", "json_size_bytes", "sha256", "etag", "last_modified", "prices_read", "rate_rows")
    return (
        _planned_file(file.task)
        | {name: file.row[name] for name in columns}
        | {"period": file.period, "duration_seconds": round(file.seconds, 3), "transfer": asdict(file.transfer)}
    )


def _ignored(files: Sequence[FileResult]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for file in files:
        for path, count in file.row["ignored_keys"].items():
            counts[path] = counts.get(path, 0) + count
    return dict(sorted(counts.items()))


def _versions(file: FileResult) -> dict[str, Any]:
    names = ("reader", "network_id_rule_version", "code_whitelist_sha256", "tin_whitelist_sha256")
    return {"mrf_assets": version("mrf_assets")} | {name: file.row[name] for name in names}


def _summary(result: NetworkResult, rows: Mapping[str, int]) -> str:
    table = "\n".join(f"| {name} | {count:,} |" for name, count in rows.items())
    repairs = ", ".join(f"{kind} {count:,}" for kind, count in result.repairs.most_common(8)) or "none"
    since = result.unchanged_since
    how = f"unchanged since {_time_text(since)}, not read again" if since else f"in {result.seconds:,.1f} s"
    return (
        f"| table | rows |\n|---|---:|\n{table}\n\n"
        f"{len(result.files)} file(s), {sum(f.row['json_size_bytes'] for f in result.files) / 1e6:,.1f} MB of JSON "
        f"{how}. Repairs: {repairs}."
    )


def _time_text(moment: dt.datetime | None) -> str:
    """A moment, by default the present one."""
    return (moment or dt.datetime.now(tz=dt.UTC)).isoformat(timespec="seconds")
