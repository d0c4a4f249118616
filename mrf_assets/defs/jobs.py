"""The jobs: ingest networks, audit what is published, and catalog it."""

import dagster as dg

from mrf_assets.schema import TABLES

_TABLES = dg.AssetSelection.assets(*TABLES)

ingest = dg.define_asset_job(
    "ingest",
    selection=_TABLES,
    description="Fetch, extract, audit and publish networks; each step in a process of its own.",
)
ingest_in_process = dg.define_asset_job(
    "ingest_in_process",
    selection=_TABLES,
    executor_def=dg.in_process_executor,
    description="The same inside the process that runs it: what the workers of `mrf run` do.",
)
audit = dg.define_asset_job(
    "audit",
    selection=dg.AssetSelection.checks_for_assets(*[dg.AssetKey(name) for name in TABLES]),
    description="Apply every rule to what is published, without reading anything anew.",
)
write_catalog = dg.define_asset_job(
    "write_catalog",
    selection=dg.AssetSelection.assets("catalog").without_checks(),
    description="Write catalog.duckdb anew, over what is published.",
)
audit_catalog = dg.define_asset_job(
    "audit_catalog",
    selection=dg.AssetSelection.checks_for_assets("catalog"),
    description="Apply the rules that compare prices, months and networks to all that is published.",
)
compare_months = dg.define_asset_job(
    "compare_months",
    selection=dg.AssetSelection.assets("rate_changes"),
    description="What changed in networks between their two latest periods.",
)
write_report = dg.define_asset_job(
    "write_report",
    selection=dg.AssetSelection.assets("report"),
    description="Write report.html anew, over what is published.",
)
