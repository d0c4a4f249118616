"""Measure ticks of the index sensor over an index of 100,000 files.

    python -m benchmarks.bench_sensor [--files 100000] [--home DIR]

The index is served over loopback; ticks are evaluated as the code server does, and what comes of them is
taken over by a Dagster instance on SQLite, observations as the daemon does it, without the runs.
With `--home` the instance stays, to open its pages in the UI.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._serdes import serialize_value

from mrf_assets.definitions import build_defs
from mrf_assets.defs.partitions import NETWORKS
from mrf_assets.defs.sensors import index_sensor
from mrf_assets.index_registry import add_index
from mrf_assets.settings import IndexWatching, Operations, Settings
from mrf_assets_tests.factory import index, plans, render
from mrf_assets_tests.mrf_server import MrfServer

_REPOSITORY = Path(__file__).parent.parent


def _index(server: MrfServer, files: int, changed: int = 0) -> bytes:
    """An index of one structure per file; the last `changed` files are of the next month."""
    shared = plans(2, seed=1)
    listed = []
    for number in range(files):
        date = "2026-12-05" if number >= files - changed else "2026-11-05"
        name = f"/prd/{date}_pl-{number:06x}-hr26_Cardinal-National_in-network-rates.json.gz"
        listed.append((f"{server.url(name)}?Expires=1793145600&Signature=made-up", shared))
    return render(index(listed))


class _Meter:
    """Ticks of one sensor, one after the other."""

    def __init__(self, home: Path, output: Path) -> None:
        settings = Settings(output_dir=output)
        watching = IndexWatching(index_registry=home / "indexes.toml")
        self.sensor = index_sensor(settings, watching, Operations())
        self.defs = build_defs(settings, watching=watching)
        self.home = home
        self.cursor: str | None = None
        self.keys = 0

    def tick(self, what: str) -> dg.SensorExecutionData:
        """Evaluate one tick, tell of it, and take it over."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            context = dg.build_sensor_context(
                instance=None, instance_ref=instance.get_ref(), definitions=self.defs, cursor=self.cursor
            )
            before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            started = time.perf_counter()
            found = self.sensor.evaluate_tick(context)
            seconds = time.perf_counter() - started
            cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
            answer = len(serialize_value(found))
            started = time.perf_counter()
            for event in found.asset_events:
                instance.report_runless_asset_event(event)
            taken = time.perf_counter() - started
            self.keys = len(instance.get_dynamic_partitions(NETWORKS.name or ""))
        self.cursor = found.cursor
        print(
            f"| {what} | {seconds:.2f} | {cpu:.2f} | {_peak_mb():.0f} | {answer / 1e6:.2f} | {len(found.cursor or '')} "
            f"| {len(found.run_requests or ())} | {self.keys} | {taken:.1f} |",
            flush=True,
        )
        return found


def _peak_mb() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@contextmanager
def _home(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Print the table of RESULTS.md."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=100_000)
    arguments.add_argument("--home", type=Path)
    given = arguments.parse_args()
    with _home(given.home) as home, MrfServer() as server:
        shutil.copy(_REPOSITORY / "dagster.yaml", home)
        os.environ["DAGSTER_HOME"] = str(home)
        content = _index(server, given.files)
        url = server.put("/2026-11-05_index.json", content)
        values = {"url": url, "payer": "Bench", "poll_minutes": 1e-6, "probe_files": False}
        add_index(home / "indexes.toml", "bench", values, replace=True)
        meter = _Meter(home, home / "lake")
        print(f"Index: {len(content) / 1e6:.1f} MB of JSON, {given.files} files and networks.\n")
        print("| tick | wall s | CPU s | peak RSS MB | answer MB | cursor bytes | runs | partitions | taken over s |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
        meter.tick("the index is new")
        while not meter.tick("until it is read").run_requests:
            pass
        while meter.keys < given.files:
            meter.tick("partitions follow")
        meter.tick("no change")
        server.put("/2026-11-05_index.json", _index(server, given.files, changed=3))
        meter.tick("3 files changed")
        readers = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"\nReaders: {readers.ru_utime + readers.ru_stime:.1f} CPU s in all.")
        for path in sorted((home / "lake" / ".mrf").glob("*.sqlite")):
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
