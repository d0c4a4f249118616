"""Portals in a browser, against a stub: `python -m benchmarks.bench_discovery`.

The stub is a process of its own; so is each run. The same pages are looked at with a new Chromium for each page, and
with the pool's contexts in one Chromium, one page at a time and several.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil

from benchmarks.results import DISCOVERY, write_chapter
from mrf_assets.discover import BrowserOptions, BrowserPool, PageFound, check_browser
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.portal_server import script_page

_PAGES = 20
_ANSWER_SECONDS = 0.3  # of the list that a page's script asks for
_SAMPLE_SECONDS = 0.1
_MIB = 1 << 20
_ABOUT = """Each page is empty until its script has asked for a list, whose answer takes 0.3 s, and has drawn a link; it
    counts as done when the network was silent for half a second. A new Chromium for each page comes with a new
    Playwright driver, as in a script that does one page. Memory is the sum of the proportional set sizes (PSS: what
    processes share counts once) of Python, driver and all of Chromium's processes, at its highest. The limit of one
    page a second for each host, which a real look at one host keeps, is off. Other work may share the machine: the load
    average says how much did."""


@contextlib.contextmanager
def stub() -> Iterator[list[str]]:
    """Portals in a process of its own; gives their addresses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bench_discovery", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate("\n", timeout=60)


def serve() -> None:
    """Serve until stdin is closed; tells the addresses on stdout."""
    with MrfServer() as server:
        urls = []
        for number in range(_PAGES):
            urls.append(script_page(server, f"/{number}", f"acme{number}"))
            listed = json.dumps({"files": [f"/mrf/2026-11-01_acme{number}_index.json"]}).encode()

            def stream(body: bytes = listed) -> Iterator[bytes]:
                time.sleep(_ANSWER_SECONDS)
                yield body

            server.always(f"/{number}/list", Answer(stream=stream, headers={"Content-Type": "application/json"}))
        print(json.dumps(urls), flush=True)
        with contextlib.suppress(EOFError):
            input()


def run(urls: list[str], *, fresh: bool, parallel: int) -> dict[str, Any]:
    """One way of looking at all pages, in a process of its own; its figures."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bench_discovery", "--work", json.dumps([urls, fresh, parallel])],
        stdout=subprocess.PIPE,
        text=True,
    )
    peak, ended = [0.0], threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            peak[0] = max(peak[0], _pss_bytes(psutil.Process(process.pid)) / _MIB)

    sampling = threading.Thread(target=sample, daemon=True)
    sampling.start()
    out, _ = process.communicate()
    ended.set()
    sampling.join()
    found: dict[str, Any] = json.loads(out)
    return found | {"peak_mb": peak[0]}


def _pss_bytes(process: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += each.memory_full_info().pss
    return total


def work(urls: list[str], fresh: bool, parallel: int) -> dict[str, Any]:
    """Look at all pages; every link must be there."""
    logging.disable(logging.INFO)
    executable, sandbox = check_browser(None), os.geteuid() != 0

    async def go() -> int:
        if not fresh:
            options = BrowserOptions(executable=executable, sandbox=sandbox, max_parallel=parallel)
            async with BrowserPool(options) as pool:
                return _found((await pool.scrape(urls)).values())
        options = BrowserOptions(executable=executable, sandbox=sandbox, max_parallel=1)
        places = asyncio.Semaphore(parallel)

        async def one(url: str) -> int:
            async with places, BrowserPool(options) as pool:
                return _found((await pool.scrape([url])).values())

        return sum(await asyncio.gather(*map(one, urls)))

    began = time.monotonic()
    found = asyncio.run(go())
    seconds = time.monotonic() - began
    children = os.times()
    assert found == len(urls), f"{found} of {len(urls)} pages named their index"
    return {"wall_seconds": seconds, "cpu_seconds": sum(children[:4])}


def _found(answers: Any) -> int:  # noqa: ANN401 - a view of dicts
    return sum(isinstance(each["links"], PageFound) and len(each["links"].files) == 1 for each in answers)


def pooling() -> list[str]:
    """S3.56, S3.59 and S3.65: speed and memory of the pool."""
    lines = [
        f"### {_PAGES} pages that scripts draw\n",
        "| browser | pages at a time | pages/min | ratio | CPU s | peak MB | of as many new ones |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    base: dict[str, Any] = {}
    peaks: dict[int, float] = {}
    with stub() as urls:
        for fresh, parallel in ((True, 1), (True, 4), (False, 1), (False, 2), (False, 4)):
            found = run(urls, fresh=fresh, parallel=parallel)
            base = base or found
            if fresh:
                peaks[parallel] = found["peak_mb"]
            share = "" if fresh or parallel not in peaks else f"{100 * found['peak_mb'] / peaks[parallel]:.0f} %"
            lines.append(
                f"| {'new for each page' if fresh else 'one, pooled contexts'} | {parallel} "
                f"| {60 * _PAGES / found['wall_seconds']:.0f} | {base['wall_seconds'] / found['wall_seconds']:.1f} "
                f"| {found['cpu_seconds']:.1f} | {found['peak_mb']:.0f} | {share} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
    elif given.work:
        print(json.dumps(work(*given.work)))
    else:
        section = "\n".join(["", *pooling()])
        command = "python -m benchmarks.bench_discovery"
        write_chapter(DISCOVERY, [section], command=command, about=_ABOUT, libraries=("playwright",))


if __name__ == "__main__":
    main()
