"""The rule that warns of servers which refuse us: the registry of providers, and the payers' hosts."""

from __future__ import annotations

import warnings

import dagster as dg

from mrf_assets.defs.partitions import NETWORK_PARTITIONS

FEW_REFUSALS = "few_refusals"
MAX_REFUSED_PERCENT = 5.0  # what a server refuses while its limit is found out: benchmarks/RESULTS.md
FILES_ASSET = "files"  # the table of a network that the rule is about
_REGISTRY_ADVICE = "raise MRF_RATE_LIMIT_DELAY, or lower MRF_BATCH_SIZE or MRF_MAX_REQUESTS_PER_MINUTE"
_HOST_ADVICE = "lower MRF_HOST_CONCURRENCY or MRF_HOST_START_RATE_PER_SECOND"


def refusals_spec(asset: str) -> dg.AssetCheckSpec:
    """The rule for an asset; for the files of a network it is partitioned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # as in `checks`
        partitions_def = NETWORK_PARTITIONS if asset == FILES_ASSET else None
        return dg.AssetCheckSpec(FEW_REFUSALS, asset=asset, description=_rule(asset), partitions_def=partitions_def)


def refusals_result(asset: str, *, requests: int, refusals: int) -> dg.AssetCheckResult:
    """What the rule says of one run, which sent so many requests."""
    percent = 100 * refusals / requests if requests else 0.0
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=FEW_REFUSALS,
        passed=percent <= MAX_REFUSED_PERCENT,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{refusals:,} of {requests:,} requests were refused. {_rule(asset)}",
        metadata={
            "requests": requests,
            "requests_refused": refusals,
            "refused_percent": round(percent, 2),
            "tolerated_percent": MAX_REFUSED_PERCENT,
        },
    )


def _rule(asset: str) -> str:
    advice = _HOST_ADVICE if asset == FILES_ASSET else _REGISTRY_ADVICE
    kinds = "429" if asset == FILES_ASSET else "429 or 503"
    return f"Servers refused at most {MAX_REFUSED_PERCENT:g} % of the requests ({kinds}). More: {advice}."
