"""See it work: a made-up payer on this machine, a run over its index, a question and its answer.

    python examples/demo.py run      ingest 22 networks (two fail on purpose), then ask DuckDB
    python examples/demo.py ui       the same payer and the Dagster UI, until Ctrl-C
    python examples/demo.py serve    the payer alone

Everything is left in `demo_data/` and `.dagster_home/` of the current folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from rich.console import Console
from rich.table import Table

# The tests' factory and server are used from a checkout; they are in no wheel.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from demo_payer import ASKED_CODE, NETWORKS, DemoData, demo_index, make_demo_data
from mrf_assets.lake.catalog import connect
from mrf_assets_tests.factory import render
from mrf_assets_tests.mrf_server import MrfServer

FOLDER = Path("demo_data")
OUTPUT = FOLDER / "output"
SERVER_PORT = 8765
SECONDS_TO_STOP = 60

# Contracts vote, price rows do not; where too few can be compared, the reason stands in place of the median.
QUERY = """
SELECT network_id, median, contracts, published, refused_because
FROM code_statistics
WHERE code_family = family_of($billing_code_type) AND code = code_of($billing_code_type, $billing_code)
    AND bill_type = 'professional' AND site = 'nonfacility'
ORDER BY median DESC NULLS LAST, network_id
"""

console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--server-port", type=int, default=SERVER_PORT, help="of the made-up payer (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="ingest all networks and ask a question")
    ui = commands.add_parser("ui", help="open the Dagster UI")
    ui.add_argument("--port", type=int, default=3000, help="of the UI (default: %(default)s)")
    commands.add_parser("serve", help="serve the payer's files until Ctrl-C")
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt), _payer(options.server_port) as (server, data):
        if options.command == "run":
            return run(server, data)
        if options.command == "ui":
            if not _published():
                run(server, data)
            return open_ui(server, data, options.port)
        console.print("Ctrl-C stops it.")
        threading.Event().wait()
    return 130 if options.command == "run" else 0


def run(server: MrfServer, data: DemoData) -> int:
    """Ingest the index with the command line, check the outcome, ask the question."""
    began = time.monotonic()
    exit_code = _run_child(
        [
            *("-m", "mrf_assets", "run", "--source", "index", "--input", server.url("index.json")),
            *("--output-dir", str(OUTPUT), "--workers", "2", "--cpt-whitelist", str(data.whitelist)),
        ]
    )
    seconds = time.monotonic() - began
    console.rule()
    as_planned = _check(exit_code, data, seconds)
    if _published():
        _ask()
    return 0 if as_planned else 1


def open_ui(server: MrfServer, data: DemoData, port: int) -> int:
    """Run the Dagster UI until Ctrl-C."""
    console.print(f"Dagster UI: http://127.0.0.1:{port} (index: {server.url('index.json')}); Ctrl-C stops both.")
    return _run_child(
        ["-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
        MRF_CPT_WHITELIST=str(data.whitelist.absolute()),
        MRF_REFUSE_PRIVATE_ADDRESSES="false",  # the made-up payer is on this machine
    )


@contextlib.contextmanager
def _payer(port: int) -> Iterator[tuple[MrfServer, DemoData]]:
    """The made-up payer: its files, served with an index."""
    with console.status("Making the payer's files") as status:
        data = make_demo_data(FOLDER, lambda file: status.update(f"Making {file.name}"))
    with _server(data.web_folder, port) as server:
        server.put("index.json", render(demo_index(server.base_url), pretty=True))
        console.print(f"{NETWORKS} networks of Cardinal National Health are published at {server.url('index.json')}")
        yield server, data


def _server(folder: Path, port: int) -> MrfServer:
    """The port of the last time, so that planned addresses still hold; any free one where it is taken."""
    remembered = FOLDER / "server_port"
    if remembered.exists():
        port = int(remembered.read_text())
    try:
        server = MrfServer(folder, port=port)
    except OSError:
        server = MrfServer(folder)
        console.print(f"Port {port} is taken; the payer is at {server.port} now. Runs planned before cannot reach it.")
    remembered.write_text(str(server.port))
    return server


def _run_child(arguments: Sequence[str], **variables: str) -> int:
    """Run this Python with arguments; Ctrl-C reaches the child too, and it gets the time to end well."""
    home = Path.cwd() / ".dagster_home"
    home.mkdir(exist_ok=True)
    environment = os.environ | {"DAGSTER_HOME": str(home), "MRF_OUTPUT_DIR": str(OUTPUT.absolute())} | variables
    with subprocess.Popen([sys.executable, *arguments], env=environment) as child:
        before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            return child.wait()
        except KeyboardInterrupt:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_TO_STOP)
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
            if child.poll() is None:
                child.kill()


def _published() -> list[str]:
    """Keys of the networks that readers can see."""
    folders = {path.parents[1].name for path in OUTPUT.glob("network_id=*/period=*/rates-*.parquet")}
    return sorted(unquote(folder.removeprefix("network_id=")) for folder in folders)


def _check(exit_code: int, data: DemoData, seconds: float) -> bool:
    """Whether the sound networks are published, and the broken ones are not and were told."""
    keys = _published()
    found = {network for network in (*data.sound, *data.broken) if any(network in key for key in keys)}
    unexpected = sorted(found.symmetric_difference(data.sound))
    planned = ", ".join(f"{network} ({fault})" for network, fault in data.broken.items())
    console.print(f"{len(found)} of {NETWORKS} networks published in {seconds:.0f} s; broken on purpose: {planned}")
    if unexpected:
        console.print(f"[red]Not as planned: {', '.join(unexpected)}[/red]")
    if exit_code != 1:
        console.print(f"[red]The run should have ended with exit code 1 (some networks failed), not {exit_code}.[/red]")
    return exit_code == 1 and not unexpected and len(keys) == len(data.sound)


def _ask() -> None:
    """Print the question, as SQL, and its answer."""
    kind, code = ASKED_CODE
    with connect(OUTPUT) as connection:
        rows = connection.execute(QUERY, {"billing_code_type": kind, "billing_code": code}).fetchall()
    console.print(QUERY.strip(), style="dim", highlight=False, markup=False, soft_wrap=True)
    table = Table(title=f"{kind} {code} in an office: dollars by network")
    table.add_column("network_id", no_wrap=True)
    for title in ("median $", "contracts", "of"):
        table.add_column(title, justify="right")
    table.add_column("why not")
    for network_id, median, contracts, published, refusal in rows:
        shown = "" if median is None else f"{median:,.2f}"
        table.add_row(network_id, shown, f"{contracts:,}", f"{published:,}", "" if median is not None else refusal)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
