"""The sensor of indexes inside a Dagster instance: ticks are evaluated as the code server does."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mrf_assets.definitions import build_defs
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.sensors import index_sensor
from mrf_assets.settings import IndexWatching, Operations, Settings
from mrf_assets.watch.registry import add_index
from mrf_assets_tests.dagster_fixtures import SECRET, Payer, key
from mrf_assets_tests.mrf_server import Answer, MrfServer

INDEX = "/2026-11-05_index.json"


@dataclass
class Ticking:
    """A sensor, and the instance that it is evaluated in."""

    payer: Payer
    root: Path
    instance: dg.DagsterInstance
    cursor: str | None = None
    operations: Operations = field(default_factory=Operations)
    watching: IndexWatching = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.watching = IndexWatching(index_registry=self.root / "indexes.toml")
        self.settings = Settings(output_dir=self.root / "lake")

    def register(self, **values: object) -> None:
        """Register the payer's index, to be asked for in every tick."""
        given = {"url": self.payer.server.url(INDEX), "payer": "Acme Health", "poll_minutes": 1e-9}
        add_index(self.watching.registry, "acme", {**given, **values}, replace=True)

    def tick(self) -> dg.SensorExecutionData:
        """Evaluate a tick, and take over what the daemon would."""
        sensor = index_sensor(self.settings, self.watching, self.operations)
        with dg.build_sensor_context(
            instance_ref=self.instance.get_ref(),
            definitions=build_defs(self.settings, watching=self.watching),
            cursor=self.cursor,
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        for event in found.asset_events:
            self.instance.report_runless_asset_event(event)
        return found


@pytest.fixture
def ticking(tmp_path: Path) -> Iterator[Ticking]:
    """A payer with an index of three networks, which is registered with HIGH priority."""
    with MrfServer() as server, dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        made = Ticking(Payer(server), tmp_path, instance)
        for letter in "abc":
            made.payer.publish(letter)
        made.payer.publish_index("abc")
        made.register(priority="HIGH")
        yield made


def requested(found: dg.SensorExecutionData) -> list[str | None]:
    """The partitions that are to run."""
    return [request.partition_key for request in found.run_requests or ()]


def observed(found: dg.SensorExecutionData) -> dict[str | None, Any]:
    """Metadata of observations, by partition."""
    return {
        event.partition: {name: value.value for name, value in event.metadata.items()} for event in found.asset_events
    }


def test_new_networks_become_partitions_observations_and_runs(ticking: Ticking) -> None:
    """All in one tick, out of an index that another process read."""
    found = ticking.tick()

    keys = [key(letter) for letter in "abc"]
    assert keys == requested(found)
    assert keys == list(ticking.instance.get_dynamic_partitions(NETWORK_PARTITIONS.name or ""))
    assert keys == list(observed(found))


def test_a_run_says_what_it_is_for(ticking: Ticking) -> None:
    """Payer, host, period, priority and batch; nothing signed."""
    requests = ticking.tick().run_requests or []

    tags = dict(requests[0].tags)
    assert {
        "dagster/partition": key("a"),
        "dagster/priority": "10",
        "mrf/payer": "Acme Health",
        "mrf/host": "127.0.0.1",
        "mrf/period": "2026-11",
        "mrf/index": "acme",
        "mrf/reason": "new",
        "mrf/source_type": "index",
    }.items() <= tags.items()
    assert 1 == len({request.tags["mrf/batch"] for request in requests})
    assert requests[0].run_key.startswith(f"{key('a')}@{tags['mrf/version']}.")
    assert SECRET not in str(requests)


def test_the_requested_runs_publish(ticking: Ticking) -> None:
    """The plan that the sensor saved is the one that runs read."""
    request = (ticking.tick().run_requests or [])[0]
    job = build_defs(ticking.settings, watching=ticking.watching).resolve_job_def("ingest_in_process")

    result = job.execute_in_process(instance=ticking.instance, partition_key=request.partition_key, tags=request.tags)

    assert result.success
    assert {key("a")} == ticking.instance.get_materialized_partitions(dg.AssetKey("rates"))


def test_what_is_published_already_is_not_read_again(ticking: Ticking) -> None:
    """The first look at an index that the command line has worked off costs no download."""
    request = (ticking.tick().run_requests or [])[0]
    job = build_defs(ticking.settings, watching=ticking.watching).resolve_job_def("ingest_in_process")
    for _ in range(2):
        result = job.execute_in_process(
            instance=ticking.instance, run_config=request.run_config, partition_key=key("a"), tags=request.tags
        )

    assert result.success
    assert 1 == ticking.payer.server.count(ticking.payer.path("a"))


def test_runs_keep_to_the_whitelist_of_their_index(ticking: Ticking) -> None:
    """Whoever starts them: it goes with the plan."""
    codes = ticking.root / "codes.csv"
    codes.write_text("CPT,00000\n")
    ticking.register(cpt_whitelist=str(codes))
    ticking.tick()
    job = build_defs(ticking.settings, watching=ticking.watching).resolve_job_def("ingest_in_process")

    result = job.execute_in_process(instance=ticking.instance, partition_key=key("a"))

    made = [event.materialization for event in result.get_asset_materialization_events()]
    rows: dict[str, Any] = {
        it.asset_key.to_user_string(): it.metadata["dagster/partition_row_count"].value for it in made
    }
    assert (0, True) == (rows["rates"], rows["providers"] > 0)


def test_a_run_of_the_sensor_empties_no_network(ticking: Ticking) -> None:
    """Whatever the environment says: a person decides that, and starts the run."""
    ticking.settings = ticking.settings.changed(allow_empty=True)
    job = build_defs(ticking.settings, watching=ticking.watching).resolve_job_def("ingest_in_process")
    request = (ticking.tick().run_requests or [])[0]
    given: dict[str, Any] = {"instance": ticking.instance, "partition_key": request.partition_key, "tags": request.tags}
    assert job.execute_in_process(**given).success
    (ticking.root / "codes.csv").write_text("CPT,00000\n")
    ticking.register(cpt_whitelist=str(ticking.root / "codes.csv"))
    ticking.tick()

    assert not job.execute_in_process(**given, run_config=request.run_config, raise_on_error=False).success
    assert job.execute_in_process(**given).success


def test_what_did_not_change_is_not_told(ticking: Ticking) -> None:
    """No observation, no run; the tick says that it looked."""
    ticking.tick()

    found = ticking.tick()

    assert ([], []) == (requested(found), list(found.asset_events))
    assert found.skip_message == "1 indexes with 3 networks, 0 runs requested"


def test_an_observation_has_the_data_version_of_the_files(ticking: Ticking) -> None:
    """Another content is another version, of that network alone."""
    ticking.tick()
    first = ticking.instance.get_latest_data_version_record(dg.AssetKey("network_files"), partition_key=key("b"))
    ticking.tick()  # learns what the server says of the files
    ticking.payer.publish("b", None)
    ticking.payer.server.put(ticking.payer.path("b"), b"another content")

    found = ticking.tick()

    second = ticking.instance.get_latest_data_version_record(dg.AssetKey("network_files"), partition_key=key("b"))
    assert [key("b")] == requested(found) == list(observed(found))
    assert first is not None
    assert second is not None
    assert first.storage_id < second.storage_id
    assert 1 == len(found.asset_events)


def test_a_retired_network_stays_a_partition(ticking: Ticking) -> None:
    """It is told of as retired; its key, and with it its data, stay in sight."""
    ticking.tick()
    ticking.payer.publish_index("ab")

    found = ticking.tick()

    assert [] == requested(found)
    assert {key("c"): "retired"} == {name: facts["status"] for name, facts in observed(found).items()}
    assert key("c") in ticking.instance.get_dynamic_partitions(NETWORK_PARTITIONS.name or "")
    assert "1 networks retired" in (found.skip_message or "")


def test_runs_that_wait_in_the_queue_hold_further_ones_back(ticking: Ticking) -> None:
    """As many as a tick requests may wait."""
    ticking.watching = ticking.watching.changed(sensor_max_runs=2)
    job = build_defs(ticking.settings, watching=ticking.watching).resolve_job_def("ingest")
    ticking.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)

    assert [key("a")] == requested(ticking.tick())


def test_a_broken_index_alerts_a_webhook_once(ticking: Ticking) -> None:
    """Over the addresses of the alerts, with nothing signed in it."""
    ticking.operations = Operations(alert_urls=f"json://127.0.0.1:{ticking.payer.server.port}/alerts")
    ticking.tick()
    ticking.payer.server.always(INDEX, Answer(status=404))

    for _ in range(2):
        found = ticking.tick()

    assert 1 == ticking.payer.server.count("/alerts", "POST")
    assert "FAILING: acme" in (found.skip_message or "")


def test_a_registry_with_problems_fails_the_tick(ticking: Ticking) -> None:
    """Dagster shows the lines."""
    ticking.watching.registry.write_text("[indexes.acme]\n")

    with pytest.raises(Exception, match=r"line 1, indexes\.acme: has no url; add one"):
        ticking.tick()


def test_without_a_registry_the_sensor_says_how_to_begin(tmp_path: Path) -> None:
    """A new installation has nothing to watch."""
    with MrfServer() as server, dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        found = Ticking(Payer(server), tmp_path, instance).tick()

    assert "no index is registered; `mrf index add` registers one" == found.skip_message


@pytest.mark.parametrize(("is_enabled", "status"), [(True, "RUNNING"), (False, "STOPPED")])
def test_the_sensor_runs_from_the_start_unless_it_is_switched_off(is_enabled: bool, status: str) -> None:
    """A setting says so; the UI's switch wins over it."""
    sensor = index_sensor(Settings(), IndexWatching(sensor_enabled=is_enabled), Operations())

    assert status == sensor.default_status.value


def test_what_the_sensor_keeps_is_for_its_owner_alone(ticking: Ticking) -> None:
    """The plan holds signed links."""
    ticking.tick()

    kept = (ticking.root / "lake" / ".mrf").glob("*.sqlite")
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in kept}
