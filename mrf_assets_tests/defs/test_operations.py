"""What runs beside the networks: alerts of the daemon's runs, late networks, old runs, the monthly refresh."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from mrf_assets.batches.statistics import BatchStatistics
from mrf_assets.definitions import build_defs
from mrf_assets.defs.partitions import NETWORK_PARTITIONS, add_networks
from mrf_assets.defs.processes import WORKER_TAG
from mrf_assets.defs.retention import prune_runs
from mrf_assets.defs.run_records import all_records
from mrf_assets.fetch import open_url
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.runner.batch import continue_batch
from mrf_assets.runner.history import batch_statistics
from mrf_assets.settings import Operations, Settings
from mrf_assets.sources import SourceOptions, read_source
from mrf_assets_tests.dagster_fixtures import Payer, Place, add_backfill, key
from mrf_assets_tests.mrf_server import MrfServer

_HOOK = "/hook"
_NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
_CHECK = "newest_period_is_recent"


@dataclass(frozen=True, slots=True)
class Bench:
    """A payer, a place, a webhook, and Dagster in this process."""

    server: MrfServer
    place: Place
    instance: dg.DagsterInstance

    @property
    def defs(self) -> dg.Definitions:
        """The code location with somebody to tell."""
        hook = self.server.url(_HOOK).replace("http:", "json:")
        return build_defs(Settings(output_dir=self.place.output), operations=Operations(alert_urls=hook, fresh_days=45))

    def run(
        self, letter: str, *, period: str = "2026-11", worker: int | None = None, **tags: str
    ) -> dg.ExecuteInProcessResult:
        """Plan and run a network, as the command line does where a worker is given; without a file it fails."""
        options = SourceOptions(network_id=key(letter))
        # The period stands in the name.
        url = Payer(self.server).url(letter).replace("/2026-11-05_", f"/{period}-05_")
        plan = TaskStore.under(self.place.output)
        add_networks(self.instance, list(plan.save(read_source("url", url, open_url, options))))
        tags = {"dagster/partition": key(letter), **{f"mrf/{name}": value for name, value in tags.items()}}
        tags |= {} if worker is None else {WORKER_TAG: str(worker)}
        job = self.defs.resolve_job_def("ingest_in_process")
        return job.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def compare(self, letter: str, *, batch: str) -> None:
        """Compare the months of a network; of one that is not published it fails."""
        add_networks(self.instance, [key(letter)])
        job = self.defs.resolve_job_def("compare_months")
        job.execute_in_process(
            instance=self.instance, partition_key=key(letter), tags={"mrf/batch": batch}, raise_on_error=False
        )

    def publish(self, letter: str, period: str = "2026-11") -> None:
        """Put a network's file at the payer's."""
        Payer(self.server).publish(letter)
        found = self.server.stored(Payer.path(letter))
        self.server.put(Payer.path(letter).replace("/2026-11-05_", f"/{period}-05_"), found)

    def tick(self, name: str, cursor: str | None) -> str:
        """One look of a sensor; gives its cursor."""
        context = dg.build_sensor_context(instance=self.instance, cursor=cursor, definitions=self.defs)
        sensor = self.defs.resolve_sensor_def(name)
        return str(sensor.evaluate_tick(context).cursor)

    @property
    def told(self) -> list[dict[str, str]]:
        """The alerts so far."""
        return [json.loads(request.body) for request in self.server.requests_of(_HOOK)]

    def late(self) -> dict[str, dict[str, object]]:
        """What the latest evaluation of each late network says."""
        self.defs.resolve_job_def("late_networks").execute_in_process(instance=self.instance)
        check = dg.AssetCheckKey(dg.AssetKey("rates"), _CHECK)
        records = self.instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
        evaluations = [record.evaluation for record in reversed(records) if record.evaluation]
        latest = {each.partition: each for each in evaluations}
        return {
            str(network): {name: value.value for name, value in each.metadata.items()}
            for network, each in latest.items()
            if not each.passed
        }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Nothing has run."""
    place = Place(tmp_path)
    with MrfServer() as server, place.instance() as instance:
        yield Bench(server, place, instance)


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 November 2026, for what asks how old a period is."""
    monkeypatch.setattr("mrf_assets.defs.freshness.today", _NOW.date)


# --- alerts ---------------------------------------------------------------------------------


def test_a_single_run_that_failed_is_told(bench: Bench) -> None:
    """With the network and the reason."""
    result = bench.run("a")
    sensor = bench.defs.resolve_sensor_def("failed_runs")
    assert isinstance(sensor, dg.RunStatusSensorDefinition)
    event = result.all_events[-1]
    context = dg.build_run_status_sensor_context(
        sensor_name="failed_runs", dagster_instance=bench.instance, dagster_run=result.dagster_run, dagster_event=event
    ).for_run_failure()
    sensor(context)

    (alert,) = bench.told
    assert (f"{key('a')} failed", "failure") == (alert["title"], alert["type"])
    assert result.run_id in alert["message"]


def test_a_batch_is_told_once_when_it_has_ended(bench: Bench) -> None:
    """With its failures together; what ended before anybody listened is not."""
    bench.publish("a")
    bench.run("a", batch="before")
    cursor = bench.tick("ended_batches", None)
    bench.run("a", batch="nightly")
    bench.run("b", batch="nightly")
    cursor = bench.tick("ended_batches", cursor)
    bench.tick("ended_batches", cursor)

    (alert,) = bench.told
    assert ("Batch nightly ended", "failure") == (alert["title"], alert["type"])
    assert "1 of 2 networks succeeded, 1 failed." in alert["message"]
    assert f"Failed: {key('b')}: " in alert["message"]
    assert "HTTP 404" in alert["message"]


def test_a_batch_that_goes_on_is_told_later(bench: Bench) -> None:
    """One of its runs is still in the queue when the other has ended."""
    bench.publish("a")
    cursor = bench.tick("ended_batches", None)
    bench.run("a", batch="nightly")
    job = bench.defs.resolve_job_def("ingest_in_process")
    tags = {"mrf/batch": "nightly", "dagster/partition": key("b")}
    waiting = bench.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    cursor = bench.tick("ended_batches", cursor)
    assert [] == bench.told

    bench.instance.report_run_canceled(waiting)
    bench.tick("ended_batches", cursor)

    (alert,) = bench.told
    assert "1 of 2 networks succeeded, 0 failed, 1 were not run to their end." in alert["message"]


def test_a_backfill_that_was_canceled_is_told_with_what_it_had_not_begun(bench: Bench) -> None:
    """Two of its three networks have no run."""
    bench.publish("a")
    cursor = bench.tick("ended_batches", None)
    backfill = add_backfill(bench.instance, BulkActionStatus.CANCELED, {}, [key(letter) for letter in "abc"])
    bench.run("a", batch=backfill.backfill_id)
    bench.tick("ended_batches", cursor)

    (alert,) = bench.told
    assert "1 of 3 networks succeeded, 0 failed, 2 were not run to their end." in alert["message"]


def test_batches_that_end_together_are_told_one_a_tick(bench: Bench) -> None:
    """A tick has an end that Dagster sets; each is told once."""
    cursor = bench.tick("ended_batches", None)
    for batch in ("first", "second"):
        bench.run("a", batch=batch)

    told = []
    for _ in range(3):
        cursor = bench.tick("ended_batches", cursor)
        told.append(len(bench.told))

    assert [1, 2, 2] == told
    assert {"Batch first ended", "Batch second ended"} == {alert["title"] for alert in bench.told}


def test_a_large_batch_is_told_without_reading_every_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, the reasons of failures come first, and what is left out is said."""
    monkeypatch.setattr("mrf_assets.defs.alerts._RUNS_READ", 1)
    bench.publish("a")
    cursor = bench.tick("ended_batches", None)
    for letter in "ba":
        bench.run(letter, batch="nightly")
    bench.tick("ended_batches", cursor)

    (alert,) = bench.told
    assert "1 of 2 networks succeeded, 1 failed.\nAt least 0 rates of 0.000 GB" in alert["message"]
    assert "1 runs are counted without their figures" in alert["message"]
    assert "HTTP 404" in alert["message"]


def test_a_batch_of_comparisons_is_told_by_its_runs(bench: Bench) -> None:
    """They publish no network."""
    bench.publish("a")
    bench.run("a")
    cursor = bench.tick("ended_batches", None)
    bench.compare("a", batch="compared")
    bench.compare("b", batch="compared")
    bench.tick("ended_batches", cursor)

    (alert,) = bench.told
    assert ("failure", "1 of 2 runs succeeded, 1 failed.") == (alert["type"], alert["message"])


_AHEAD = "2099-01-01 00:00:00"


def _set_ended(bench: Bench, run_id: str) -> None:
    """As a clock that was ahead would have noted it."""
    with closing(sqlite3.connect(bench.place.home / "history" / "runs.db")) as records, records:
        records.execute("UPDATE runs SET update_timestamp = ?, end_time = 4e9 WHERE run_id = ?", [_AHEAD, run_id])


def test_a_run_of_the_future_silences_no_batch(bench: Bench) -> None:
    """It is told once, and what fails after it is told, too."""
    cursor = bench.tick("ended_batches", None)
    _set_ended(bench, bench.run("a", batch="ahead").run_id)
    for _ in range(2):
        cursor = bench.tick("ended_batches", cursor)
    bench.run("b", batch="after")
    for _ in range(2):
        cursor = bench.tick("ended_batches", cursor)

    assert ["Batch ahead ended", "Batch after ended"] == [alert["title"] for alert in bench.told]


@pytest.mark.parametrize("after", ["2099-01-01T00:00:00+00:00", "2000-01-01T00:00:00+00:00"])
def test_a_cursor_that_is_a_time_is_taken_over(bench: Bench, after: str) -> None:
    """One of the future, too: nobody was told since."""
    bench.run("a", batch="ended")
    cursor = bench.tick("ended_batches", json.dumps({"after": after, "open": []}))
    bench.run("b", batch="after")
    bench.tick("ended_batches", cursor)

    assert ["Batch ended ended", "Batch after ended"] == [alert["title"] for alert in bench.told]


def test_a_batch_that_was_under_way_before_anybody_listened_is_told(bench: Bench) -> None:
    """It ends afterwards."""
    job = bench.defs.resolve_job_def("ingest_in_process")
    tags = {"mrf/batch": "nightly", "dagster/partition": key("b")}
    waiting = bench.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    cursor = bench.tick("ended_batches", None)
    bench.instance.report_run_canceled(waiting)
    bench.tick("ended_batches", cursor)

    assert ["Batch nightly ended"] == [alert["title"] for alert in bench.told]


@pytest.mark.parametrize("cursor", [None, '{"after": "2099-01-01T00:00:00+00:00", "open": []}'], ids=["none", "a time"])
def test_of_more_batches_under_way_than_a_cursor_holds_the_newest_are_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, cursor: str | None
) -> None:
    """Those that were left open long ago may never end."""
    monkeypatch.setattr("mrf_assets.defs.alerts._OPEN_BATCHES", 2)
    job = bench.defs.resolve_job_def("ingest_in_process")
    for batch in ("oldest", "older", "newer", "newest"):
        tags = {"mrf/batch": batch, "dagster/partition": key("a")}
        bench.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)

    assert ["newer", "newest"] == json.loads(bench.tick("ended_batches", cursor))["open"]


def test_runs_that_were_deleted_silence_no_batch(bench: Bench) -> None:
    """SQLite gives their numbers again."""
    deleted = [bench.run(letter, batch="deleted").run_id for letter in "ab"]
    cursor = bench.tick("ended_batches", None)
    for run_id in deleted:
        bench.instance.delete_run(run_id)
    cursor = bench.tick("ended_batches", cursor)
    bench.run("a", batch="after")
    bench.tick("ended_batches", cursor)

    assert ["Batch after ended"] == [alert["title"] for alert in bench.told]


def test_batches_of_the_command_line_tell_of_themselves(bench: Bench) -> None:
    """They carry the process that worked on them."""
    cursor = bench.tick("ended_batches", None)
    bench.run("a", batch="mine", worker=12)
    bench.tick("ended_batches", cursor)

    assert [] == bench.told


@pytest.mark.parametrize("name", ["failed_runs", "ended_batches"])
def test_sensors_run_where_there_is_somebody_to_tell(name: str) -> None:
    """Else they are stopped."""
    loud = build_defs(Settings(), operations=Operations(alert_urls="json://localhost")).resolve_sensor_def(name)
    quiet = build_defs(Settings(), operations=Operations()).resolve_sensor_def(name)

    assert (dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED) == (
        loud.default_status,
        quiet.default_status,
    )


# --- late networks --------------------------------------------------------------------------


@pytest.mark.usefixtures("today")
def test_a_network_without_a_recent_period_is_late(bench: Bench) -> None:
    """One of September is; one of October is allowed 45 days and had 50; one of November is not."""
    for letter, period in (("a", "2026-11"), ("b", "2026-09"), ("c", "2026-10")):
        bench.publish(letter, period)
        assert bench.run(letter, period=period).success

    assert {
        key("b"): {"newest_period": "2026-09", "days": 80, "fresh_days": 45},
        key("c"): {"newest_period": "2026-10", "days": 50, "fresh_days": 45},
    } == bench.late()
    (alert,) = bench.told
    assert ("2 networks are late", "warning") == (alert["title"], alert["type"])
    assert f"{key('b')}: the newest period is 2026-09; it began 80 days ago, 45 are allowed" in alert["message"]


@pytest.mark.usefixtures("today")
def test_the_lateness_is_shown_of_what_is_published(bench: Bench) -> None:
    """A result that is bound to no materialization would be shown as Missing."""
    bench.publish("a", "2026-09")
    bench.run("a", period="2026-09")
    bench.late()

    check = dg.AssetCheckKey(dg.AssetKey("rates"), _CHECK)
    (shown,) = bench.instance.event_log_storage.get_asset_check_partition_info([check])
    assert (key("a"), "FAILED", True) == (shown.partition_key, shown.latest_execution_status.value, shown.is_current)


@pytest.mark.usefixtures("today")
def test_a_new_period_ends_the_lateness(bench: Bench) -> None:
    """At once, with the run that published it."""
    bench.publish("a", "2026-09")
    bench.run("a", period="2026-09")
    assert {key("a")} == set(bench.late())
    bench.publish("a")
    bench.run("a")

    assert {} == bench.late()


@pytest.mark.usefixtures("today")
def test_a_retired_network_is_not_late(bench: Bench) -> None:
    """It left its index, as the sensor of indexes observed."""
    bench.publish("a", "2026-09")
    bench.run("a", period="2026-09")
    bench.instance.report_runless_asset_event(
        dg.AssetObservation("network_files", partition=key("a"), metadata={"status": "retired"})
    )
    bench.late()

    assert [] == bench.told


# --- retention ------------------------------------------------------------------------------


def test_old_runs_are_forgotten_with_their_logs(bench: Bench) -> None:
    """But not the latest of a network, nor the one that published what is readable."""
    bench.publish("a")
    first, published = bench.run("a").run_id, bench.run("a").run_id
    bench.server.remove(Payer.path("a"))
    between, failed = bench.run("a").run_id, bench.run("a").run_id
    storage = bench.place.home / "storage"
    history = bench.place.home / "history" / "runs"
    assert any(first in path.name for path in history.iterdir())

    assert 2 == prune_runs(bench.instance, dt.datetime.now(tz=dt.UTC) + dt.timedelta(days=1))

    assert {published, failed} == {run.run_id for run in bench.instance.get_runs()}
    assert not [path for path in history.iterdir() if path.name.startswith((first, between))]
    assert not [path for path in storage.iterdir() if path.name in (first, between)]
    assert {key("a")} == set(bench.instance.get_materialized_partitions(dg.AssetKey("rates")))


def test_a_comparison_is_no_ingest(bench: Bench) -> None:
    """It comes later, and neither the manifest nor what is kept goes by it."""
    bench.publish("a")
    bench.run("a")
    bench.server.remove(Payer.path("a"))
    failed = bench.run("a").run_id
    bench.compare("a", batch="compared")
    expected = {key("a"): (failed, "failed")}

    assert expected == {name: (it.run_id, it.status) for name, it in all_records(bench.instance).items()}
    prune_runs(bench.instance, dt.datetime.now(tz=dt.UTC) + dt.timedelta(days=1))
    assert expected == {name: (it.run_id, it.status) for name, it in all_records(bench.instance).items()}


def test_recent_runs_are_kept(bench: Bench) -> None:
    """Whatever became of them."""
    bench.run("a")
    bench.run("a")

    assert 0 == prune_runs(bench.instance, dt.datetime.now(tz=dt.UTC) - dt.timedelta(days=1))
    assert 2 == bench.instance.get_runs_count()


def test_the_job_forgets_what_the_setting_says(bench: Bench) -> None:
    """180 days: nothing of today."""
    bench.run("a")
    bench.run("a")
    result = bench.defs.resolve_job_def("prune_runs").execute_in_process(instance=bench.instance)

    assert result.success
    assert 3 == bench.instance.get_runs_count()


# --- schedules ------------------------------------------------------------------------------


def test_schedules_that_run_and_those_that_do_not() -> None:
    """What only looks and cleans up runs; what downloads waits to be started."""
    running = {schedule.name: schedule.default_status.value for schedule in build_defs(Settings()).schedules or []}

    assert {"late_networks_weekly": "RUNNING", "prune_runs_weekly": "RUNNING", "monthly_refresh": "STOPPED"} == running


def test_the_monthly_refresh_asks_for_all_networks_but_the_retired(bench: Bench) -> None:
    """As one batch of low priority, each network once a month."""
    bench.instance.add_dynamic_partitions(str(NETWORK_PARTITIONS.name), [key("a"), key("b")])
    bench.instance.report_runless_asset_event(
        dg.AssetObservation("network_files", partition=key("b"), metadata={"status": "retired"})
    )
    schedule = bench.defs.resolve_schedule_def("monthly_refresh")
    context = dg.build_schedule_context(instance=bench.instance, scheduled_execution_time=_NOW)

    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert (f"{key('a')}@2026-11", key("a")) == (request.run_key, request.partition_key)
    assert ("refresh-2026-11", "-10") == (request.tags["mrf/batch"], request.tags["dagster/priority"])
    assert request.run_config["resources"]["ingestor"]["config"]["skip_unchanged"]


def test_the_monthly_refresh_empties_no_network(bench: Bench) -> None:
    """Whatever the environment says: a person decides that, and starts the run."""
    bench.instance.add_dynamic_partitions(str(NETWORK_PARTITIONS.name), [key("a")])
    schedule = build_defs(Settings(output_dir=bench.place.output, allow_empty=True)).resolve_schedule_def(
        "monthly_refresh"
    )
    context = dg.build_schedule_context(instance=bench.instance, scheduled_execution_time=_NOW)

    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.run_config["resources"]["ingestor"]["config"]["allow_empty"] is False


def test_the_monthly_refresh_says_where_there_is_nothing(bench: Bench) -> None:
    """No network is registered."""
    schedule = bench.defs.resolve_schedule_def("monthly_refresh")
    context = dg.build_schedule_context(instance=bench.instance, scheduled_execution_time=_NOW)

    assert "No networks are registered." == schedule.evaluate_tick(context).skip_message


# --- batches that were not planned by the command line ----------------------------------------


def test_failed_networks_of_a_sensors_batch_are_retried(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command line, under the same id; what succeeded is left alone."""
    monkeypatch.setenv("DAGSTER_HOME", str(bench.place.home))
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(bench.place.output))
    bench.publish("a")
    bench.run("a", batch="nightly")
    bench.run("b", batch="nightly")
    bench.publish("b")
    before = bench.server.counts()

    summary = continue_batch(bench.place.output, "nightly", failed_only=True)

    assert ("nightly", 2, 0) == (summary["batch_id"], summary["networks_successful"], summary["networks_failed"])
    assert {Payer.path("b"): 1} == dict(bench.server.counts() - before)
    found = batch_statistics(bench.place.output, "nightly")
    assert (2, 2, 0) == (found.networks, found.succeeded, found.failed)


def test_a_backfill_goes_by_its_own_id(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the command line has repeated a part of it."""
    monkeypatch.setenv("DAGSTER_HOME", str(bench.place.home))
    bench.publish("a")
    for letter in "ab":
        bench.run(letter)
    for run in bench.instance.get_runs():
        bench.instance.add_run_tags(run.run_id, {"dagster/backfill": "abcdefgh"})
    assert (2, 1, 1) == _counts(batch_statistics(bench.place.output, "abcdefgh"))
    bench.publish("b")
    bench.run("b", batch="abcdefgh")

    assert (2, 2, 0) == _counts(batch_statistics(bench.place.output, "abcdefgh"))


def _counts(found: BatchStatistics) -> tuple[int, int, int]:
    return found.networks, found.succeeded, found.failed
