"""What people are told when `mrf enrich` has ended."""

from __future__ import annotations

from pathlib import Path

from mrf_assets.alerts import Alert, Severity
from mrf_assets.batch import BatchReport
from mrf_assets.errors import MrfError


def ended_alert(location: str, report: BatchReport) -> Alert:
    """The summary of a run that came to its end, early or not."""
    numbers = report.statistics
    severity: Severity = "failure" if numbers.failed else "warning" if report.stopped else "success"
    lines = [
        (
            f"{numbers.completed} completed, {numbers.failed} failed, {numbers.pending} pending; "
            f"success rate {numbers.success_rate:.1%}."
        ),
        f"{numbers.requests} requests ({numbers.requests_refused} refused) in {numbers.seconds:,.0f} s.",
        f"Cost: ${report.cost_dollars:,.4f}.",
    ]
    if report.stopped is not None:
        lines.append(f"Stopped: {report.stopped}.")
    lines += [f"Failed for {reason}: {count}" for reason, count in numbers.failures.most_common()]
    return Alert(title=f"Enrichment of {Path(location).name} ended", lines=tuple(lines), severity=severity)


def failed_alert(location: str, error: MrfError) -> Alert:
    """A run that could not go on."""
    return Alert(title=f"Enrichment of {Path(location).name} failed", lines=(str(error),), severity="failure")
