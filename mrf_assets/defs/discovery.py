"""The asset of what payers' portals name, and the job that looks at them."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from mrf_assets.defs.assets import OWNERS
from mrf_assets.defs.printable_metadata import failure, printable_metadata
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.resources import Ingestor
from mrf_assets.discover import STATUSES, Discovered, Selection, discover, read_portals, watch_found, write_found
from mrf_assets.errors import MrfError
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.settings import MAX_WATCHED, DiscoveryMode, DiscoverySettings, IndexWatching, Settings
from mrf_assets.text import printable_lines

NAME = "discovered_indexes"
_TOLD_PORTALS, _TOLD_FILES = 100, 100  # in metadata; the CSV has all


class DiscoveryConfig(dg.Config):
    """What one look may vary; the rest is `mrf_assets.settings.DiscoverySettings`, of the environment."""

    portals: list[str] = Field(default=[], description="Addresses of portals, beside those of MRF_PORTALS.")
    mode: DiscoveryMode | None = Field(
        default=None, description="Which ways are taken when; by default MRF_DISCOVERY_MODE."
    )
    enable_scraping: bool = Field(default=True, description="Whether a browser may be used.")
    collect_toc: bool = Field(default=True, description="Tables of contents.")
    collect_files: bool = Field(default=True, description="Rates, allowed amounts and provider references.")
    collect_documents: bool = Field(default=False, description="PDFs and spreadsheets about them.")
    match: str = Field(default="", description="Only addresses with this text in them.")
    watch: bool = Field(default=False, description="Register the indexes that were found, for the sensor.")
    watch_limit: int = Field(default=MAX_WATCHED, description="Of one portal; more are refused.")


def found_path(lake: Path) -> Path:
    """Where the asset's addresses stand, signatures and all: for its owner alone, beside the plan."""
    return lake / ".mrf" / f"{NAME}.csv"


@dg.asset(name=NAME, group_name="source", kinds={"csv"}, owners=OWNERS)
def discovered_indexes(
    context: dg.AssetExecutionContext, config: DiscoveryConfig, ingestor: Ingestor
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # a file, no value
    """The indexes and files that payers' portals name now. Nothing of them is opened."""
    end_with_run(context)
    settings = ingestor.settings
    start = time.monotonic()
    try:
        outcome, facts = _look(config, settings, context.log)
    except MrfError as error:
        raise failure(error) from None
    for result in outcome.results:
        log = context.log.info if result.files else context.log.warning
        reason = printable_lines(result.reason)
        log("%s: %s: %d addresses %s", result.portal.shown, result.status, len(result.files), reason)
    return dg.MaterializeResult(
        metadata=printable_metadata(facts) | {"duration_seconds": round(time.monotonic() - start, 3)}
    )


def _look(config: DiscoveryConfig, settings: Settings, log: dg.DagsterLogManager) -> tuple[Discovered, dict[str, Any]]:
    discovery = DiscoverySettings.from_environment(discovery_mode=config.mode)
    location = None if discovery.portals is None else str(discovery.portals)
    portals = read_portals(config.portals, location, lambda url: open_url(url, FetchOptions.of(settings)))
    outcome = discover(portals, settings, discovery, selection=_selection(config), use_browser=config.enable_scraping)
    path = found_path(settings.output_dir)
    write_found(outcome.results, path)
    facts = _facts(outcome) | {"path": dg.MetadataValue.path(path)}
    if config.watch:
        registration = watch_found(outcome.results, IndexWatching.from_environment().registry, config.watch_limit)
        facts |= {
            "indexes_added": len(registration.new_indexes),
            "indexes_moved": len(registration.moved_indexes),
            "indexes_watched_before": registration.unchanged_indexes,
            "portals_not_watched": dg.MetadataValue.json(list(registration.skipped_portals)),
        }
        for portal in registration.skipped_portals:
            log.warning("Not watched: %s", printable_lines(portal))
    return outcome, facts


def _selection(config: DiscoveryConfig) -> Selection:
    of_files = ("in_network", "allowed_amounts", "reference")
    return Selection(
        kinds=frozenset(
            (
                *(("table_of_contents",) if config.collect_toc else ()),
                *(of_files if config.collect_files else ()),
                *(("document",) if config.collect_documents else ()),
            )
        ),
        match=config.match,
    )


def _facts(outcome: Discovered) -> dict[str, Any]:
    """What plots over time as numbers, the rest as JSON: addresses come from strangers, and are never markdown."""
    statuses: Counter[str] = Counter({status: outcome.statuses[status] for status in STATUSES})
    scraper = outcome.scraper.as_facts() if outcome.scraper else {}
    return {
        "dagster/row_count": len(outcome.files),
        "portals": len(outcome.results),
        **{f"portals_{status}": count for status, count in statuses.items()},
        **{f"files_{kind}": count for kind, count in outcome.kinds.items()},
        **{f"way_{way}": count for way, count in outcome.ways.items()},
        **{f"scraper_{name}": value for name, value in scraper.items()},
        "results": dg.MetadataValue.json(
            [
                {
                    "portal": result.portal.shown,
                    "status": result.status,
                    "reason": result.reason,
                    "addresses": len(result.files),
                    "seconds": round(result.seconds, 3),
                }
                for result in outcome.results[:_TOLD_PORTALS]
            ]
        ),
        "indexes": dg.MetadataValue.json([file.shown for file in outcome.files[:_TOLD_FILES]]),
    }


discover_portals = dg.define_asset_job(
    "discover_portals",
    selection=dg.AssetSelection.assets(NAME),
    description="Look at payers' portals for the addresses of their indexes.",
)
