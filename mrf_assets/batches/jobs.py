"""Count the runs that are no networks: enrichment, discovery and the like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mrf_assets.batches.statistics import BatchStatistics, _rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRun:
    """One run of a job that makes no tables of a network."""

    job: str
    status: str  # as that of `manifest.NetworkRecord`
    seconds: float | None  # wall time; None: it goes on, or never began


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatistics:
    """The runs of one such job: enrichment, discovery, catalog and the like."""

    job: str
    runs: int
    succeeded: int
    failed: int
    canceled: int
    running: int
    average_seconds: float | None  # wall time of those that succeeded or failed

    @property
    def success_rate(self) -> float | None:
        """Of those that ended, 0 to 1."""
        finished_runs = self.succeeded + self.failed
        return self.succeeded / finished_runs if finished_runs else None

    def as_json(self) -> dict[str, Any]:
        """As JSON values, with what is derived."""
        rate = self.success_rate
        return {
            "job": self.job,
            "runs": self.runs,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "canceled": self.canceled,
            "running": self.running,
            "success_rate_percent": None if rate is None else round(rate * 100, 1),
            "average_job_time": _rounded(self.average_seconds, 2),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformStatistics:
    """All that ran in some days: batches of networks, and the other jobs."""

    total: BatchStatistics
    batches: Sequence[BatchStatistics]
    jobs: Sequence[JobStatistics]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "total": self.total.as_json(),
            "batches": [each.as_json() for each in self.batches],
            "jobs": [each.as_json() for each in self.jobs],
        }


def count_jobs(runs: Iterable[OtherRun]) -> list[JobStatistics]:
    """The statistics of each job, by name."""
    by_job: dict[str, list[OtherRun]] = {}
    for run in runs:
        by_job.setdefault(run.job, []).append(run)
    return [_of_job(job, by_job[job]) for job in sorted(by_job)]


def _of_job(job: str, runs: Sequence[OtherRun]) -> JobStatistics:
    statuses = Counter(run.status for run in runs)
    durations = [run.seconds for run in runs if run.status in ("success", "failed") and run.seconds is not None]
    return JobStatistics(
        job=job,
        runs=len(runs),
        succeeded=statuses["success"],
        failed=statuses["failed"],
        canceled=statuses["canceled"],
        running=statuses["running"] + statuses["queued"],
        average_seconds=sum(durations) / len(durations) if durations else None,
    )
