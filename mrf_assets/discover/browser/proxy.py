"""The browser's way out, where private addresses are refused: a proxy of ours, on loopback, for one Chromium.

What a page asks for can be looked at by its name before it is asked for, but redirects are followed inside of Chromium,
and names mean another machine from one moment to the next. So, as in `fetch.addresses`, it is the numeric address about
to be connected to that decides. Where the way out is a proxy of the environment, that one is connected to: what is
known here to be private is refused before, and the rest is for that proxy's rules. Bytes are bounded, too: no page
makes Chromium read for ever.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from mrf_assets.errors import SettingError
from mrf_assets.tls import trusted_tls
from mrf_assets.urls.private_addresses import is_private_address, is_private_host

_MAX_HEAD_BYTES = 64 << 10
_MAX_BODY_BYTES = 256 << 20  # of one connection; Chromium keeps no more of a page anyway
_BLOCK_BYTES = 64 << 10
_HEAD_SECONDS, _CONNECT_SECONDS = 30.0, 20.0
_REQUEST = re.compile(rb"([A-Z]{3,16}) (\S{1,16384}) HTTP/1\.[01]\r\n")
_AMBIGUOUS = re.compile(r"[\\%@]")  # what others may take for the end of the host, or decode; Chromium writes none
_OWN_HEADERS = re.compile(rb"(?im)^(?:proxy-[a-z-]+|connection|keep-alive):[^\r\n]*\r\n")
_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class GuardedProxy:
    """Connects to addresses that are not private; use as an async context manager.

    Args:
        is_private: Of numeric addresses.
        beyond: Proxies that lead out, by scheme (http, https) of what is asked for, as `urllib` has them.
        bypasses: Whether a host is asked without them.

    Raises:
        SettingError: A proxy beyond is none of HTTP.
    """

    def __init__(
        self,
        is_private: Callable[[str], bool] = is_private_address,
        *,
        beyond: Mapping[str, str] | None = None,
        bypasses: Callable[[str], object] = lambda _host: False,
    ) -> None:
        self._beyond = {scheme: UpstreamProxy.of(url) for scheme, url in (beyond or {}).items()}
        self._passes_by = bypasses
        self.refused_hosts: set[str] = set()  # hosts that were asked for, and are private
        self._is_private = is_private
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
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
        if (match := _REQUEST.match(head)) is None:
            return
        method, target = match[1], match[2].decode("ascii")
        parts = urlsplit(f"//{target}" if method == b"CONNECT" else target)
        if not parts.hostname or _AMBIGUOUS.search(parts.netloc) or (method != b"CONNECT" and parts.scheme != "http"):
            return
        port = parts.port or (443 if method == b"CONNECT" else 80)
        rest = _OWN_HEADERS.sub(b"", head[match.end() :])
        beyond = self._beyond.get("https" if method == b"CONNECT" else "http")
        if beyond is not None and not self._passes_by(parts.hostname):
            upstream = await self._connect_beyond(beyond, parts.hostname, port)
            line = match[0] + beyond.authorization + (b"" if method == b"CONNECT" else b"Connection: close\r\n")
        else:
            upstream = await self._connect(parts.hostname, port)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            line = f"{method.decode()} {path} HTTP/1.1\r\nConnection: close\r\n".encode()
            if method == b"CONNECT":
                line, rest = b"", b""
        if upstream is None:
            return
        with _closing(upstream[1]):
            if line:
                upstream[1].write(line + rest)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await _both_ways((reader, writer), upstream)

    async def _connect(self, host: str, port: int) -> _Ends | None:
        """A connection to the very address that was looked at; None for a private one, or none."""
        addresses = await self._public_addresses(host, port)
        for address in addresses:
            with contextlib.suppress(OSError, TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(address, port), _CONNECT_SECONDS)
        return None

    async def _connect_beyond(self, beyond: UpstreamProxy, host: str, port: int) -> _Ends | None:
        """A connection to the proxy that leads there; None where it leads to a private address."""
        if is_private_host(host, self._is_private):
            self.refused_hosts.add(host)
            return None
        with contextlib.suppress(OSError):  # names may be that proxy's alone to know
            if not await self._public_addresses(host, port):
                return None
        return await asyncio.wait_for(
            asyncio.open_connection(beyond.host, beyond.port, ssl=beyond.tls), _CONNECT_SECONDS
        )

    async def _public_addresses(self, host: str, port: int) -> list[str]:
        """Where a host is; nothing for one that is private, in whatever part."""
        entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        if any(map(self._is_private, addresses)):
            self.refused_hosts.add(host)
            return []
        return addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamProxy:
    """A proxy that leads out."""

    host: str
    port: int
    tls: ssl.SSLContext | Literal[True] | None  # None: a proxy that is spoken to in plain text
    authorization: bytes = field(repr=False)  # a line of the head, or nothing

    @classmethod
    def of(cls, url: str) -> Self:
        """What an environment says of it, with or without a scheme.

        Raises:
            SettingError: It is no proxy of HTTP, or the certificates to trust cannot be used.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            raise SettingError(
                "HTTP_PROXY",
                "is no proxy of HTTP, before which private addresses could be refused; name one, or use --no-browser",
            )
        authorization = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            authorization = b"Proxy-Authorization: Basic " + base64.b64encode(pair) + b"\r\n"
        is_tls = parts.scheme == "https"
        return cls(
            host=host,
            port=port or (443 if is_tls else 80),
            tls=trusted_tls() if is_tls else None,
            authorization=authorization,
        )


@contextlib.contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.close()


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
    remaining_bytes = _MAX_BODY_BYTES
    while remaining_bytes > 0 and (block := await reader.read(min(remaining_bytes, _BLOCK_BYTES))):
        writer.write(block)
        await writer.drain()
        remaining_bytes -= len(block)
