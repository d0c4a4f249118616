"""The NPI Registry API on loopback, as slow and as faulty as a test asks for.

A plain asyncio server in a thread, for faults that a web framework hides: resets, truncated
bodies, silence. `python -m mrf_assets_tests.nppes_server --help` runs it alone, for benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import ssl
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from mrf_assets_tests.nppes_factory import answer, deactivated, errors, provider

_MAX_RESULTS = 200
_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Unavailable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; the default is what the registry would say."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    how: Literal["whole", "truncated", "reset", "silent", "hang_up"] = "whole"


HTML = Reply(body=b"<!DOCTYPE html><html><body>Down for maintenance.</body></html>")
REFUSED = Reply(status=429, body=b"Too many requests")
RESET = Reply(how="reset")
HANG_UP = Reply(how="hang_up")
SILENT = Reply(how="silent")
TRUNCATED = Reply(how="truncated")
BROKEN = Reply(status=500, body=b"Internal error")
FAULTS = (BROKEN, HTML, RESET, TRUNCATED, Reply(status=502), Reply(body=b'{"result_count"'))


def refused(retry_after: str) -> Reply:
    """A 429 that says when to come back."""
    return Reply(status=429, headers={"Retry-After": retry_after})


@dataclass(slots=True, kw_only=True)
class Allowance:
    """A bucket of tokens: so many requests a second, and as many at once after a pause."""

    per_second: float
    _tokens: float = -1.0
    _at: float = 0.0

    def take(self, now: float) -> bool:
        """True if one more request is allowed."""
        if self._tokens < 0:
            self._tokens, self._at = self.per_second, now
        self._tokens = min(self.per_second, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class NppesServer:
    """A registry that knows every NPI, except those told otherwise. Use as a context manager."""

    def __init__(
        self,
        *,
        latency_seconds: tuple[float, float] = (0.0, 0.0),
        per_second: float | None = None,
        retry_after: str | None = None,
        fault_share: float = 0.0,
        seed: int = 0,
        port: int = 0,
        certificate: tuple[str, str] | None = None,  # files of it and of its key: https then
    ) -> None:
        self.requests: Counter[str] = Counter()  # by NPI
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []  # of each request; names in lower case
        self.refusals = self.connections = self.peak_concurrency = 0
        self.unknown: set[str] = set()
        self.deactivated: set[str] = set()
        self.tell: Callable[[str], dict[str, Any]] = provider
        self.on_request: Callable[[str], None] = lambda _: None  # called in the server's thread
        self._latency, self._retry_after = latency_seconds, retry_after
        self._allowance = None if per_second is None else Allowance(per_second=per_second)
        self._fault_share, self._rng = fault_share, random.Random(seed)  # noqa: S311 - scripted luck
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._always: Reply | None = None
        self._gate: threading.Event | None = None
        self._active, self._wanted_port, self._certificate = 0, port, certificate
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="nppes-server")
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http{'s' if self._certificate else ''}://127.0.0.1:{self.port}/api/"

    def script(self, npi: str, *replies: Reply) -> None:
        """Answer the next requests for an NPI with these, one each; after them as usual."""
        with self._lock:
            self._scripts[npi].extend(replies)

    def always(self, reply: Reply | None) -> None:
        """Answer everything that has no script with this; None: as usual again."""
        self._always = reply

    def total(self) -> int:
        """Requests that came in."""
        return self.requests.total()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._end = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            self.connections += 1
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one_request(reader, writer):
                    pass
            writer.close()
            tasks.discard(task)

        tls = None
        if self._certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*self._certificate)
        server = await asyncio.start_server(connected, "127.0.0.1", self._wanted_port, backlog=256, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False where the connection is over."""
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ", 2)[1].decode()
        lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
        query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        npi = query.get("number", "")
        with self._lock:
            self.requests[npi] += 1
            self.queries.append(query)
            self.headers.append({name.lower(): value for name, _, value in lines if name})
            self._active += 1
            self.peak_concurrency = max(self.peak_concurrency, self._active)
        self.on_request(npi)
        try:
            reply = self._reply(npi)
            if reply.how != "silent" and reply.status != REFUSED.status:
                await asyncio.sleep(self._rng.uniform(*self._latency))
            return await self._send(reply, query, writer)
        finally:
            with self._lock:
                self._active -= 1

    def _reply(self, npi: str) -> Reply:
        with self._lock:
            if self._scripts[npi]:
                return self._scripts[npi].popleft()
        if self._always is not None:
            return self._always
        if self._allowance is not None and not self._allowance.take(time.monotonic()):
            self.refusals += 1
            return REFUSED if self._retry_after is None else refused(self._retry_after)
        if self._rng.random() < self._fault_share:
            return self._rng.choice(FAULTS)
        return Reply()

    async def _send(self, reply: Reply, query: Mapping[str, str], writer: asyncio.StreamWriter) -> bool:
        if reply.how == "silent":
            await self._end.wait()
            return False
        if reply.how == "reset":
            writer.transport.abort()
            return False
        if reply.how == "hang_up":
            return False
        body = json.dumps(self.registry(query)).encode() if reply.body is None else reply.body
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Other')}", *map(": ".join, headers.items())]
        sent = body[: len(body) // 2] if reply.how == "truncated" else body
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        await writer.drain()
        return reply.how == "whole"

    def registry(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What the registry says, its limits included."""
        if query.get("version") != "2.1":
            return errors("17", "Unsupported Version", "version")
        npi = query.get("number", "")
        if len(npi) != 10 or not npi.isdecimal():
            return errors("06", "NPI must be 10 digits")
        if npi in self.deactivated:
            return deactivated(npi)
        if npi in self.unknown:
            return answer()
        return answer(*[self.tell(npi)][: min(int(query.get("limit", "10")), _MAX_RESULTS)])


def main(arguments: Iterable[str] | None = None) -> None:
    """Serve until stdin is closed; tells the address, and at the end the counters, on stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, nargs=2, default=(0.0, 0.0))
    parser.add_argument("--per-second", type=float)
    parser.add_argument("--retry-after")
    parser.add_argument("--fault-share", type=float, default=0.0)
    parser.add_argument("--certificate", nargs=2)
    given = parser.parse_args(None if arguments is None else list(arguments))
    with NppesServer(
        latency_seconds=tuple(given.latency),
        per_second=given.per_second,
        retry_after=given.retry_after,
        fault_share=given.fault_share,
        certificate=given.certificate,
    ) as server:
        print(server.url, flush=True)  # noqa: T201 - its output
        with contextlib.suppress(EOFError):
            input()
        counted = {
            "requests": server.total(),
            "refusals": server.refusals,
            "connections": server.connections,
            "peak_concurrency": server.peak_concurrency,
        }
        print(json.dumps(counted), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
