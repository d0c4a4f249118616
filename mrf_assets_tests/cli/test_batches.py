"""What became of a batch, and how it goes on: status, stats, retry-failed, resume, priorities, budget, alerts.

22 networks of which 2 are poisoned are run once, looked at, repaired and run again.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from mrf_assets.cli.app import main
from mrf_assets.defs.processes import WORKER_TAG
from mrf_assets.runner.history import batch_statistics
from mrf_assets_tests.dagster_fixtures import SECRET, Payer, Place, finished, key, run_arguments
from mrf_assets_tests.factory import document, gzipped, render
from mrf_assets_tests.mrf_server import MrfServer

_LETTERS = "abcdefghijklmnopqrstuv"
_CUT, _ABSENT = "h", "q"
_POISONED = {key(_CUT), key(_ABSENT)}
_HOOK = f"/hook/{SECRET}"

# 22 networks take minutes on a machine that does something else.
_WAIT_SECONDS = 900.0
pytestmark = pytest.mark.timeout(1_800)


def _alerts(server: MrfServer) -> list[dict[str, str]]:
    """What was posted to the webhook, in order."""
    return [json.loads(request.body) for request in server.requests_of(_HOOK)]


def _status(place: Place) -> dict[str, Any]:
    """What `mrf status --json` prints, without a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(place.home))
        return batch_statistics(place.output).as_json()


def _runs(place: Place) -> list[dg.DagsterRun]:
    with place.instance() as instance:
        return list(instance.get_runs())


def _worker(place: Place, letter: str) -> psutil.Process:
    """The process that works on a network."""
    (run,) = [run for run in _runs(place) if run.tags["dagster/partition"] == key(letter)]
    return psutil.Process(int(run.tags[WORKER_TAG]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """The batch with two broken files, and what came after their repair."""

    place: Place
    first: subprocess.CompletedProcess[str]
    status: dict[str, Any]
    errors: subprocess.CompletedProcess[str]
    text: subprocess.CompletedProcess[str]
    as_json: subprocess.CompletedProcess[str]
    manifest: dict[str, Any]
    retried: subprocess.CompletedProcess[str]
    asked: Counter[str]  # GETs of files during the retry
    status_after: dict[str, Any]
    manifest_after: dict[str, Any]
    nothing_left: subprocess.CompletedProcess[str]
    alerts: list[dict[str, str]]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    """22 networks, one file cut short and one absent; then both are repaired and retried."""
    place = Place(tmp_path_factory.mktemp("poisoned"))
    with MrfServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRF_ALERT_URLS", server.url(_HOOK).replace("http:", "json:"))
        patch.setenv("MRF_PRICE_PER_CORE_HOUR", "36")  # a cent a second
        payer = Payer(server)
        for letter in _LETTERS:
            payer.publish(letter)
        server.put(Payer.path(_CUT), gzipped(render(document(seed=1, codes=6)))[:-40])
        server.remove(Payer.path(_ABSENT))
        with place.start(*run_arguments(payer.publish_index(_LETTERS), 2)) as running:
            first = finished(running, _WAIT_SECONDS)
        status, text, as_json = _status(place), place.mrf("status"), place.mrf("status", "--json")
        manifest = json.loads((place.output / "manifest.json").read_text())
        errors = place.mrf("status", "--errors", "--json")
        payer.publish(_CUT)
        payer.publish(_ABSENT)
        before = server.counts()
        retried = place.mrf("retry-failed", "--workers", "2")
        asked = server.counts() - before
        return Poisoned(
            place=place, first=first, status=status, errors=errors, text=text, as_json=as_json,
            manifest=manifest, retried=retried, asked=asked, status_after=_status(place),
            manifest_after=json.loads((place.output / "manifest.json").read_text()),
            nothing_left=place.mrf("retry-failed"), alerts=_alerts(server),
        )  # fmt: skip


def test_status_and_manifest_say_20_and_2(poisoned: Poisoned) -> None:
    """Both out of the records of the runs."""
    summary = poisoned.manifest["summary"]

    assert (22, 20, 2, 0) == tuple(poisoned.status[it] for it in ("networks", "succeeded", "failed", "pending"))
    assert (20, 2) == (summary["networks_successful"], summary["networks_failed"])
    assert poisoned.manifest["batch_id"] == poisoned.status["batch_id"]
    assert 1 == poisoned.first.returncode


def test_storage_grows_as_the_readme_says(poisoned: Poisoned) -> None:
    """People plan their disks by the figure; 22 runs and 2 that were repeated."""
    figure = re.search(r"storage by ([0-9.]+) MB each", (Path(__file__).parents[2] / "README.md").read_text())
    assert figure is not None
    sizes_bytes = [each.stat().st_size for each in poisoned.place.home.rglob("*") if each.is_file()]

    assert float(figure[1]) == pytest.approx(sum(sizes_bytes) / 1e6 / 24, rel=0.5)


def test_status_says_why_networks_failed(poisoned: Poisoned) -> None:
    """Each with its reason and its log, and without secrets."""
    failures = {failure["network_id"]: failure for failure in poisoned.status["failures"]}

    assert _POISONED == failures.keys()
    assert "HTTP 404, the file is not there" in failures[key(_ABSENT)]["error"]
    assert "ended early: the gzip stream stops at byte " in failures[key(_CUT)]["error"]
    assert all((poisoned.place.output / failure["log_file"]).is_file() for failure in failures.values())
    assert SECRET not in json.dumps(poisoned.status) + poisoned.text.stdout


def test_status_counts_bytes_rows_repairs_and_time(poisoned: Poisoned) -> None:
    """As the published files have them."""
    published = [row for row in poisoned.place.rows("rates") if key(_CUT) not in row and key(_ABSENT) not in row]
    status = poisoned.status

    assert len(published) == status["rate_rows"]
    assert sum(status["repairs"].values()) > 0
    assert status["source_bytes"] > 0
    assert status["json_bytes"] > status["source_bytes"]
    assert status["json_mb_per_second"] > 0
    assert 0 < status["average_seconds"] <= status["active_seconds"]
    assert 20 / 22 == pytest.approx(status["success_rate"], abs=1e-4)
    assert 0 == status["rejects"].get("rate_missing", 0)


def test_status_estimates_the_cost(poisoned: Poisoned) -> None:
    """At the prices of the settings."""
    cost = poisoned.status["cost"]

    assert cost["core_hours"] * 36 == pytest.approx(cost["dollars"], rel=0.01, abs=1e-3)
    assert cost["dollars"] > 0


def test_status_is_plain_text_for_a_pipe(poisoned: Poisoned) -> None:
    """One fact a line, and the exit code tells that networks failed."""
    assert 1 == poisoned.text.returncode
    assert ["Successful: 20", "Failed: 2", "Pending: 0"] == re.findall(
        r"^(?:Successful|Failed|Pending): .*", poisoned.text.stdout, re.MULTILINE
    )
    assert "\x1b" not in poisoned.text.stdout
    assert poisoned.status == json.loads(poisoned.as_json.stdout)


def test_retry_failed_runs_exactly_the_two(poisoned: Poisoned) -> None:
    """Nothing else is fetched, and no other run is made."""
    runs = Counter(run.tags["dagster/partition"] for run in _runs(poisoned.place))

    assert {Payer.path(_CUT): 1, Payer.path(_ABSENT): 1} == dict(poisoned.asked)
    assert {key(letter): 1 for letter in _LETTERS} | dict.fromkeys(_POISONED, 2) == dict(runs)
    assert (0, "Successful: 2/2") == (
        poisoned.retried.returncode,
        re.findall(r"^Successful: .*", poisoned.retried.stdout, re.MULTILINE)[0],
    )


def test_after_the_retry_status_and_manifest_say_22_and_0(poisoned: Poisoned) -> None:
    """It is the same batch."""
    summary = poisoned.manifest_after["summary"]

    assert (22, 22, 0) == tuple(poisoned.status_after[it] for it in ("networks", "succeeded", "failed"))
    assert (22, 0, 0) == (summary["networks_successful"], summary["networks_failed"], summary["not_run"])
    assert poisoned.manifest["batch_id"] == poisoned.manifest_after["batch_id"] == poisoned.status_after["batch_id"]
    assert "The whole batch: 22/22 successful, 0 failed\n" in poisoned.retried.stdout
    assert {poisoned.manifest["batch_id"]} == {run.tags["mrf/batch"] for run in _runs(poisoned.place)}
    assert sorted(map(key, _LETTERS)) == poisoned.place.networks()


def test_a_retry_with_nothing_to_do_is_no_failure(poisoned: Poisoned) -> None:
    """All networks have succeeded by then."""
    assert (0, "Successful: 0/0") == (
        poisoned.nothing_left.returncode,
        re.findall(r"^Successful: .*", poisoned.nothing_left.stdout, re.MULTILINE)[0],
    )


def test_the_end_of_a_batch_is_told(poisoned: Poisoned) -> None:
    """With what failed; after the repair as a success. The webhook's address is a secret."""
    failed, repaired, _ = poisoned.alerts
    batch_id = poisoned.manifest["batch_id"]

    assert (f"Batch {batch_id} ended", "failure") == (failed["title"], failed["type"])
    assert "20 of 22 networks succeeded, 2 failed." in failed["message"]
    assert f"Failed: {key(_ABSENT)}: " in failed["message"]
    assert ("success", True) == (repaired["type"], "22 of 22 networks succeeded, 0 failed." in repaired["message"])
    stored = [path for path in poisoned.place.root.rglob("*") if path.is_file() and _HOOK.encode() in path.read_bytes()]
    assert [] == stored


def test_stats_add_up_all_batches(poisoned: Poisoned) -> None:
    """One line for each, and the totals."""
    batch_id = poisoned.manifest["batch_id"]
    text = poisoned.place.mrf("stats").stdout
    found = json.loads(poisoned.place.mrf("stats", "--json").stdout)

    assert re.search(rf"{batch_id} .* 22 .* 22 .* 0 ", text)
    assert [(batch_id, 22)] == [(batch["batch_id"], batch["succeeded"]) for batch in found["batches"]]
    assert (22, poisoned.status_after["rate_rows"]) == (found["total"]["succeeded"], found["total"]["rate_rows"])


def test_an_unknown_batch_is_told(poisoned: Poisoned) -> None:
    """With its name, before anything runs."""
    for command in ("status", "resume", "retry-failed"):
        done = poisoned.place.mrf(command, "../../nobody")
        assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
        assert done.stderr.startswith("Error: batch: ../../nobody ")


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of the command line, in this process."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_errors_alone_are_one_line_each(
    poisoned: Poisoned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON or as text; none where nothing failed."""
    monkeypatch.setenv("DAGSTER_HOME", str(poisoned.place.home))
    arguments = ("status", "--errors", "--output-dir", str(poisoned.place.output))

    assert poisoned.status["failures"] == [json.loads(line) for line in poisoned.errors.stdout.splitlines()]
    assert (1, "") == (poisoned.errors.returncode, poisoned.errors.stderr)
    assert (0, "", "") == _said(capsys, *arguments)


def test_another_dagster_home_is_told(
    poisoned: Poisoned, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is in the output folder, the runs are not in this home."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "another"))
    code, out, err = _said(capsys, "status", "--output-dir", str(poisoned.place.output))

    assert (1, True) == (code, "Pending: 22\n" in out)
    assert (
        f"Note: DAGSTER_HOME={tmp_path / 'another'} has no run of this batch; set it as it was for `mrf run`.\n" == err
    )


# --- interrupted batches --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """A batch whose process and workers were killed in the middle, and what `mrf resume` made of it."""

    place: Place
    during: dict[str, Any]
    refused: subprocess.CompletedProcess[str]
    watched: list[str]
    manifest: dict[str, Any]  # when it was killed
    resumed: subprocess.CompletedProcess[str]
    asked: Counter[str]
    after: dict[str, Any]
    leftovers: list[Path]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """Network a is done and b absent when `kill -9` hits the batch at c; d was not begun."""
    place = Place(tmp_path_factory.mktemp("interrupted"))
    with MrfServer() as server:
        payer = Payer(server)
        for letter in "acd":
            payer.publish(letter)
        gate = server.hold(Payer.path("c"), at=20)
        place.output.mkdir()
        (place.output / "manifest.json").write_text('{"batch_id": "of before"}')
        process = place.start(*run_arguments(payer.publish_index("abcd"), 1))
        assert gate.reached.wait(60)
        during, refused = _status(place), place.mrf("resume")
        with place.start("status", "--watch") as watching:
            assert watching.stdout is not None
            told = watching.stdout.readline()  # it looks while the batch goes on
            worker = _worker(place, "c")
            process.kill()  # the worker ends by itself, in the middle of a download
            process.communicate()
            psutil.wait_procs([worker], timeout=60)
            watched = finished(watching)
        gate.release()
        manifest = json.loads((place.output / "manifest.json").read_text())
        before = server.counts()
        resumed = place.mrf("resume")
        return Interrupted(
            place=place, during=during, refused=refused, manifest=manifest,
            watched=[told, *watched.stdout.splitlines()], resumed=resumed,
            asked=server.counts() - before, after=_status(place), leftovers=place.leftovers(),
        )  # fmt: skip


def test_status_shows_what_runs_and_what_is_left(interrupted: Interrupted) -> None:
    """While it goes on."""
    during = interrupted.during

    assert (4, 1, 1, 1) == tuple(during[it] for it in ("networks", "succeeded", "failed", "pending"))
    assert [key("c")] == [running["network_id"] for running in during["running"]]
    assert during["remaining_seconds"] > 0


def test_a_killed_batch_leaves_the_manifest_of_what_it_has_done(interrupted: Interrupted) -> None:
    """And not that of the batch before."""
    assert interrupted.during["batch_id"] == interrupted.manifest["batch_id"]
    assert {key("a"): "success", key("b"): "failed"} == {
        entry["network_id"]: entry["status"] for entry in interrupted.manifest["extractions"]
    }
    assert (4, 2) == (interrupted.manifest["total_tasks"], interrupted.manifest["summary"]["not_run"])


def test_a_running_batch_is_not_begun_twice(interrupted: Interrupted) -> None:
    """It says how to look at it."""
    assert 2 == interrupted.refused.returncode
    assert "is still running" in interrupted.refused.stderr
    assert "`mrf status` shows it" in interrupted.refused.stderr


def test_resume_runs_what_did_not_run_to_its_end(interrupted: Interrupted) -> None:
    """The network whose process was killed, and the one that was not begun; the failed one is left alone."""
    assert {Payer.path("c"): 1, Payer.path("d"): 1} == dict(interrupted.asked)
    assert (4, 3, 1, 0) == tuple(interrupted.after[it] for it in ("networks", "succeeded", "failed", "pending"))
    assert 1 == interrupted.resumed.returncode
    assert [key(letter) for letter in "acd"] == interrupted.place.networks()
    assert [] == interrupted.leftovers


def test_watch_ends_with_the_batch_though_it_was_killed(interrupted: Interrupted) -> None:
    """For a pipe it is a line whenever a number changes, and the numbers at the end."""
    first, *later = interrupted.watched

    assert first.startswith("Processing 2/4 (50%): successful 1, failed 1, running 1")
    assert later[0].startswith("Processing 3/4 (75%): successful 1, failed 2, running 0")
    assert {"Successful: 1", "Failed: 2", "Pending: 1"} <= set(later)
    assert f"  ❌ {key('c')}: its worker process is gone; run it again" in later


def test_what_is_lost_with_its_process_is_not_what_failed(interrupted: Interrupted) -> None:
    """Dagster's own reason tells them apart: a retry of infrastructure failures would take the first alone."""
    reasons = {
        (run.tags["dagster/partition"], run.tags.get("dagster/failure_reason"))
        for run in _runs(interrupted.place)
        if run.status == dg.DagsterRunStatus.FAILURE
    }

    assert {(key("b"), "STEP_FAILURE"), (key("c"), None)} == reasons


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """The same with a worker that cannot end when its coordinator does: it is paused."""
    place = Place(tmp_path_factory.mktemp("abandoned"))
    with MrfServer() as server:
        payer = Payer(server)
        for letter in "ac":
            payer.publish(letter)
        gate = server.hold(Payer.path("c"), at=20)
        process = place.start(*run_arguments(payer.publish_index("ac"), 1))
        assert gate.reached.wait(60)
        during, worker = _status(place), _worker(place, "c")
        worker.suspend()
        process.kill()
        process.wait()  # the worker keeps its output open
        gate.release()
        before = server.counts()
        resumed = place.mrf("resume")
        process.communicate()
        assert not worker.is_running()
        return Interrupted(
            place=place, during=during, refused=resumed, watched=[], manifest={}, resumed=resumed,
            asked=server.counts() - before, after=_status(place), leftovers=place.leftovers(),
        )  # fmt: skip


def test_resume_takes_over_from_a_worker_that_outlived_its_coordinator(abandoned: Interrupted) -> None:
    """It stops the worker, says so, and runs its network again."""
    assert 0 == abandoned.resumed.returncode
    assert re.search(
        r"the process that ran batch \S+ is gone; took over from its 1 worker\(s\), which were stopped",
        abandoned.resumed.stderr,
    )
    assert {Payer.path("c"): 1} == dict(abandoned.asked)
    assert (2, 2, 0, 0) == tuple(abandoned.after[it] for it in ("networks", "succeeded", "failed", "pending"))
    assert [] == abandoned.leftovers


def test_resume_of_a_copy_leaves_the_workers_of_the_original_alone(tmp_path: Path) -> None:
    """The copied records name processes that are alive, and so is the coordinator that they work for."""
    place, copy = Place(tmp_path / "original"), Place(tmp_path / "copy")
    with MrfServer() as server:
        payer = Payer(server)
        payer.publish("a")
        gate = server.hold(Payer.path("a"), at=20)
        with place.start(*run_arguments(payer.publish_index("a"), 1)) as running:
            assert gate.reached.wait(60)
            shutil.copytree(place.root, copy.root)
            refused = copy.mrf("resume")
            gate.release()
            original = finished(running)

    assert (2, 0) == (refused.returncode, original.returncode)
    assert "is still running (1 networks)" in refused.stderr
    assert [key("a")] == place.networks()


# --- several output folders of one DAGSTER_HOME ---------------------------------------------


def test_a_batch_is_looked_for_in_its_own_output_folder(tmp_path: Path) -> None:
    """The latest of all may belong to another folder, whose networks must not come into this one."""
    place = Place(tmp_path)
    with MrfServer() as server:
        payer = Payer(server)
        payer.publish("a")
        ours = place.run(payer.publish_index("ab", "/2026-11-05_ours.json"), 1, "--output-dir", "ours")
        theirs = place.run(payer.publish_index("cd", "/2026-11-05_theirs.json"), 1, "--output-dir", "theirs")
        assert (1, 1) == (ours.returncode, theirs.returncode)
        for letter in "bcd":
            payer.publish(letter)
        status = json.loads(place.mrf("status", "--json", "--output-dir", "ours").stdout)
        manifest = json.loads(place.mrf("manifest", "--output-dir", "ours").stdout)
        before = server.counts()
        retried = place.mrf("retry-failed", "--output-dir", "ours")
        asked = server.counts() - before
        foreign = json.loads(place.mrf("status", "--json", "--output-dir", "theirs").stdout)["batch_id"]
        refused = place.mrf("retry-failed", foreign, "--output-dir", "ours")

    assert (2, [key("b")]) == (status["networks"], [failure["network_id"] for failure in status["failures"]])
    assert status["batch_id"] == manifest["batch_id"] != foreign
    assert (0, {Payer.path("b"): 1}) == (retried.returncode, dict(asked))
    assert 2 == refused.returncode
    assert f"{foreign} has networks that " in refused.stderr
    assert "check --output-dir" in refused.stderr


# --- order and budget -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Payer, str]]:
    """Three networks: b is used by 2,000 plans, the others by two."""
    with MrfServer() as server:
        payer = Payer(server)
        for letter in "abc":
            payer.publish(letter)
        yield Place(tmp_path_factory.mktemp("small")), payer, payer.publish_index("abc", plan_counts={"b": 2_000})


@pytest.fixture(scope="module")
def by_score(small: tuple[Place, Payer, str]) -> subprocess.CompletedProcess[str]:
    """`mrf run` without a priority."""
    place, _, index_url = small
    return place.run(index_url, 1)


def test_networks_of_many_plans_come_first(
    by_score: subprocess.CompletedProcess[str], small: tuple[Place, Payer, str]
) -> None:
    """The others in the order of the index, whose numbers all keep; each run carries its priority."""
    order = re.findall(r"^\[(\d)/3\] (.*)", by_score.stdout, re.MULTILINE)
    priorities = {run.tags["dagster/partition"]: run.tags["dagster/priority"] for run in _runs(small[0])}

    assert [("2", key("b")), ("1", key("a")), ("3", key("c"))] == order
    assert {key("a"): "0", key("b"): "10", key("c"): "0"} == priorities


@pytest.mark.usefixtures("by_score")
def test_networks_below_a_priority_are_left_out(small: tuple[Place, Payer, str]) -> None:
    """They are counted, and no part of the batch. All were published just now."""
    place, _, index_url = small
    done = place.run(index_url, 1, "--min-priority", "normal")
    status = _status(place)

    assert "Left out: 2 network(s) of a priority below NORMAL.\n" in done.stdout
    assert (0, 1, 1) == (done.returncode, status["networks"], status["succeeded"])


@pytest.mark.usefixtures("by_score")
def test_a_priority_can_be_given(small: tuple[Place, Payer, str]) -> None:
    """To all networks of a batch; their order is then that of the index."""
    place, _, index_url = small
    done = place.run(index_url, 1, "--priority", "URGENT", "--max-files", "2")

    assert [key("a"), key("b")] == re.findall(r"^\[\d/2\] (.*)", done.stdout, re.MULTILINE)
    assert {"20"} == {run.tags["dagster/priority"] for run in _runs(place)[:2]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A batch that used up its budget with its first network, and how it went on."""

    done: subprocess.CompletedProcess[str]
    status: dict[str, Any]
    again: subprocess.CompletedProcess[str]
    resumed: subprocess.CompletedProcess[str]
    status_after: dict[str, Any]
    alerts: list[dict[str, str]]


@pytest.fixture(scope="module")
def budget(tmp_path_factory: pytest.TempPathFactory) -> Budget:
    """A byte costs 50 millionths of a dollar."""
    with MrfServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRF_ALERT_URLS", server.url(_HOOK).replace("http:", "json:"))
        patch.setenv("MRF_PRICE_PER_GB", "50000")
        payer, place = Payer(server), Place(tmp_path_factory.mktemp("budget"))
        dollars = {}
        for letter in "abc":
            payer.publish(letter)
            dollars[letter] = len(server.stored(Payer.path(letter))) * 50e-6
        # The first network uses nine tenths, the second goes over.
        budget = str(dollars["a"] / 0.9)
        done = place.run(payer.publish_index("abc"), 1, "--budget", budget)
        status = _status(place)
        again = place.mrf("resume", "--budget", budget)
        resumed = place.mrf("resume", "--budget", str(10 * sum(dollars.values())))
        return Budget(
            done=done, status=status, again=again, resumed=resumed, status_after=_status(place), alerts=_alerts(server)
        )


def test_a_budget_warns_at_four_fifths(budget: Budget) -> None:
    """On the console and to whoever gets alerts."""
    assert re.search(r"⚠️ 90% of the budget of \$0\.[0-9]+ is used\.", budget.done.stdout)
    assert "90% of the budget" in budget.alerts[0]["message"]
    assert "warning" == budget.alerts[0]["type"]


def test_a_used_up_budget_ends_the_batch(budget: Budget) -> None:
    """With an exit code and a reason of its own; what is not begun waits."""
    reason = r"The budget of \$0\.[0-9]+ is used up \(\$0\.[0-9]+\); no other network is begun\. `mrf resume`"

    assert 3 == budget.done.returncode
    assert re.search(rf"⚠️ {reason}", budget.done.stdout)
    assert re.search(reason, budget.alerts[1]["message"])
    assert "\nNot run: 1/3\n" in budget.done.stdout
    assert (2, 0, 1) == tuple(budget.status[it] for it in ("succeeded", "failed", "pending"))


def test_what_was_spent_before_counts(budget: Budget) -> None:
    """The same budget lets nothing more begin; a larger one goes on where it stopped."""
    assert (3, 0) == (budget.again.returncode, budget.resumed.returncode)
    assert (3, 0) == tuple(budget.status_after[it] for it in ("succeeded", "pending"))


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    """It would never be reached."""
    done = Place(tmp_path / "x").mrf("run", "--source", "url", "--input", "x.json", "--budget", "5")

    assert (2, "Error: --budget: needs a price") == (done.returncode, done.stderr[:30])


def test_alert_addresses_are_checked_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are not told."""
    monkeypatch.setenv("MRF_ALERT_URLS", f"nonsense://{SECRET}")
    place = Place(tmp_path / "x")
    done = place.mrf("run", "--source", "url", "--input", "x.json")

    assert (2, False) == (done.returncode, place.output.exists())
    assert "alert_urls: address 1 is of no known kind" in done.stderr
    assert SECRET not in done.stderr


def test_an_alert_that_cannot_be_delivered_breaks_no_batch(
    small: tuple[Place, Payer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there."""
    place, payer, _ = small
    monkeypatch.setenv("MRF_ALERT_URLS", f"json://127.0.0.1:9/{SECRET}")
    done = place.mrf("run", "--source", "url", "--input", payer.url("a"))

    assert 0 == done.returncode
    assert SECRET not in done.stdout + done.stderr
