"""Ingest networks: `mrf run`, `mrf extract` for one file, and `mrf manifest` of a batch."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mrf_assets.cli import (
    batches as batch_commands,
)
from mrf_assets.cli.options import BUDGET, OUTPUT_DIR, WORKERS, LocalPath, from_flags, setting_option
from mrf_assets.cli.sources import (
    EXTRACTION_OPTIONS,
    PRIORITY_OPTIONS,
    SOURCE_OPTIONS,
    _zip_plans,
    opener_of,
    read_whitelists,
    reported,
    split_flags,
    with_options,
)
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.results import NetworkResult
from mrf_assets.lake.catalog import write_catalog
from mrf_assets.lake.publish import row_counts
from mrf_assets.lake.store import Store
from mrf_assets.settings import Operations, Settings
from mrf_assets.sources import SourceCounts, read_source
from mrf_assets.text import PrintableFormatter, printable_json

SKIP_UNCHANGED = setting_option(Settings, "skip_unchanged", flag="--skip-unchanged/--force")


@click.command("run")
@with_options(SOURCE_OPTIONS)
@with_options(EXTRACTION_OPTIONS)
@WORKERS
@SKIP_UNCHANGED
@BUDGET
@with_options(PRIORITY_OPTIONS)
def run_command(workers: int, source: str, location: str, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ingest every network of a source, --workers at a time."""
    from mrf_assets.runner.batch import BatchOptions, run_batch  # noqa: PLC0415 - imports Dagster, 1.5 s

    operations = from_flags(Operations, budget_dollars=flags.pop("budget_dollars"))
    priority, min_priority = flags.pop("priority"), flags.pop("min_priority")
    options, flags = split_flags(flags)
    settings = from_flags(Settings, **flags)
    read_whitelists(settings)
    options = replace(options, limits=settings.limits)
    summary = run_batch(
        reported(source, location, settings, options, SourceCounts()),
        settings,
        BatchOptions(
            workers=workers,
            source_type=source,
            source_input=location,
            verbose=verbose,
            operations=operations,
            priority=priority,
            min_priority=min_priority,
        ),
    )
    if summary["networks_left_out"]:
        click.echo(f"Left out: {summary['networks_left_out']} network(s) of a priority below {min_priority.name}.")
    batch_commands.finish(summary, settings)


@click.command("extract")
@click.argument("url")
@click.option("--output-prefix", default="", help="Label in front of the network's name.")
@click.option("--network-id", help="The partition key; by default it is made from the URL.")
@click.option("--plan-name", multiple=True, help="A plan that uses the file; repeat the four --plan-* flags together.")
@click.option("--plan-id-type", multiple=True)
@click.option("--plan-id", multiple=True)
@click.option("--plan-market-type", multiple=True)
@with_options(EXTRACTION_OPTIONS)
def extract_command(url: str, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ingest one file here and now, without Dagster."""
    console = logging.StreamHandler()
    console.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[console])
    if verbose:  # of our own alone: urllib3 tells signed addresses
        logging.getLogger("mrf_assets").setLevel(logging.DEBUG)
    plans = _zip_plans(*(flags.pop(f"plan_{name}") for name in ("name", "id_type", "id", "market_type")))
    options, setting_flags = split_flags(flags | {"structures": None, "match": None, "max_files": None}, plans)
    settings = from_flags(Settings, **setting_flags)
    Store(settings.output_dir.absolute()).sweep()
    (task,) = read_source("url", url, opener_of(settings), options, SourceCounts())
    result = ingest(task.network_id, [task], settings)
    result.require_published()
    write_catalog(settings.output_dir.absolute(), settings.taxonomy_codes)
    _print_result(result)


@click.command("manifest")
@OUTPUT_DIR
@click.option("--batch", "batch_id", help="Which batch.  [default: the latest]")
@click.option("--all", "everything", is_flag=True, help="The latest run of every network, whoever started it.")
@click.option("--output", type=LocalPath(), help="Write it there.  [default: print it]")
def manifest_command(output_dir: Path | None, batch_id: str | None, everything: bool, output: Path | None) -> None:
    """Export the manifest out of run metadata."""
    from mrf_assets.batches.manifest import write_manifest  # noqa: PLC0415 - goes with it
    from mrf_assets.runner.history import export_manifest  # noqa: PLC0415 - imports Dagster, 1.5 s

    settings = from_flags(Settings, output_dir=output_dir)
    exported = export_manifest(settings.output_dir.absolute(), batch_id, everything=everything)
    if output is None:
        click.echo(printable_json(exported, indent=2))
    else:
        write_manifest(exported, output)
        click.echo(f"Manifest file: {output}")


def _print_result(result: NetworkResult) -> None:
    rows = row_counts(result.published)
    click.echo(f"✅ {result.network_id} ({result.seconds:.1f}s)")
    for table, count in rows.items():
        click.echo(f"  {table}: {count:,} rows")
    if result.whitelist_counts is not None:
        click.echo(f"  {result.whitelist_counts}")
    for file in result.published:
        click.echo(f"  {file.path}")
    warnings = {(r.check.table, r.check.name): r for rs in result.checks.values() for r in rs if not r.passed}
    for (table, name), check_result in warnings.items():
        click.echo(f"  ⚠️ {table}.{name}: {check_result.offending_rows:,} rows; {check_result.check.explanation}")
