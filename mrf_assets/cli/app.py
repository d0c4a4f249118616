"""The command line: flags -> settings and tasks -> runs -> summary and exit code.

Exit codes: 0 all succeeded, 1 some network failed or the output folder refused, 2 the input or
a flag cannot be used and nothing was started, 3 the budget is used up, 128 + n stopped by signal n.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import click

from mrf_assets.cli.batches import resume_command, retry_failed_command, stats_command, status_command
from mrf_assets.cli.check import check_command
from mrf_assets.cli.discover import discover_command
from mrf_assets.cli.enrich import enrich_command
from mrf_assets.cli.index import index_commands
from mrf_assets.cli.plan import plan_command
from mrf_assets.cli.query import catalog_command, query_command
from mrf_assets.cli.report import changes_command, report_command
from mrf_assets.cli.run import extract_command, manifest_command, run_command
from mrf_assets.cli.submit import submit_command
from mrf_assets.errors import (
    InputError,
    MrfError,
)
from mrf_assets.files import full_disk_behind
from mrf_assets.runner.console import print_warnings
from mrf_assets.settings import dagster_home, unknown_variables
from mrf_assets.text import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mrf_assets")
def cli() -> None:
    """Transparency in Coverage machine-readable files as audited parquet.

    An index, a CSV, a list of URLs or one URL becomes networks; each is fetched, extracted,
    audited and published by one Dagster run.
    """
    print_warnings(unknown_variables())


for _command in (
    *(run_command, plan_command, extract_command, manifest_command),
    *(status_command, stats_command, retry_failed_command, resume_command),
    *(catalog_command, query_command, check_command, changes_command, report_command),
    *(discover_command, enrich_command, index_commands, submit_command),
):
    cli.add_command(_command)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Expected failures end the program with one line and their exit code."""
    try:
        yield
    except MrfError as error:
        _end_with(error)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:  # Ctrl-C while the source is read; later ones are the batch's
        click.echo("Stopped; no network was started.", err=True)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `mrf manifest | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        full = full_disk_behind(error, dagster_home(), "a DAGSTER_HOME")  # Dagster's own errors do not tell
        if full is None:
            raise
        _end_with(full)


def _end_with(error: MrfError) -> NoReturn:
    click.echo(f"Error: {printable(str(error))}", err=True)
    sys.exit(2 if isinstance(error, InputError) else 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    with _one_line_errors():
        cli.main(args=None if arguments is None else list(arguments), prog_name="mrf", standalone_mode=False)
