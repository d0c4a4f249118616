"""When the catalog is written anew by itself: ticks are evaluated as the code server does."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from mrf_assets.definitions import defs
from mrf_assets.defs.catalog import catalog_follows_publications
from mrf_assets.schema import PROVIDER_DIRECTORY, TABLES


@dataclass
class Ticks:
    """An instance, and what the ticks so far left behind."""

    instance: dg.DagsterInstance
    cursor: str | None = None

    def publish(self, asset: str = "rates", network: str | None = "t~a") -> None:
        """One table of a network, or one that has no networks."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=network))

    def requested(self) -> int:
        """Runs that a tick asks for."""
        with dg.build_sensor_context(instance=self.instance, definitions=defs, cursor=self.cursor) as context:
            found = catalog_follows_publications.evaluate_tick(context)
        self.cursor = found.cursor
        return len(found.run_requests or ())

    def begin(self, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> dg.DagsterRun:
        """A run of the catalog is under way."""
        return self.instance.create_run_for_job(defs.resolve_job_def("write_catalog"), status=status)


@pytest.fixture
def ticks() -> Iterator[Ticks]:
    """Nothing is published, and a tick has seen that."""
    with dg.instance_for_test() as instance:
        made = Ticks(instance)
        assert 0 == made.requested()
        yield made


def test_what_is_published_is_followed_once(ticks: Ticks) -> None:
    """Several networks between two ticks are one run."""
    ticks.publish(network="t~a")
    ticks.publish(network="t~b")

    assert [1, 0, 0] == [ticks.requested() for _ in range(3)]


@pytest.mark.parametrize("asset", [*TABLES, PROVIDER_DIRECTORY.name])
def test_every_table_of_the_catalog_is_followed(ticks: Ticks, asset: str) -> None:
    """Those of the networks, and the directory of providers."""
    ticks.publish(asset, "t~a" if asset in TABLES else None)

    assert 1 == ticks.requested()


def test_other_assets_are_not_followed(ticks: Ticks) -> None:
    """The catalog itself is one of them."""
    for asset in ("catalog", "report", "npis"):
        ticks.publish(asset, None)

    assert 0 == ticks.requested()


def test_what_is_published_meanwhile_is_followed_afterwards(ticks: Ticks) -> None:
    """The run that is under way may have looked already; before it had begun, too."""
    ticks.publish()
    assert 1 == ticks.requested()
    ticks.publish()
    run = ticks.begin()
    assert [0, 0] == [ticks.requested() for _ in range(2)]

    ticks.instance.report_run_failed(run)
    assert [1, 0] == [ticks.requested() for _ in range(2)]


_END = {"failed": "report_run_failed", "canceled": "report_run_canceled"}


@pytest.mark.parametrize("end", _END)
def test_a_run_that_came_to_nothing_is_repeated(ticks: Ticks, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, and once for each that came to nothing; what is published is not forgotten."""
    ticks.publish()
    assert 1 == ticks.requested()
    run = ticks.begin()
    for _ in range(2):
        getattr(ticks.instance, _END[end])(run)
        assert 0 == ticks.requested()
        _let_pass(monkeypatch, minutes=11)
        assert 1 == ticks.requested()
        run = ticks.begin()
        assert 0 == ticks.requested()
    _succeed(ticks.instance, run)
    _let_pass(monkeypatch, minutes=11)

    assert 0 == ticks.requested()


def test_a_run_that_nobody_queued_is_not_waited_for(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon ended between the two; it stays as it is for ever."""
    ticks.publish()
    assert 1 == ticks.requested()
    ticks.begin(dg.DagsterRunStatus.NOT_STARTED)
    ticks.publish()
    assert 0 == ticks.requested()
    _let_pass(monkeypatch, minutes=11)

    assert 1 == ticks.requested()


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.FAILURE])
def test_a_run_of_the_future_is_not_waited_for(ticks: Ticks, status: dg.DagsterRunStatus) -> None:
    """It was made while the clock was ahead, and came to nothing."""
    ticks.publish()
    assert 1 == ticks.requested()
    run = ticks.begin(status)
    assert 0 == ticks.requested()
    with closing(sqlite3.connect(Path(ticks.instance.root_directory) / "history" / "runs.db")) as records, records:
        records.execute("UPDATE runs SET create_timestamp = '2099-01-01 00:00:00' WHERE run_id = ?", [run.run_id])

    assert 1 == ticks.requested()


def _let_pass(monkeypatch: pytest.MonkeyPatch, *, minutes: int) -> None:
    """The clock of the sensor and of Dagster's records goes on."""
    then = time.time() + minutes * 60
    monkeypatch.setattr(time, "time", lambda: then)


def _succeed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
    instance.report_dagster_event(event, run_id=run.run_id)


def test_nobody_has_to_switch_it_on() -> None:
    """And nothing else writes the catalog unasked."""
    assert dg.DefaultSensorStatus.RUNNING == catalog_follows_publications.default_status
    sensors = defs.get_repository_def().sensor_defs
    assert not any(isinstance(each, dg.AutomationConditionSensorDefinition) for each in sensors)
