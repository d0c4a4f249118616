"""What we use of Dagster that it does not export, each with the public way that is missing.

Nothing else imports `dagster._...` or uses the storage of the event log, but `run_launcher`, which is made of what
Dagster's own launchers are made of. Names were checked with Dagster 1.13.27; `pyproject.toml` keeps it below 1.14.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg

# `AssetCheckEvaluation` is public, and the type of its `target_materialization_data` is not.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

# The kind of a check that no step executes; `AssetSpec` has a public way to say so, `AssetCheckSpec` has none.
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType
from dagster._core.event_api import PartitionKeyFilter

# `DagsterInstance.get_backfill` is public; what it returns, and how backfills are filtered, is not.
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill

# The cursor of a sensor can be read by nothing that is public outside of its own evaluation.
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

# No storage can be given an engine, or says which it makes.
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy.engine import Engine

__all__ = [
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetCheckExecutionRecord",
    "AssetCheckExecutionRecordStatus",
    "AssetExecutionType",
    "BulkActionStatus",
    "BulkActionsFilter",
    "InstigatorType",
    "PartitionBackfill",
    "SensorInstigatorData",
    "free_slots",
    "keep_engines",
    "latest_check_results",
    "latest_materializations",
    "latest_observations",
    "limit_pool",
    "shard_of_run",
]

_RECORDS_AT_ONCE = 500  # in one query
_MAX_ENGINES = 64  # the storages have a file for each run


def latest_materializations(
    instance: dg.DagsterInstance, asset: str, partitions: Collection[str] | None = None
) -> Iterator[dg.EventLogRecord]:
    """The latest of each partition of an asset, or of these; public is only all of them, or one partition at a time."""
    for chunk in _latest(instance, asset, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions):
        yield from instance.fetch_materializations(chunk, limit=_RECORDS_AT_ONCE).records


def latest_observations(instance: dg.DagsterInstance, asset: str) -> Iterator[dg.EventLogRecord]:
    """The latest of each partition of an asset, as `latest_materializations`."""
    for chunk in _latest(instance, asset, dg.DagsterEventType.ASSET_OBSERVATION, None):
        yield from instance.fetch_observations(chunk, limit=_RECORDS_AT_ONCE).records


def _latest(
    instance: dg.DagsterInstance, asset: str, kind: dg.DagsterEventType, partitions: Collection[str] | None
) -> Iterator[dg.AssetRecordsFilter]:
    key = dg.AssetKey(asset)
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind)
    ids = sorted(storage_id for name, storage_id in latest.items() if partitions is None or name in partitions)
    for start in range(0, len(ids), _RECORDS_AT_ONCE):
        yield dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[start : start + _RECORDS_AT_ONCE])


def latest_check_results(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], partition: str
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord]:
    """The latest result of each check for one partition; nothing public knows of partitions of checks."""
    storage = instance.event_log_storage
    return dict(storage.get_latest_asset_check_execution_by_key(keys, PartitionKeyFilter(key=partition)))


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Give back the slots that a run held in pools.

    A killed process keeps its slot, and without a daemon nothing gives it back. Nothing public frees slots.
    """
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def limit_pool(instance: dg.DagsterInstance, pool: str, slots: int) -> None:
    """Set the limit of a pool, unless somebody has; the default of all pools is no such limit.

    Public are a page of the UI and `dagster instance concurrency set`, a process that takes 2 s.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    if not any(each.name == pool and not each.from_default for each in storage.get_pool_limits()):
        storage.set_concurrency_slots(pool, slots)


def keep_engines() -> None:
    """Let Dagster's SQLite storages keep one engine for each file; they make one for each statement.

    A new engine compiles its statements again, and a network's run writes some 250: its CPU time falls from 1.13 to
    0.77 s. Their engines hold no connection, so threads may share them and processes may be forked.
    """
    for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        _keep_engines_of(storage)


def _keep_engines_of(storage: ModuleType) -> None:
    create_engine: Callable[..., Engine] = storage.create_engine

    @lru_cache(maxsize=_MAX_ENGINES)
    def kept(url: str, poolclass: type, connect_args: tuple[tuple[str, Any], ...]) -> Engine:
        return create_engine(url, poolclass=poolclass, connect_args=dict(connect_args))

    def engine_of(url: str, *, poolclass: type, connect_args: dict[str, Any] | None = None) -> Engine:
        return kept(url, poolclass, tuple((connect_args or {}).items()))

    storage.create_engine = engine_of  # type: ignore[attr-defined]  # of the module


def shard_of_run(instance: dg.DagsterInstance, run_id: str) -> Path | None:
    """The file that SQLite storage keeps for a run; `delete_run` empties it and leaves 100 kB."""
    path_for_shard = getattr(instance.event_log_storage, "path_for_shard", None)
    return None if path_for_shard is None else Path(path_for_shard(run_id))
