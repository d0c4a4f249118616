"""`mrf check`: the quality rules over what is published, as a report for people and an exit code for CI.

Exit codes: 0 no error (and with --strict, no warning), 1 some rule failed, 2 it could not be judged: a wrong
flag, nothing there, or a file that cannot be read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mrf_assets.cli.options import MEMORY, PUBLISHED_DIR, TAXONOMY_OPTION, from_flags, setting_option
from mrf_assets.errors import MrfError, SettingError
from mrf_assets.quality import check_networks
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.runner.console import print_warnings
from mrf_assets.settings import Settings
from mrf_assets.text import printable, printable_json
from mrf_assets.whitelist import Whitelists

_PIPED_WIDTH = 1_000  # characters
_GHOSTS = "rates.specialty_fits"
_GHOSTS_HINT = " Ghost rates need --taxonomy-codes and the asset provider_directory."


@click.command("check")
@click.argument("networks", nargs=-1)
@PUBLISHED_DIR
@setting_option(Settings, "cpt_whitelist", description="File of the billing codes that each network should have.")
@TAXONOMY_OPTION
@MEMORY
@click.option("--strict", is_flag=True, help="Warnings count as errors, too.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def check_command(networks: tuple[str, ...], strict: bool, form: str, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Judge what is published, by default all NETWORKS: each by itself, beside others, and beside its past.

    Nothing is changed. JSON is one object for each rule and network, passed ones too. Information (severity info) is
    listed, and never fails.
    """
    settings = from_flags(Settings, **flags)
    try:
        print_warnings(Whitelists.of(settings).warnings)
        by_network = check_networks(settings, networks)
    except MrfError as error:  # a file that cannot be read is no rule that failed
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(2)
    if not by_network:
        raise SettingError("--output-dir", f"nothing is published in {settings.output_dir}; run `mrf run` first")
    if form == "json":
        for network, results in by_network.items():
            for result in results:
                click.echo(printable_json(_line(network, result)))
    else:
        _print_report(by_network)
    failed = [result for results in by_network.values() for result in results if not result.passed]
    sys.exit(1 if any(strict or result.check.blocking for result in failed) else 0)


def _print_report(by_network: Mapping[str, Sequence[CheckResult]]) -> None:
    findings = sorted(_findings(by_network), key=lambda it: (it[1].check.rank, _name(it[1]), it[0]))
    failures = [result for _, result in findings if not result.passed]
    table = Table()
    for column in ("", "rule", "network", "rows", "of", "meaning"):
        table.add_column(column, justify="right" if column in ("rows", "of") else "left", overflow="fold")
    for network, result in findings:
        table.add_row(
            result.check.severity,
            _name(result),
            printable(network),
            f"{result.offending_rows:,}",
            "" if result.population is None else f"{result.population:,}",
            result.check.explanation,
        )
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH  # a line per finding, for grep
    if findings:
        console.print(table)
    errors = sum(result.check.blocking for result in failures)
    rules = max(len(results) for results in by_network.values())
    click.echo(
        f"{len(by_network):,} network(s), {rules} rules: {errors} error(s), {len(failures) - errors} warning(s)."
    )
    if names := _not_judged(by_network):
        hint = _GHOSTS_HINT if _GHOSTS in names else ""
        click.echo(f"Not judged, as there was nothing to judge: {', '.join(names)}.{hint}")


def _not_judged(by_network: Mapping[str, Sequence[CheckResult]]) -> list[str]:
    """The rules that looked at nothing in any network: that they passed says nothing."""
    judged_rules = {_name(result) for results in by_network.values() for result in results if result.population != 0}
    return sorted({_name(result) for results in by_network.values() for result in results} - judged_rules)


def _findings(by_network: Mapping[str, Sequence[CheckResult]]) -> Iterator[tuple[str, CheckResult]]:
    return ((network, result) for network, results in by_network.items() for result in results if result.is_notable)


def _name(result: CheckResult) -> str:
    return f"{result.check.table}.{result.check.name}"


def _line(network: str, result: CheckResult) -> dict[str, Any]:
    return {
        "network_id": network,
        "table": result.check.table,
        "rule": result.check.name,
        "severity": result.check.severity,
        "passed": result.passed,
        "offending_rows": result.offending_rows,
        "population": result.population,
        "tolerated_share": result.check.tolerated_share,
        "threshold": result.check.threshold,
        "explanation": result.check.explanation,
        "sample": [json.loads(line) for line in result.sample.splitlines()],
    }
