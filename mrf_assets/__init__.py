"""mrf_assets: Transparency in Coverage machine-readable files as Dagster assets.

Read it in the order in which data flows; imports run the same way, downwards only.

values       errors, urls, tasks, network_id, schema, whitelist, limits, settings, priority, views,
             index_registry, lean_start
tools        stream, zip_stream, yajl, part_processes, hosts, disk, whole_files, batch, generations, queries, alerts,
             reference, dagster_server
stages       sources, fetch, extract, store, part_filter, checks, nppes, catalog
composition  pipeline, results, task_store, manifest, unchanged, renewal, enrichment, data_dictionary,
             statistics, budget, catalog_checks, changes, quality,
             index_store, index_reader, index_watch, submission, discovery
shells       defs, definitions, workers, batch_history, batch_orchestrator, console, status_view,
             flags, batch_commands, submit_command, enrich_command, discover_command, query_commands, check_command,
             report, report_command, index_cli, cli
"""
