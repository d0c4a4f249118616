"""Ticks of the index sensor over an index of 100,000 files, and the UI's page of so many partitions.

    python -m benchmarks.bench_sensor [--files 100000]

The index is served over loopback; ticks are evaluated as the code server does, and what comes of them is
taken over by a Dagster instance on SQLite, observations as the daemon does it, without the runs. Then
Dagster's webserver shows that instance to a headless Chromium.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import dagster as dg
from dagster._serdes import serialize_value

from benchmarks.results import SENSOR, write_chapter
from mrf_assets.definitions import build_defs
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.sensors import index_sensor
from mrf_assets.settings import IndexWatching, Operations, Settings
from mrf_assets.watch.registry import add_index
from mrf_assets_tests.browser import chromium, opened
from mrf_assets_tests.dagster_fixtures import Place, dagster_webserver
from mrf_assets_tests.factory import index, plans, render
from mrf_assets_tests.mrf_server import MrfServer

_PAGE = "/assets/rates?view=partitions"
READING = "while it is read, the first and the last of many"
_ABOUT = """An index in which every file is a network, over loopback, Dagster on SQLite. A tick's answer is what it
    hands to the daemon, which needs the time in "taken over" for its observations; the runs come on top. Peak RSS is
    of the process that evaluates all the ticks, and serves the index too."""


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
        self.lines = [
            "| tick | wall s | CPU s | peak RSS MB | answer MB | cursor bytes | runs | partitions | taken over s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]

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
            self.keys = len(instance.get_dynamic_partitions(NETWORK_PARTITIONS.name or ""))
        self.cursor = found.cursor
        line = (
            f"| {what} | {seconds:.2f} | {cpu:.2f} | {_peak_mb():.0f} | {answer / 1e6:.2f} | {len(found.cursor or '')} "
            f"| {len(found.run_requests or ())} | {self.keys:,} | {taken:.1f} |"
        )
        if what == READING and self.lines[-1].startswith(f"| {READING}") and not found.run_requests:
            return found  # one of many
        self.lines.append(line)
        print(line, flush=True)
        return found


def _peak_mb() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _page(place: Place, shown: str) -> list[str]:
    """How long the partitions page takes until it shows these words."""
    lines = [f"| {_PAGE} | s until the keys are there |", "|---|---:|"]
    with dagster_webserver(place) as base_url, chromium() as browser:
        for visit in ("first visit", "second visit"):
            ui = opened(browser, base_url)
            started = time.perf_counter()
            ui.open(_PAGE, shown)
            lines.append(f"| {visit} | {time.perf_counter() - started:.1f} |")
            ui.page.close()
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    """Measure, print, and write the chapter of RESULTS.md."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=100_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, MrfServer() as server:
        place = Place(Path(folder))
        with place.instance():
            pass
        os.environ["DAGSTER_HOME"] = str(place.home)
        content = _index(server, given.files)
        url = server.put("/2026-11-05_index.json", content)
        values = {"url": url, "payer": "Bench", "poll_minutes": 1e-6, "probe_files": False}
        add_index(place.home / "indexes.toml", "bench", values, replace=True)
        meter = _Meter(place.home, place.output)
        meter.tick("the index is new")
        while not meter.tick(READING).run_requests:
            pass
        while meter.keys < given.files:
            meter.tick("partitions follow")
        meter.tick("no change")
        server.put("/2026-11-05_index.json", _index(server, given.files, changed=3))
        meter.tick("3 files changed")
        readers = resource.getrusage(resource.RUSAGE_CHILDREN)
        kept = ", ".join(
            f"`{path.name}` has {path.stat().st_size / 1e6:.1f} MB"
            for path in sorted((place.output / ".mrf").glob("*.sqlite"))
        )
        told = (
            f"\nThe processes that read the index, twice in all: {readers.ru_utime + readers.ru_stime:.1f} s of CPU. "
            f"{kept}."
        )
        print(told, flush=True)
        title = f"### An index of {given.files:,} files, {len(content) / 1e6:.0f} MB of JSON\n"
        page = ["\n### The UI with as many partitions, headless Chromium\n", *_page(place, f"Missing ({given.files})")]
        section = "\n".join((title, *meter.lines, told, *page))
        write_chapter(
            SENSOR, ["", section], command="python -m benchmarks.bench_sensor", about=_ABOUT, libraries=("dagster",)
        )


if __name__ == "__main__":
    main()
