"""Jobs that are submitted to a running Dagster: a real webserver and daemon, a payer, and a registry of providers.

Three networks, one of them not there; what they have is looked up once all of them have ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import duckdb
import pytest
import requests

from mrf_assets.cli.app import main
from mrf_assets.defs.partitions import REGISTRY_POOL, add_networks
from mrf_assets.errors import SettingError
from mrf_assets.fetch import open_url
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.lake.catalog import CATALOG_NAME
from mrf_assets.priority import PRIORITY_TAG, Priority
from mrf_assets.runner.history import batch_statistics
from mrf_assets.schema import TABLES
from mrf_assets.sources import read_source
from mrf_assets.submit import JobResults, JobStatus, results, status, submit, wait
from mrf_assets_tests.dagster_fixtures import (
    DEADLINE_SECONDS,
    REPOSITORY,
    SECRET,
    Payer,
    Place,
    free_port,
    key,
    quick_dagster,
    wait_for,
)
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.nppes_factory import make_npis
from mrf_assets_tests.nppes_server import NppesServer
from mrf_assets_tests.portal_server import link_page

_SOUND, _ABSENT = "ab", "z"
_NETWORKS = [key(letter) for letter in _SOUND + _ABSENT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A Dagster that runs, and what was submitted to it first."""

    place: Place
    url: str
    api: NppesServer
    job_id: str  # of a comprehensive job over all networks
    called_back: JobResults
    by_hand: str  # of a backfill of the network that is not there, as the UI launches it

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        """Dagster's records of runs with these tags, the newest first."""
        wanted = {name.replace("_", "/", 1).replace("__", "_"): value for name, value in tags.items()}
        with self.place.instance() as instance:
            return list(instance.get_runs(dg.RunsFilter(tags=wanted)))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Networks are registered, Dagster is started, and all of them are submitted."""
    place = Place(tmp_path_factory.mktemp("submitted"))
    with MrfServer() as server, NppesServer() as api:
        payer = Payer(server)
        for letter in _SOUND:
            payer.publish(letter)
        index = payer.publish_index(_SOUND + _ABSENT)
        with place.instance() as instance:
            add_networks(instance, list(TaskStore.under(place.output).save(read_source("index", index, open_url))))
        environment = {"MRF_NPI_API_URL": api.url, "MRF_RATE_LIMIT_DELAY": "0.001"}
        with quick_dagster(place, **environment) as url:
            ended, told = threading.Event(), list[JobResults]()

            def call_back(found: JobResults) -> None:
                told.append(found)
                ended.set()

            job_id = submit(
                _NETWORKS, "comprehensive", mode="api_only", priority=Priority.HIGH, url=url, callback=call_back
            )
            by_hand = _materialize(url, key(_ABSENT))
            assert ended.wait(DEADLINE_SECONDS)
            yield Desk(place=place, url=url, api=api, job_id=job_id, called_back=told[0], by_hand=by_hand)


def _materialize(url: str, network: str) -> str:
    """What the UI sends when somebody clicks on "Materialize"; gives the id of the backfill."""
    params = {"assetSelection": [{"path": [table]} for table in TABLES], "partitionNames": [network]}
    mutation = """mutation ($params: LaunchBackfillParams!) {
        launchPartitionBackfill(backfillParams: $params) { ... on LaunchBackfillSuccess { backfillId } } }"""
    answer = requests.post(
        f"{url}/graphql", json={"query": mutation, "variables": {"params": params}}, timeout=DEADLINE_SECONDS
    )
    return str(answer.json()["data"]["launchPartitionBackfill"]["backfillId"])


def test_a_comprehensive_job_ends_with_its_enrichment_though_a_network_failed(desk: Desk) -> None:
    """Two networks are published, one is not, and the providers of the two are looked up, once."""
    found = desk.called_back

    assert ("comprehensive", "failed", 4, 3, 1) == (
        *(found.status.job, found.status.state, found.status.parts, found.status.completed, found.status.failed),
    )
    assert [key(letter) for letter in _SOUND] == desk.place.networks()
    (enrichment,) = [run for run in found.runs if run.job == "enrich_npis"]
    assert "completed" == enrichment.state
    assert desk.api.total() == enrichment.numbers["npi_registry"]["from_api"] > 0


def test_the_results_say_what_failed_and_why(desk: Desk) -> None:
    """With the network's name and the address without its signature."""
    (error,) = desk.called_back.errors

    assert (key(_ABSENT), "ingest") == (error["network_id"], error["job"])
    assert "404" in (error["error"] or "")
    assert SECRET not in json.dumps(desk.called_back.as_json())


def test_a_backfill_of_the_ui_is_told_as_well(desk: Desk) -> None:
    """Dagster counts its partitions in another way."""
    found = wait(desk.by_hand, desk.url)
    (error,) = results(desk.by_hand, desk.url).errors

    assert ("failed", 1, 0, 1) == (found.state, found.parts, found.completed, found.failed)
    assert (key(_ABSENT), True) == (error["network_id"], "404" in (error["error"] or ""))


def test_results_can_be_asked_for_later(desk: Desk) -> None:
    """From any process that has the id; they are what the callback was given."""
    assert desk.called_back == results(desk.job_id, desk.url)
    assert desk.called_back.status == status(desk.job_id, desk.url)


def test_the_priority_reaches_the_queue(desk: Desk) -> None:
    """That of each network's run and of the enrichment behind them."""
    runs = [*desk.runs(dagster_backfill=desk.job_id), *desk.runs(mrf_after=desk.job_id)]

    assert [str(int(Priority.HIGH))] * 4 == [run.tags[PRIORITY_TAG] for run in runs]


def test_the_mode_and_the_parameters_reach_the_jobs(desk: Desk) -> None:
    """As the configuration of the run, where the launchpad shows it; the rest is as the code location says."""
    (enrichment,) = desk.runs(mrf_after=desk.job_id)

    assert {"npi_registry": {"config": {"mode": "api_only"}}} == enrichment.run_config["ops"]


def test_a_comprehensive_job_without_networks_begins_with_the_portals(desk: Desk) -> None:
    """What they name is registered for the sensor of indexes, which does the rest."""
    with MrfServer() as portal:
        parameters = {"portals": [link_page(portal)], "enable_scraping": False}
        job_id = submit([], "comprehensive", parameters=parameters, url=desk.url)
        assert "completed" == wait(job_id, desk.url).state

    (run,) = results(job_id, desk.url).runs
    assert ("discover_portals", 1) == (run.job, run.numbers["discovered_indexes"]["indexes_added"])


def test_a_list_of_npis_is_looked_up_with_progress_and_rows(desk: Desk) -> None:
    """The callback gets each state of the job, and the results hold the registry's rows."""
    npis = make_npis(3, seed=7)
    told, release, ended = list[JobStatus](), threading.Event(), threading.Event()

    def hold(npi: str) -> None:
        if npi != npis[0]:
            release.wait(DEADLINE_SECONDS)

    desk.api.on_request = hold

    def look(status: JobStatus) -> None:
        told.append(status)
        if status.completed:
            release.set()

    try:
        job_id = submit(
            npis,
            "enrich_npis",
            search_type="npi",
            parameters={"max_workers": 1},
            url=desk.url,
            callback=lambda _results: ended.set(),
            on_progress=look,
        )
        assert ended.wait(DEADLINE_SECONDS)
    finally:
        release.set()
        desk.api.on_request = lambda _npi: None

    found = results(job_id, desk.url)
    assert ("look_up_npis", "completed", 3, 3, 0) == (
        *(found.status.job, found.status.state, found.status.parts, found.status.completed, found.status.failed),
    )
    assert sorted(npis) == sorted(str(row["npi"]) for row in found.rows)
    assert {"matched"} == {row["status"] for row in found.rows}
    assert told[-1] == found.status
    assert {1 / 3, 1.0} <= {status.progress for status in told}
    assert "Processing 3/3 (100%): successful 3, failed 0, running 0" == found.status.line


def test_the_example_submits_watches_and_shows(desk: Desk) -> None:
    """examples/submit_examples.py, over two NPIs."""
    npis = make_npis(2, seed=8)
    done = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / "submit_examples.py", desk.url, *npis],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "submitted: " in done.stdout
    assert "completed: Processing 2/2 (100%): successful 2, failed 0, running 0" in done.stdout
    assert all(f"\n{npi}: " in done.stdout for npi in npis)
    assert done.stdout.endswith("2 of 2 found\n")


def test_the_command_line_submits_npis(desk: Desk) -> None:
    """And shows the rows, as text and as JSON."""
    (npi,) = make_npis(1, seed=9)
    arguments = ("submit", "--job", "enrich_npis", "--search-type", "npi", npi, "--wait", "--url", desk.url)
    done = desk.place.mrf(*arguments)

    job_id = done.stdout.splitlines()[0].removeprefix("Submitted enhanced batch collection job: ")
    shown = json.loads(desk.place.mrf("status", job_id, "--json", "--url", desk.url).stdout)
    assert 0 == done.returncode, done.stderr
    assert f"\n  {npi}: " in done.stdout
    assert [int(npi)] == [row["npi"] for row in shown["runs"][0]["rows"]]
    assert 1.0 == shown["progress"]


def test_two_enrichments_take_turns(desk: Desk) -> None:
    """In an instance whose pools nobody has set: while one asks the registry, the other waits for its slot."""
    release = threading.Event()
    asked = threading.Event()

    def hold(_npi: str) -> None:
        asked.set()
        release.wait(DEADLINE_SECONDS)

    desk.api.on_request = hold
    try:
        parameters = {"max_age_days": 0, "max_workers": 1}
        ids = [submit((), "enrich_npis", mode="api_only", parameters=parameters, url=desk.url) for _ in range(2)]
        assert asked.wait(DEADLINE_SECONDS)

        with desk.place.instance() as instance:  # one for all looks

            def look() -> bool:
                pool = instance.event_log_storage.get_concurrency_info(REGISTRY_POOL)
                return (1, 1) == (pool.slot_count, pool.pending_step_count)

            wait_for("the second to wait for the pool", look, every_seconds=0.2)
    finally:
        release.set()
        desk.api.on_request = lambda _npi: None

    assert ["completed"] * 2 == [wait(job_id, desk.url).state for job_id in ids]


def test_a_backfill_is_told_by_the_command_line_from_wherever(desk: Desk) -> None:
    """By DAGSTER_HOME with the figures of its networks; by the webserver for who has the id alone."""
    there = desk.place.mrf("status", desk.job_id, "--url", desk.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(desk.place.home))
        here = batch_statistics(desk.place.output, desk.job_id)

    assert 1 == there.returncode
    assert f"Job: {desk.job_id}, comprehensive\nState: failed\nSuccessful: 3 of 4\nFailed: 1\n" in there.stdout
    assert f"❌ {key(_ABSENT)}: " in there.stdout
    assert (3, 2, 1) == (here.networks, here.succeeded, here.failed)


def test_a_run_that_is_waited_for_ends_with_its_exit_code(desk: Desk) -> None:
    """0: it succeeded. What it is called is the first line."""
    done = desk.place.mrf("submit", "--job", "write_catalog", "--priority", "urgent", "--wait", "--url", desk.url)

    first, *_, last = done.stdout.splitlines()
    job_id = first.removeprefix("Submitted enhanced batch collection job: ")
    assert 0 == done.returncode, done.stderr
    assert ("write_catalog", "20") == ((run := _run(desk, job_id)).job_name, run.tags[PRIORITY_TAG])
    assert "State: completed" in done.stdout
    assert last.startswith("catalog: ")


def test_the_catalog_follows_what_is_published(desk: Desk) -> None:
    """Out of the box, by a sensor that nobody switched on."""

    def look() -> list[dg.DagsterRun]:
        runs = desk.runs(dagster_sensor__name="catalog_follows_publications")
        return [run for run in runs if run.is_success]

    wait_for("the catalog", look, every_seconds=0.5)
    with duckdb.connect(desk.place.output / CATALOG_NAME, read_only=True) as catalog:
        networks = catalog.execute("SELECT DISTINCT network_id FROM rates ORDER BY 1").fetchall()
    assert [(key(letter),) for letter in _SOUND] == networks


def _run(desk: Desk, run_id: str) -> dg.DagsterRun:
    with desk.place.instance() as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def _submitted(desk: Desk) -> set[str]:
    """The runs that no sensor started: that of the catalog may begin at any time."""
    return {run.run_id for run in desk.runs() if "dagster/sensor_name" not in run.tags}


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command line says in one line where nothing is started."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert 2 == ended.value.code
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((key("a"), "t~nobody", "t~no-one"), "network: t~no-one, t~nobody is not registered"),
        ((), "network: ingest is a run for each network; name those that you want"),
        (("--job", "enrich_npis", key("a")), "network: enrich_npis is one run for all networks; name none"),
        (("--job", "tax"), "--job: tax is no job of"),
        (("--job", "enrich_npis", "--search-type", "npi"), "npi: none was given; name those that you want"),
        (
            ("--search-type", "npi", "1234567893"),
            "--search-type: npi is for the job enrich_npis; ingest takes networks",
        ),
        (
            ("--job", "enrich_npis", "--search-type", "npi", "1234567893", "1234567890", "x"),
            "npi: cannot be looked up: 1234567890 (wrong check digit), x (not a number); nothing was started",
        ),
        (("--job", "enrich_npis", "--mode", "scraping_only"), "--param: Value at path root:ops:npi_registry"),
        (("--job", "enrich_npis", "--param", "limit=many"), "--param: Invalid scalar"),
        ((key("a"), "--mode", "api_only"), "--param: ingest has no setting mode; it has adaptive_rate_limiting, "),
        ((key("a"), "--param", "reader"), "--param: 'reader' is not of the form name=value"),
        ((key("a"), "--job", "comprehensive", "--param", f"mode={'x' * 999}"), "--param: "),
    ],
)
def test_what_cannot_be_submitted_is_told_in_one_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    """And nothing is started."""
    before = _submitted(desk)

    assert told in _refused(capsys, "submit", *arguments, "--url", desk.url)
    assert before == _submitted(desk)


def test_an_id_that_nobody_knows_is_told(desk: Desk) -> None:
    """A run's and a backfill's."""
    for unknown in (str(uuid.uuid4()), "abcdefgh"):
        with pytest.raises(SettingError, match=f"{unknown} is neither a run nor a backfill"):
            status(unknown, desk.url)


def test_no_webserver_is_told_with_what_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is asked of it, and whatever else answers at its address."""
    nobody = f"http://user:{SECRET}@127.0.0.1:{free_port()}"
    with MrfServer() as another:
        for url in (nobody, another.base_url, "http://["):
            for arguments in (("submit", "t~a"), ("status", "abcdefgh")):
                line = _refused(capsys, *arguments, "--url", url)
                assert "no Dagster webserver answers at" in line
                assert "start `dagster dev -w workspace.yaml`" in line
                assert SECRET not in line
