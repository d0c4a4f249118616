"""How a batch goes, in numbers: counted from the records of its runs and nothing else.

Records come from Dagster's event log (`defs.run_records`), what was planned from the task store. What is
unknown is None, never 0.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mrf_assets.alerts import Alert, Severity
from mrf_assets.batches.manifest import NetworkRecord
from mrf_assets.settings import Operations, dollars_text

_HOUR_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFailure:
    """One network that failed, and why."""

    network_id: str
    run_id: str
    error: str
    log_file: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """As JSON values."""
        return {
            "network_id": self.network_id,
            "run_id": self.run_id,
            "error": self.error,
            "log_file": self.log_file,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One network that is being worked on."""

    network_id: str
    run_id: str
    start_time: dt.datetime | None  # None: it waits in the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """The run that follows a batch once all its networks have ended."""

    job: str
    state: str  # queued, running, completed, failed or canceled
    error: str | None = None  # why it failed, or does not come

    @property
    def is_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.state not in ("queued", "running")

    def as_json(self) -> dict[str, str | None]:
        """As JSON values."""
        return {"job": self.job, "state": self.state, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a batch has cost so far, estimated: downloads and CPU time at the prices of the settings."""

    gb: float
    core_hours: float
    dollars: float | None  # None without prices
    budget_dollars: float | None = None

    @property
    def budget_share(self) -> float | None:
        """What is used of the budget; 1 is all of it."""
        if self.dollars is None or self.budget_dollars is None:
            return None
        return self.dollars / self.budget_dollars if self.budget_dollars else 1.0

    def plus(self, other: Cost) -> Cost:
        """Both together, at the same prices."""
        dollars = None if self.dollars is None or other.dollars is None else self.dollars + other.dollars
        return replace(self, gb=self.gb + other.gb, core_hours=self.core_hours + other.core_hours, dollars=dollars)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """The numbers of one batch, or of several together."""

    batch_id: str | None
    networks: int
    succeeded: int = 0
    unchanged: int = 0  # of those that succeeded: left as they were published
    failed: int = 0
    canceled: int = 0
    pending: int = 0  # not begun
    running: tuple[Running, ...] = ()
    failures: tuple[NetworkFailure, ...] = ()
    source_bytes: int = 0  # downloaded, compressed
    json_bytes: int = 0
    rate_rows: int = 0  # published
    timed_networks: int = 0  # networks whose time is known: those that ended, and whose process was not lost
    network_seconds: float = 0.0  # the wall time of their runs, added up
    active_seconds: float = 0.0  # during which at least one of them ran
    repairs: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    requests: int | None = None  # to the payers' servers; None: no run tells it
    retries: int | None = None
    rate_limited: int | None = None  # answers 429
    cost: Cost = field(default_factory=lambda: Cost(gb=0.0, core_hours=0.0, dollars=None))
    unread_runs: int = 0  # runs whose bytes, rows, repairs and requests are not counted: there are too many
    is_driven: bool = False  # a process of the command line works on it
    follow_up: FollowUp | None = None  # None: nothing follows it

    @property
    def ended_networks(self) -> int:
        """Networks that ran to an end, good or bad."""
        return self.succeeded + self.failed

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do but what failed."""
        return self.ended_networks == self.networks

    @property
    def is_going_on(self) -> bool:
        """Whether it changes without anybody's doing."""
        return self.is_driven or bool(self.running) or (self.follow_up is not None and not self.follow_up.is_ended)

    @property
    def is_successful(self) -> bool:
        """Whether every network succeeded, and what follows them."""
        return self.succeeded == self.networks and (self.follow_up is None or self.follow_up.state == "completed")

    @property
    def success_rate(self) -> float | None:
        """Of those that ended, 0 to 1."""
        return self.succeeded / self.ended_networks if self.ended_networks else None

    @property
    def average_seconds(self) -> float | None:
        """Wall time of the run of a network that ended."""
        return self.network_seconds / self.timed_networks if self.timed_networks else None

    @property
    def json_mb_per_second(self) -> float | None:
        """MB of JSON in each second in which something ran."""
        return self.json_bytes / 1e6 / self.active_seconds if self.active_seconds else None

    @property
    def remaining_seconds(self) -> float | None:
        """Until the rest is done, if it goes on as it went; None where nothing ended or nothing runs."""
        remaining_networks = self.networks - self.ended_networks - self.canceled
        if not remaining_networks:
            return 0.0
        if not self.running or not self.timed_networks or not self.active_seconds:
            return None
        return remaining_networks * self.active_seconds / self.timed_networks

    def as_json(self) -> dict[str, Any]:
        """As JSON values, with what is derived."""
        return {
            "batch_id": self.batch_id,
            "networks": self.networks,
            "succeeded": self.succeeded,
            "unchanged": self.unchanged,
            "failed": self.failed,
            "canceled": self.canceled,
            "running": [
                {
                    "network_id": each.network_id,
                    "run_id": each.run_id,
                    "started": each.start_time.isoformat(timespec="seconds") if each.start_time else None,
                }
                for each in self.running
            ],
            "pending": self.pending,
            "success_rate": _rounded(self.success_rate, 4),
            "average_seconds": _rounded(self.average_seconds, 3),
            "active_seconds": round(self.active_seconds, 3),
            "remaining_seconds": _rounded(self.remaining_seconds, 1),
            "source_bytes": self.source_bytes,
            "json_bytes": self.json_bytes,
            "rate_rows": self.rate_rows,
            "json_mb_per_second": _rounded(self.json_mb_per_second, 3),
            "repairs": dict(self.repairs),
            "rejects": dict(self.rejects),
            "requests": self.requests,
            "retries": self.retries,
            "rate_limited": self.rate_limited,
            "cost": {
                "gb": round(self.cost.gb, 6),
                "core_hours": round(self.cost.core_hours, 6),
                "dollars": _rounded(self.cost.dollars, 4),
                "budget_dollars": self.cost.budget_dollars,
                "budget_share": _rounded(self.cost.budget_share, 4),
            },
            "failures": [each.as_json() for each in self.failures],
            **({} if self.follow_up is None else {"follow_up": self.follow_up.as_json()}),
        }


def latest_runs(runs: Iterable[NetworkRecord]) -> dict[str, NetworkRecord]:
    """network_id -> its latest run, of runs that come newest first."""
    latest: dict[str, NetworkRecord] = {}
    for run in runs:
        latest.setdefault(run.network_id, run)
    return latest


def count(
    batch_id: str | None, planned_networks: Sequence[str], runs: Sequence[NetworkRecord], operations: Operations
) -> BatchStatistics:
    """The statistics of a batch out of its runs, the newest first.

    The latest run of a network says how it stands; downloads and cost are those of all its runs. `planned_networks` are
    the batch's networks where that is known; those without a run are pending. Networks that have a run and are
    not among them are counted too.
    """
    records = list(latest_runs(runs).values())
    statuses = Counter(record.status for record in records)
    done = [record for record in records if record.status == "success"]
    # The end of a lost run is when somebody noticed.
    timed_records = [record for record in records if record.status in ("success", "failed") and not record.is_lost]
    networks_with_runs = {record.network_id for record in records}
    pending = sum(network_id not in networks_with_runs for network_id in planned_networks)
    return BatchStatistics(
        batch_id=batch_id,
        networks=len(records) + pending,
        succeeded=len(done),
        unchanged=sum(_is_unchanged(record) for record in done),
        failed=statuses["failed"],
        canceled=statuses["canceled"],
        pending=pending,
        running=tuple(
            Running(network_id=record.network_id, run_id=record.run_id, start_time=record.start_time)
            for record in records
            if record.status in ("running", "queued")
        ),
        failures=tuple(
            NetworkFailure(
                network_id=record.network_id,
                run_id=record.run_id,
                error=record.error or "",
                log_file=record.tags.get("mrf/log_file"),
            )
            for record in records
            if record.status == "failed"
        ),
        source_bytes=sum(map(_downloaded, runs)),
        json_bytes=sum(0 if _is_unchanged(record) else record.facts.get("source_json_bytes", 0) for record in done),
        rate_rows=sum(record.facts.get("dagster/partition_row_count", 0) for record in done),
        timed_networks=len(timed_records),
        network_seconds=sum(map(_wall_seconds, timed_records)),
        active_seconds=_active_seconds(timed_records),
        repairs=_by_kind(done, "repairs"),
        rejects=_by_kind(done, "rejects"),
        requests=_transfers(runs, "requests"),
        retries=_transfers(runs, "retries"),
        rate_limited=_transfers(runs, "rate_limited"),
        cost=cost_of(runs, operations),
        unread_runs=sum(not run.is_read for run in runs),
    )


def together(all_statistics: Sequence[BatchStatistics], operations: Operations) -> BatchStatistics:
    """The statistics of several batches as one; the budget is each batch's own and is left out."""
    gb = sum(each.cost.gb for each in all_statistics)
    core_hours = sum(each.cost.core_hours for each in all_statistics)
    return BatchStatistics(
        batch_id=None,
        networks=sum(each.networks for each in all_statistics),
        succeeded=sum(each.succeeded for each in all_statistics),
        unchanged=sum(each.unchanged for each in all_statistics),
        failed=sum(each.failed for each in all_statistics),
        canceled=sum(each.canceled for each in all_statistics),
        pending=sum(each.pending for each in all_statistics),
        running=tuple(running for each in all_statistics for running in each.running),
        failures=tuple(failure for each in all_statistics for failure in each.failures),
        source_bytes=sum(each.source_bytes for each in all_statistics),
        json_bytes=sum(each.json_bytes for each in all_statistics),
        rate_rows=sum(each.rate_rows for each in all_statistics),
        timed_networks=sum(each.timed_networks for each in all_statistics),
        network_seconds=sum(each.network_seconds for each in all_statistics),
        active_seconds=sum(each.active_seconds for each in all_statistics),
        repairs=_sorted(sum((Counter(each.repairs) for each in all_statistics), Counter())),
        rejects=_sorted(sum((Counter(each.rejects) for each in all_statistics), Counter())),
        requests=_sum_known(each.requests for each in all_statistics),
        retries=_sum_known(each.retries for each in all_statistics),
        rate_limited=_sum_known(each.rate_limited for each in all_statistics),
        cost=replace(_cost(gb, core_hours, operations), budget_dollars=None),
    )


def cost_of(runs: Iterable[NetworkRecord], operations: Operations) -> Cost:
    """What these runs have cost; one that failed does not tell its CPU time and counts as one busy core."""
    runs = list(runs)
    gb = sum(map(_downloaded, runs)) / 1e9
    cpu_seconds = sum(run.facts.get("cpu_seconds", run.seconds or 0.0) for run in runs if not run.is_lost)
    return _cost(gb, cpu_seconds / _HOUR_SECONDS, operations)


def batch_alert(statistics: BatchStatistics, *, reason: str | None = None) -> Alert:
    """What is told when a batch has ended; `reason` says why it ended early."""
    problems = statistics.failed or statistics.canceled or statistics.pending
    severity: Severity = "failure" if statistics.failed else "warning" if problems or reason else "success"
    not_run = statistics.canceled + statistics.pending + len(statistics.running)
    gb, seconds = statistics.source_bytes / 1e9, statistics.active_seconds
    at_least = "At least " if statistics.unread_runs else ""
    lines = [
        f"{statistics.succeeded} of {statistics.networks} networks succeeded, {statistics.failed} failed"
        + (f", {not_run} were not run to their end." if not_run else "."),
        f"{at_least}{statistics.rate_rows:,} rates of {gb:,.3f} GB in {seconds:,.0f} s.",
    ]
    if statistics.cost.dollars is not None:
        lines.append(f"Estimated cost: {at_least.lower()}{dollars_text(statistics.cost.dollars)}.")
    if statistics.unread_runs:
        lines.append(f"{statistics.unread_runs:,} runs are counted without their figures; `mrf stats` reads them all.")
    if reason:
        lines.append(reason)
    lines += [f"Failed: {failure.network_id}: {failure.error}" for failure in statistics.failures]
    return Alert(title=f"Batch {statistics.batch_id} ended", lines=tuple(lines), severity=severity)


def _cost(gb: float, core_hours: float, operations: Operations) -> Cost:
    return Cost(
        gb=gb,
        core_hours=core_hours,
        dollars=operations.dollars(gb=gb, core_hours=core_hours) if operations.has_prices else None,
        budget_dollars=operations.budget_dollars,
    )


def _wall_seconds(record: NetworkRecord) -> float:
    """Of its run, what Dagster does around the extraction included."""
    if record.start_time is None or record.end_time is None:
        return record.seconds or 0.0
    return max((record.end_time - record.start_time).total_seconds(), 0.0)


def _is_unchanged(record: NetworkRecord) -> bool:
    return bool(record.facts.get("unchanged"))


def _downloaded(record: NetworkRecord) -> int:
    """Bytes of its files; what was left as it is was not downloaded again."""
    size_bytes: int = 0 if _is_unchanged(record) else record.facts.get("source_size_bytes", 0)
    return size_bytes


def _by_kind(records: Iterable[NetworkRecord], fact: str) -> dict[str, int]:
    counts = Counter[str]()
    for record in records:
        counts.update(record.facts.get(fact) or {})
    return _sorted(counts)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda kind: (-kind[1], kind[0])))


def _transfers(records: Iterable[NetworkRecord], name: str) -> int | None:
    """A count of the downloads, over all runs that tell it."""
    return _sum_known(record.facts.get(name) for record in records)


def _sum_known(values: Iterable[int | None]) -> int | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) if numbers else None


def _active_seconds(records: Iterable[NetworkRecord]) -> float:
    """The length of the union of all runs, so that a pause between two parts of a batch does not count."""
    spans = sorted((record.start_time, record.end_time) for record in records if record.start_time and record.end_time)
    total, last_end = 0.0, None
    for start, end in spans:
        begin = start if last_end is None else max(start, last_end)
        total += max((end - begin).total_seconds(), 0.0)
        last_end = end if last_end is None else max(end, last_end)
    return total


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
