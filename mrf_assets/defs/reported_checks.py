"""Asset checks that no run plans: the step that judges an asset reports each result as an event, once it has one.

Dagster plans the checks of its own steps with the run. A run that ends before its audit (a missing file, a cut file, a
killed process) then leaves them without a result; Dagster counts each as failed, and one such partition makes the
whole check Failed in the lineage and on the Checks tab. Results also belong behind the publication: Dagster shows a
result only for as long as it is about the latest materialization.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import dagster as dg

from mrf_assets.defs.private_dagster import (
    AssetCheckEvaluationTargetMaterializationData as Target,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    AssetExecutionType,
    latest_check_results,
)

# Dagster makes the definitions once more while it loads them, and would warn each time.
warnings.filterwarnings("ignore", "Parameter `execution_type` of function `AssetsDefinition", dg.BetaWarning)

REFUSED = "refused"  # metadata of a result about data that was not published


def reported_checks(specs: Iterable[dg.AssetCheckSpec]) -> list[dg.AssetsDefinition]:
    """The definitions of checks, one for each asset, for `Definitions`; no run has a step for them.

    An asset may be without a computation, a check may not: its computation is an empty graph, and is never executed.
    """
    by_asset: dict[dg.AssetKey, list[dg.AssetCheckSpec]] = {}
    for spec in specs:
        by_asset.setdefault(spec.asset_key, []).append(spec)
    return [
        dg.AssetsDefinition(
            node_def=dg.GraphDefinition(name=f"{asset_key.to_python_identifier()}_checks"),
            keys_by_output_name={},
            check_specs_by_output_name={spec.get_python_identifier(): spec for spec in of_asset},
            execution_type=AssetExecutionType.UNEXECUTABLE,
        )
        for asset_key, of_asset in by_asset.items()
    ]


def report_results(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    results: Iterable[dg.AssetCheckResult],
    partition: str | None = None,
) -> None:
    """Store results with the materialization that each is about: the latest of its asset and partition."""
    targets: dict[dg.AssetKey, Target | None] = {}
    for result in results:
        assert result.asset_key is not None
        if result.asset_key not in targets:
            targets[result.asset_key] = _latest_materialization(context.instance, result.asset_key, partition)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=result.asset_key,
            check_name=str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
            blocking=result.severity == dg.AssetCheckSeverity.ERROR,
            partition=partition,
            target_materialization_data=targets[result.asset_key],
        )
        context.log_event(evaluation)  # type: ignore[arg-type]  # its annotation is narrower than what it stores


def are_current(instance: dg.DagsterInstance, partition: str, keys: Sequence[dg.AssetCheckKey]) -> bool:
    """Whether each of these checks shows a result about the published data of a partition.

    It does not after a file that was refused, after a run that ended between its publication and its report, where
    a rule is new, or where an earlier version stored the results before the publication.
    """
    latest = latest_check_results(instance, keys, partition)
    targets = {key: _latest_materialization(instance, key, partition) for key in {it.asset_key for it in keys}}
    return all(key in latest and _is_about(latest[key], targets[key.asset_key]) for key in keys)


def _is_about(record: AssetCheckExecutionRecord, target: Target | None) -> bool:
    if record.status == AssetCheckExecutionRecordStatus.PLANNED or record.evaluation is None:
        return False
    return REFUSED not in record.evaluation.metadata and record.evaluation.target_materialization_data == target


def _latest_materialization(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partition: str | None
) -> Target | None:
    of_partition = dg.AssetRecordsFilter(
        asset_key=asset_key, asset_partitions=None if partition is None else [partition]
    )
    for record in instance.fetch_materializations(of_partition, limit=1).records:
        return Target(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
    return None
