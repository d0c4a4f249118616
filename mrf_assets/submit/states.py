"""The state of a job, out of what Dagster tells of its runs, its backfill and the run that follows it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mrf_assets.submit.names import (
    AFTER_TAG,
    COMPREHENSIVE,
    ENRICH,
    FOLLOWED_SECONDS,
    FOLLOWER,
    ITEMS_TAG,
    PARTITION_TAG,
    RETRIED_BY_TAG,
    THEN_TAG,
    WILL_RETRY_TAG,
)
from mrf_assets.submit.server import DagsterServer, ServerBackfill, ServerRun

State = Literal["queued", "running", "completed", "failed", "canceled"]
_STATES: Mapping[str, State] = {
    **dict.fromkeys(("QUEUED", "NOT_STARTED", "MANAGED"), "queued"),
    **dict.fromkeys(("STARTING", "STARTED", "CANCELING"), "running"),
    "SUCCESS": "completed",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}
_BACKFILL_GOES_ON = ("REQUESTED", "CANCELING", "FAILING")
_END_STATES: tuple[State, ...] = ("completed", "failed", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job goes: its parts are networks, and the run that follows them; or NPIs; or one run."""

    job_id: str
    job: str
    state: State
    parts: int
    completed: int = 0
    failed: int = 0
    canceled: int = 0
    running: int = 0
    error: str | None = None  # why Dagster gave it up

    @property
    def ended_parts(self) -> int:
        """Parts of which nothing more comes."""
        return self.completed + self.failed + self.canceled

    @property
    def progress(self) -> float:
        """The share of parts that have ended, 0 to 1."""
        return self.ended_parts / self.parts if self.parts else float(self.is_ended)

    @property
    def line(self) -> str:
        """How far it is, for a person."""
        return (
            f"Processing {self.ended_parts}/{self.parts} ({self.progress:.0%}): "
            f"successful {self.completed}, failed {self.failed}, running {self.running}"
        )

    @property
    def is_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in _END_STATES


def state_of(status: str, tags: Mapping[str, str]) -> State:
    """That of a run with this status of Dagster; one that Dagster is about to repeat goes on."""
    if status == "FAILURE" and tags.get(WILL_RETRY_TAG) == "true" and RETRIED_BY_TAG not in tags:
        return "running"
    return _STATES.get(status, "running")


def run_state(run: ServerRun) -> State:
    """That of a run."""
    return state_of(run.status, run.tags)


def run_status(job_id: str, run: ServerRun) -> JobStatus:
    """That of a job which is one run."""
    state = run_state(run)
    return _status(job_id, run.job, state, {state: 1}, parts=1)


def items_status(job_id: str, run: ServerRun, counts: Mapping[str, float]) -> JobStatus:
    """That of a run whose parts are NPIs; `counts` is what it told last."""
    state = run_state(run)
    total = int(run.tags[ITEMS_TAG])
    completed, failed = int(counts.get("completed", 0)), int(counts.get("failed", 0))
    states: Counter[State] = Counter({"completed": completed, "failed": failed})
    states[state] += max(total - completed - failed, 0)  # those that are left go the way of the run
    return _status(job_id, run.job, state, states, parts=total)


def backfill_status(server: DagsterServer, backfill: ServerBackfill, statuses: Mapping[str, int]) -> JobStatus:
    """That of a job which is a backfill, and of the run that follows it; `statuses` of Dagster -> how many runs."""
    states: Counter[State] = Counter()
    for name, count in statuses.items():
        states[_STATES.get(name, "running")] += count
    follower = backfill.tags.get(THEN_TAG)
    job = COMPREHENSIVE if follower == ENRICH else backfill.job
    parts, state, error = backfill.partitions, _backfill_state(backfill, states), backfill.error
    if state == "canceled":  # those that it had not begun are canceled, too
        states["canceled"] = parts - sum(states[each] for each in ("completed", "failed", "running"))
    if follower is not None and state != "canceled" and backfill.status != "FAILED":
        parts += 1
        if state in _END_STATES:
            runs = latest(server.runs(AFTER_TAG, backfill.backfill_id))
            next_state: State = run_state(latest_attempt(server, runs[0])) if runs else "queued"
            if not runs and (
                reason := why_not_followed(backfill.backfill_id, backfill.end_time, server.sensor_cursors(FOLLOWER))
            ):
                next_state, error = "canceled", reason
            states[next_state] += 1
            state = _together(state, next_state)
    return _status(backfill.backfill_id, job, state, states, parts=parts, error=error)


def latest(runs: Iterable[ServerRun]) -> list[ServerRun]:
    """Of each network and job the newest, of runs that come newest first."""
    runs_by_key: dict[tuple[str | None, str], ServerRun] = {}
    for run in runs:
        key = run.tags.get(PARTITION_TAG), run.job if PARTITION_TAG not in run.tags else ""
        runs_by_key.setdefault(key, run)
    return list(runs_by_key.values())


def latest_attempt(server: DagsterServer, run: ServerRun) -> ServerRun:
    """The run itself, or the one with which Dagster repeats it because its process was lost."""
    while (next_id := run.tags.get(RETRIED_BY_TAG)) and (retry := server.run(next_id)):
        run = retry
    return run


def followed(cursor: str | None) -> dict[str, str]:
    """What the sensor `FOLLOWER` is done with: backfill id -> why no run was started for it; empty where one was."""
    try:
        entries = json.loads(cursor or "{}")
    except ValueError:  # somebody wrote it by hand
        return {}
    return {str(key): str(value) for key, value in entries.items()} if isinstance(entries, dict) else {}


def why_not_followed(backfill_id: str, end_time: float, cursors: Iterable[str]) -> str | None:
    """Why no run follows an ended backfill that has none; None: it may still come.

    Args:
        backfill_id: The backfill's.
        end_time: When it ended, seconds since 1970.
        cursors: Of the sensor `FOLLOWER`.
    """
    for cursor in cursors:
        reason = followed(cursor).get(backfill_id)
        if reason is not None:
            return reason or f"the run of {ENRICH} that followed it was deleted"
    if time.time() - end_time > FOLLOWED_SECONDS:
        return (
            f"no run of {ENRICH} is there that followed it: it was deleted, or the sensor {FOLLOWER} was off for a "
            f"week; `mrf submit --job {ENRICH}` starts one"
        )
    return None


def _status(
    job_id: str, job: str, state: State, states: Mapping[State, int], *, parts: int, error: str | None = None
) -> JobStatus:
    return JobStatus(
        job_id=job_id,
        job=job,
        state=state,
        parts=parts,
        completed=states.get("completed", 0),
        failed=states.get("failed", 0),
        canceled=states.get("canceled", 0),
        running=states.get("running", 0),
        error=error,
    )


def _backfill_state(backfill: ServerBackfill, states: Mapping[State, int]) -> State:
    if backfill.status in _BACKFILL_GOES_ON:
        return "running" if states.keys() - {"queued"} else "queued"
    if backfill.status == "CANCELED":
        return "canceled"
    return "failed" if "FAILED" in backfill.status or states.get("failed") else "completed"


def _together(first: State, second: State) -> State:
    """Of what has ended, and what follows it."""
    if second not in _END_STATES:
        return "running"
    return second if first == "completed" else first
