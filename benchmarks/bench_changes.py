"""Two months of one network with thick sets, compared TIN by TIN: `python -m benchmarks.bench_changes`.

The comparison is a process of its own, with the memory that a query may take by default; its peak is the kernel's
account. Writing the two months is not measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.made_payer import Month, Payer, make
from mrf_assets.quality.changes import write_changes
from mrf_assets.settings import Settings

_MONTHS = (Month(period="2026-10"), Month(period="2026-11", raised_share=0.1, left_share=0.01))


def main() -> None:
    """Make both months, compare them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, default=2_000_000, help="Prices of a month.  [default: 2000000]")
    parser.add_argument("--sets-per-rate", type=int, default=30, help="Rows of sets behind a price.  [default: 30]")
    parser.add_argument("--compare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare is not None:
        _compare(arguments.compare)
        return
    with tempfile.TemporaryDirectory() as folder:
        payer = Payer(networks=2, rates=2 * arguments.rates, sets_per_rate=arguments.sets_per_rate)
        for month in _MONTHS:
            make(payer, Path(folder), month, [0])
        rows = {
            table: sum(pq.read_metadata(path).num_rows for path in Path(folder).glob(f"*/*/{table}-*.parquet"))
            for table in ("rates", "provider_sets", "set_tins")
        }
        print(", ".join(f"{table}: {count:,} rows" for table, count in rows.items()), "in both months")
        subprocess.run([sys.executable, "-m", "benchmarks.bench_changes", "--compare", folder], check=True)


def _compare(lake: Path) -> None:
    start, before = time.perf_counter(), os.times()
    (network,) = (path.name.removeprefix("network_id=") for path in lake.glob("network_id=*"))
    found = write_changes(Settings(output_dir=lake), network)
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.user + after.system - before.user - before.system
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    print(f"{found.compared:,} TIN-prices in both months, {found.rows:,} rows of changes: {dict(found.counts)}")
    print(f"{seconds:.0f} s, {cpu:.0f} s of CPU, {peak:,.0f} MB at most")


if __name__ == "__main__":
    main()
