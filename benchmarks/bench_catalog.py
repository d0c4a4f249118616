"""The catalog and the shipped queries on a big made-up payer, and the flat layout beside it: `make bench-catalog`.

Each cold run is a process of its own, after the kernel was told to forget the pages of the data (`posix_fadvise`,
which needs no rights and leaves other programs' pages alone); how much it then read from the disk is the kernel's
account and stands in the table. Warm is the median of further runs in the same process. Peak memory is of
the process. Absolute figures are this machine's; trust the ratios inside one table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.made_payer import COMMON_CODE, PLAN_NAME, Payer, make
from benchmarks.results import CATALOG, RESULTS, write_chapter
from mrf_assets.lake.catalog import connect, write_catalog
from mrf_assets.lake.generations import published_files
from mrf_assets.lake.queries import shipped
from mrf_assets.schema import RATES
from mrf_assets.settings import Settings

HERE = Path(__file__).parent
_MB = 1_000_000
_ROWS_AT_ONCE = 50_000
_NOT_FLAT = ("rates", "provider_sets")  # what one flat row per price and group takes the place of
_HUNGRY = (
    ("price_distribution", f"code {COMMON_CODE}"),
    ("network_extremes", "all codes"),
    ("multi_tin_providers", "none"),
)
_AMPLE = 4
_MEMORY_MB = (256, 512, 1_024)
_DOLLARS = (
    "negotiated_type IN ('negotiated', 'derived', 'fee schedule')"
    " AND coalesce(negotiation_arrangement, '') NOT IN ('bundle', 'capitation') AND negotiated_rate > 0"
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process of its own asks."""

    lake: str
    memory_mb: int
    sql: str
    params: Mapping[str, str]
    repetitions: int

    @property
    def arguments(self) -> list[str]:
        """For `main`."""
        return ["--work", json.dumps(asdict(self))]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a job went."""

    cold_seconds: float  # of the whole process, from its start to its end
    warm_seconds: float
    warm_cpu_seconds: float
    rows: int
    peak_mb: float
    read_mb: float  # from the disk, by the whole process


_ABOUT = """A made-up payer (`made_payer.py`) of {networks} networks and {rates:,} prices, `query_memory_mb`
    {memory_mb:,}. Cold: a new process, imports included, the pages of all data dropped from the page cache; `read MB`
    is what it then read from the disk. Warm: the median of further runs in that process. Peak memory is of the
    process, Python and libraries included, which stand beside what DuckDB may take."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the payer, measure, print, and write its chapter of RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--rates", type=int, default=20_000_000, help="of all networks together")
    parser.add_argument("--sets-per-rate", type=int, default=8, help="rows of sets behind a price; 30 is thick")
    parser.add_argument("--flat-networks", type=int, default=10, help="how many are written flat, too")
    parser.add_argument("--memory-mb", type=int, default=Settings().query_memory_mb)
    parser.add_argument("--repetitions", type=int, default=3, help="of warm runs")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "mrf_assets_bench_catalog")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        try:
            told = asdict(_work(Job(**options.work)))
        except duckdb.OutOfMemoryException:
            told = None
        print(json.dumps(told))
        return
    payer = Payer(networks=options.networks, rates=options.rates, sets_per_rate=options.sets_per_rate)
    lake = options.data / payer.name
    began = time.monotonic()
    make(payer, lake)
    print(f"{lake} is there after {time.monotonic() - began:.0f} s", flush=True)
    flat = _write_flat(lake, payer.keys[: options.flat_networks], options.data / f"{payer.name}-flat")
    bench = Bench(lake, flat, options.memory_mb, options.repetitions)
    sections = []
    for lines in (bench.catalog(), bench.queries(), bench.memory(), bench.row_groups(), bench.beside_flat()):
        section = "\n".join(lines)
        print(section, flush=True)
        sections.append(section)
    about = _ABOUT.format(networks=payer.networks, rates=payer.rates, memory_mb=options.memory_mb)
    libraries = ("duckdb", "pyarrow", "numpy")
    write_chapter(
        CATALOG, sections, command="make bench-catalog", about=about, libraries=libraries, path=options.results
    )


class Bench:
    """One payer, measured; every method gives the lines of one section."""

    def __init__(self, lake: Path, flat: Mapping[str, Path], memory_mb: int, repetitions: int) -> None:
        self._lake, self._flat, self._memory_mb, self._repetitions = lake, flat, memory_mb, repetitions

    def catalog(self) -> Iterator[str]:
        """What there is, and what the catalog takes."""
        began = time.monotonic()
        made = write_catalog(self._lake)
        seconds = time.monotonic() - began
        assert made.path is not None
        yield "\n### The payer\n"
        size_mb = made.path.stat().st_size / _MB
        yield f"{made.networks} networks, {made.files} files; catalog written in {seconds:.2f} s ({size_mb:.1f} MB).\n"
        yield "| table | rows | MB |"
        yield "|---|---:|---:|"
        with closing(connect(self._lake)) as connection:
            for table, files in self._by_table().items():
                rows = connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
                yield f"| {table} | {rows:,} | {_size(files) / _MB:,.1f} |"

    def queries(self) -> Iterator[str]:
        """Every shipped query, cold and warm."""
        yield f"\n### Shipped queries (`query_memory_mb` {self._memory_mb:,})\n"
        yield "| query | parameters | rows | cold s | read MB | warm s | warm CPU s | peak MB |"
        yield "|---|---|---:|---:|---:|---:|---:|---:|"
        for name, told, params in self._asked():
            query = shipped(name)
            found = self._measure(query.sql, query.bind(params, _names(query.sql)), self._memory_mb)
            yield (
                f"| {name} | {told} | {found.rows:,} | {found.cold_seconds:.2f} | {found.read_mb:,.0f} "
                f"| {found.warm_seconds:.2f} | {found.warm_cpu_seconds:.2f} | {found.peak_mb:,.0f} |"
            )

    def memory(self) -> Iterator[str]:
        """The queries that hold most, with less and more memory."""
        yield "\n### Memory by `query_memory_mb`\n"
        yield "What does not fit goes to disk, but for the values of medians: then the query is refused in one line.\n"
        yield "| query | setting | peak MB | warm s |"
        yield "|---|---:|---:|---:|"
        asked = {(name, told): params for name, told, params in self._asked()}
        for key in _HUNGRY:
            query = shipped(key[0])
            for memory_mb in _MEMORY_MB:
                found = self._run(query.sql, query.bind(asked[key], _names(query.sql)), memory_mb)
                peak, warm = (f"{found.peak_mb:,.0f}", f"{found.warm_seconds:.2f}") if found else ("refused", "")
                yield f"| {key[0]}, {key[1]} | {memory_mb:,} | {peak} | {warm} |"

    def row_groups(self) -> Iterator[str]:
        """Row groups of `rates` by DuckDB's profile, beside those that have the code."""
        yield "\n### Row groups of `rates` that a query for one code reads (DuckDB's profile)\n"
        yield "Those read without having the code are false positives of the bloom filters (0.1 % are asked for)."
        yield "`provider_rates` reads fewer than have it: the sets of the provider leave whole networks out.\n"
        yield "| code | query | prices | row groups | have the code | read | read without having it |"
        yield "|---|---|---:|---:|---:|---:|---:|"
        rows = Settings().rate_batch_size
        with closing(connect(self._lake, memory_mb=self._memory_mb)) as connection:
            for code, kind in self._codes(connection):
                prices, needed = connection.execute(
                    f"SELECT count(*), count(DISTINCT (file_id, price_number // {rows})) FROM rates "
                    "WHERE billing_code = $code",
                    {"code": code},
                ).fetchall()[0]
                for name in ("price_distribution", "network_extremes", "provider_rates"):
                    query = shipped(name)
                    asked = {"billing_code": code}
                    if name == "provider_rates":
                        asked |= {"npi": str(_one(connection, "SELECT min(npi) FROM providers"))}
                    else:
                        asked |= {"billing_code_type": kind}
                    given = query.bind(asked, _names(query.sql))
                    read, total = _row_groups_of_rates(connection, query.sql, given)
                    more = max(0, read - needed)
                    yield f"| {code} | {name} | {prices:,} | {total:,} | {needed:,} | {read:,} | {more:,} |"

    def beside_flat(self) -> Iterator[str]:
        """Some networks as one row per price and provider group, too."""
        keys, flat = list(self._flat), list(self._flat.values())
        listed = ", ".join(f"'{path}'" for path in flat)
        source = f"read_parquet([{listed}], hive_partitioning = true)"
        networks = ", ".join(f"'{key}'" for key in keys)
        replaced = [it.path for it in published_files(self._lake) if it.table in _NOT_FLAT and it.network_id in keys]
        ours_mb, flat_mb = _size(replaced) / _MB, _size(flat) / _MB
        with closing(connect(self._lake)) as connection:
            ours_rows = _one(connection, f"SELECT count(*) FROM rates WHERE network_id IN ({networks})")
            flat_rows = _one(connection, f"SELECT count(*) FROM {source}")
        yield f"\n### Beside the flat layout, one row per price and provider group ({len(keys)} of the networks)\n"
        yield "| | rates + provider_sets | flat | ratio |"
        yield "|---|---:|---:|---:|"
        yield f"| rows of prices | {ours_rows:,} | {flat_rows:,} | {flat_rows / ours_rows:.1f} |"
        yield f"| size, MB | {ours_mb:,.1f} | {flat_mb:,.1f} | {flat_mb / ours_mb:.1f} |"
        ours_of = f"FROM rates WHERE network_id IN ({networks}) AND dollars > 0"
        flat_of = f"FROM {source} WHERE {_DOLLARS}"
        ample_mb = _AMPLE * self._memory_mb  # flat medians of every code were refused with 1,024 MB
        for title, ours_sql, flat_sql, params, memory_mb in (
            (
                f"median of {COMMON_CODE} by network",
                f"SELECT network_id, median(dollars) {ours_of} AND billing_code = $code GROUP BY ALL",
                f"SELECT network_id, median(negotiated_rate) {flat_of} AND billing_code = $code GROUP BY ALL",
                {"code": COMMON_CODE},
                self._memory_mb,
            ),
            (
                f"median of every code by network ({ample_mb:,} MB)",
                f"SELECT network_id, billing_code_type, billing_code, median(dollars) {ours_of} GROUP BY ALL",
                f"SELECT network_id, billing_code_type, billing_code, median(negotiated_rate) {flat_of} GROUP BY ALL",
                {},
                ample_mb,
            ),
        ):
            ours, other = (self._measure(sql, params, memory_mb) for sql in (ours_sql, flat_sql))
            for what, a, b, digits in (
                ("cold s", ours.cold_seconds, other.cold_seconds, 2),
                ("warm s", ours.warm_seconds, other.warm_seconds, 3),
                ("warm CPU s", ours.warm_cpu_seconds, other.warm_cpu_seconds, 3),
                ("read MB, cold", ours.read_mb, other.read_mb, 1),
                ("peak MB", ours.peak_mb, other.peak_mb, 0),
            ):
                yield f"| {title}: {what} | {a:,.{digits}f} | {b:,.{digits}f} | {b / a:.1f} |"
            assert ours.rows == other.rows
        differing = self._differing(ours_of, flat_of)
        yield f"\nThe flat median counts a price once per group that holds it: {differing}."

    def _differing(self, ours_of: str, flat_of: str) -> str:
        with closing(connect(self._lake, memory_mb=_AMPLE * self._memory_mb)) as connection:
            groups = "network_id, billing_code_type, billing_code"
            differing, total = connection.execute(
                f"WITH ours AS (SELECT {groups}, median(dollars) AS it {ours_of} GROUP BY ALL), "
                f"flat AS (SELECT {groups}, median(negotiated_rate) AS it {flat_of} GROUP BY ALL) "
                f"SELECT count(*) FILTER (ours.it <> flat.it), count(*) FROM ours JOIN flat USING ({groups})"
            ).fetchall()[0]
        return f"of {total:,} medians of a code in a network, {differing:,} are another number"

    def _by_table(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for file in published_files(self._lake):
            found.setdefault(file.table, []).append(file.path)
        return found

    def _asked(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Every shipped query: its name, what is asked in words, the parameters."""
        with closing(connect(self._lake)) as connection:
            npi, tin = connection.execute(
                "SELECT npi, min(tin_value) FROM providers GROUP BY npi "
                "ORDER BY count(DISTINCT network_id) DESC, npi LIMIT 1"
            ).fetchall()[0]
            codes = connection.execute(
                "SELECT DISTINCT billing_code_type, billing_code FROM rates ORDER BY hash(billing_code), 1 LIMIT 1000"
            ).fetchall()
        whitelist, reference = self._lake / "whitelist.csv", self._lake / "reference.csv"
        whitelist.write_text("".join(f"{kind},{code}\n" for kind, code in codes))
        lines = (f"{kind},{code},{100 + number}\n" for number, (kind, code) in enumerate(codes))
        reference.write_text("billing_code_type,billing_code,dollars\n" + "".join(lines))
        one = {"billing_code": COMMON_CODE}
        yield "price_distribution", f"code {COMMON_CODE}", one
        yield "network_extremes", f"code {COMMON_CODE}", one
        yield "network_extremes", "all codes", {}
        yield "provider_rates", f"an NPI, code {COMMON_CODE}", {"npi": str(npi), **one}
        yield "provider_rates", "an NPI, all codes", {"npi": str(npi)}
        yield "provider_rates", "a TIN, all codes", {"tin": tin}
        yield "plan_networks", "part of a name", {"plan": f"{PLAN_NAME} 1"}
        yield "reference_ratio", f"{len(codes):,} codes", {"reference": str(reference)}
        yield "whitelist_coverage", f"{len(codes):,} codes", {"whitelist": str(whitelist)}
        yield "expired_contracts", "none", {}
        yield "multi_tin_providers", "none", {}
        yield "duplicate_networks", "none", {}

    def _codes(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
        """The most common code, one of middling frequency, and a rare one: (code, type)."""
        ranked = connection.execute(
            "SELECT billing_code, billing_code_type FROM rates GROUP BY ALL ORDER BY count(*) DESC, billing_code"
        ).fetchall()
        return [ranked[0], ranked[len(ranked) // 2], ranked[-1]]

    def _measure(self, sql: str, params: Mapping[str, str], memory_mb: int) -> Figures:
        found = self._run(sql, params, memory_mb)
        assert found is not None, f"{memory_mb} MB are too few"
        return found

    def _run(self, sql: str, params: Mapping[str, str], memory_mb: int) -> Figures | None:
        """One job, cold and warm; None where it needs more memory."""
        for path in (*self._flat.values(), *(path for paths in self._by_table().values() for path in paths)):
            _forget(path)
        job = Job(
            lake=str(self._lake),
            memory_mb=memory_mb,
            sql=sql,
            params=params,
            repetitions=self._repetitions,
        )
        command = [sys.executable, "-m", "benchmarks.bench_catalog", *job.arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_environment())
        told = json.loads(done.stdout)
        return Figures(**told) if told else None


def _work(job: Job) -> Figures:
    """Ask as `mrf query` does, in this process."""
    began = _process_start()
    with closing(connect(job.lake, memory_mb=job.memory_mb)) as connection:
        rows = _drain(connection, job)
        cold = time.time() - began
        read_mb = _kernel("io", "read_bytes") / _MB
        warm, warm_cpu = [], []
        for _ in range(job.repetitions):
            again, again_cpu = time.monotonic(), time.process_time()
            _drain(connection, job)
            warm.append(time.monotonic() - again)
            warm_cpu.append(time.process_time() - again_cpu)
    return Figures(
        cold_seconds=cold,
        warm_seconds=statistics.median(warm),
        warm_cpu_seconds=statistics.median(warm_cpu),
        rows=rows,
        peak_mb=_kernel("status", "VmHWM") * 1024 / _MB,
        read_mb=read_mb,
    )


def _drain(connection: duckdb.DuckDBPyConnection, job: Job) -> int:
    rows = 0
    for batch in connection.sql(job.sql, params=dict(job.params)).to_arrow_reader(_ROWS_AT_ONCE):
        rows += batch.num_rows
    return rows


def _process_start() -> float:
    """When this process began, Unix seconds: its imports count."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _kernel(file: str, field: str) -> int:
    """A figure of the kernel about this process."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(HERE.parent)}


def _forget(path: Path) -> None:
    """Drop a file's pages from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)  # pages that are not on the disk yet are kept
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _names(sql: str) -> set[str]:
    """The parameters that a query names."""
    return set(duckdb.extract_statements(sql)[0].named_parameters)


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    (value,) = connection.execute(sql).fetchall()[0]
    return int(value)


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _row_groups_of_rates(connection: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, str]) -> tuple[int, int]:
    """Row groups of `rates` that a query read, and how many there are."""
    answer = connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {sql}", dict(params)).fetchall()
    scans = [
        scan
        for scan in _scans(json.loads(answer[0][1])["operator"])
        if "billing_code" in json.dumps(scan["extra_info"])
    ]
    return sum(scan["row_groups_scanned"] for scan in scans), sum(scan["total_row_groups_to_scan"] for scan in scans)


def _scans(operators: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for operator in operators:
        if "row_groups_scanned" in operator:
            yield operator
        yield from _scans(operator.get("children", ()))


def _write_flat(lake: Path, keys: Sequence[str], folder: Path) -> dict[str, Path]:
    """The networks flat, as DuckDB writes them; those that are there stay."""
    columns = ", ".join(column.name for column in RATES.columns if column.name != "provider_set_id")
    written = {}
    for key in keys:
        path = folder / f"network_id={key}" / "flat.parquet"
        written[key] = path
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with closing(connect(lake)) as connection:
            connection.execute(
                f"COPY (SELECT {columns}, provider_group_id FROM (SELECT * FROM rates WHERE network_id = '{key}') "
                f"JOIN (SELECT * FROM provider_sets WHERE network_id = '{key}') USING (file_id, provider_set_id)) "
                f"TO '{partial}' (FORMAT parquet, COMPRESSION zstd)"
            )
        partial.replace(path)
    return written


if __name__ == "__main__":
    main()
