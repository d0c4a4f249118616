"""What follows a backfill: evaluated as the code server does, in an instance of Dagster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from mrf_assets.definitions import defs
from mrf_assets.defs.follow_up import enrich_after_backfill
from mrf_assets.submission import AFTER_TAG, ENRICH, THEN_CONFIG_TAG, THEN_TAG
from mrf_assets_tests.dagster_fixtures import add_backfill

_FOLLOWED = {THEN_TAG: ENRICH}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's records, on disk as the sensor's context needs them."""
    with dg.instance_for_test() as made:
        yield made


def _requests(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    context = dg.build_sensor_context(instance=instance, definitions=defs)
    return list(enrich_after_backfill.evaluate_tick(context).run_requests or ())


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


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"ops": {"npi_registry": {"config": {"mode": "tax"}}}}'])
def test_a_wrong_tag_holds_nothing_up(instance: dg.DagsterInstance, config: str) -> None:
    """The job runs with its defaults, and the others run too."""
    add_backfill(instance, BulkActionStatus.COMPLETED_SUCCESS, {**_FOLLOWED, THEN_CONFIG_TAG: config}, ["t~a"])
    add_backfill(instance, BulkActionStatus.COMPLETED_SUCCESS, _FOLLOWED, ["t~b"])

    configs: list[Any] = [request.run_config for request in _requests(instance)]
    assert [{}, {}] == configs
