"""What a run leaves for people: progress, errors and report next to its checkpoint, and an alert."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mrf_assets.alerts import Alert, Severity
from mrf_assets.errors import MrfError, SettingError
from mrf_assets.files import atomic_write
from mrf_assets.providers.inputs import INVALID
from mrf_assets.providers.lookup import Ledger, LookUpFailure, LookUpReport, Statistics
from mrf_assets.settings import dollars_text

_DEFAULT, _SHORT = "enrichment_progress", "enrichment"  # the neighbours of the default checkpoint have short names
_OURS = ("_report.json", "_errors.log", ".sqlite", ".lock")  # ends of what lies next to a checkpoint
_LISTED_IDS = 1_000  # a million ids in a file that is rewritten all the time would cost more than the look-ups
_LISTED_ERRORS = 100
_MIN_SECONDS = 1.0  # between two writes of the progress
_REST = 50  # times as long as a write took: counting a million items takes a second


class RunFiles:
    """`enrichment_progress.json` and its neighbours; each checkpoint of a folder has its own."""

    def __init__(self, progress: Path) -> None:
        begin = _SHORT if progress.stem == _DEFAULT else progress.stem
        self.progress = progress
        self.ledger = progress.with_suffix(".sqlite")
        self.report = progress.with_name(f"{begin}_report.json")
        self.errors = progress.with_name(f"{begin}_errors.log")
        self._next_write = 0.0
        if progress.name.endswith(_OURS) or progress.stem == _SHORT:
            raise SettingError(
                "--checkpoint", f"{progress.name} may share a file with another checkpoint of the folder; name another"
            )

    def write_progress(
        self, ledger: Ledger, statistics: Statistics, facts: Mapping[str, Any], *, now: bool = False
    ) -> None:
        """State of the batch as one JSON object, with some facts more; not too often, unless it must be `now`."""
        start = time.monotonic()
        if not now and start < self._next_write:
            return
        counts = ledger.counts()
        write_json(
            self.progress,
            {
                "started_at": ledger.noted("started_at"),
                "last_updated": utc_now(),
                "total_records": counts.total(),
                "completed_count": counts["done"],
                "failed_count": counts["failed"],
                "completed_ids": ledger.keys("done", _LISTED_IDS),
                "failed_ids": ledger.keys("failed", _LISTED_IDS),
                "ids_listed_at_most": _LISTED_IDS,
                "total_requests": statistics.requests,
                "total_bytes": statistics.received_bytes,
                **errors_of(ledger),
                **facts,
            },
        )
        end = time.monotonic()
        self._next_write = end + max(_MIN_SECONDS, _REST * (end - start))

    def log_failures(self, failures: Iterable[LookUpFailure]) -> None:
        """One JSON line for each item that was given up."""
        lines = [
            json.dumps(
                {
                    "time": utc_now(),
                    "id": failure.item.key,
                    "reason": failure.reason,
                    "error": failure.detail,
                    "http_status": failure.http_status,
                    "requests": failure.requests,
                }
            )
            for failure in failures
        ]
        if lines:
            with self.errors.open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")


def errors_of(ledger: Ledger) -> dict[str, Any]:
    """How many items are given up, by reason, and the last of them one by one, the newest at the end."""
    return {
        "error_counts": dict(ledger.reasons()),
        "errors": [
            {
                "time": failed.last_updated,
                "id": failed.key,
                "reason": failed.reason,
                "error": failed.error,
                "http_status": failed.http_status,
                "requests": failed.attempts,
            }
            for failed in ledger.failed(_LISTED_ERRORS)
        ],
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, default=str)
        file.write("\n")


def utc_now() -> str:
    """ISO 8601, to the second."""
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")


def batch_lines(report: LookUpReport) -> tuple[str, str]:
    """How the batch is now: records with a row, records without, and their share; earlier runs count."""
    numbers, invalid = report.statistics, report.reasons.get(INVALID, 0)
    of_them = f" ({invalid} of them invalid)" if invalid else ""
    rate = numbers.batch_success_rate
    return (
        f"Completed: {numbers.batch_completed}, failed: {numbers.batch_failed}{of_them}, pending: {numbers.pending}",
        f"Success rate: {'no record has ended' if rate is None else f'{rate:.1%}'}",
    )


def failures_hint(report: LookUpReport) -> str:
    """What to do about the records that failed; the registry cannot help with invalid ones."""
    invalid = report.reasons.get(INVALID, 0)
    hints = ["--retry-failed looks them up again"] if report.statistics.batch_failed > invalid else []
    hints += ["correct the invalid ones in the input and use --resume"] if invalid else []
    return "; ".join(hints)


def ended_alert(location: str, report: LookUpReport) -> Alert:
    """The summary of a run that came to its end, early or not."""
    numbers = report.statistics
    severity: Severity = "failure" if numbers.batch_failed else "warning" if report.stop_reason else "success"
    lines = [
        *batch_lines(report),
        f"{numbers.requests} requests ({numbers.requests_refused} refused) in {numbers.seconds:,.0f} s.",
        f"Cost: {dollars_text(report.cost_dollars)}.",
    ]
    if report.stop_reason is not None:
        lines.append(f"Stopped: {report.stop_reason}.")
    reasons = sorted(report.reasons.items(), key=lambda each: -each[1])
    lines += [f"Failed for {reason}: {count}" for reason, count in reasons]
    return Alert(title=f"Enrichment of {Path(location).name} ended", lines=tuple(lines), severity=severity)


def failed_alert(location: str, error: MrfError) -> Alert:
    """A run that could not go on."""
    return Alert(title=f"Enrichment of {Path(location).name} failed", lines=(str(error),), severity="failure")
