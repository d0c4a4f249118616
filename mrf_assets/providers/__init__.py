"""Who the providers are: the engine of `lookup` over the registry of `nppes`.

In the order in which data flows:
- npis, inputs: the NPIs of what is published, or of a file,
- submitted_npis: a list that somebody submits,
- names, fill_rates: how well a row answers the question,
- run_files: progress, errors, report and alerts of a run,
- npi_look_ups: from a ledger to an output, the one road of all that follow,
- estimate: what a run is to do, and what it takes,
- enrich: a list of NPIs looked up,
- registry: the registry's entries of the published NPIs, kept up to date,
- directory, directory_rules: both joined, and rules over it.
"""

from mrf_assets.providers.enrich import Enrichment, tuning_hint
from mrf_assets.providers.estimate import STAGES, EnrichOptions, Estimate, estimate, look_up_options
from mrf_assets.providers.run_files import RunFiles, batch_lines, ended_alert, failed_alert, failures_hint

__all__ = [
    "STAGES",
    "EnrichOptions",
    "Enrichment",
    "Estimate",
    "RunFiles",
    "batch_lines",
    "ended_alert",
    "estimate",
    "failed_alert",
    "failures_hint",
    "look_up_options",
    "tuning_hint",
]
