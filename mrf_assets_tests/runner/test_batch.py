"""The main job: the networks of an index, one at a time and several, through the command line.

Runs are made once, in fixtures, and looked at by many tests. Networks are called by a letter.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX

from mrf_assets.batch_orchestrator import execute_batch
from mrf_assets.defs.processes import WORKER_TAG
from mrf_assets.fetch import open_url
from mrf_assets.schema import STORED_TABLES, TABLES
from mrf_assets.sources import read_source
from mrf_assets_tests.dagster_fixtures import SECRET, Payer, Place, finished, key, run_arguments, wait_for
from mrf_assets_tests.factory import document
from mrf_assets_tests.mrf_server import Gate, MrfServer, Request
from mrf_assets_tests.table_rows import without_generations

_LETTERS = "abcd"
_BROKEN = "c"  # in the index and nowhere else
_SOUND = [key(letter) for letter in _LETTERS if letter != _BROKEN]
_RULE = "=" * 60
_ENTRY = {
    "url", "source_url", "filename", "output_prefix", "network_id", "extraction_timestamp", "status", "unchanged",
    "output_files", "error", "duration_seconds", "plans",
}  # fmt: skip
_OF_THE_RUN = {"extraction_timestamp", "duration_seconds", "log_file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a run of the command line left behind."""

    place: Place
    done: subprocess.CompletedProcess[str]
    manifest: dict[str, Any]

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The manifest's entries by network."""
        return {entry["network_id"]: entry for entry in self.manifest["extractions"]}

    @property
    def log_dir(self) -> Path:
        """The folder of the details."""
        (found,) = (self.place.output / "logs").iterdir()
        return found

    def log(self, letter: str) -> str:
        """The details of one network."""
        return (self.log_dir / f"{key(letter)}_extraction.log").read_text()


def _batch(place: Place, done: subprocess.CompletedProcess[str]) -> Batch:
    manifest = json.loads((place.output / "manifest.json").read_text())
    return Batch(place=place, done=done, manifest=manifest)


def _statuses(place: Place) -> dict[str, str]:
    """The status of each network's latest run."""
    with place.instance() as instance:
        runs = instance.get_runs()
    return {run.tags["dagster/partition"]: run.status.value for run in reversed(runs)}


def _without_times(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What two manifests of one source have in common."""
    kept = {name: value for name, value in manifest.items() if name not in ("extraction_run", "batch_id")}
    kept["extractions"] = [
        {name: value for name, value in entry.items() if name not in _OF_THE_RUN} for entry in kept["extractions"]
    ]
    return without_generations(kept)


@pytest.fixture(scope="module")
def payer() -> Iterator[Payer]:
    """Four networks in an index; the file of one is not there."""
    with MrfServer() as server:
        payer = Payer(server)
        for letter in _LETTERS.replace(_BROKEN, ""):
            payer.publish(letter)
        payer.publish_index(_LETTERS)
        yield payer


@pytest.fixture(scope="module")
def index_url(payer: Payer) -> str:
    """Where the payer's index is."""
    return payer.server.url("/2026-11-05_index.json")


@pytest.fixture(scope="module")
def one(index_url: str, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """`mrf run`, as it is without flags: one network at a time."""
    place = Place(tmp_path_factory.mktemp("one"))
    return _batch(place, place.mrf("run", "--source", "index", "--input", index_url))


@pytest.fixture(scope="module")
def four(index_url: str, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """`mrf run --workers 4`."""
    place = Place(tmp_path_factory.mktemp("four"))
    return _batch(place, place.run(index_url, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A batch over an output folder that had one before."""

    before: dict[str, str]  # what was published
    batch: Batch


@pytest.fixture(scope="module")
def again(one: Batch, index_url: str) -> Again:
    """`mrf run --force --workers 2 --verbose` over what `one` left."""
    before = one.place.digests()
    return Again(before=before, batch=_batch(one.place, one.place.run(index_url, 2, "--verbose", "--force")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A batch over an index of which nothing has changed."""

    before: dict[str, str]  # what was published
    batch: Batch
    asked: list[Request]  # of the payer


@pytest.fixture(scope="module")
def idle(four: Batch, payer: Payer, index_url: str, tmp_path_factory: pytest.TempPathFactory) -> Idle:
    """`mrf run --workers 2` over a copy of what `four` left; the signatures in the index are others."""
    place = Place(tmp_path_factory.mktemp("idle") / "copy")
    shutil.copytree(four.place.root, place.root)
    before = place.published()
    index_before, asked_before = payer.server.stored("/2026-11-05_index.json"), len(payer.server.requests)
    payer.server.put("/2026-11-05_index.json", index_before.replace(b"Expires=1793145600", b"Expires=1795145600"))
    done = place.run(index_url, 2)
    payer.server.put("/2026-11-05_index.json", index_before)
    return Idle(before=before, batch=_batch(place, done), asked=payer.server.requests[asked_before:])


# --- one at a time --------------------------------------------------------------------------


def test_without_workers_networks_run_one_after_the_other(one: Batch) -> None:
    """The console has a paragraph for each, in the order of the index."""
    assert one.done.stdout.startswith(f"{_RULE}\nRUNNING EXTRACTIONS (Sequential)\n{_RULE}\n\n[1/4] {key('a')}\n")
    assert [f"[{number}/4] {key(letter)}" for number, letter in enumerate(_LETTERS, 1)] == re.findall(
        r"^\[.*", one.done.stdout, re.MULTILINE
    )


def test_a_sequential_run_prints_details(one: Batch) -> None:
    """File name, plans and outcome on stdout, the progress on stderr."""
    name = Payer.path("a").rpartition("/")[2]

    assert re.search(
        rf"\n\[1/4\] {key('a')}\n  URL: {re.escape(name)}\n  Plans: 2 plan\(s\) - [-\d]+, [-\d]+\n"
        r"  ✅ Success \(\d+\.\ds\)\n",
        one.done.stdout,
    )
    assert re.search(rf"  \d\d:\d\d:\d\d {key('a')}: read .*: 24 rate rows of 24 prices, ", one.done.stderr)


def test_a_sequential_run_says_why_a_network_failed(one: Batch, payer: Payer) -> None:
    """At once, and in the summary again."""
    reason = f"{payer.server.url(Payer.path(_BROKEN))}: HTTP 404, the file is not there; "

    assert f"  ❌ Failed: {reason}" in one.done.stdout
    assert f"\n  ❌ {key(_BROKEN)}: {reason}" in one.done.stdout.partition("EXTRACTION SUMMARY")[2]


def test_a_sequential_run_has_no_log_files(one: Batch) -> None:
    """Its details were on the console."""
    assert "Log directory" not in one.done.stdout
    assert not any("log_file" in entry for entry in one.manifest["extractions"])


def test_dagster_keeps_quiet_on_the_console(one: Batch) -> None:
    """Its own events are for --verbose."""
    assert "STEP_START" not in one.done.stdout + one.done.stderr


def test_a_failed_network_is_exit_code_1(one: Batch) -> None:
    """Scripts can tell."""
    assert 1 == one.done.returncode


# --- several at a time ----------------------------------------------------------------------


def test_four_workers_complete_all(four: Batch) -> None:
    """All that can be published is."""
    assert (1, _SOUND) == (four.done.returncode, four.place.networks())


def test_the_console_of_a_parallel_run_is_clean(four: Batch) -> None:
    """Banner, one line for each network, summary: nothing else on stdout, and nothing on stderr."""
    log_dir = f"lake/logs/{four.log_dir.name}"  # from where the command was given
    lines = four.done.stdout.splitlines()

    assert [_RULE, "RUNNING EXTRACTIONS (Parallel - 4 workers)", _RULE, f"📁 Log directory: {log_dir}/"] == lines[:4]
    assert [
        "", _RULE, "EXTRACTION SUMMARY", _RULE, "Successful: 3/4", "Failed: 1/4", lines[14],
        f"Output directory: {four.place.output}", f"Manifest file: {four.place.output}/manifest.json",
        f"Log directory: {log_dir}/",
    ] == lines[8:]  # fmt: skip
    assert lines[14].startswith(f"  ❌ {key(_BROKEN)}: http")
    assert "" == four.done.stderr


def test_a_parallel_run_tells_one_line_for_each_network(four: Batch) -> None:
    """Its number in the index, how it ended, how long it took, and where the details are."""
    told = {re.sub(r"\d+\.\ds", "0.1s", line) for line in four.done.stdout.splitlines()[4:8]}

    assert told == {
        f"{mark} [{number}/4] {key(letter)} {how} | Log: lake/logs/{four.log_dir.name}/{key(letter)}_extraction.log"
        for number, letter in enumerate(_LETTERS, 1)
        for mark, how in [("❌", "failed") if letter == _BROKEN else ("✅", "completed (0.1s)")]
    }


def test_workers_are_processes_of_their_own(four: Batch) -> None:
    """Four of them worked off four networks."""
    with four.place.instance() as instance:
        workers = {run.tags[WORKER_TAG] for run in instance.get_runs()}

    assert len(_LETTERS) == len(workers)


def test_no_worker_waits_for_a_place(four: Batch) -> None:
    """`--workers 4` is four at a time, whatever the limits of the run queue."""
    assert not any("blocked by limit" in four.log(letter) for letter in _LETTERS)


def test_two_workers_write_a_log_for_each_network(again: Again) -> None:
    """Below `logs/<time>/`."""
    assert re.fullmatch(r"\d{8}_\d{6}", again.batch.log_dir.name)
    assert sorted(f"{key(letter)}_extraction.log" for letter in _LETTERS) == sorted(
        path.name for path in again.batch.log_dir.iterdir()
    )


def test_a_log_file_holds_the_full_detail(four: Batch, payer: Payer) -> None:
    """Our own lines and each event of the run."""
    log = four.log("a")

    assert f"{key('a')}: reading {payer.server.url(Payer.path('a'))}\n" in log
    assert "24 rate rows of 24 prices" in log
    assert all(event in log for event in ("RUN_START", "STEP_START", "ASSET_CHECK_EVALUATION", "RUN_SUCCESS"))
    assert key("b") not in log


def test_the_log_of_a_failed_network_says_why(four: Batch) -> None:
    """Where the console said `failed`."""
    assert "HTTP 404, the file is not there; get a newer index or drop the address" in four.log(_BROKEN)


def test_verbose_brings_the_details_to_the_console_too(again: Again) -> None:
    """Each line with its network, as two of them talk at a time; stdout stays as it is."""
    details = [line for line in again.batch.done.stderr.splitlines() if f"[{key('a')}]" in line]

    assert [line.removeprefix(f"[{key('a')}] ") for line in details] == again.batch.log("a").splitlines()
    assert "STEP_START" in again.batch.done.stderr
    assert "STEP_START" not in again.batch.done.stdout


# --- nothing has changed ---------------------------------------------------------------------


def test_a_second_run_over_an_unchanged_index_downloads_nothing_but_the_index(idle: Idle) -> None:
    """Beside it, each published file is asked for its validators; the one that is not there is asked for again."""
    gets = [request.path for request in idle.asked if request.method == "GET" and request.path != Payer.path(_BROKEN)]
    heads = sorted(request.path for request in idle.asked if request.method == "HEAD")

    assert ["/2026-11-05_index.json"] == gets
    assert [Payer.path(letter) for letter in _LETTERS if letter != _BROKEN] == heads


def test_an_unchanged_network_stays_as_it_is_published(idle: Idle) -> None:
    """To the byte, and nothing is left in the making."""
    assert idle.before == idle.batch.place.published()
    assert [] == idle.batch.place.leftovers()


def test_the_console_tells_what_was_unchanged(idle: Idle) -> None:
    """Each network on its line, and their number in the summary."""
    out = idle.batch.done.stdout

    assert 3 == len(re.findall(r"^✅ \[\d/4\] \S+ unchanged \(\d+\.\ds\) \| Log: ", out, re.MULTILINE))
    assert "\nSuccessful: 3/4\nFailed: 1/4\nUnchanged: 3/4 (not read again; --force does)\n" in out


def test_the_manifest_of_an_unchanged_network_is_whole(idle: Idle, four: Batch) -> None:
    """What is published and when it was made, as the run that made it told."""
    of_the_run = {"log_file", "duration_seconds", "unchanged", "extraction_timestamp"}
    entry, before = idle.batch.entries[key("a")], four.entries[key("a")]

    assert (True, False) == (entry["unchanged"], before["unchanged"])
    assert {name: entry[name] for name in _ENTRY - of_the_run} == {name: before[name] for name in _ENTRY - of_the_run}
    assert before["extraction_timestamp"] <= entry["extraction_timestamp"] <= idle.batch.manifest["extraction_run"]
    assert 3 == idle.batch.manifest["summary"]["networks_unchanged"]


def test_dagster_observes_what_is_unchanged(idle: Idle) -> None:
    """The run is a success without a materialization, and the partition stays materialized."""
    rates = dg.AssetKey("rates")
    with idle.batch.place.instance() as instance:
        (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key("a")}), limit=1)
        made = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        seen = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
        published = instance.get_materialized_partitions(rates)

    assert (dg.DagsterRunStatus.SUCCESS, [], len(TABLES)) == (run.status, list(made), len(seen))
    assert set(_SOUND) == set(published)


# --- the manifest ---------------------------------------------------------------------------


def test_the_manifest_says_what_was_run(four: Batch, index_url: str) -> None:
    """Source, totals and summary."""
    expected = {
        "source_type": "index",
        "source_input": index_url,
        "total_tasks": 4,
        "summary": {
            "successful": 3,
            "failed": 1,
            "not_run": 0,
            "networks_successful": 3,
            "networks_failed": 1,
            "networks_unchanged": 0,
        },
    }

    assert expected == {name: four.manifest[name] for name in expected}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", four.manifest["extraction_run"])


def test_an_entry_has_its_log_file_in_parallel_only(one: Batch, four: Batch) -> None:
    """Relative to the output folder, and it is there."""
    files = [entry["log_file"] for entry in four.manifest["extractions"]]

    assert [f"logs/{four.log_dir.name}/{key(letter)}_extraction.log" for letter in _LETTERS] == files
    assert all((four.place.output / file).is_file() for file in files)
    assert not any("log_file" in entry for entry in one.manifest["extractions"])


def test_an_entry_has_all_keys(one: Batch) -> None:
    """Of a network that succeeded and of one that failed."""
    assert [_ENTRY] * 4 == [set(entry) for entry in one.manifest["extractions"]]


def test_an_entry_of_a_success_lists_its_files(four: Batch) -> None:
    """All that is published of the network, and no file of another."""
    entry = four.entries[key("a")]

    assert ("success", None, set(TABLES)) == (entry["status"], entry["error"], set(entry["output_files"]))
    assert sorted(path for paths in entry["output_files"].values() for path in paths) == [
        path for path in four.place.tables() if f"={key('a')}/" in path
    ]


def test_an_entry_of_a_failure_says_why(four: Batch) -> None:
    """In the words of the console."""
    entry = four.entries[key(_BROKEN)]

    assert ("failed", {"providers": None, "rates": None}) == (entry["status"], entry["output_files"])
    assert entry["error"].endswith("HTTP 404, the file is not there; get a newer index or drop the address")


@pytest.mark.parametrize("workers", ["one", "four"])
def test_the_console_and_the_manifest_tell_the_same_seconds(workers: str, request: pytest.FixtureRequest) -> None:
    """They are those of the extraction, and the time is its start."""
    batch: Batch = request.getfixturevalue(workers)
    sound = [entry for entry in batch.manifest["extractions"] if entry["status"] == "success"]

    assert sorted(f"{entry['duration_seconds']:.1f}s" for entry in sound) == sorted(
        re.findall(r"\((\d+\.\ds)\)", batch.done.stdout)
    )
    ended = dt.datetime.fromtimestamp((batch.place.output / "manifest.json").stat().st_mtime, tz=dt.UTC)
    for entry in sound:
        start = dt.datetime.fromisoformat(entry["extraction_timestamp"])
        assert dt.datetime.fromisoformat(batch.manifest["extraction_run"]) <= start
        assert start + dt.timedelta(seconds=entry["duration_seconds"]) <= ended


def test_entries_come_in_the_order_of_the_index(four: Batch) -> None:
    """Whoever ended first."""
    assert [key(letter) for letter in _LETTERS] == [entry["network_id"] for entry in four.manifest["extractions"]]


def test_the_manifest_can_be_exported_again(four: Batch, tmp_path: Path) -> None:
    """`mrf manifest` makes out of run metadata what `mrf run` left, on stdout or in a file."""
    printed = four.place.mrf("manifest")
    written = four.place.mrf("manifest", "--all", "--output", str(tmp_path / "all.json"))

    assert four.manifest == json.loads(printed.stdout)
    assert f"Manifest file: {tmp_path}/all.json\n" == written.stdout
    assert four.manifest["extractions"] == json.loads((tmp_path / "all.json").read_text())["extractions"]


# --- the same, however it is run ------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_one_worker_and_four_publish_the_same_rows(one: Batch, four: Batch, table: str) -> None:
    """Row for row."""
    assert one.place.rows(table) == four.place.rows(table)


def test_one_worker_and_four_leave_the_same_manifest(one: Batch, four: Batch) -> None:
    """But for times, batch and log files."""
    assert _without_times(one.manifest) == _without_times(four.manifest)


def test_running_twice_changes_nothing(again: Again) -> None:
    """Each published file is the same to the byte."""
    assert again.before
    assert again.before == again.batch.place.digests()


def test_running_twice_leaves_nothing_behind(again: Again) -> None:
    """Nothing stays in the making."""
    assert [] == again.batch.place.leftovers()


def test_dagster_has_one_run_for_each_network(four: Batch) -> None:
    """With the batch it belongs to, the host it reads and its log."""
    with four.place.instance() as instance:
        runs = instance.get_runs()

    assert sorted(key(letter) for letter in _LETTERS) == sorted(run.tags["dagster/partition"] for run in runs)
    assert {(four.manifest["batch_id"], "127.0.0.1")} == {(run.tags["mrf/batch"], run.tags["mrf/host"]) for run in runs}


def test_the_runs_page_shows_the_tags_that_people_filter_by(four: Batch) -> None:
    """Those of processes, which only commands read, have the prefix of tags that Dagster shows nowhere."""
    with four.place.instance() as instance:
        tags = {tag for run in instance.get_runs() for tag in run.tags if not tag.startswith(HIDDEN_TAG_PREFIX)}

    shown = {tag for tag in tags if not tag.startswith("dagster/")}
    assert {f"mrf/{name}" for name in ("batch", "host", "log_file", "source_input", "source_type")} == shown


def test_dagster_shows_what_is_published(four: Batch) -> None:
    """Networks that succeeded are materialized, the other one failed."""
    with four.place.instance() as instance:
        assert set(_SOUND) == set(instance.get_materialized_partitions(dg.AssetKey("rates")))
    assert {**dict.fromkeys(_SOUND, "SUCCESS"), key(_BROKEN): "FAILURE"} == _statuses(four.place)


def test_secrets_of_addresses_are_in_the_plan_alone(one: Batch, four: Batch, again: Again) -> None:
    """Not in Dagster's storage, logs or manifest, nor on the console."""
    for place in (one.place, four.place):
        holders = [
            path.name for path in place.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
        ]
        assert ["tasks.sqlite"] == holders
    for batch in (one, four, again.batch):
        assert SECRET not in batch.done.stdout + batch.done.stderr


# --- when it goes wrong ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A batch of two workers with one network in the middle of its download, the others done."""

    place: Place
    process: subprocess.Popen[str]
    gate: Gate

    def worker(self, letter: str) -> int:
        """The process that works on a network."""
        with self.place.instance() as instance:
            (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key(letter)}), limit=1)
        return int(run.tags[WORKER_TAG])


@contextmanager
def _held(payer: Payer, place: Place, letters: str, held: str, *, others_done: bool) -> Iterator[Held]:
    url = payer.publish_index(letters, f"/2026-11-05_{place.root.name}_index.json")
    gate = payer.server.hold(Payer.path(held), at=20)
    process = place.start(*run_arguments(url, 2))
    try:
        assert gate.reached.wait(60)
        if others_done:
            others = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
            with place.instance() as instance:
                wait_for("the others to end", lambda: instance.get_runs_count(others) == len(letters) - 1)
        yield Held(place=place, process=process, gate=gate)
    finally:
        gate.release()
        if process.poll() is None:
            process.kill()
            process.communicate()


def _publish_others(payer: Payer) -> None:
    """New files at the addresses of the payer, so that old data differs from new."""
    for letter in "ab":
        payer.publish(letter, document(seed=100 + ord(letter), codes=7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A batch one of whose workers was killed, and the one that came after."""

    batch: Batch
    before: dict[str, str]
    after: dict[str, str]
    rows_after: int  # readable rates, when the worker was dead
    statuses: dict[str, str]
    repaired: dict[str, Any]  # summary of the batch that came after
    at_the_end: dict[str, str]
    slots: int  # places in the pool that are taken, when the worker was dead
    searches: list[dg.RunsFilter]  # of run records, by the batch that came after


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    """`kill -9` of the worker of network a, which has old data, while b and d go on; then the batch again."""
    place = Place(tmp_path_factory.mktemp("killed"))
    with MrfServer() as server, pytest.MonkeyPatch.context() as patch, place.instance() as instance:
        instance.event_log_storage.set_concurrency_slots("ingest", 2)
        payer = Payer(server)
        for letter in "abd":
            payer.publish(letter)
        place.mrf("extract", payer.url("a"))
        before = place.digests()
        _publish_others(payer)
        with _held(payer, place, "abd", "a", others_done=True) as held:
            os.kill(held.worker("a"), signal.SIGKILL)
            batch = _batch(place, finished(held.process))
        slots = instance.event_log_storage.get_concurrency_info("ingest").active_slot_count
        after, statuses, rows = place.digests(), _statuses(place), len(place.rows("rates"))
        patch.setenv("DAGSTER_HOME", str(place.home))
        searches, search = list[dg.RunsFilter](), dg.DagsterInstance.get_run_records

        def searched(of: dg.DagsterInstance, filters: dg.RunsFilter, **rest: Any) -> Sequence[dg.RunRecord]:  # noqa: ANN401 - passed on
            searches.append(filters)
            return search(of, filters, **rest)

        patch.setattr(dg.DagsterInstance, "get_run_records", searched)
        index_url = server.url(f"/2026-11-05_{place.root.name}_index.json")
        repaired = execute_batch(read_source("index", index_url, open_url), place.output, source_type="index")
        yield Killed(
            batch=batch, before=before, after=after, rows_after=rows, statuses=statuses, repaired=repaired,
            at_the_end=place.digests(), slots=slots, searches=searches,
        )  # fmt: skip


def test_a_killed_worker_fails_its_network_alone(killed: Killed) -> None:
    """The others go on, in a new worker where need be."""
    assert {key("a"): "FAILURE", key("b"): "SUCCESS", key("d"): "SUCCESS"} == killed.statuses
    assert (1, "Failed: 1/3") == (
        killed.batch.done.returncode,
        re.findall(r"^Failed: .*", killed.batch.done.stdout, re.MULTILINE)[0],
    )


def test_a_killed_worker_is_told(killed: Killed) -> None:
    """Which signal, and what to do."""
    reason = "the worker process died (killed by SIGKILL); run it again"

    assert f"  ❌ {key('a')}: {reason}" in killed.batch.done.stdout
    assert ("failed", reason) == (killed.batch.entries[key("a")]["status"], killed.batch.entries[key("a")]["error"])


def test_the_old_data_of_a_killed_network_stays(killed: Killed) -> None:
    """It can be read as before."""
    assert killed.before
    assert killed.before == {path: digest for path, digest in killed.after.items() if f"={key('a')}/" in path}
    assert 24 + 28 + 24 == killed.rows_after


def test_a_killed_worker_keeps_no_place_in_a_pool(killed: Killed) -> None:
    """The next batch need not wait for it, daemon or not."""
    assert 0 == killed.slots


def test_the_next_batch_repairs_it(killed: Killed) -> None:
    """The new data of the network is published; what was whole already stays as it is."""
    assert (3, 0) == (killed.repaired["successful"], killed.repaired["failed"])
    assert 3 * len(STORED_TABLES) == len(killed.at_the_end)
    assert {f"network_id={key('a')}"} == {
        path.partition("/")[0] for path, digest in killed.at_the_end.items() if killed.after[path] != digest
    }


def test_no_network_is_searched_for_among_all_runs(killed: Killed) -> None:
    """That takes longer the more runs there are; each run is found by its id."""
    assert killed.searches
    assert [] == [search.tags for search in killed.searches if "dagster/partition" in search.tags]


def test_the_next_batch_removes_leftovers(killed: Killed) -> None:
    """What the killed worker had in the making is gone."""
    assert [] == killed.batch.place.leftovers()


def test_a_batch_from_python_returns_its_summary(killed: Killed) -> None:
    """What a caller needs to know: counts, and where the manifest is."""
    manifest = json.loads((killed.batch.place.output / "manifest.json").read_text())

    assert killed.repaired == {
        "successful": 3,
        "failed": 0,
        "networks_successful": 3,
        "networks_failed": 0,
        "networks_unchanged": 2,
        "batch_id": manifest["batch_id"],
        "manifest_file": str(killed.batch.place.output / "manifest.json"),
        "total_tasks": 3,
        "not_run": 0,
        "networks_not_run": 0,
        "networks_left_out": 0,
        "interrupted_by": None,
        "stopped_by_budget": False,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A batch that a signal stopped."""

    number: signal.Signals
    batch: Batch
    statuses: dict[str, str]
    slots: int
    seconds: float  # from the signal to the end


@pytest.fixture(scope="module", params=[signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Network a has old data and is in the middle, b waits, as does c: the parent is told to stop."""
    number: signal.Signals = request.param
    place = Place(tmp_path_factory.mktemp(number.name))
    with MrfServer() as server, place.instance() as instance:
        instance.event_log_storage.set_concurrency_slots("ingest", 2)
        payer = Payer(server)
        for letter in "abc":
            payer.publish(letter)
        place.mrf("extract", payer.url("a"))
        payer.publish("a", document(seed=99, codes=9))
        second = server.hold(Payer.path("b"), at=20)
        with _held(payer, place, "abc", "a", others_done=False) as held:
            assert second.reached.wait(60)
            began = time.monotonic()
            held.process.send_signal(number)
            done = finished(held.process)
            seconds = time.monotonic() - began
        second.release()
        slots = instance.event_log_storage.get_concurrency_info("ingest").active_slot_count
    return Stopped(number=number, batch=_batch(place, done), statuses=_statuses(place), slots=slots, seconds=seconds)


def test_a_stopped_batch_waits_for_no_download(stopped: Stopped) -> None:
    """It ends long before the grace that workers have, though two servers answer no more."""
    assert stopped.seconds < 20


def test_a_stopped_batch_has_the_exit_code_of_its_signal(stopped: Stopped) -> None:
    """130 for Ctrl-C, 143 for SIGTERM."""
    assert 128 + stopped.number == stopped.batch.done.returncode


def test_the_runs_of_a_stopped_batch_are_canceled(stopped: Stopped) -> None:
    """Not failed, so that no retry starts them again; those that wait are not begun."""
    assert {key("a"): "CANCELED", key("b"): "CANCELED"} == stopped.statuses


def test_a_stopped_batch_shows_nothing_by_halves(stopped: Stopped) -> None:
    """The old data of a network stays, whole; nothing is left in the making."""
    assert [key("a")] == stopped.batch.place.networks()
    assert 24 == len(stopped.batch.place.rows("rates"))
    assert [] == stopped.batch.place.leftovers()


def test_the_manifest_of_a_stopped_batch_says_so(stopped: Stopped) -> None:
    """Entries for what was begun; the rest is counted, in the console's summary too."""
    assert {key("a"): ("failed", "canceled"), key("b"): ("failed", "canceled")} == {
        network_id: (entry["status"], entry["error"]) for network_id, entry in stopped.batch.entries.items()
    }
    assert (3, 1) == (stopped.batch.manifest["total_tasks"], stopped.batch.manifest["summary"]["not_run"])
    assert "\nNot run: 1/3\n" in stopped.batch.done.stdout


def test_the_console_of_a_stopped_batch_is_clean(stopped: Stopped) -> None:
    """No traceback of a worker."""
    assert "" == stopped.batch.done.stderr


def test_a_stopped_batch_keeps_no_place_in_a_pool(stopped: Stopped) -> None:
    """The next one need not wait for it."""
    assert 0 == stopped.slots
