"""A backfill of networks whose daemon, webserver and workers are killed in the middle.

Three networks are held in the middle of their downloads, so that what is killed is known to be at work. First the
webserver, the daemon and the worker of network a are killed; then, with three other networks held, everything at once,
as a power cut does. Dagster is started again, and nobody does anything else.

In a second one only the code server is gone: it ends itself when its daemon was not heard for a while, as after a
laptop's sleep.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import psutil
import pytest
import yaml

from mrf_assets.defs.partitions import add_networks
from mrf_assets.fetch import open_url
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.schema import TABLES
from mrf_assets.sources import read_source
from mrf_assets_tests.dagster_fixtures import (
    REPOSITORY,
    Payer,
    Place,
    answers,
    free_port,
    key,
    kill_all_of,
    wait_for,
    worker_of,
)
from mrf_assets_tests.mrf_server import Gate, MrfServer

_AT_FIRST, _AT_THE_CUT = "abc", "def"
_LETTERS = _AT_FIRST + _AT_THE_CUT + "ghi"  # three runs at a time: the last of these begin after the cut
_MORE_LETTERS = _LETTERS + "jklmnopqrst"
_SUCCESS, _FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
_WAIT_SECONDS = 500.0  # up to twenty-four runs of 5 to 10 CPU seconds each; a busy machine must not fail a test

pytestmark = pytest.mark.timeout(1_800)
_Found = TypeVar("_Found")
_LAUNCH = """mutation($it: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $it) { __typename ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message } } }"""


class Dagster:
    """A webserver and a daemon, each a process of its own that can be killed alone."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._started: list[subprocess.Popen[bytes]] = []
        self.base_url = ""

    def start_webserver(self) -> subprocess.Popen[bytes]:
        """Gives the process once it answers."""
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        started = self._start("-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml")
        wait_for("the webserver to answer", lambda: answers(self.base_url))
        return started

    def start_daemon(self, *, reload_seconds: int = 60) -> subprocess.Popen[bytes]:
        """Gives the process at once; it starts a new code server every so many seconds."""
        # Dagster has no setting for it.
        program = (
            f"import dagster._daemon.controller as it; it.RELOAD_WORKSPACE_INTERVAL = {reload_seconds}; "
            "from dagster._daemon.cli import main; main()"
        )
        return self._start("-c", program, "run", "-w", "workspace.yaml")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._place.root / "dagster.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=REPOSITORY,
                env=self._place.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def stop(self) -> None:
        """End all of it, whatever state it is in."""
        kill_all_of(self._place)
        for process in self._started:
            process.wait()

    def backfill(self, letters: str) -> str:
        """Ask for networks as the UI's dialog does; gives the backfill's id."""
        wanted = {
            "partitionNames": [key(letter) for letter in letters],
            "assetSelection": [{"path": [table]} for table in TABLES],
        }
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.base_url}/graphql",
            json.dumps({"query": _LAUNCH, "variables": {"it": wanted}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
            launched = json.load(answer)["data"]["launchPartitionBackfill"]
        assert "LaunchBackfillSuccess" == launched["__typename"], launched
        return str(launched["backfillId"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What is there when all is over."""

    place: Place
    letters: str
    backfill_id: str
    backfill_status: str
    runs: list[dg.DagsterRun]


def _settings(place: Place, concurrent_runs: int) -> None:
    """The project's, with short intervals."""
    config: dict[str, Any] = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    config["run_monitoring"] |= {"poll_interval_seconds": 1}
    config["concurrency"]["runs"]["max_concurrent_runs"] = concurrent_runs
    config["concurrency"]["runs"]["tag_concurrency_limits"][0]["limit"] = concurrent_runs
    place.home.mkdir(parents=True)
    (place.home / "dagster.yaml").write_text(yaml.safe_dump(config))


def _held(server: MrfServer, letters: str) -> dict[str, Gate]:
    return {letter: server.hold(Payer.path(letter), at=20) for letter in letters}


def _reached(instance: dg.DagsterInstance, gates: dict[str, Gate]) -> None:
    for letter, gate in gates.items():
        assert gate.reached.wait(_WAIT_SECONDS), f"{letter}\n{_told(instance)}"


def _wait(instance: dg.DagsterInstance, what: str, look: Callable[[], _Found | None]) -> _Found:
    try:
        return wait_for(what, look, _WAIT_SECONDS, every_seconds=0.5)
    except TimeoutError:
        raise TimeoutError(f"{what}\n{_told(instance)}") from None


def _told(instance: dg.DagsterInstance) -> str:
    """Each backfill, each run, and the last that it said of itself."""
    lines = [f"{backfill.backfill_id} {backfill.status}: {backfill.error}" for backfill in instance.get_backfills()]
    for run in instance.get_runs():
        tags = {name: value for name, value in run.tags.items() if "retr" in name or "reason" in name}
        said = [entry.message for entry in instance.all_logs(run.run_id)][-1:]
        lines.append(f"{run.tags.get('dagster/partition', run.job_name)} {run.status.value} {tags}: {said}")
    return "\n".join([*lines, (Path(instance.root_directory).parent / "dagster.log").read_text()[-10_000:]])


@contextmanager
def _planned(place: Place, letters: str, concurrent_runs: int = 3) -> Iterator[tuple[MrfServer, dg.DagsterInstance]]:
    """Networks, registered and planned."""
    _settings(place, concurrent_runs)
    with MrfServer() as server, place.instance() as instance:
        payer = Payer(server)
        for letter in letters:
            payer.publish(letter)
        tasks = read_source("index", payer.publish_index(letters), open_url)
        add_networks(instance, list(TaskStore.under(place.output).save(tasks)))
        yield server, instance


@pytest.fixture(scope="module", params=[_LETTERS, pytest.param(_MORE_LETTERS, marks=pytest.mark.slow)], ids=len)
def recovered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recovered:
    """All of it, once."""
    place, letters = Place(tmp_path_factory.mktemp("recovery")), str(request.param)
    with _planned(place, letters) as (server, instance):
        dagster = Dagster(place)
        try:
            first, cut = _held(server, _AT_FIRST), _held(server, _AT_THE_CUT)
            webserver, daemon = dagster.start_webserver(), dagster.start_daemon()
            backfill_id = dagster.backfill(letters)
            _reached(instance, first)

            (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key("a")}), limit=1)
            failed = dg.RunsFilter(run_ids=[run.run_id], statuses=[_FAILURE])
            for killed in (webserver.pid, daemon.pid, worker_of(instance, run).pid):
                os.kill(killed, signal.SIGKILL)
            dagster.start_webserver()
            dagster.start_daemon()
            _wait(instance, "the killed run to be seen", lambda: instance.get_runs_count(failed))
            for gate in first.values():
                gate.release()

            _reached(instance, cut)
            dagster.stop()
            for gate in cut.values():
                gate.release()
            dagster.start_webserver()
            dagster.start_daemon()
            status = _wait(instance, "the backfill to end", lambda: _ended(instance, backfill_id))
            runs = _runs_of(instance, backfill_id)
        finally:
            dagster.stop()
    return Recovered(place=place, letters=letters, backfill_id=backfill_id, backfill_status=status, runs=runs)


def _runs_of(instance: dg.DagsterInstance, backfill_id: str) -> list[dg.DagsterRun]:
    """Without those of the catalog, which follows by itself."""
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))


def _ended(instance: dg.DagsterInstance, backfill_id: str) -> str | None:
    backfill = instance.get_backfill(backfill_id)
    assert backfill is not None
    return backfill.status.value if backfill.status.value.startswith("COMPLETED") else None


def test_every_network_is_published(recovered: Recovered) -> None:
    """Nothing is lost: all tables of all networks, and nothing in the making."""
    assert sorted(map(key, recovered.letters)) == recovered.place.networks()
    assert [] == recovered.place.leftovers()


def test_every_network_is_published_once(recovered: Recovered) -> None:
    """Nothing comes twice: one run of each network succeeded, and it told of its tables once."""
    successes = Counter(run.tags["dagster/partition"] for run in recovered.runs if run.status == _SUCCESS)
    with recovered.place.instance() as instance:
        key_of = dg.AssetKey("rates")
        told = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key_of), limit=1_000).records

    assert dict.fromkeys(map(key, recovered.letters), 1) == dict(successes)
    assert dict.fromkeys(map(key, recovered.letters), 1) == dict(Counter(record.partition_key for record in told))


def test_only_what_was_killed_is_repeated(recovered: Recovered) -> None:
    """The run of the killed worker, and the three of the power cut; the others survived the end of the daemon."""
    failed = sorted(run.tags["dagster/partition"] for run in recovered.runs if run.status == _FAILURE)

    assert [key(letter) for letter in "a" + _AT_THE_CUT] == failed
    assert len(recovered.letters) + 4 == len(recovered.runs)


def test_the_backfill_ends_well(recovered: Recovered) -> None:
    """All its runs carry its id, those that were repeated too."""
    assert "COMPLETED_SUCCESS" == recovered.backfill_status
    assert {recovered.backfill_id} == {run.tags["dagster/backfill"] for run in recovered.runs}


def _sent_back(instance: dg.DagsterInstance, daemon: subprocess.Popen[bytes]) -> bool:
    """Kill the code servers that the daemon has until a run was queued twice."""
    for process in psutil.Process(daemon.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "grpc" in process.cmdline():
                process.kill()
    enqueued = dg.DagsterEventType.PIPELINE_ENQUEUED
    return any(len(instance.all_logs(run.run_id, of_type=enqueued)) > 1 for run in instance.get_runs())


def test_a_code_server_that_is_gone_takes_no_run_with_it(tmp_path: Path) -> None:
    """What it started goes on, what was to begin waits for the next one, and nothing has to be repeated."""
    place = Place(tmp_path)
    with _planned(place, "abc", concurrent_runs=1) as (server, instance):
        dagster = Dagster(place)
        try:
            (gate,) = _held(server, "a").values()
            dagster.start_webserver()
            daemon = dagster.start_daemon(reload_seconds=20)
            backfill_id = dagster.backfill("abc")
            _reached(instance, {"a": gate})
            gate.release()
            _wait(instance, "a run to go back to the queue", lambda: _sent_back(instance, daemon))
            status = _wait(instance, "the backfill to end", lambda: _ended(instance, backfill_id))
            runs = _runs_of(instance, backfill_id)
        finally:
            dagster.stop()

    assert "COMPLETED_SUCCESS" == status
    assert [_SUCCESS] * 3 == [run.status for run in runs]
    assert sorted(map(key, "abc")) == place.networks()
