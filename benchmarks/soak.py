"""Does every file survive a bad month? 200 networks from a payer whose every tenth answer is faulty: `make soak`.

Real Dagster runs, real sockets. Faults are drawn from a seed, by path and request, so a soak can be repeated:
connections cut and reset in the middle of a body, bodies that stall, 429 (with and without Retry-After) and 503.
At most three of one file in a row: what fails four times is given up, as it should be. Twelve networks can never
be had. In the end every other one must be published exactly once, with the bytes that the payer has, and the
twelve must have failed for their own reason; anything else is exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from mrf_assets.batch_orchestrator import execute_batch
from mrf_assets.fetch import open_url
from mrf_assets.lake.store import Store
from mrf_assets.sources import read_source
from mrf_assets_tests.factory import document, gzipped, index, plans, render
from mrf_assets_tests.mrf_server import Answer, Gate, MrfServer, Request

INDEX = "/2026-11-05_soak_index.json"
FAULTS = ("cut", "cut", "cut", "reset", "reset", "stall", "stall", "429", "429 with Retry-After", "503")
FAULTY_SHARE = 0.1
MAX_IN_A_ROW = 3  # the retries that a download has by default
READ_TIMEOUT_SECONDS = 2.0  # what a stall costs
BROKEN_EACH = 4
LARGE_EVERY = 10  # every tenth network has a file of some hundred KB, where there is a middle to cut
REASONS = {"404": "HTTP 404", "truncated": "ended early", "html": "HTML"}


@dataclass(frozen=True, slots=True)
class Network:
    """One network of the payer."""

    number: int
    kind: str  # good, or what is wrong with it

    @property
    def key(self) -> str:
        """Its partition."""
        return f"healthsparq~pl-s{self.number:03d}-hr26"

    @property
    def path(self) -> str:
        """Of its file."""
        return f"/prd/2026-11-05_pl-s{self.number:03d}-hr26_Cardinal-National_in-network-rates.json.gz"

    def content(self) -> bytes:
        """Its file, as it lies on the server."""
        if self.kind == "html":  # Emblem answers a stale link with a page and the status 200
            return b"<!DOCTYPE html><html><body>This file has moved.</body></html>"
        is_large = self.number % LARGE_EVERY == 0
        data = gzipped(render(document(seed=self.number, codes=400 if is_large else 6)))
        return data[: len(data) * 2 // 3] if self.kind == "truncated" else data


class FaultyServer(MrfServer):
    """Answers a share of all requests with a fault."""

    def __init__(self, content: Mapping[str, bytes], seed: int) -> None:
        super().__init__(content)
        self.faults: Counter[str] = Counter()
        self._seed = seed
        self._asked: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()

    def _next_answer(self, request: Request) -> Answer | None:
        stored = self._stored(request.path)
        with self._lock:
            self._asked[request.path] += 1
            rng = random.Random(f"{self._seed} {request.path} {self._asked[request.path]}")  # noqa: S311 - no secret
            if rng.random() >= FAULTY_SHARE or self._in_a_row[request.path] >= MAX_IN_A_ROW:
                self._in_a_row[request.path] = 0
                fault = None
            else:
                self._in_a_row[request.path] += 1
                fault = rng.choice(FAULTS)
                self.faults[fault] += 1
        if fault is None:
            return super()._next_answer(request)
        first = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        return self._faulty(fault, rng.randint(first, max(first, stored.size - 1)) if stored else 0)

    def _faulty(self, fault: str, at: int) -> Answer:
        if fault == "429 with Retry-After":
            return Answer(status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "1"})
        if fault.isdecimal():
            return Answer(status=int(fault))
        if fault == "stall":
            gate = Gate()
            with self._lock:
                self._gates.append(gate)  # released when the server stops
            return Answer(gate=gate, hold_at=at)
        return Answer(truncate_at=at, reset=fault == "reset")


def make_networks(count: int) -> list[Network]:
    """So many networks; the broken ones are spread among them."""
    kinds = [kind for kind in REASONS for _ in range(BROKEN_EACH)]
    every = count // len(kinds)
    broken = {7 + number * every: kind for number, kind in enumerate(kinds)}
    return [Network(number, broken.get(number, "good")) for number in range(count)]


def serve(networks: Sequence[Network], seed: int) -> tuple[FaultyServer, dict[str, bytes]]:
    """The payer, and what it has: bytes by path."""
    files = {network.path: network.content() for network in networks if network.kind != "404"}
    server = FaultyServer(files, seed)
    listed = [(server.url(network.path), plans(2, seed=network.number)) for network in networks]
    files[INDEX] = render(index(listed))
    server.put(INDEX, files[INDEX])
    return server, files


def wrongs(
    networks: Sequence[Network], summary: Mapping[str, Any], errors: Mapping[str, str], output: Path
) -> list[str]:
    """Everything that is not as it must be."""
    found = list[str]()
    good = [network for network in networks if network.kind == "good"]
    if summary["networks_successful"] != len(good) or summary["networks_not_run"]:
        found.append(f"{summary['networks_successful']} networks succeeded, {summary['networks_not_run']} did not run")
    for network in networks:
        periods = Store(output).periods(network.key)
        error = errors.get(network.key)
        if network.kind == "good":
            if periods != ["2026-11"]:
                found.append(f"{network.key} is published as {periods}: {error}")
        elif periods:
            found.append(f"{network.key} is {network.kind}, and published")
        elif REASONS[network.kind] not in (error or ""):
            found.append(f"{network.key} is {network.kind}, and failed for another reason: {error}")
    return found


def wrong_contents(networks: Sequence[Network], files: Mapping[str, bytes], output: Path) -> list[str]:
    """Published networks that are not what the payer has."""
    rows = duckdb.execute(
        "select network_id, sha256 from read_parquet($1, hive_partitioning = true)",
        [str(output / "*" / "*" / "files-*.parquet")],
    ).fetchall()
    published = defaultdict(list)
    for key, sha256 in rows:
        published[key].append(sha256)
    return [
        f"{network.key}: what was read is not what the payer has"
        for network in networks
        if network.kind == "good" and published[network.key] != [hashlib.sha256(files[network.path]).hexdigest()]
    ]


def published_twice(networks: Sequence[Network]) -> list[str]:
    """Networks whose rates were not materialized exactly once."""
    with dg.DagsterInstance.get() as instance:
        counts = instance.get_materialized_partitions(dg.AssetKey("rates"))
        events = instance.fetch_materializations(dg.AssetKey("rates"), limit=10 * len(networks)).records
    times = Counter(event.partition_key for event in events)
    return [
        f"{network.key} was materialized {times[network.key]} times"
        for network in networks
        if times[network.key] != (network.kind == "good") or (network.key in counts) != (network.kind == "good")
    ]


def errors_of(manifest: Path) -> dict[str, str]:
    """What each failed network failed of."""
    entries = json.loads(manifest.read_text())["extractions"]
    return {entry["network_id"]: entry["error"] for entry in entries if entry["status"] != "success"}


def report(files: Mapping[str, bytes], server: FaultyServer, seconds: float) -> None:
    """What it took."""
    requests, sent, size = len(server.requests), server.sent_bytes, sum(map(len, files.values()))
    faults = ", ".join(f"{count} {fault}" for fault, count in sorted(server.faults.items()))
    print(f"{seconds:.0f} s; {requests} requests, {server.faults.total() / requests:.1%} of them faulty: {faults}")
    print(f"requests per file: {requests / len(files):.3f} ({len(files)} files)")
    print(f"bytes served per byte of file: {sent / size:.3f} ({sent / 1e6:.1f} MB, {size / 1e6:.1f} MB)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="mrf-soak-"))
    networks = make_networks(options.networks)
    os.environ["DAGSTER_HOME"] = str(folder / "home")
    output = folder / "lake"
    server, files = serve(networks, options.seed)
    began = time.monotonic()
    with server:
        tasks = read_source("index", server.url(INDEX), open_url)
        summary = execute_batch(
            tasks,
            output,
            workers=options.workers,
            read_timeout_seconds=READ_TIMEOUT_SECONDS,
            host_state_dir=folder / "hosts",
        )
        seconds = time.monotonic() - began
    errors = errors_of(output / "manifest.json")
    found = (
        wrongs(networks, summary, errors, output) + wrong_contents(networks, files, output) + published_twice(networks)
    )
    report(files, server, seconds)
    for wrong in found:
        print(f"WRONG: {wrong}")
    print(f"{len(found)} things are wrong; everything is left in {folder}" if found else "everything is as it must be")
    if not found:
        shutil.rmtree(folder)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
