"""The jobs over assets: ingest networks, catalog what is published, compare it and report on it."""

import dagster as dg

from mrf_assets.schema import TABLES

_TABLES = dg.AssetSelection.assets(*TABLES).without_checks()  # their steps report them, see `reported_checks`

ingest_job = dg.define_asset_job(
    "ingest",
    selection=_TABLES,
    description="Fetch, extract, audit and publish networks; each step in a process of its own.",
)
ingest_in_process_job = dg.define_asset_job(
    "ingest_in_process",
    selection=_TABLES,
    executor_def=dg.in_process_executor,
    description="The same inside the process that runs it: what the workers of `mrf run` do.",
)
write_catalog_job = dg.define_asset_job(
    "write_catalog",
    selection=dg.AssetSelection.assets("catalog").without_checks(),
    description="Write catalog.duckdb anew, over what is published.",
)
audit_catalog_job = dg.define_asset_job(
    "audit_catalog",
    selection=dg.AssetSelection.checks_for_assets("catalog"),
    description="Apply the rules that compare prices, months and networks to all that is published.",
)
compare_months_job = dg.define_asset_job(
    "compare_months",
    selection=dg.AssetSelection.assets("rate_changes").without_checks(),
    description="What changed in networks between their two latest periods.",
)
write_report_job = dg.define_asset_job(
    "write_report",
    selection=dg.AssetSelection.assets("report"),
    description="Write report.html anew, over what is published.",
)
