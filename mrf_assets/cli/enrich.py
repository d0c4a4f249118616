"""`mrf enrich`: flags -> options -> one run, with a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import datetime as dt
import logging
import re
import sys
from pathlib import Path
from typing import Any

import click

from mrf_assets.alerts import check_alert_urls, send_alert
from mrf_assets.cli.enrich_run import FileRun, LakeRun
from mrf_assets.cli.options import LocalPath, from_flags, setting_option
from mrf_assets.errors import LookUpFailed, MrfError, SettingError
from mrf_assets.providers import (
    STAGES,
    EnrichOptions,
    Estimate,
    estimate,
    failed_alert,
    look_up_options,
)
from mrf_assets.providers.inputs import PUBLISHED
from mrf_assets.providers.lookup import LookUpOptions
from mrf_assets.settings import MAX_WORKERS, EnrichSettings, Operations, dollars_text
from mrf_assets.text import package_log, printable

logger = logging.getLogger(__name__)

_PATH = LocalPath()
_AGE = re.compile(r"\A([0-9]+)([smhdw])\Z")
_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_RAMP = re.compile(r"\A([0-9]+):([0-9]+)\Z")
_STAGES = "npi,org"
_CHECKPOINT = Path("enrichment_progress.json")
_PROBLEMS_TOLD = 20


@click.command("enrich")
@click.option("--input", "location", help="A CSV or parquet file with a column `npi`, or asset:providers.")
@click.option(
    "--output",
    type=_PATH,
    help="A folder for parquet parts, or a file that ends in .csv; for asset:providers by default DIR/reference.",
)
@setting_option(
    EnrichSettings,
    "output_dir",
    metavar="DIR",
    description="What is published, for --input asset:providers.",
)
@click.option("--stages", default=_STAGES, show_default=True, help=f"Which of {', '.join(STAGES)}.")
@setting_option(EnrichSettings, "batch_size")
@click.option("--ramp", help="FROM:TO workers: begin with the first, go up while nothing is refused (10:20).")
@click.option(
    "--checkpoint",
    type=_PATH,
    default=_CHECKPOINT,
    show_default=True,
    help="Progress; the ledger, the report and the error log stand beside it.",
)
@click.option("--resume", is_flag=True, help="Go on where the last run stopped.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed.")
@click.option("--delay", type=click.FloatRange(0), default=2.0, show_default=True, help="Seconds between stages.")
@click.option(
    "--checkpoint-interval", type=click.IntRange(1), default=10, show_default=True, help="Records per commit."
)
@click.option("--max-age", help="Keep rows of the output that are younger: 12h, 30d.")
@click.option("--fresh", is_flag=True, help="Ask for every record anew; the default.")
@click.option("--limit", type=click.IntRange(1), help="Look up the first N.")
@click.option("--min-priority", type=float, help="Leave out records of less priority.")
@setting_option(EnrichSettings, "max_requests_per_minute")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), help="US dollars; the run stops when they are spent."
)
@click.option("--dry-run", is_flag=True, help="Check the input and estimate requests, time and cost; writes nothing.")
@click.option("--check", is_flag=True, help="One request, to see whether the registry can be reached.")
@click.option("--strict-exit", is_flag=True, help="Exit with 130 or 143 when stopped by a signal, not with 0.")
@click.option("--verbose", is_flag=True, help="Tell each request's trouble.")
def enrich_command(check: bool, dry_run: bool, strict_exit: bool, verbose: bool, **flags: Any) -> None:  # noqa: ANN401 - click's values
    """Look up providers in NPPES, the public registry: parallel, resumable, polite.

    \b
    Fresh start:   mrf enrich --input npis.csv --output data_enriched.csv --max-workers 20
    Go on:         mrf enrich --input npis.csv --output data_enriched.csv --resume
    Try again:     mrf enrich --input npis.csv --output data_enriched_retry.csv --retry-failed
    Fill a lake:   mrf enrich --input asset:providers --output-dir lake
    """  # noqa: D301 - \b is click's
    settings = from_flags(
        EnrichSettings, **{name: flags.pop(name) for name in ("output_dir", "batch_size", "max_requests_per_minute")}
    )
    if check:
        _check(settings)
        return
    options = _options(flags, settings)
    if dry_run:
        _print_estimate(estimate(options, settings))
        return
    alert_urls = Operations.from_environment().alert_urls
    check_alert_urls(alert_urls)
    with package_log(verbose=verbose):
        try:
            kind = LakeRun if flags["output"] is None else FileRun
            kind(options, settings, alert_urls, strict_exit=strict_exit).go()
        except MrfError as error:
            send_alert(failed_alert(options.location, error), alert_urls)
            raise


def _options(flags: dict[str, Any], settings: EnrichSettings) -> EnrichOptions:
    if flags["location"] is None:
        raise SettingError("--input", "is missing; give it")
    if flags["output"] is None and flags["location"] != PUBLISHED:
        raise SettingError("--output", "is missing; give it")
    _refuse_contradictions(flags)
    batch = _batch(flags, settings)
    if flags["output"] is None:
        _refuse_flags_of_files(flags)
        return EnrichOptions.of_lake(
            settings.output_dir,
            batch,
            max_age=dt.timedelta() if flags["fresh"] else _age(flags["max_age"]),
            budget_dollars=flags["budget"],
        )
    return EnrichOptions(
        location=flags["location"],
        output=flags["output"],
        stages=tuple(stage.strip() for stage in flags["stages"].split(",") if stage.strip()),
        stage_delay_seconds=flags["delay"],
        checkpoint=flags["checkpoint"],
        resume=flags["resume"],
        retry_failed=flags["retry_failed"],
        max_age=_age(flags["max_age"]),
        budget_dollars=flags["budget"],
        batch=batch,
    )


def _batch(flags: dict[str, Any], settings: EnrichSettings) -> LookUpOptions:
    first, most = _ramp(flags["ramp"])
    return look_up_options(
        settings,
        max_workers=most,
        first_workers=first,
        checkpoint_interval=flags["checkpoint_interval"],
        limit=flags["limit"],
        least_priority=flags["min_priority"],
    )


def _refuse_contradictions(flags: dict[str, Any]) -> None:
    """What begins anew, and what goes on with a batch, cannot be one run; the second flag would do nothing."""
    for one, other in (
        ("max_age", "fresh"),
        *((one, other) for one in ("max_age", "fresh") for other in ("resume", "retry_failed")),
    ):
        if flags[one] and flags[other]:
            names = [f"--{name.replace('_', '-')}" for name in (one, other)]
            raise SettingError(names[0], f"contradicts {names[1]}; give one of them")


def _refuse_flags_of_files(flags: dict[str, Any]) -> None:
    """A lake keeps its own progress and asks for all that a registry has; what would do nothing is refused."""
    for name, is_given in (
        ("--retry-failed", flags["retry_failed"]),
        ("--stages", flags["stages"] != _STAGES),
        ("--checkpoint", flags["checkpoint"] != _CHECKPOINT),
    ):
        if is_given:
            raise SettingError(name, "needs --output; without it the registry of the lake is brought up to date")


def _age(text: str | None) -> dt.timedelta | None:
    if text is None:
        return None
    match = _AGE.match(text)
    if not match:
        raise SettingError("--max-age", f"is {text!r}; give a number and one of s, m, h, d, w, as in 30d")
    return dt.timedelta(**{_AGE_UNITS[match[2]]: int(match[1])})


def _ramp(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = _RAMP.match(text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= MAX_WORKERS:
        raise SettingError("--ramp", f"is {text!r}; give FROM:TO with 1 <= FROM <= TO <= {MAX_WORKERS}, as in 10:20")
    return int(match[1]), int(match[2])


def _check(settings: EnrichSettings) -> None:
    from mrf_assets.providers.nppes.client import run_check  # noqa: PLC0415 - imports aiohttp, 0.15 s

    try:
        click.echo(f"✅ {run_check(settings.npi_api_url, settings.npi_timeout_seconds)}")
    except LookUpFailed as failure:
        click.echo(f"❌ The registry cannot be used: {printable(str(failure))}", err=True)
        sys.exit(1)


def _print_estimate(result: Estimate) -> None:
    click.echo(f"Total: {result.rows}, Completed: {result.known_npis}, Pending: {result.new}")
    click.echo(f"Duplicates: {result.duplicates}, invalid: {result.invalid}")
    for problem in result.problems[:_PROBLEMS_TOLD]:
        click.echo(f"  {printable(str(problem))}", err=True)
    if result.invalid > _PROBLEMS_TOLD:
        click.echo(f"  and {result.invalid - _PROBLEMS_TOLD} more", err=True)
    click.echo(
        f"Estimate: {result.requests} requests, {dt.timedelta(seconds=round(result.seconds))} at the first rate, "
        f"{dollars_text(result.dollars)}. Nothing was written."
    )
    if result.problems:
        sys.exit(2)
