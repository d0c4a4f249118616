"""A running Dagster webserver, asked over GraphQL: jobs, launches, runs and backfills as plain values.

Dagster's own client (`dagster_graphql.DagsterGraphQLClient`) launches runs and knows no backfills; the documents here
are those of dagster-webserver 1.13. Nothing of Dagster is imported: a command that only asks need not wait 1.5 s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mrf_assets.errors import SettingError, SubmissionRefused
from mrf_assets.settings import certificates
from mrf_assets.urls.address import Address

DEFAULT_URL = "http://localhost:3000"
_TIMEOUT_SECONDS = 30.0
_RUNS_AT_ONCE = 100
_EVENTS_AT_ONCE = 1_000
_ERROR_CHARACTERS = 500
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_ERROR = "__typename ... on Error { message }"
_JOBS = f"""query {{ repositoriesOrError {{ {_ERROR} ... on RepositoryConnection {{ nodes {{
    name location {{ name }} jobs {{ name }} partitionSets {{ name pipelineName }} }} }} }} }}"""
_CONFIG = f"""query ($selector: PipelineSelector!) {{ runConfigSchemaOrError(selector: $selector) {{
    {_ERROR} ... on RunConfigSchema {{ rootConfigType {{
        ... on CompositeConfigType {{ fields {{ name defaultValueAsJson }} }} }} }} }} }}"""
_VALIDATE = f"""query ($selector: PipelineSelector!, $config: RunConfigData!) {{
    isPipelineConfigValid(pipeline: $selector, mode: "default", runConfigData: $config) {{
        {_ERROR} ... on RunConfigValidationInvalid {{ errors {{ message }} }} }} }}"""
_LAUNCH_RUN = f"""mutation ($params: ExecutionParams!) {{ launchRun(executionParams: $params) {{
    {_ERROR} ... on LaunchRunSuccess {{ run {{ runId }} }}
    ... on RunConfigValidationInvalid {{ errors {{ message }} }} }} }}"""
_LAUNCH_BACKFILL = f"""mutation ($params: LaunchBackfillParams!) {{ launchPartitionBackfill(backfillParams: $params) {{
    {_ERROR} ... on LaunchBackfillSuccess {{ backfillId }}
    ... on PartitionKeysNotFoundError {{ partitionKeys }} }} }}"""
_BACKFILL = f"""query ($id: String!) {{ partitionBackfillOrError(backfillId: $id) {{
    {_ERROR} ... on PartitionBackfill {{ status jobName numPartitions isAssetBackfill
    tags {{ key value }} timestamp endTimestamp error {{ message }}
    partitionStatusCounts {{ runStatus count }} }} }} }}"""
_CURSORS = f"""query {{ repositoriesOrError {{ {_ERROR} ... on RepositoryConnection {{ nodes {{ sensors {{
    name sensorState {{ typeSpecificData {{ ... on SensorData {{ lastCursor }} }} }} }} }} }} }} }}"""
_RUN_FIELDS = "runId status jobName startTime endTime tags { key value }"
_FACTS = """assetMaterializations { assetKey { path } metadataEntries { label
    ... on IntMetadataEntry { intRepr } ... on FloatMetadataEntry { floatValue } } }"""
_RUN = f"""query ($id: ID!) {{ runOrError(runId: $id) {{ {_ERROR} ... on Run {{ {_RUN_FIELDS} {_FACTS} }} }} }}"""
_RUNS = f"""query ($tags: [ExecutionTag!]!, $cursor: String, $limit: Int!, $facts: Boolean!) {{
    runsOrError(filter: {{tags: $tags}}, cursor: $cursor, limit: $limit) {{ {_ERROR} ... on Runs {{ results {{
        {_RUN_FIELDS} ... on Run @include(if: $facts) {{ {_FACTS} }} }} }} }} }}"""
_ROWS = f"""query ($id: ID!) {{ runOrError(runId: $id) {{ {_ERROR} ... on Run {{ assetMaterializations {{
    metadataEntries {{ label ... on JsonMetadataEntry {{ jsonString }} }} }} }} }} }}"""
_OBSERVED = f"""query ($id: ID!, $cursor: String, $limit: Int!) {{ runOrError(runId: $id) {{ {_ERROR} ... on Run {{
    eventConnection(afterCursor: $cursor, limit: $limit) {{ cursor hasMore events {{ ... on ObservationEvent {{
        assetKey {{ path }} metadataEntries {{ label ... on IntMetadataEntry {{ intRepr }} }} }} }} }} }} }} }}"""
_EVENTS = f"""query ($id: ID!, $cursor: String, $limit: Int!) {{ runOrError(runId: $id) {{ {_ERROR} ... on Run {{
    eventConnection(afterCursor: $cursor, limit: $limit) {{ cursor hasMore events {{ __typename
        ... on ExecutionStepFailureEvent {{
            error {{ message errorChain {{ error {{ message }} }} }} failureMetadata {{ description }} }}
        ... on RunFailureEvent {{ message }} }} }} }} }} }}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of a code location."""

    name: str
    repository: str
    location: str
    partition_set: str | None  # None: it has no partitions

    @property
    def selector(self) -> dict[str, str]:
        """As GraphQL names it."""
        return {"repositoryName": self.repository, "repositoryLocationName": self.location, "pipelineName": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRun:
    """A run as the server tells it."""

    run_id: str
    job: str
    status: str  # Dagster's: QUEUED, STARTED, SUCCESS, ...
    tags: Mapping[str, str]
    start_time: float | None = None  # seconds since 1970
    end_time: float | None = None
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # asset -> label -> value


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBackfill:
    """A backfill as the server tells it."""

    backfill_id: str
    job: str
    status: str  # Dagster's: REQUESTED, COMPLETED_SUCCESS, ...
    partitions: int
    tags: Mapping[str, str]
    end_time: float  # seconds since 1970; while it goes on, when it was submitted
    error: str | None  # why the daemon gave it up
    run_statuses: Mapping[str, int] | None  # of partitions, by Dagster's status of a run; None: only its runs tell it


@dataclass(frozen=True, slots=True)
class DagsterServer:
    """The webserver at an address.

    Every method raises `SettingError` where no Dagster answers there, and `SubmissionRefused` where it refuses.
    Without http(s):// it is a `SettingError` too, which does not show it: `user:password@host` is no URL to
    `Address`, which shows it whole.
    """

    url: str

    def __post_init__(self) -> None:
        if not self.url.lower().startswith(("http://", "https://")):
            raise SettingError("--url", "begins with http:// or https://, and this does not; see --help")

    def jobs(self) -> dict[str, Job]:
        """Its jobs by name, those that Dagster makes for itself left out."""
        jobs_by_name: dict[str, Job] = {}
        for node in self._query("repositoriesOrError", _JOBS)["nodes"]:
            sets = {each["pipelineName"]: each["name"] for each in node["partitionSets"]}
            for job in node["jobs"]:
                if not job["name"].startswith("__"):
                    jobs_by_name[job["name"]] = Job(
                        name=job["name"],
                        repository=node["name"],
                        location=node["location"]["name"],
                        partition_set=sets.get(job["name"]),
                    )
        return jobs_by_name

    def default_config(self, job: Job) -> dict[str, dict[str, Any]]:
        """`ops` and `resources` -> name -> its whole default configuration."""
        fields = self._query("runConfigSchemaOrError", _CONFIG, selector=job.selector)["rootConfigType"]["fields"]
        defaults = {each["name"]: json.loads(each["defaultValueAsJson"] or "{}") for each in fields}
        return {
            section: {owner: value.get("config") or {} for owner, value in defaults.get(section, {}).items()}
            for section in ("ops", "resources")
        }

    def require_valid(self, job: Job, config: Mapping[str, Any]) -> None:
        """SettingError, where the job cannot be configured so."""
        answer = self._query("isPipelineConfigValid", _VALIDATE, selector=job.selector, config=json.dumps(config))
        if "errors" in answer:
            raise SettingError("--param", "; ".join(each["message"] for each in answer["errors"]))

    def launch_run(self, job: Job, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start a job; gives the id of the run."""
        selector = {
            "repositoryName": job.repository,
            "repositoryLocationName": job.location,
            "jobName": job.name,
        }
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": json.dumps(config),
            "executionMetadata": {"tags": _as_tags(tags)},
        }
        answer = self._query("launchRun", _LAUNCH_RUN, params=params)
        if "errors" in answer:
            raise SettingError("--param", "; ".join(each["message"] for each in answer["errors"]))
        return str(answer["run"]["runId"])

    def launch_backfill(
        self, job: Job, partition_keys: Sequence[str], config: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        """Start a job once for each key; gives the id of the backfill. SettingError names unknown keys."""
        params = {
            "selector": {
                "partitionSetName": job.partition_set,
                "repositorySelector": {"repositoryName": job.repository, "repositoryLocationName": job.location},
            },
            "partitionNames": list(partition_keys),
            "runConfigData": json.dumps(config),
            "tags": _as_tags(tags),
        }
        answer = self._query("launchPartitionBackfill", _LAUNCH_BACKFILL, params=params)
        if unknown := answer.get("partitionKeys"):
            raise SettingError(
                "network",
                f"{', '.join(sorted(unknown))} is not registered with {self.shown}; `mrf run` registers networks",
            )
        return str(answer["backfillId"])

    def backfill(self, backfill_id: str) -> ServerBackfill | None:
        """A backfill by its id; None where there is no such."""
        record = self._query("partitionBackfillOrError", _BACKFILL, absent="BackfillNotFoundError", id=backfill_id)
        if record is None:
            return None
        counts = {each["runStatus"]: each["count"] for each in record["partitionStatusCounts"]}
        return ServerBackfill(
            backfill_id=backfill_id,
            job=record["jobName"] or "__ASSET_JOB",
            status=record["status"],
            partitions=record["numPartitions"] or 0,
            tags={each["key"]: each["value"] for each in record["tags"]},
            end_time=record["endTimestamp"] or record["timestamp"],
            error=record["error"] and _line(record["error"]["message"]),
            run_statuses=None if record["isAssetBackfill"] else counts,
        )

    def run(self, run_id: str) -> ServerRun | None:
        """A run by its id; None where there is no such."""
        record = self._query("runOrError", _RUN, absent="RunNotFoundError", id=run_id)
        return None if record is None else _run(record)

    def runs(self, tag: str, value: str, *, with_numbers: bool = False) -> Iterator[ServerRun]:
        """All runs with a tag, the newest first."""
        cursor = None
        tags = _as_tags({tag: value})
        while True:
            page = self._query("runsOrError", _RUNS, tags=tags, cursor=cursor, limit=_RUNS_AT_ONCE, facts=with_numbers)[
                "results"
            ]
            yield from map(_run, page)
            if len(page) < _RUNS_AT_ONCE:
                return
            cursor = page[-1]["runId"]

    def sensor_cursors(self, name: str) -> list[str]:
        """What the sensors of this name have noted, each in its code location."""
        nodes = self._query("repositoriesOrError", _CURSORS)["nodes"]
        data = [
            each["sensorState"]["typeSpecificData"]
            for node in nodes
            for each in node["sensors"]
            if each["name"] == name
        ]
        return [each["lastCursor"] for each in data if each and each.get("lastCursor")]

    def failure(self, run_id: str) -> str:
        """Why a run failed, in one line: what its step said, else what the run's end did."""
        last = "the run ended without a word; see its log"
        for event in self._events(_EVENTS, run_id):
            if event["__typename"] == "ExecutionStepFailureEvent":
                return _line(_reason(event))
            if event["__typename"] == "RunFailureEvent" and event["message"]:
                last = _line(event["message"])
        return last

    def observed(self, run_id: str, asset: str) -> dict[str, float]:
        """The numbers that a run observed last of an asset, by label; empty where it has not yet."""
        last: Mapping[str, Any] = {"metadataEntries": ()}
        for event in self._events(_OBSERVED, run_id):
            if "/".join((event.get("assetKey") or {}).get("path", ())) == asset:
                last = event
        return {entry["label"]: int(entry["intRepr"]) for entry in last["metadataEntries"] if "intRepr" in entry}

    def rows(self, run_id: str) -> list[dict[str, Any]]:
        """The rows that a run keeps in the metadata of what it materialized, under `rows`."""
        materializations = self._query("runOrError", _ROWS, id=run_id)["assetMaterializations"]
        entries = [entry for each in materializations for entry in each["metadataEntries"] if entry["label"] == "rows"]
        return [row for entry in entries for row in json.loads(entry["jsonString"])]

    def _events(self, document: str, run_id: str) -> Iterator[Mapping[str, Any]]:
        cursor = None
        while True:
            page = self._query("runOrError", document, id=run_id, cursor=cursor, limit=_EVENTS_AT_ONCE)[
                "eventConnection"
            ]
            yield from page["events"]
            if not page["hasMore"]:
                return
            cursor = page["cursor"]

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return str(Address(self.url))

    def _query(self, name: str, document: str, *, absent: str | None = None, **variables: Any) -> Any:  # noqa: ANN401 - JSON
        """One field of the answer; None for the type that says that there is none."""
        import requests  # noqa: PLC0415 - 0.1 s, which no other command has to wait

        trusted = certificates()
        try:
            with requests.Session() as session:
                # A proxy of the environment knows nothing of this machine.
                session.trust_env = urlsplit(self.url).hostname not in _LOOPBACK
                answer = session.post(
                    f"{self.url.rstrip('/')}/graphql",
                    json={"query": document, "variables": variables},
                    timeout=_TIMEOUT_SECONDS,
                    verify=None if trusted is None else str(trusted),
                )
            body = answer.json()
        except (requests.RequestException, ValueError):
            raise SettingError(
                "--url",
                f"no Dagster webserver answers at {self.shown}; start `dagster dev -w workspace.yaml` with the "
                "DAGSTER_HOME of your networks, or give --url",
            ) from None
        if not isinstance(body, dict) or not body.get("data"):
            messages = [str(each.get("message")) for each in body.get("errors", [])] if isinstance(body, dict) else []
            raise SubmissionRefused(self.shown, _line("; ".join(messages)) or f"HTTP {answer.status_code}")
        result = body["data"][name]
        kind = result.get("__typename", "")
        if kind == absent:
            return None
        if kind.endswith(("Error", "Conflict")) and "partitionKeys" not in result:
            raise SubmissionRefused(self.shown, _line(result.get("message", kind)))
        return result


def _as_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _run(record: Mapping[str, Any]) -> ServerRun:
    return ServerRun(
        run_id=record["runId"],
        job=record["jobName"],
        status=record["status"],
        tags={each["key"]: each["value"] for each in record["tags"]},
        start_time=record["startTime"],
        end_time=record["endTime"],
        numbers={
            "/".join(each["assetKey"]["path"]): {
                entry["label"]: int(entry["intRepr"]) if "intRepr" in entry else entry["floatValue"]
                for entry in each["metadataEntries"]
                if "intRepr" in entry or entry.get("floatValue") is not None
            }
            for each in record.get("assetMaterializations", ())
        },
    )


def _reason(event: Mapping[str, Any]) -> str:
    """What was said on purpose, else the innermost exception: Dagster wraps it."""
    description = (event["failureMetadata"] or {}).get("description")
    error = event["error"] or {"message": "", "errorChain": []}
    chain = [each["error"]["message"] for each in error["errorChain"]]
    return str(description or (chain[-1] if chain else error["message"]))


def _line(text: str) -> str:
    return " ".join(text.split())[:_ERROR_CHARACTERS]
