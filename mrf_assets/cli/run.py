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
from mrf_assets.cli.sources import (
    EXTRACTION_OPTIONS,
    PATH,
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
from mrf_assets.lake.stage import row_counts
from mrf_assets.lake.store import Store
from mrf_assets.settings import Operations, Settings
from mrf_assets.sources import SourceTally, read_source
from mrf_assets.text import PrintableFormatter, printable_json

_WORKERS = click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Networks at a time.")


_FORCE = click.option(
    "--force/--skip-unchanged",
    "force",
    default=None,
    help="Ingest networks anew though nothing about their files has changed.  [default: skip them]",
)


@click.command()
@with_options(SOURCE_OPTIONS)
@with_options(EXTRACTION_OPTIONS)
@_WORKERS
@_FORCE
@batch_commands.BUDGET
@with_options(PRIORITY_OPTIONS)
def run(workers: int, source: str, location: str, verbose: bool, force: bool | None, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ingest every network of a source, --workers at a time."""
    from mrf_assets.runner.batch import execute_batch  # noqa: PLC0415 - imports Dagster, 1.5 s

    operations = Operations.from_environment(budget_dollars=flags.pop("budget_dollars"))
    priority, min_priority = flags.pop("priority"), flags.pop("min_priority")
    options, settings = split_flags(flags)
    given = Settings.from_environment(**settings)
    read_whitelists(given)
    options = replace(options, limits=given.limits)
    tally = SourceTally()
    summary = execute_batch(
        reported(source, location, given, options, tally),
        workers=workers,
        source_type=source,
        source_input=location,
        verbose=verbose,
        skip_unchanged=None if force is None else not force,
        operations=operations,
        priority=priority,
        min_priority=min_priority,
        **{**settings, "output_dir": given.output_dir},
    )
    if summary["networks_left_out"]:
        click.echo(f"Left out: {summary['networks_left_out']} network(s) of a priority below {min_priority.name}.")
    batch_commands.finish(summary, given)


@click.command()
@click.argument("url")
@click.option("--output-prefix", default="", help="Label in front of the network's name.")
@click.option("--network-id", help="The partition key; by default it is made from the URL.")
@click.option("--plan-name", multiple=True, help="A plan that uses the file; repeat the four --plan-* flags together.")
@click.option("--plan-id-type", multiple=True)
@click.option("--plan-id", multiple=True)
@click.option("--plan-market-type", multiple=True)
@with_options(EXTRACTION_OPTIONS)
def extract(url: str, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Ingest one file here and now, without Dagster."""
    console = logging.StreamHandler()
    console.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[console])
    if verbose:  # of our own alone: urllib3 tells signed addresses
        logging.getLogger("mrf_assets").setLevel(logging.DEBUG)
    plans = _zip_plans(*(flags.pop(f"plan_{name}") for name in ("name", "id_type", "id", "market_type")))
    options, settings = split_flags(flags | {"structures": None, "match": None, "max_files": None}, plans)
    given = Settings.from_environment(**settings)
    Store(given.output_dir.absolute()).sweep()
    (task,) = read_source("url", url, opener_of(given), options, SourceTally())
    result = ingest(task.network_id, [task], given)
    result.require_published()
    write_catalog(given.output_dir.absolute(), given.taxonomy_codes)
    _tell_result(result)


@click.command()
@click.option("--output-dir", type=PATH, help="The output folder of the batch.")
@click.option("--batch", "batch_id", help="Which batch.  [default: the latest]")
@click.option("--all", "everything", is_flag=True, help="The latest run of every network, whoever started it.")
@click.option("--output", type=PATH, help="Write it there.  [default: print it]")
def manifest(output_dir: Path | None, batch_id: str | None, everything: bool, output: Path | None) -> None:
    """Export the manifest out of run metadata."""
    from mrf_assets.batches.manifest import write_manifest  # noqa: PLC0415 - goes with it
    from mrf_assets.runner.history import export_manifest  # noqa: PLC0415 - imports Dagster, 1.5 s

    settings = Settings.from_environment(output_dir=output_dir)
    exported = export_manifest(settings.output_dir.absolute(), batch_id, everything=everything)
    if output is None:
        click.echo(printable_json(exported, indent=2))
    else:
        write_manifest(exported, output)
        click.echo(f"Manifest file: {output}")


def _tell_result(result: NetworkResult) -> None:
    rows = row_counts(result.published)
    click.echo(f"✅ {result.network_id} ({result.seconds:.1f}s)")
    for table, count in rows.items():
        click.echo(f"  {table}: {count:,} rows")
    if result.kept is not None:
        click.echo(f"  {result.kept}")
    for file in result.published:
        click.echo(f"  {file.path}")
    warnings = {(r.check.table, r.check.name): r for rs in result.checks.values() for r in rs if not r.passed}
    for (table, name), found in warnings.items():
        click.echo(f"  ⚠️ {table}.{name}: {found.offending_rows:,} rows; {found.check.explanation}")
