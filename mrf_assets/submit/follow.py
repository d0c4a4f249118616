"""How a job goes and what came of it, asked of the webserver."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from mrf_assets.errors import SettingError, SubmissionRefused
from mrf_assets.submit.names import AFTER_TAG, BACKFILL_TAG, ITEMS_TAG, LOOK_UP, LOOK_UP_ASSET, PARTITION_TAG
from mrf_assets.submit.server import DEFAULT_URL, DagsterServer, ServerRun
from mrf_assets.submit.states import (
    JobStatus,
    State,
    backfill_status,
    items_status,
    latest,
    latest_attempt,
    run_state,
    run_status,
)

_SILENCES = 30  # polls in a row without an answer, before a wait gives up: a webserver may be restarted
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One run of a job: the latest of its network."""

    run_id: str
    job: str
    network_id: str | None
    state: State
    seconds: float | None
    error: str | None
    numbers: Mapping[str, Mapping[str, float]]  # asset -> fact -> value, of what was materialized
    rows: Sequence[Mapping[str, Any]] = ()  # of a list of NPIs: `schema.NPI_REGISTRY`, the first 1,000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResults:
    """What came of a job."""

    status: JobStatus
    runs: Sequence[JobRun]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows that were found, of all runs."""
        return [row for run in self.runs for row in run.rows]

    @property
    def errors(self) -> list[dict[str, str | None]]:
        """What failed, and why."""
        entries: list[dict[str, str | None]] = [
            {"network_id": run.network_id, "job": run.job, "run_id": run.run_id, "error": run.error}
            for run in self.runs
            if run.error is not None
        ]
        if self.status.error is not None:
            entries.append({"network_id": None, "job": self.status.job, "run_id": None, "error": self.status.error})
        return entries

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        fields = {**asdict(self.status), "progress": round(self.status.progress, 4)}
        return {**fields, "runs": [asdict(run) for run in self.runs], "errors": self.errors}


def status(job_id: str, url: str = DEFAULT_URL) -> JobStatus:
    """How a job goes.

    Raises:
        SettingError: No webserver, or it knows no such run or backfill.
    """
    server = DagsterServer(url)
    backfill = server.backfill(job_id)
    if backfill is None:
        run = latest_attempt(server, _known(server, job_id))
        if ITEMS_TAG not in run.tags:
            return run_status(job_id, run)
        return items_status(job_id, run, run.numbers.get(LOOK_UP_ASSET) or server.observed(run.run_id, LOOK_UP_ASSET))
    statuses = backfill.run_statuses
    if statuses is None:
        statuses = Counter(run.status for run in latest(server.runs(BACKFILL_TAG, job_id)))
    return backfill_status(server, backfill, statuses)


def wait(
    job_id: str,
    url: str = DEFAULT_URL,
    *,
    every_seconds: float = 1.0,
    on_status: Callable[[JobStatus], None] = lambda _status: None,
    sleep: Callable[[float], None] = time.sleep,
) -> JobStatus:
    """The status of a job once it has ended; `on_status` gets each that was asked for.

    Raises:
        SettingError: As `status`; a server that answered before may be silent for half a minute.
        SubmissionRefused: It answered for half a minute that it cannot: `database is locked` passes, others do not.
    """
    is_known = False  # a wrong address is told at once
    while True:
        job_status = _answer(lambda: status(job_id, url), every_seconds=every_seconds, sleep=sleep, is_known=is_known)
        is_known = True
        on_status(job_status)
        if job_status.is_ended:
            return job_status
        sleep(every_seconds)


def wait_for_results(
    job_id: str,
    url: str = DEFAULT_URL,
    *,
    on_status: Callable[[JobStatus], None] = lambda _status: None,
    sleep: Callable[[float], None] = time.sleep,
) -> JobResults:
    """What came of a job once it has ended; raises as `wait`."""
    wait(job_id, url, on_status=on_status, sleep=sleep)
    return _answer(lambda: results(job_id, url), every_seconds=1.0, sleep=sleep, is_known=True)


def results(job_id: str, url: str = DEFAULT_URL) -> JobResults:
    """What came of a job so far: of each network its latest run, and why those that failed did.

    Raises:
        SettingError: As `status`.
    """
    server = DagsterServer(url)
    backfill = server.backfill(job_id)
    if backfill is None:
        runs = [latest_attempt(server, _known(server, job_id))]
    else:
        runs = latest(server.runs(BACKFILL_TAG, job_id, with_numbers=True))
        runs += latest(server.runs(AFTER_TAG, job_id, with_numbers=True))
    return JobResults(status=status(job_id, url), runs=[_job_run(server, run) for run in runs])


def _answer(
    request: Callable[[], _Answer], *, every_seconds: float, sleep: Callable[[float], None], is_known: bool
) -> _Answer:
    """The answer, asked for again while a webserver that is there does not give it."""
    silences = 0
    while True:
        try:
            return request()
        except (SettingError, SubmissionRefused) as error:
            silences += 1
            if silences > _SILENCES or (isinstance(error, SettingError) and not is_known):
                raise
        is_known = True
        sleep(every_seconds)


def _known(server: DagsterServer, job_id: str) -> ServerRun:
    run = server.run(job_id)
    if run is None:
        raise SettingError(
            "job", f"{job_id} is neither a run nor a backfill of {server.shown}; check the id, and --url"
        )
    return run


def _job_run(server: DagsterServer, run: ServerRun) -> JobRun:
    state = run_state(run)
    return JobRun(
        run_id=run.run_id,
        job=run.job,
        network_id=run.tags.get(PARTITION_TAG),
        state=state,
        seconds=None if run.start_time is None or run.end_time is None else run.end_time - run.start_time,
        error=server.failure(run.run_id) if state == "failed" else None,
        numbers=run.numbers,
        rows=server.rows(run.run_id) if run.job == LOOK_UP else (),
    )
