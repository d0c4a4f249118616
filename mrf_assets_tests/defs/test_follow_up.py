"""What follows a backfill: evaluated as the code server does, in an instance of Dagster."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.execution.backfill import BulkActionStatus

from mrf_assets.definitions import defs
from mrf_assets.defs.follow_up import enrich_after_backfill
from mrf_assets.submit import AFTER_TAG, ENRICH, THEN_CONFIG_TAG, THEN_TAG, followed
from mrf_assets_tests.dagster_fixtures import add_backfill

_FOLLOWED = {THEN_TAG: ENRICH}
_COMPLETED = BulkActionStatus.COMPLETED_SUCCESS


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's records, on disk as the sensor's context needs them."""
    with dg.instance_for_test() as made:
        yield made


def _tick(instance: dg.DagsterInstance, cursor: str | None = None) -> SensorExecutionData:
    context = dg.build_sensor_context(instance=instance, definitions=defs, cursor=cursor)
    return enrich_after_backfill.evaluate_tick(context)


def _requests(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    return list(_tick(instance).run_requests or ())


@pytest.mark.parametrize("status", [BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED])
def test_an_ended_backfill_is_followed(instance: dg.DagsterInstance, status: BulkActionStatus) -> None:
    """Whatever became of single networks; by its id, so that it is followed once."""
    config = {"ops": {"npi_registry": {"config": {"mode": "api_only", "limit": 5}}}}
    tags = {**_FOLLOWED, THEN_CONFIG_TAG: json.dumps(config), "dagster/priority": "10"}
    backfill = add_backfill(instance, status, tags, ["t~a"])
    (request,) = _requests(instance)

    assert (backfill.backfill_id, config) == (request.run_key, request.run_config)
    assert (backfill.backfill_id, "10") == (request.tags[AFTER_TAG], request.tags["dagster/priority"])


@pytest.mark.parametrize(
    ("status", "tags"),
    [
        (BulkActionStatus.REQUESTED, _FOLLOWED),
        (BulkActionStatus.CANCELED, _FOLLOWED),
        (BulkActionStatus.FAILED, _FOLLOWED),
        (BulkActionStatus.COMPLETED_SUCCESS, {}),
        (BulkActionStatus.COMPLETED_SUCCESS, {THEN_TAG: "prune_runs"}),
    ],
)
def test_others_are_not(instance: dg.DagsterInstance, status: BulkActionStatus, tags: dict[str, str]) -> None:
    """What goes on, was stopped, or was submitted as something else."""
    add_backfill(instance, status, tags, ["t~a"])

    assert [] == _requests(instance)


def test_a_backfill_may_take_weeks(instance: dg.DagsterInstance) -> None:
    """What counts is when it ended; one that ended long ago is not begun out of the blue."""
    for days in (0.0, 6.9, 7.1):
        add_backfill(instance, _COMPLETED, _FOLLOWED, ["t~a"], submitted_days_ago=30, ended_days_ago=days)

    assert {"backfill0", "backfill1"} == {request.run_key for request in _requests(instance)}


def test_what_was_followed_is_not_followed_again(instance: dg.DagsterInstance) -> None:
    """Though the run was deleted since; the run key alone would start another."""
    backfill = add_backfill(instance, _COMPLETED, _FOLLOWED, ["t~a"])
    run = instance.create_run_for_job(
        defs.resolve_job_def(ENRICH), tags={AFTER_TAG: backfill.backfill_id}, status=dg.DagsterRunStatus.STARTED
    )
    seen = _tick(instance)
    instance.delete_run(run.run_id)
    after = _tick(instance, seen.cursor)

    assert [[], []] == [list(each.run_requests or ()) for each in (seen, after)]
    assert {backfill.backfill_id: ""} == followed(after.cursor)


def test_a_run_that_was_left_before_it_was_queued_is_requested_again(instance: dg.DagsterInstance) -> None:
    """By the same key: the daemon then goes on with that run."""
    backfill = add_backfill(instance, _COMPLETED, _FOLLOWED, ["t~a"])
    instance.create_run_for_job(defs.resolve_job_def(ENRICH), tags={AFTER_TAG: backfill.backfill_id})

    assert [backfill.backfill_id] == [request.run_key for request in _requests(instance)]


def test_the_cursor_forgets_what_is_not_looked_at_any_more(instance: dg.DagsterInstance) -> None:
    """It would grow for ever."""
    add_backfill(instance, _COMPLETED, _FOLLOWED, ["t~a"], submitted_days_ago=9, ended_days_ago=8)

    assert {} == followed(_tick(instance, '{"backfill0": "", "older": ""}').cursor)
    assert {} == followed(_tick(instance, "by hand").cursor)


def test_a_wrong_tag_holds_nothing_up(instance: dg.DagsterInstance) -> None:
    """It is told and left out, and the others run; the daemon takes what is requested."""
    configs = [
        "{",
        "[]",
        '{"ops": {"npi_registry": {"config": {"mode": "tax"}}}}',
        '{"ops": {"npi_registry": {"config": {"many": "5"}}}}',
        '{"ops": {"npi_registry": {"config": {"limit": 1.5}}}}',
        '{"ops": {"npi_registry": {"config": {"mode": "api_only", "modes": 1}}}}',
        '{"ops": {"tax": {"config": {}}}}',
    ]
    for config in configs:
        add_backfill(instance, _COMPLETED, {**_FOLLOWED, THEN_CONFIG_TAG: config}, ["t~a"])
    good = add_backfill(instance, _COMPLETED, _FOLLOWED, ["t~b"])
    found = _tick(instance)
    told = followed(found.cursor)

    assert [good.backfill_id] == [request.run_key for request in found.run_requests or ()]
    assert {f"backfill{number}" for number in range(len(configs))} == told.keys()
    assert all(f"{ENRICH} cannot run as its tag {THEN_CONFIG_TAG} says" in reason for reason in told.values())
