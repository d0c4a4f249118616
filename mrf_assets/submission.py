"""Jobs of a running Dagster: submit them, see how they go, and what came of them.

    job_id = submit(["t~a", "t~b"], "comprehensive", mode="api_only", priority=Priority.HIGH)
    wait(job_id).state        # "completed"
    results(job_id).errors

The id is Dagster's own: of a run, or of a backfill where the job has one partition for each network. All is told by the
webserver (`dagster_server`); whoever has the id may ask, from any process and machine.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from mrf_assets.dagster_server import DEFAULT_URL, DagsterServer, Job, ServerBackfill, ServerRun
from mrf_assets.errors import MrfError, SettingError, SubmissionRefused
from mrf_assets.priority import PRIORITY_TAG, Priority

logger = logging.getLogger(__name__)

COMPREHENSIVE = "comprehensive"
INGEST, ENRICH, DISCOVER = "ingest", "enrich_npis", "discover_portals"
THEN_TAG = "mrf/then"  # of a backfill: the job that runs once when it has ended
THEN_CONFIG_TAG = "mrf/then_config"  # its configuration, as JSON
AFTER_TAG = "mrf/after"  # of that run: the backfill's id
FOLLOWER = "enrich_after_backfill"  # the sensor that starts it
FOLLOWED_SECONDS = 7 * 24 * 3_600.0  # after the end of a backfill, in which it does
_PARTITION_TAG, _BACKFILL_TAG = "dagster/partition", "dagster/backfill"
_WILL_RETRY_TAG, _RETRIED_BY_TAG = "dagster/will_retry", "dagster/auto_retry_run_id"
_TAG_CHARACTERS = 250
_SILENCES = 30  # polls in a row without an answer, before a wait gives up: a webserver may be restarted

State = Literal["queued", "running", "completed", "failed", "canceled"]
Callback = Callable[["JobResults"], None]
_Answer = TypeVar("_Answer")
_STATES: Mapping[str, State] = {
    **dict.fromkeys(("QUEUED", "NOT_STARTED", "MANAGED"), "queued"),
    **dict.fromkeys(("STARTING", "STARTED", "CANCELING"), "running"),
    "SUCCESS": "completed",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}
_BACKFILL_GOES_ON = ("REQUESTED", "CANCELING", "FAILING")
_ENDED: tuple[State, ...] = ("completed", "failed", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job goes: its parts are networks, and the run that follows them; or one run."""

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
    def is_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in _ENDED


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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResults:
    """What came of a job."""

    status: JobStatus
    runs: Sequence[JobRun]

    @property
    def errors(self) -> list[dict[str, str | None]]:
        """What failed, and why."""
        listed: list[dict[str, str | None]] = [
            {"network_id": run.network_id, "job": run.job, "run_id": run.run_id, "error": run.error}
            for run in self.runs
            if run.error is not None
        ]
        if self.status.error is not None:
            listed.append({"network_id": None, "job": self.status.job, "run_id": None, "error": self.status.error})
        return listed

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self.status), "runs": [asdict(run) for run in self.runs], "errors": self.errors}


def submit(
    identifiers: Iterable[str] = (),
    job: str = INGEST,
    *,
    mode: str | None = None,
    priority: Priority = Priority.NORMAL,
    parameters: Mapping[str, Any] | None = None,
    url: str = DEFAULT_URL,
    callback: Callback | None = None,
) -> str:
    """Start a job on a running Dagster; gives its id at once.

    Args:
        identifiers: Networks, as partition keys, for a job that has partitions; none for one that has none.
        job: A job of the code location (`ingest`, `enrich_npis`, ...), or `comprehensive`: `ingest`, then
            `enrich_npis` once, whatever became of single networks. Without networks it begins one step earlier:
            `discover_portals` registers the indexes that it finds, and the sensors `index_sensor` and
            `new_providers`, where they are on, do the rest.
        mode: How the registry is asked, as `RegistryConfig.mode`; for jobs with such a setting alone.
        priority: Its runs' place in Dagster's queue.
        parameters: Other settings by name, of the job's ops and resources, as in the launchpad.
        url: The webserver's.
        callback: Called with the results once the job has ended; a thread asks every second until then.

    Raises:
        SettingError: No webserver, no such job, network or setting; nothing was started.
        SubmissionRefused: Dagster did not take it.
    """
    server = DagsterServer(url)
    given = {**(parameters or {}), **({} if mode is None else {"mode": mode})}
    networks = list(dict.fromkeys(identifiers))
    jobs = server.jobs()
    tags = {PRIORITY_TAG: str(int(priority))}
    if job == COMPREHENSIVE and not networks:
        chosen = _chosen(server, jobs, DISCOVER)
        config = _config(server.default_config(chosen), {"watch": True, **given}, chosen)
    elif job == COMPREHENSIVE:
        chosen = _chosen(server, jobs, INGEST)
        followed = _chosen(server, jobs, ENRICH)
        tags |= {THEN_TAG: ENRICH}
        config, then = _shared_out(server, chosen, followed, given)
        if then:
            tags[THEN_CONFIG_TAG] = _short(json.dumps(then))
    else:
        chosen = _chosen(server, jobs, job)
        config = _config(server.default_config(chosen), given, chosen) if given else {}
    server.require_valid(chosen, config)
    job_id = _launch(server, chosen, networks, config, tags)
    logger.info("Submitted enhanced batch collection job: %s", job_id)
    if callback is not None:
        threading.Thread(target=_tell, args=(job_id, url, callback), name=f"wait-{job_id}").start()
    return job_id


def status(job_id: str, url: str = DEFAULT_URL) -> JobStatus:
    """How a job goes.

    Raises:
        SettingError: No webserver, or it knows no such run or backfill.
    """
    server = DagsterServer(url)
    backfill = server.backfill(job_id)
    if backfill is None:
        return _run_status(job_id, _latest_attempt(server, _known(server, job_id)))
    statuses = backfill.run_statuses
    if statuses is None:
        statuses = Counter(run.status for run in _latest(server.runs(_BACKFILL_TAG, job_id)))
    return _backfill_status(server, backfill, statuses)


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
        found = _answer(lambda: status(job_id, url), every_seconds=every_seconds, sleep=sleep, is_known=is_known)
        is_known = True
        on_status(found)
        if found.is_ended:
            return found
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


def _answer(
    ask: Callable[[], _Answer], *, every_seconds: float, sleep: Callable[[float], None], is_known: bool
) -> _Answer:
    """The answer, asked for again while a webserver that is there does not give it."""
    silences = 0
    while True:
        try:
            return ask()
        except (SettingError, SubmissionRefused) as error:
            silences += 1
            if silences > _SILENCES or (isinstance(error, SettingError) and not is_known):
                raise
        is_known = True
        sleep(every_seconds)


def results(job_id: str, url: str = DEFAULT_URL) -> JobResults:
    """What came of a job so far: of each network its latest run, and why those that failed did.

    Raises:
        SettingError: As `status`.
    """
    server = DagsterServer(url)
    backfill = server.backfill(job_id)
    if backfill is None:
        runs = [_latest_attempt(server, _known(server, job_id))]
    else:
        runs = _latest(server.runs(_BACKFILL_TAG, job_id, with_numbers=True))
        runs += _latest(server.runs(AFTER_TAG, job_id, with_numbers=True))
    return JobResults(status=status(job_id, url), runs=[_job_run(server, run) for run in runs])


def _chosen(server: DagsterServer, jobs: Mapping[str, Job], name: str) -> Job:
    if name not in jobs:
        known = ", ".join(sorted([*jobs, *([COMPREHENSIVE] if {INGEST, ENRICH} <= jobs.keys() else [])]))
        raise SettingError(
            "--job", f"{name} is no job of {server.shown}; it has {known or 'none: did its code location load?'}"
        )
    return jobs[name]


def _launch(
    server: DagsterServer, job: Job, networks: Sequence[str], config: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    if job.partition_set is None:
        if networks:
            raise SettingError("network", f"{job.name} is one run for all networks; name none")
        return server.launch_run(job, config, tags)
    if not networks:
        raise SettingError("network", f"{job.name} is a run for each network; name those that you want")
    return server.launch_backfill(job, networks, config, tags)


def _config(defaults: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """The configuration of a run with some settings of their own; Dagster wants a changed resource whole.

    An op's setting goes before a resource's of the same name.
    """
    config: dict[str, Any] = {}
    for name, value in given.items():
        section, owners = _owners(defaults, name)
        if not owners:
            known = sorted({key for kind in defaults.values() for each in kind.values() for key in each})
            raise SettingError("--param", f"{job.name} has no setting {name}; it has {', '.join(known) or 'none'}")
        for owner in owners:
            whole = config.setdefault(section, {}).setdefault(owner, {"config": dict(defaults[section][owner])})
            whole["config"][name] = value
    return config


def _owners(defaults: Mapping[str, Mapping[str, Any]], name: str) -> tuple[str, list[str]]:
    for section in ("ops", "resources"):
        if owners := [owner for owner, config in defaults.get(section, {}).items() if name in config]:
            return section, owners
    return "ops", []


def _shared_out(
    server: DagsterServer, first: Job, then: Job, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of the first job, and that of the ops of the second."""
    if not given:
        return {}, {}
    second_ops = {"ops": server.default_config(then)["ops"]}
    for_second = {name: value for name, value in given.items() if _owners(second_ops, name)[1]}
    for_first = {name: value for name, value in given.items() if name not in for_second}
    config = _config(server.default_config(first), for_first, first) if for_first else {}
    # The settings that differ alone: a tag is short.
    second: dict[str, Any] = {}
    for name, value in for_second.items():
        for owner in _owners(second_ops, name)[1]:
            second.setdefault("ops", {}).setdefault(owner, {"config": {}})["config"][name] = value
    server.require_valid(then, second)
    return config, second


def _short(text: str) -> str:
    if len(text) > _TAG_CHARACTERS:
        raise SettingError("--param", f"takes {len(text)} characters for {ENRICH}; a tag holds {_TAG_CHARACTERS}")
    return text


def _tell(job_id: str, url: str, callback: Callback) -> None:
    try:
        found = wait_for_results(job_id, url)
    except MrfError as error:
        logger.error("Job %s is not followed any more: %s", job_id, error)  # noqa: TRY400 - a line, not a traceback
        return
    callback(found)


def _known(server: DagsterServer, job_id: str) -> ServerRun:
    run = server.run(job_id)
    if run is None:
        raise SettingError(
            "job", f"{job_id} is neither a run nor a backfill of {server.shown}; check the id, and --url"
        )
    return run


def _latest_attempt(server: DagsterServer, run: ServerRun) -> ServerRun:
    """The run itself, or the one with which Dagster repeats it because its process was lost."""
    while (next_id := run.tags.get(_RETRIED_BY_TAG)) and (following := server.run(next_id)):
        run = following
    return run


def _latest(runs: Iterable[ServerRun]) -> list[ServerRun]:
    """Of each network and job the newest, of runs that come newest first."""
    found: dict[tuple[str | None, str], ServerRun] = {}
    for run in runs:
        key = run.tags.get(_PARTITION_TAG), run.job if _PARTITION_TAG not in run.tags else ""
        found.setdefault(key, run)
    return list(found.values())


def _state(run: ServerRun) -> State:
    return state_of(run.status, run.tags)


def state_of(status: str, tags: Mapping[str, str]) -> State:
    """That of a run with this status of Dagster; one that Dagster is about to repeat goes on."""
    if status == "FAILURE" and tags.get(_WILL_RETRY_TAG) == "true" and _RETRIED_BY_TAG not in tags:
        return "running"
    return _STATES.get(status, "running")


def followed(cursor: str | None) -> dict[str, str]:
    """What the sensor `FOLLOWER` is done with: backfill id -> why no run was started for it; empty where one was."""
    try:
        noted = json.loads(cursor or "{}")
    except ValueError:  # somebody wrote it by hand
        return {}
    return {str(key): str(value) for key, value in noted.items()} if isinstance(noted, dict) else {}


def why_not_followed(backfill_id: str, ended: float, cursors: Iterable[str]) -> str | None:
    """Why no run follows an ended backfill that has none; None: it may still come.

    Args:
        backfill_id: The backfill's.
        ended: When it ended, seconds since 1970.
        cursors: Of the sensor `FOLLOWER`.
    """
    for cursor in cursors:
        reason = followed(cursor).get(backfill_id)
        if reason is not None:
            return reason or f"the run of {ENRICH} that followed it was deleted"
    if time.time() - ended > FOLLOWED_SECONDS:
        return (
            f"no run of {ENRICH} is there that followed it: it was deleted, or the sensor {FOLLOWER} was off for a "
            f"week; `mrf submit --job {ENRICH}` starts one"
        )
    return None


def _run_status(job_id: str, run: ServerRun) -> JobStatus:
    state = _state(run)
    return _status(job_id, run.job, state, {state: 1}, parts=1)


def _backfill_status(server: DagsterServer, backfill: ServerBackfill, statuses: Mapping[str, int]) -> JobStatus:
    states: Counter[State] = Counter()
    for name, count in statuses.items():
        states[_STATES.get(name, "running")] += count
    follower = backfill.tags.get(THEN_TAG)
    job = COMPREHENSIVE if follower == ENRICH else backfill.job
    parts, state, error = backfill.partitions, _backfill_state(backfill, states), backfill.error
    if follower is not None and state != "canceled" and backfill.status != "FAILED":
        parts += 1
        if state in _ENDED:
            runs = _latest(server.runs(AFTER_TAG, backfill.backfill_id))
            following: State = _state(_latest_attempt(server, runs[0])) if runs else "queued"
            if not runs and (
                reason := why_not_followed(backfill.backfill_id, backfill.ended, server.sensor_cursors(FOLLOWER))
            ):
                following, error = "canceled", reason
            states[following] += 1
            state = _together(state, following)
    return _status(backfill.backfill_id, job, state, states, parts=parts, error=error)


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
    if second not in _ENDED:
        return "running"
    return second if first == "completed" else first


def _job_run(server: DagsterServer, run: ServerRun) -> JobRun:
    state = _state(run)
    return JobRun(
        run_id=run.run_id,
        job=run.job,
        network_id=run.tags.get(_PARTITION_TAG),
        state=state,
        seconds=None if run.started is None or run.ended is None else run.ended - run.started,
        error=server.failure(run.run_id) if state == "failed" else None,
        numbers=run.numbers,
    )
