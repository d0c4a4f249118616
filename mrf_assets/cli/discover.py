"""`mrf discover`: portals -> the addresses of their indexes and files."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mrf_assets.cli.options import RAW_TEXT_HELP, REGISTRY, LocalPath, from_flags, setting_option
from mrf_assets.errors import FetchError, SettingError, StreamError
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.settings import MAX_WATCHED, DiscoverySettings, IndexWatching, Settings
from mrf_assets.text import package_log, printable, printable_json
from mrf_assets.watch.registry import read_registry

if TYPE_CHECKING:
    from mrf_assets.discover import Discovered, Kind, PortalResult

_PATH = LocalPath()
_TOLD_FILES = 20  # of a portal; the CSV has all
_MARKS = {"found": "✅", "nothing": "⚠️ ", "blocked": "⛔", "failed": "❌"}


@click.command("discover")
@click.argument("portals", nargs=-1, metavar="[PORTAL]...")
@click.option(
    "--input", "location", help="A list of portals: addresses, or a CSV with portal_url.  [default: MRF_PORTALS]"
)
@setting_option(DiscoverySettings, "discovery_mode")
@click.option("--output", type=_PATH, help="Write what was found there, as CSV for `mrf run --source csv`.")
@click.option("--raw-text", is_flag=True, help=RAW_TEXT_HELP)
@setting_option(DiscoverySettings, "scraper_pool_size")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Whether a browser may be used.")
@click.option("--collect-toc/--no-collect-toc", default=True, show_default=True, help="Tables of contents.")
@click.option("--collect-files/--no-collect-files", default=True, show_default=True, help="Rates and other files.")
@click.option("--collect-documents", is_flag=True, help="PDFs and spreadsheets about them, too.")
@click.option("--match", default="", help="Only addresses with this text in them.")
@click.option("--watch", is_flag=True, help="Register the indexes that were found, for the sensor.")
@click.option("--watch-limit", type=click.IntRange(1), default=MAX_WATCHED, show_default=True, help="Of one portal.")
@REGISTRY
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, one per portal.")
@click.option("--verbose", is_flag=True, help="Tell each request's trouble.")
def discover_command(portals: tuple[str, ...], as_json: bool, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Find the indexes that payers' portals name. Nothing is downloaded but pages and lists.

    \b
    A look:        mrf discover https://payer.example/machine-readable-files
    Every month:   mrf discover --input portals.txt --watch
    Browser only:  mrf discover --mode scraping_only https://payer.example/portal
    """  # noqa: D301 - \b is click's
    # Its proxy and HTTP take a tenth of a start, and the other commands have no use for them.
    from mrf_assets.discover import Selection, discover, read_portals, watch_found, write_found  # noqa: PLC0415

    settings = Settings.from_environment()
    discovery = from_flags(
        DiscoverySettings, discovery_mode=flags["discovery_mode"], scraper_pool_size=flags["scraper_pool_size"]
    )
    registry = from_flags(IndexWatching, index_registry=flags["index_registry"]).registry
    location = flags["location"]
    if location is None and not portals and discovery.portals is not None:
        location = str(discovery.portals)
    try:
        portal_list = read_portals(portals, location, partial(open_url, options=FetchOptions.of(settings)))
    except (FetchError, StreamError) as error:
        raise SettingError("--input", str(error)) from error
    if flags["watch"]:
        read_registry(registry)  # what is wrong with it is told before anybody is asked
    selection = Selection(kinds=_kinds(flags), match=flags["match"])
    on_result = _print_json if as_json else _print_result
    with package_log(verbose=verbose):
        outcome = discover(
            portal_list, settings, discovery, selection=selection, use_browser=flags["browser"], on_result=on_result
        )
    if flags["output"] is not None:
        rows = write_found(outcome.results, flags["output"], raw_text=flags["raw_text"])
        click.echo(f"Written: {rows} address(es), as they are, to {flags['output']}; keep it to yourself.", err=as_json)
    skipped_portals: tuple[str, ...] = ()
    if flags["watch"]:
        changes = watch_found(outcome.results, registry, flags["watch_limit"])
        click.echo(
            f"Watched in {registry}: {len(changes.new_indexes)} new, {len(changes.moved_indexes)} with a new address, "
            f"{changes.unchanged_indexes} as before.",
            err=as_json,
        )
        skipped_portals = changes.skipped_portals
        for portal in skipped_portals:
            click.echo(f"Not watched: {printable(portal)}", err=True)
    if not as_json:
        _print_total(outcome)
    if skipped_portals or outcome.statuses["found"] < len(outcome.results):
        sys.exit(1)


def _kinds(flags: dict[str, Any]) -> frozenset[Kind]:
    kinds: set[Kind] = set()
    if flags["collect_toc"]:
        kinds.add("table_of_contents")
    if flags["collect_files"]:
        kinds |= {"in_network", "allowed_amounts", "reference"}
    if flags["collect_documents"]:
        kinds.add("document")
    if not kinds:
        raise SettingError("--no-collect-...", "leaves nothing to look for; collect at least one kind")
    return frozenset(kinds)


def _print_result(result: PortalResult) -> None:
    kinds = Counter(file.kind for file in result.files)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or result.status
    click.echo(f"{_MARKS[result.status]} {printable(result.portal.shown)}: {counts} ({result.seconds:.1f}s)")
    for file in result.files[:_TOLD_FILES]:
        click.echo(f"   {file.kind}  {printable(file.shown)}  [{file.way}]")
    if len(result.files) > _TOLD_FILES:
        click.echo(f"   and {len(result.files) - _TOLD_FILES} more; --output writes all")
    if result.reason:
        click.echo(f"   {printable(result.reason)}")


def _print_json(result: PortalResult) -> None:
    click.echo(
        printable_json(
            {
                "portal": result.portal.shown,
                "payer": result.portal.payer_name,
                "status": result.status,
                "reason": result.reason,
                "ways": {way.way: way.status for way in result.ways},
                "found": [{"url": file.shown, "kind": file.kind, "way": file.way} for file in result.files],
                "found_at": result.found_at.isoformat(timespec="seconds"),
                "seconds": round(result.seconds, 3),
            }
        )
    )


def _print_total(outcome: Discovered) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in outcome.statuses.most_common())
    click.echo(f"Portals: {len(outcome.results)} ({counts}); addresses: {len(outcome.files)}")
