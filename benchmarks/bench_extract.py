"""Extraction against its peers and its limits, side by side: `make bench`.

Each contender is a process of its own; CPU seconds and peak memory are the kernel's account of it
(children included), the median over interleaved repetitions. Absolute figures are this machine's;
trust the ratios inside one table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isal import igzip

from benchmarks.contenders import CONTENDERS
from benchmarks.results import READER, RESULTS, write_chapter
from mrf_assets_tests.factory import SHAPES, write_large

HERE = Path(__file__).parent
FAST, IJSON, DUCKDB, PEER = "mrf_assets fast", "mrf_assets ijson", "duckdb read_json", "cms-mrf-extractor + duckdb"
IGZIP, SIMDJSON, WRITE = "limit: igzip", "limit: igzip + simdjson", "limit: igzip + scan + parquet"
_ABOUT = """CPU seconds are the kernel's account of each whole process, children, imports and audit included; medians
    over interleaved repetitions. `CPU / fast` says how many times as much CPU a contender took as the fast reader in
    the same table. Files are generated (`mrf_assets_tests/factory.py`), the same for everyone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file and what is kept of it."""

    shape: str
    megabytes: int
    wanted: bool  # with the whitelist that keeps 2 %
    contenders: tuple[str, ...]
    repetitions: int = 3
    groups: int = 0  # provider references; 0: as many as suit the size

    @property
    def name(self) -> str:
        """Of the file."""
        return f"{self.shape}-{self.megabytes}" + (f"-{self.groups}" if self.groups else "")

    @property
    def title(self) -> str:
        """For the table."""
        groups = f", {self.groups} provider groups" if self.groups else ""
        return f"{self.shape} {self.megabytes} MB{groups}, {'whitelist 2 %' if self.wanted else 'keep all'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run of one contender."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    error: str = ""


_ALL = (FAST, IJSON, DUCKDB, PEER)
QUICK = [
    Case(shape="skewed", megabytes=100, wanted=True, contenders=(*_ALL, IGZIP, SIMDJSON)),
    Case(shape="skewed", megabytes=100, wanted=False, contenders=(*_ALL, WRITE)),
    Case(shape="shuffled-keys", megabytes=100, wanted=True, contenders=(FAST, IJSON, SIMDJSON)),
    Case(shape="shuffled-keys", megabytes=100, wanted=False, contenders=(FAST, IJSON, DUCKDB, WRITE)),
    Case(shape="references-last", megabytes=100, wanted=True, contenders=(FAST, IJSON, SIMDJSON)),
    Case(shape="tiny", megabytes=100, wanted=True, contenders=(FAST, IJSON, SIMDJSON)),
    Case(shape="tiny", megabytes=100, wanted=False, contenders=(FAST, IJSON, DUCKDB, WRITE)),
    Case(shape="inline", megabytes=100, wanted=False, contenders=(FAST, IJSON, WRITE)),
    Case(shape="tail", megabytes=340, wanted=True, contenders=(FAST, SIMDJSON), repetitions=2),
]
LARGE = [
    Case(
        shape="skewed", megabytes=1300, groups=5000, wanted=True,
        contenders=(*_ALL, IGZIP, SIMDJSON), repetitions=1,
    ),
    Case(shape="skewed", megabytes=1300, groups=5000, wanted=False, contenders=(*_ALL, WRITE), repetitions=1),
    Case(shape="skewed", megabytes=1300, wanted=True, contenders=(FAST, IJSON, SIMDJSON), repetitions=1),
    Case(shape="shuffled-keys", megabytes=1300, wanted=False, contenders=(FAST, IJSON, DUCKDB), repetitions=1),
]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "mrf_assets_bench")
    parser.add_argument("--peer", help="the mrf-extract program of cms-mrf-extractor, in an environment of its own")
    parser.add_argument("--large", action="store_true", help="1.3 GB files too (an hour on two cores)")
    parser.add_argument("--most-repetitions", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    os.environ["PEER_MRF_EXTRACT"] = options.peer or ""
    sections = []
    for planned in QUICK + (LARGE if options.large else []):
        case = replace(planned, repetitions=min(planned.repetitions, options.most_repetitions))
        contenders = [name for name in case.contenders if name != PEER or options.peer]
        section = "\n".join(_table(case, measure(case, contenders, options.data), options.data))
        print(section, flush=True)
        sections.append(section)
    command = f"make bench{' BENCH=--large' if options.large else ''}"
    libraries = ("pyarrow", "duckdb", "ijson", "isal", "numpy")
    write_chapter(READER, sections, command=command, about=_ABOUT, libraries=libraries, path=options.results)


def measure(case: Case, contenders: Sequence[str], data: Path) -> dict[str, list[Figures]]:
    """All repetitions of all contenders, interleaved, so that a slow minute hits everyone."""
    file = _file(case, data)
    figures: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(case.repetitions):
        shutil.rmtree(data / "out", ignore_errors=True)
        for name in contenders:
            # The limit writes what the fast reader published.
            out = data / "out" / str(contenders.index(FAST if name == WRITE else name))
            whitelist = [str(_whitelist(file))] if case.wanted else []
            figures[name].append(_run([name, str(file), str(out), *whitelist]))
    return figures


def _file(case: Case, data: Path) -> Path:
    path = data / f"{case.name}.json.gz"
    if not path.exists():
        partial = data / f"partial-{case.name}.json.gz"
        write_large(partial, SHAPES[case.shape](case.megabytes * 1_000_000, groups=case.groups))
        _whitelist(partial).replace(_whitelist(path))
        partial.replace(path)
    return path


def _whitelist(file: Path) -> Path:
    return file.with_name(f"{file.name}.whitelist.csv")


def _run(arguments: list[str]) -> Figures:
    # As our programs start (`mrf_assets.startup`), with modules that are compiled once: all contenders alike.
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "contenders.py"), *arguments], stdout=told, stderr=errors, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        told.seek(0)
        errors.seek(0)
        says = json.loads(told.read() or "{}") if not process.returncode else {}
        error = "" if not process.returncode else (errors.read().strip().splitlines() or ["killed"])[-1][:120]
    return Figures(
        cpu_seconds=says.get("cpu_seconds", used.ru_utime + used.ru_stime),
        wall_seconds=wall,
        peak_mb=used.ru_maxrss / 1024,
        error=error,
    )


def _table(case: Case, figures: dict[str, list[Figures]], data: Path) -> Iterator[str]:
    json_mb = _json_mb(_file(case, data))
    ours = statistics.median(f.cpu_seconds for f in figures[FAST])
    yield f"\n### {case.title} ({json_mb:,.0f} MB of JSON, {case.repetitions} repetitions)\n"
    yield "| contender | CPU s | MB/s | wall s | peak MB | CPU / fast |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, runs in figures.items():
        failed = next((f.error for f in runs if f.error), "")
        if failed:
            yield f"| {name} | failed: {failed} | | | {max(f.peak_mb for f in runs):,.0f} | |"
            continue
        cpu = statistics.median(f.cpu_seconds for f in runs)
        wall = statistics.median(f.wall_seconds for f in runs)
        peak = max(f.peak_mb for f in runs)
        yield f"| {name} | {cpu:.2f} | {json_mb / cpu:,.0f} | {wall:.2f} | {peak:,.0f} | {cpu / ours:.2f} |"


def _json_mb(file: Path) -> float:
    """Counted block by block: what this process holds would count as its children's peak memory."""
    known = file.with_suffix(".size")
    if not known.exists():
        with igzip.open(file, "rb") as stream:  # type: ignore[no-untyped-call]  # isal has no types
            size = sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
        known.write_text(str(size))
    return int(known.read_text()) / 1e6


if __name__ == "__main__":
    assert set(CONTENDERS) >= {FAST, IJSON, DUCKDB, PEER, IGZIP, SIMDJSON, WRITE}
    main()
