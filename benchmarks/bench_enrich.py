"""The batch engine against a stub of the NPI Registry: `python -m benchmarks.bench_enrich`.

The stub is a process of its own; so is each run. Ratios are to the sequential loop of the same
invocation (the same engine with one worker). `--full` waits as long as the source documents say that an
answer takes (2 to 3 s, half an hour in all); without it, answers take a tenth of that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.results import ENGINE, write_chapter
from mrf_assets.providers.lookup import (
    Answer,
    Item,
    Ledger,
    LookUp,
    LookUpOptions,
    LookUpRun,
    Pool,
    Statistics,
    output_at,
)
from mrf_assets.providers.nppes.answers import read_answer
from mrf_assets.providers.nppes.client import NppesClient
from mrf_assets.schema import NPI_REGISTRY
from mrf_assets_tests.nppes_factory import answer, make_npis, provider

_FAST = 1 / 1_000  # seconds between starts: the workers are the limit
_PERCENT = 100
_NO_RATE: dict[str, Any] = {"rate_limit_delay_seconds": 0.0, "adaptive": False}
_ABOUT = """The stub of the registry is a process of its own, on loopback. Ratios are to the same engine with one
    worker in the same invocation. What the disk makes a checkpoint wait is in "ledger and output"."""


@contextlib.contextmanager
def stub(**options: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - flags of the server
    """A registry in a process of its own; its counters are filled in when it ends."""
    flags = []
    for name, value in options.items():
        values = value if isinstance(value, tuple) else (value,)
        flags += [f"--{name.replace('_', '-')}", *map(str, values)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mrf_assets_tests.nppes_server", *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    counted: dict[str, Any] = {}
    try:
        yield process.stdout.readline().strip(), counted
    finally:
        out, _ = process.communicate("\n", timeout=60)
        counted |= json.loads(out)


def run(url: str, count: int, *, certificate: str | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - see `work`
    """One batch in a process of its own, which trusts the certificate alone; its figures."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.bench_enrich",
            "--work",
            json.dumps({"url": url, "count": count, **options}),
        ],
        check=True,
        env=None if certificate is None else {**os.environ, "SSL_CERT_FILE": certificate},
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def work(
    url: str,
    count: int,
    *,
    keep_alive: bool = True,
    client_per_look_up: bool = False,
    **options: Any,  # noqa: ANN401 - of LookUpOptions
) -> dict[str, Any]:
    """Look up so many NPIs, and tell what it took. Without an address, answers come from memory."""
    logging.disable(logging.INFO)
    given = LookUpOptions(**{"rate_limit_delay_seconds": _FAST} | options)
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        items = (
            (Item(key=str(number)) for number in range(10**9, 10**9 + count))
            if not url
            else map(_item, make_npis(count))
        )
        ledger.add(items)
        statistics = Statistics(workers=given.max_workers)
        began, cpu_before = time.monotonic(), time.process_time()

        async def go() -> int:
            if not url:
                return await batch(_from_memory())
            if client_per_look_up:
                return await batch(_with_own_client(url))
            async with NppesClient(url, keep_alive=keep_alive, timeout_seconds=30) as client:
                return await batch(client.look_up)

        async def batch(look_up: LookUp) -> int:
            pool = Pool(look_up, given, statistics=statistics)
            output = output_at(Path(folder) / "out", NPI_REGISTRY.arrow)
            output.restore([], 0)
            return (await LookUpRun(ledger, output, NPI_REGISTRY.arrow, pool).run()).written_rows

        rows = asyncio.run(go())
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_before
        parts = len(ledger.parts(ledger.name_of(Path(folder) / "out")))
    return statistics.as_facts() | {
        "rows": rows,
        "wall_seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "parts": parts,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _item(npi: str) -> Item:
    return Item(key=npi)


def _with_own_client(url: str) -> LookUp:
    async def look_up(item: Item) -> Answer:
        async with NppesClient(url, timeout_seconds=30) as client:
            return await client.look_up(item)

    return look_up


def _from_memory() -> LookUp:
    npi = make_npis(1)[0]
    body = json.dumps(answer(provider(npi))).encode()
    row = read_answer(npi, body, dt.datetime.now(tz=dt.UTC))

    async def look_up(item: Item) -> Answer:
        await asyncio.sleep(0)
        return Answer(row={**row, "npi": int(item.key)}, size_bytes=len(body))

    return look_up


def headline(scale: float) -> list[str]:
    """S2 and S4: so many rows at 2 to 3 seconds an answer."""
    latency = (2 * scale, 3 * scale)
    lines = [
        f"### Parallel against sequential, {latency[0]:g} to {latency[1]:g} s an answer\n",
        "| rows | workers | sequential s | parallel s | ratio | utilisation | asked for |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for count, workers, asked in ((100, 10, "6 to 7, at least 9"), (544, 20, "20 at most, at least 19")):
        with stub(latency=latency) as (url, _):
            alone = run(url, count, max_workers=1)
        with stub(latency=latency) as (url, _):
            together = run(url, count, max_workers=workers)
        ratio = alone["wall_seconds"] / together["wall_seconds"]
        lines.append(
            f"| {count} | {workers} | {alone['wall_seconds']:.1f} | {together['wall_seconds']:.1f} | {ratio:.1f} "
            f"| {together['utilisation_percent']:.0f} % | {asked} |"
        )
    return lines


def batches(scale: float) -> list[str]:
    """S3.57, S3.58: 50 and 100 items, at the answer times that their sequential figures come to."""
    latency = (9 * scale, 10 * scale)
    lines = [
        f"### Batches of 50 and 100, {latency[0]:g} to {latency[1]:g} s an answer\n",
        "| items | workers | sequential s | parallel s | ratio | asked for, in minutes |",
        "|---:|---:|---:|---:|---:|---|",
    ]
    for count, asked in ((50, "about 2 instead of 8: 4"), (100, "about 5 instead of 15: 3")):
        with stub(latency=latency) as (url, _):
            alone = run(url, count, max_workers=1)
        with stub(latency=latency) as (url, _):
            together = run(url, count, max_workers=10)
        ratio = alone["wall_seconds"] / together["wall_seconds"]
        lines.append(
            f"| {count} | 10 | {alone['wall_seconds']:.1f} | {together['wall_seconds']:.1f} | {ratio:.1f} | {asked} |"
        )
    lines.append("\nThe sequential figures that were asked about come to 9 to 10 s an item.")
    return lines


def tls() -> list[str]:
    """S3.52, S3.59: what pooling saves where connections are dear."""
    lines = [
        "### Pooling over https, no latency, 2,000 look-ups, 20 workers\n",
        "| | look-ups/s | client's CPU ms a look-up | connections | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    ways: dict[str, dict[str, Any]] = {
        "one pool": {},
        "a connection for each look-up": {"keep_alive": False},
        "a client for each look-up": {"client_per_look_up": True},
    }
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
        made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        subprocess.run(
            ["openssl", *made.split(), "-out", certificate, "-keyout", key], check=True, stderr=subprocess.DEVNULL
        )
        for name, options in ways.items():
            with stub(certificate=(certificate, key)) as (url, counted):
                found = run(url, 2_000, certificate=certificate, max_workers=20, **_NO_RATE, **options)
            lines.append(
                f"| {name} | {2_000 / found['wall_seconds']:,.0f} | {1_000 * found['cpu_seconds'] / 2_000:.2f} "
                f"| {counted['connections']:,} | {found['peak_mb']:.0f} |"
            )
    lines.append(
        "\nAsked for: half the overhead of connections, and 30 % less memory. Memory is not what a pool saves: in all "
        "three\nways 20 connections are open at a time."
    )
    return lines


def pooling() -> list[str]:
    """S3.52: what a connection per request costs."""
    lines = [
        "### Connections kept against one per request, no latency, 4,000 look-ups, 20 workers\n",
        "| | look-ups/s | CPU s | connections |",
        "|---|---:|---:|---:|",
    ]
    for keep_alive in (True, False):
        with stub() as (url, counted):
            # Without a rate: the thousand starts a second that are the most of it would be all that is measured.
            found = run(url, 4_000, max_workers=20, keep_alive=keep_alive, **_NO_RATE)
        name = "kept" if keep_alive else "one per request"
        lines.append(
            f"| {name} | {4_000 / found['wall_seconds']:,.0f} | {found['cpu_seconds']:.2f} "
            f"| {counted['connections']:,} |"
        )
    return lines


def faults() -> list[str]:
    """S3.60: success with retries."""
    lines = [
        "### 2,000 look-ups, 30 % of the answers are faults (5xx, HTML, resets, truncation, broken JSON)\n",
        "| retries | success | requests | asked for |",
        "|---:|---:|---:|---|",
    ]
    for retries in (0, 3):
        with stub(fault_share=0.3, latency=(0.01, 0.03)) as (url, _):
            found = run(url, 2_000, max_workers=20, max_retries=retries, backoff_seconds=0.05)
        asked = "95 %, we show 99 %" if retries else ""
        lines.append(f"| {retries} | {found['success_rate_percent']} % | {found['requests']:,} | {asked} |")
    return lines


def limits() -> list[str]:
    """An unknown limit of 25 a second, found from 2 a second on."""
    lines = [
        "### A registry that allows 25 a second, 500 look-ups, 20 workers, first rate 2/s\n",
        "| 429 with | lost | refused | times the ideal 20 s | asked for |",
        "|---|---:|---:|---:|---|",
    ]
    for name, options in (("Retry-After: 1", {"retry_after": "1"}), ("nothing", {})):
        with stub(per_second=25, latency=(0.05, 0.1), **options) as (url, _):
            found = run(url, 500, max_workers=20, rate_limit_delay_seconds=0.5)
        lines.append(
            f"| {name} | {500 - found['rows']} | {found['refused_percent']} % | {found['wall_seconds'] / 20:.2f} "
            "| none lost, below 5 %, at most 1.3 |"
        )
    return lines


def overhead(*, large: bool) -> list[str]:
    """What ledger and output cost, and how memory grows."""
    lines = [
        "### Ledger and output: share of the run, 20,000 look-ups at 20 to 40 ms, 20 workers, checkpoint every 10\n",
        "| rows | wall s | CPU s | ledger and output s | share | parts | peak MB | asked for |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    with stub(latency=(0.02, 0.04)) as (url, _):
        found = run(url, 20_000, max_workers=20)
    lines.append(_overhead_line(found, "below 5 %"))
    lines += [
        "\n### Memory: answers out of memory, as fast as the engine goes\n",
        "| rows | wall s | CPU s | ledger and output s | share | parts | peak MB | asked for |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for count in (20_000, 200_000, 1_000_000) if large else (20_000, 100_000):
        found = run("", count, max_workers=20, rate_limit_delay_seconds=0.0, adaptive=False)
        lines.append(_overhead_line(found, "flat memory"))
    return lines


def _overhead_line(found: dict[str, Any], asked: str) -> str:
    share = _PERCENT * found["write_seconds"] / found["wall_seconds"]
    return (
        f"| {found['rows']:,} | {found['wall_seconds']:.1f} | {found['cpu_seconds']:.1f} "
        f"| {found['write_seconds']:.2f} | {share:.1f} % "
        f"| {found['parts']} | {found['peak_mb']:.0f} | {asked} |"
    )


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="answers of 2 to 3 s, and a million rows")
    parser.add_argument("--scale", type=float, default=0.1, help="of 2 to 3 s, for the answers of the first table")
    parser.add_argument("--only", choices=["headline", "batches", "pooling", "tls", "faults", "limits", "overhead"])
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(**given.work), default=str))
        return
    sections: dict[str, Callable[[], list[str]]] = {
        "headline": lambda: headline(1.0 if given.full else given.scale),
        "batches": lambda: batches(given.scale),
        "pooling": pooling,
        "tls": tls,
        "faults": faults,
        "limits": limits,
        "overhead": lambda: overhead(large=given.full),
    }
    told = []
    for name, measure in sections.items():
        if given.only in (None, name):
            section = "\n".join(["", *measure()])
            print(section, flush=True)
            told.append(section)
    if given.only is None:
        command = f"python -m benchmarks.bench_enrich{' --full' if given.full else f' --scale {given.scale}'}"
        write_chapter(ENGINE, told, command=command, about=_ABOUT, libraries=("aiohttp", "pyarrow"))


if __name__ == "__main__":
    main()
