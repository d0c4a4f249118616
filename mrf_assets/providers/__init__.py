"""Look up providers in NPPES: the engine of `batch` over the client of `nppes`."""

from mrf_assets.providers.alert import batch_lines, ended_alert, failed_alert, failures_hint
from mrf_assets.providers.enrich import (
    STAGES,
    Enrichment,
    EnrichOptions,
    Estimate,
    batch_options,
    estimate,
    prices_of,
    tuning_hint,
)
from mrf_assets.providers.run_files import RunFiles

__all__ = [
    "STAGES",
    "EnrichOptions",
    "Enrichment",
    "Estimate",
    "RunFiles",
    "batch_lines",
    "batch_options",
    "ended_alert",
    "estimate",
    "failed_alert",
    "failures_hint",
    "prices_of",
    "tuning_hint",
]
