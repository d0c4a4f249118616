"""What people read when `mrf enrich` has ended, on the console and as an alert."""

from __future__ import annotations

from pathlib import Path

from mrf_assets.alerts import Alert, Severity
from mrf_assets.errors import MrfError
from mrf_assets.providers.inputs import INVALID
from mrf_assets.providers.lookup import BatchReport, dollars_text


def batch_lines(report: BatchReport) -> tuple[str, str]:
    """How the batch is now: records with a row, records without, and their share; earlier runs count."""
    numbers, invalid = report.statistics, report.reasons.get(INVALID, 0)
    of_them = f" ({invalid} of them invalid)" if invalid else ""
    rate = numbers.batch_success_rate
    return (
        f"Completed: {numbers.batch_completed}, failed: {numbers.batch_failed}{of_them}, pending: {numbers.pending}",
        f"Success rate: {'no record has ended' if rate is None else f'{rate:.1%}'}",
    )


def failures_hint(report: BatchReport) -> str:
    """What to do about the records that failed; the registry cannot help with invalid ones."""
    invalid = report.reasons.get(INVALID, 0)
    hints = ["--retry-failed looks them up again"] if report.statistics.batch_failed > invalid else []
    hints += ["correct the invalid ones in the input and use --resume"] if invalid else []
    return "; ".join(hints)


def ended_alert(location: str, report: BatchReport) -> Alert:
    """The summary of a run that came to its end, early or not."""
    numbers = report.statistics
    severity: Severity = "failure" if numbers.batch_failed else "warning" if report.stopped else "success"
    lines = [
        *batch_lines(report),
        f"{numbers.requests} requests ({numbers.requests_refused} refused) in {numbers.seconds:,.0f} s.",
        f"Cost: {dollars_text(report.cost_dollars)}.",
    ]
    if report.stopped is not None:
        lines.append(f"Stopped: {report.stopped}.")
    reasons = sorted(report.reasons.items(), key=lambda each: -each[1])
    lines += [f"Failed for {reason}: {count}" for reason, count in reasons]
    return Alert(title=f"Enrichment of {Path(location).name} ended", lines=tuple(lines), severity=severity)


def failed_alert(location: str, error: MrfError) -> Alert:
    """A run that could not go on."""
    return Alert(title=f"Enrichment of {Path(location).name} failed", lines=(str(error),), severity="failure")
