"""Start a job on a running Dagster."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from mrf_assets.errors import MrfError, SettingError
from mrf_assets.priority import PRIORITY_TAG, Priority
from mrf_assets.providers.nppes import npi_problem
from mrf_assets.submit.follow import JobResults, wait_for_results
from mrf_assets.submit.names import (
    COMPREHENSIVE,
    DISCOVER,
    ENRICH,
    INGEST,
    ITEMS_TAG,
    LOOK_UP,
    THEN_CONFIG_TAG,
    THEN_TAG,
)
from mrf_assets.submit.server import DEFAULT_URL, DagsterServer, Job
from mrf_assets.submit.states import JobStatus

logger = logging.getLogger(__name__)

_TAG_CHARACTERS = 250
_MAX_NPIS_SHOWN = 20

Callback = Callable[[JobResults], None]
OnStatus = Callable[[JobStatus], None]
SearchType = Literal["network", "npi"]  # what identifiers are


def submit(
    identifiers: Iterable[str] = (),
    job: str = INGEST,
    *,
    search_type: SearchType = "network",
    mode: str | None = None,
    priority: Priority = Priority.NORMAL,
    parameters: Mapping[str, Any] | None = None,
    url: str = DEFAULT_URL,
    callback: Callback | None = None,
    on_progress: OnStatus | None = None,
) -> str:
    """Start a job on a running Dagster; gives its id at once.

    Args:
        identifiers: Networks, as partition keys, for a job that has partitions; none for one that has none. Or NPIs.
        job: A job of the code location (`ingest`, `enrich_npis`, ...), or `comprehensive`: `ingest`, then
            `enrich_npis` once, whatever became of single networks. Without networks it begins one step earlier:
            `discover_portals` registers the indexes that it finds, and the sensors `index_sensor` and
            `new_providers`, where they are on, do the rest.
        search_type: What the identifiers are. NPIs are looked up by the job `look_up_npis`, also where `enrich_npis` is
            named; the results hold the rows that were found.
        mode: How the registry is asked, as `RegistryConfig.mode`; for jobs with such a setting alone.
        priority: Its runs' place in Dagster's queue.
        parameters: Other settings by name, of the job's ops and resources, as in the launchpad.
        url: The webserver's.
        callback: Called with the results once the job has ended.
        on_progress: Called with the status whenever it changes, from the first to the last. A thread asks every second
            for both.

    Raises:
        SettingError: No webserver, no such job, network or setting; nothing was started.
        SubmissionRefused: Dagster did not take it.
    """
    server = DagsterServer(url)
    values = {**(parameters or {}), **({} if mode is None else {"mode": mode})}
    networks = list(dict.fromkeys(identifiers))
    jobs = server.jobs()
    tags = {PRIORITY_TAG: str(int(priority))}
    if search_type == "npi":
        job = _look_up(job, networks)
        values, tags, networks = values | {"npis": networks}, tags | {ITEMS_TAG: str(len(networks))}, []
    if job == COMPREHENSIVE and not networks:
        first_job = _job_named(server, jobs, DISCOVER)
        config = _config(server.default_config(first_job), {"watch": True, **values}, first_job)
    elif job == COMPREHENSIVE:
        first_job = _job_named(server, jobs, INGEST)
        next_job = _job_named(server, jobs, ENRICH)
        tags |= {THEN_TAG: ENRICH}
        config, then = _shared_out(server, first_job, next_job, values)
        if then:
            tags[THEN_CONFIG_TAG] = _short(json.dumps(then))
    else:
        first_job = _job_named(server, jobs, job)
        config = _config(server.default_config(first_job), values, first_job) if values else {}
    server.require_valid(first_job, config)
    job_id = _launch(server, first_job, networks, config, tags)
    logger.info("Submitted enhanced batch collection job: %s", job_id)
    if callback is not None or on_progress is not None:
        threading.Thread(
            target=_report_progress, args=(job_id, url, callback, on_progress), name=f"wait-{job_id}"
        ).start()
    return job_id


def _look_up(job: str, npis: Sequence[str]) -> str:
    """The job that looks up a list of NPIs; SettingError tells all that cannot be NPIs."""
    if job not in (ENRICH, LOOK_UP):
        raise SettingError("--search-type", f"npi is for the job {ENRICH}; {job} takes networks")
    if not npis:
        raise SettingError("npi", "none was given; name those that you want")
    if bad_npis := [f"{npi} ({problem})" for npi in npis if (problem := npi_problem(npi)) is not None]:
        more = f" and {len(bad_npis) - _MAX_NPIS_SHOWN} more" if len(bad_npis) > _MAX_NPIS_SHOWN else ""
        raise SettingError(
            "npi", f"cannot be looked up: {', '.join(bad_npis[:_MAX_NPIS_SHOWN])}{more}; nothing was started"
        )
    return LOOK_UP


def _job_named(server: DagsterServer, jobs: Mapping[str, Job], name: str) -> Job:
    if name not in jobs:
        names = ", ".join(sorted([*jobs, *([COMPREHENSIVE] if {INGEST, ENRICH} <= jobs.keys() else [])]))
        raise SettingError(
            "--job", f"{name} is no job of {server.shown}; it has {names or 'none: did its code location load?'}"
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


def _config(defaults: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """The configuration of a run with some settings of their own; Dagster wants a changed resource whole.

    An op's setting goes before a resource's of the same name.
    """
    config: dict[str, Any] = {}
    for name, value in values.items():
        section, owners = _owners(defaults, name)
        if not owners:
            names = sorted({key for kind in defaults.values() for each in kind.values() for key in each})
            raise SettingError("--param", f"{job.name} has no setting {name}; it has {', '.join(names) or 'none'}")
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
    server: DagsterServer, first: Job, then: Job, values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of the first job, and that of the ops of the second."""
    if not values:
        return {}, {}
    second_ops = {"ops": server.default_config(then)["ops"]}
    for_second = {name: value for name, value in values.items() if _owners(second_ops, name)[1]}
    for_first = {name: value for name, value in values.items() if name not in for_second}
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


def _report_progress(job_id: str, url: str, callback: Callback | None, on_progress: OnStatus | None) -> None:
    last_status: JobStatus | None = None

    def on_status(status: JobStatus) -> None:
        nonlocal last_status
        if on_progress is not None and status != last_status:
            last_status = status
            try:
                on_progress(status)
            except Exception:  # it is the caller's, and must not cost the results
                logger.exception("on_progress of job %s failed; the job is still followed", job_id)

    try:
        job_results = wait_for_results(job_id, url, on_status=on_status)
    except MrfError as error:
        logger.error("Job %s is not followed any more: %s", job_id, error)  # noqa: TRY400 - a line, not a traceback
        return
    if callback is not None:
        callback(job_results)
