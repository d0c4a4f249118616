"""Jobs whose webserver does not answer every time, or is not there: what is told of them then.

A webserver that answers as it is scripted stands in for Dagster's; DAGSTER_HOME is a real one.
"""

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from mrf_assets.cli.app import main
from mrf_assets.errors import SubmissionRefused
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.runner.history import ensure_dagster_home
from mrf_assets.submit import (
    AFTER_TAG,
    ENRICH,
    FOLLOWER,
    THEN_TAG,
    status,
    wait,
    wait_for_results,
)
from mrf_assets_tests.dagster_fixtures import SECRET, add_backfill
from mrf_assets_tests.raw_server import write_certificate

_DAY_SECONDS = 86_400.0
_ID = "abcdefgh"


class Webserver(ThreadingHTTPServer):
    """Tells of one backfill, which has ended; the numbers in `refused` are the requests that it refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = 0
        self.refused = range(0)
        self.tags: dict[str, str] = {}
        self.ended_days_ago = 0.0
        self.cursor: str | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, query: str) -> dict[str, Any]:
        """What Dagster says."""
        self.asked += 1
        if self.asked in self.refused:
            return {"data": None, "errors": [{"message": "(sqlite3.OperationalError) database is locked"}]}
        if "partitionBackfillOrError" in query:
            return {"data": {"partitionBackfillOrError": self._backfill()}}
        if "repositoriesOrError" in query:
            data = None if self.cursor is None else {"lastCursor": self.cursor}
            sensors = [{"name": FOLLOWER, "sensorState": {"typeSpecificData": data}}]
            return {"data": {"repositoriesOrError": {"nodes": [{"sensors": sensors}]}}}
        return {"data": {"runsOrError": {"results": []}}}

    def _backfill(self) -> dict[str, Any]:
        ended = time.time() - self.ended_days_ago * _DAY_SECONDS
        return {
            "__typename": "PartitionBackfill", "status": "COMPLETED_SUCCESS", "jobName": "ingest", "numPartitions": 1,
            "isAssetBackfill": False, "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
            "timestamp": 0.0, "endTimestamp": ended, "error": None,
            "partitionStatusCounts": [{"runStatus": "SUCCESS", "count": 1}],
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Webserver

    def do_POST(self) -> None:
        """GraphQL."""
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
        body = json.dumps(self.server.answer(query)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def webserver() -> Iterator[Webserver]:
    """One that answers until the test ends."""
    with Webserver() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("refused", [range(1, 2), range(2, 4)])
def test_who_waits_goes_on_over_a_refusal(webserver: Webserver, refused: range) -> None:
    """`database is locked` passes: at the first question, and when the results are asked for."""
    webserver.refused = refused

    assert "completed" == wait_for_results(_ID, webserver.url, sleep=lambda _seconds: None).status.state


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_webserver_over_tls_is_trusted_by_the_variables_of_downloads(
    webserver: Webserver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """One of our own network, on this machine as well."""
    pem = write_certificate(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    webserver.socket = context.wrap_socket(webserver.socket, server_side=True)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(pem))

    assert "completed" == status(_ID, webserver.url.replace("http:", "https:")).state


def test_a_webserver_that_refuses_for_half_a_minute_is_told(webserver: Webserver) -> None:
    """With its own words."""
    webserver.refused = range(1, 1_000)
    slept: list[float] = []

    with pytest.raises(SubmissionRefused, match="database is locked"):
        wait(_ID, webserver.url, sleep=slept.append)
    assert 30.0 == sum(slept)


def test_what_follows_a_backfill_is_waited_for(webserver: Webserver) -> None:
    """The sensor has not looked yet."""
    webserver.tags = {THEN_TAG: ENRICH}
    found = status(_ID, webserver.url)

    assert ("running", 2, 1, None) == (found.state, found.parts, found.completed, found.error)


@pytest.mark.parametrize(
    ("cursor", "ended_days_ago", "told"),
    [
        (json.dumps({_ID: ""}), 0.0, "the run of enrich_npis that followed it was deleted"),
        (json.dumps({_ID: "its tag is wrong"}), 0.0, "its tag is wrong"),
        (None, 8.0, "`mrf submit --job enrich_npis` starts one"),
    ],
)
def test_what_does_not_follow_any_more_is_not_waited_for(
    webserver: Webserver, cursor: str | None, ended_days_ago: float, told: str
) -> None:
    """It says why, and the job has not succeeded."""
    webserver.tags, webserver.cursor, webserver.ended_days_ago = {THEN_TAG: ENRICH}, cursor, ended_days_ago
    found = wait_for_results(_ID, webserver.url)

    assert ("canceled", 2, 1, 1) == (
        *(found.status.state, found.status.parts, found.status.completed, found.status.canceled),
    )
    assert told in (found.errors[0]["error"] or "")


# --- without a webserver --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comprehensive:
    """A job of one network that is published, as DAGSTER_HOME has it."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def make(self, ended_days_ago: float, run_tags: dict[str, str] | None) -> None:
        """With the run that follows it; None: there is none."""
        with dg.DagsterInstance.get() as instance:
            backfill = add_backfill(
                instance, BulkActionStatus.COMPLETED_SUCCESS, {THEN_TAG: ENRICH}, ["t~a"], ended_days_ago=ended_days_ago
            )
            run = dg.DagsterRun("ingest", run_id=str(uuid.uuid4()), tags=self._tags(backfill.backfill_id))
            instance.add_run(run)
            success = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
            instance.report_dagster_event(success, run_id=run.run_id)
            if run_tags is not None:
                tags = {AFTER_TAG: backfill.backfill_id, **run_tags}
                enrichment.execute_in_process(instance=instance, tags=tags, raise_on_error=False)

    @staticmethod
    def _tags(backfill_id: str) -> dict[str, str]:
        return {"dagster/backfill": backfill_id, "dagster/partition": "t~a"}

    def status(self, *flags: str) -> tuple[object, str, str]:
        """`mrf status`: exit code, stdout and stderr."""
        return _said(self.capsys, "status", "backfill0", "--output-dir", str(self.root / "out"), *flags)


@pytest.fixture
def comprehensive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Comprehensive:
    """Nothing is there yet but the folders."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    TaskStore.under(tmp_path / "out").save([])
    ensure_dagster_home()
    return Comprehensive(tmp_path, capsys)


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of the command line."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@dg.op
def look_up(context: dg.OpExecutionContext) -> None:
    """As its run is tagged."""
    if context.get_tag("fails"):
        raise dg.Failure("the registry is down")


@dg.job(name=ENRICH)
def enrichment() -> None:
    """In the place of the job of that name."""
    look_up()


@pytest.mark.parametrize(
    ("run_tags", "ended_days_ago", "told"),
    [
        ({}, 0.0, (0, "Then: enrich_npis, completed\n")),
        ({"fails": "x"}, 0.0, (1, "Then: enrich_npis, failed: the registry is down\n")),
        (None, 8.0, (1, "Then: enrich_npis, canceled: no run of enrich_npis is there")),
    ],
)
def test_without_a_webserver_what_follows_counts_too(
    comprehensive: Comprehensive, run_tags: dict[str, str] | None, ended_days_ago: float, told: tuple[int, str]
) -> None:
    """DAGSTER_HOME tells of both; a job is no success as long as its second half is none."""
    comprehensive.make(ended_days_ago, run_tags)

    code, out, err = comprehensive.status("--wait")
    assert (told[0], True) == (code, told[1] in out)
    assert "Successful: 1\n" in out
    assert f"Note: this is what DAGSTER_HOME={comprehensive.root / 'home'} tells; " in err


def test_without_a_webserver_what_has_yet_to_follow_is_no_success(comprehensive: Comprehensive) -> None:
    """All networks have succeeded, and nothing runs."""
    comprehensive.make(0.0, None)

    code, out, _ = comprehensive.status("--json")
    assert (1, "queued") == (code, json.loads(out)["follow_up"]["state"])


def test_without_a_webserver_the_errors_are_those_of_both(comprehensive: Comprehensive) -> None:
    """`--errors` has nothing else to tell."""
    comprehensive.make(0.0, {"fails": "x"})

    code, out, _ = comprehensive.status("--errors")
    assert (1, "enrich_npis: the registry is down\n") == (code, out)


# --- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("submit", "t~a"), ("status", _ID), ("status", _ID, "--wait")])
@pytest.mark.parametrize("address", ["user:{}@localhost:3000", "//user:{}@localhost:3000", "file://user:{}@localhost"])
def test_an_address_without_a_scheme_is_refused_and_not_shown(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], address: str
) -> None:
    """It may hold a password, and is no URL that could be told without."""
    code, out, err = _said(capsys, *arguments, "--url", address.format(SECRET))

    assert (2, "") == (code, out)
    assert err.startswith("Error: --url: begins with http:// or https://")
    assert SECRET not in err
