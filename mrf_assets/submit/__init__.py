"""Jobs of a running Dagster: submit them, see how they go, and what came of them.

    job_id = submit(["t~a", "t~b"], "comprehensive", mode="api_only", priority=Priority.HIGH)
    wait(job_id).state        # "completed"
    results(job_id).errors

    job_id = submit(["1234567893"], "enrich_npis", search_type="npi", on_progress=lambda status: print(status.line))
    wait_for_results(job_id).rows

The id is Dagster's own: of a run, or of a backfill where the job has one partition for each network. The
webserver answers everything; whoever has the id may ask, from any process and machine.

    names     what jobs, tags and sensors are called
    server    a running webserver, asked over GraphQL
    states    the state of a job, out of its runs and its backfill
    launch    start a job
    follow    how it goes, and what came of it
"""

from mrf_assets.submit.follow import JobResults, JobRun, results, status, wait, wait_for_results
from mrf_assets.submit.launch import SearchType, submit
from mrf_assets.submit.names import (
    AFTER_TAG,
    ENRICH,
    FOLLOWED_SECONDS,
    FOLLOWER,
    INGEST,
    LOOK_UP,
    LOOK_UP_ASSET,
    THEN_CONFIG_TAG,
    THEN_TAG,
)
from mrf_assets.submit.states import JobStatus, State, followed, state_of, why_not_followed

__all__ = [
    "AFTER_TAG",
    "ENRICH",
    "FOLLOWED_SECONDS",
    "FOLLOWER",
    "INGEST",
    "LOOK_UP",
    "LOOK_UP_ASSET",
    "THEN_CONFIG_TAG",
    "THEN_TAG",
    "JobResults",
    "JobRun",
    "JobStatus",
    "SearchType",
    "State",
    "followed",
    "results",
    "state_of",
    "status",
    "submit",
    "wait",
    "wait_for_results",
    "why_not_followed",
]
