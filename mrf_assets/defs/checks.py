"""The rules of `mrf_assets.quality.network_rules` as Dagster asset checks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.quality.network_rules import CHECKS, Check, CheckResult


def check_specs() -> list[dg.AssetCheckSpec]:
    """One spec per rule, partitioned by network."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview since Dagster 1.13.0; without them a check has one
        # status for all networks.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _specs()


def _specs() -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=check.table,
            description=f"{check.explanation}\n\nSelects the offending rows:\n\n```sql\n{check.sql}\n```",
            blocking=check.blocking,
            metadata={"sql": dg.MetadataValue.md(f"```sql\n{check.sql}\n```")},
            partitions_def=NETWORK_PARTITIONS,
        )
        for check in CHECKS
    ]


def check_results(
    by_period: Mapping[str, list[CheckResult]],
    checks: Iterable[Check] = CHECKS,
    metadata: Mapping[str, dg.MetadataValue[Any]] | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """Dagster's results of rules; the periods of a network are judged as one. `metadata` is added to each."""
    for check in checks:
        result_by_period = {
            period: result
            for period, results in by_period.items()
            for result in results
            if (result.check.table, result.check.name) == (check.table, check.name)
        }
        result = _result(next((it.check for it in result_by_period.values()), check), result_by_period)
        yield result.with_metadata(dict(result.metadata) | dict(metadata or {}))


def _result(check: Check, by_period: Mapping[str, CheckResult]) -> dg.AssetCheckResult:
    failed = [period for period, result in by_period.items() if not result.passed]
    offending = sum(result.offending_rows for result in by_period.values())
    metadata: dict[str, dg.MetadataValue] = {
        "offending_rows": dg.MetadataValue.int(offending),
        "sql": dg.MetadataValue.md(f"```sql\n{check.sql}\n```"),
        "periods": dg.MetadataValue.text(", ".join(by_period)),
    }
    if check.threshold is not None:
        metadata["threshold"] = dg.MetadataValue.float(float(check.threshold))
    samples = "\n".join(result.sample for result in by_period.values() if result.sample)
    if samples:
        metadata["sample"] = dg.MetadataValue.md(f"```json\n{samples.replace('`', chr(39))}\n```")
    populations = [result.population for result in by_period.values() if result.population is not None]
    if populations:
        metadata["population"] = dg.MetadataValue.int(sum(populations))
        metadata["tolerated_share"] = dg.MetadataValue.float(float(check.tolerated_share))
    return dg.AssetCheckResult(
        asset_key=check.table,
        check_name=check.name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description=check.explanation if not failed else f"{offending} offending rows: {check.explanation}",
        metadata=metadata,
    )
