"""The browser's way out, where private addresses are refused: a proxy of ours, on loopback, for one Chromium.

What a page asks for can be looked at by its name before it is asked for, but redirects are followed inside of Chromium,
and names mean another machine from one moment to the next. So, as in `fetch.addresses`, it is the numeric address about
to be connected to that decides. Bytes are bounded, too: no page makes Chromium read for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from mrf_assets.fetch.addresses import is_private_address

_MOST_HEAD_BYTES = 64 << 10
_MOST_BODY_BYTES = 256 << 20  # of one connection; Chromium keeps no more of a page anyway
_BLOCK_BYTES = 64 << 10
_HEAD_SECONDS, _CONNECT_SECONDS = 30.0, 20.0
_REQUEST = re.compile(rb"([A-Z]{3,16}) (\S{1,16384}) HTTP/1\.[01]\r\n")
_OWN_HEADERS = re.compile(rb"(?im)^(?:proxy-[a-z-]+|connection|keep-alive):[^\r\n]*\r\n")


class GuardedProxy:
    """Connects to addresses that are not private; use as an async context manager."""

    def __init__(self, is_private: Callable[[str], bool] = is_private_address) -> None:
        self.refused: set[str] = set()  # hosts that were asked for, and are private
        self._is_private = is_private
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_MOST_HEAD_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """What Chromium is told."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; a refusal is the end of the connection, for any status would be taken for the host's."""
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
        if (asked := _REQUEST.match(head)) is None:
            return
        method, target = asked[1], asked[2].decode("ascii")
        parts = urlsplit(f"//{target}" if method == b"CONNECT" else target)
        if not parts.hostname or (method != b"CONNECT" and parts.scheme != "http"):
            return
        upstream = await self._connect(parts.hostname, parts.port or (443 if method == b"CONNECT" else 80))
        if upstream is None:
            return
        with _closing(upstream[1]):
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                rest = _OWN_HEADERS.sub(b"", head[asked.end() :])
                line = f"{method.decode()} {path} HTTP/1.1\r\nConnection: close\r\n"
                upstream[1].write(line.encode() + rest)
            await _both_ways((reader, writer), upstream)

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the very address that was looked at; None for a private one, or none."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if any(map(self._is_private, addresses)):
            self.refused.add(host)
            return None
        for address in addresses:
            with contextlib.suppress(OSError, TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(address, port), _CONNECT_SECONDS)
        return None


@contextlib.contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.close()


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _both_ways(browser: _Ends, host: _Ends) -> None:
    """Copy until one of the two has enough."""
    ways = {asyncio.ensure_future(_copy(browser[0], host[1])), asyncio.ensure_future(_copy(host[0], browser[1]))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    left = _MOST_BODY_BYTES
    while left > 0 and (block := await reader.read(min(left, _BLOCK_BYTES))):
        writer.write(block)
        await writer.drain()
        left -= len(block)
