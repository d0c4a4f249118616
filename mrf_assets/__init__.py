"""mrf_assets: Transparency in Coverage machine-readable files as Dagster assets.

Read it in this order; a line imports from the lines above it alone, and stages import no other stage.

words     text, urls, errors, settings, schema, whitelist, tasks, priority
          Values; no I/O but for the lists of a whitelist.
tools     startup, clock, child_processes, files, alerts, tls, stream
          They know no payer.
stages    network_id, fetch, sources, extract, lake
          From addresses to published tables, a step each. All may use network_id.
products  quality, ingest, watch, discover, providers, batches, submit, report
          What the platform does, without Dagster.
shells    defs, definitions, runner, cli, batch_orchestrator, __main__
          Dagster lives in defs, definitions and runner; click in cli and in the console of runner.
"""
