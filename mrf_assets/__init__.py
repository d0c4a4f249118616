"""mrf_assets: Transparency in Coverage machine-readable files as Dagster assets.

Read it in the order in which data flows; imports run the same way, downwards only.

values       errors, urls, tasks, network_id, schema, whitelist, limits, settings
tools        stream, yajl, part_processes, hosts, batch
stages       sources, fetch, extract, store, part_filter, checks, nppes
composition  pipeline, task_store, manifest, enrichment, catalog_checks, changes, quality
shells       defs, definitions, workers, batch_orchestrator, console, enrich_command, check_command,
             report_command, cli
"""
