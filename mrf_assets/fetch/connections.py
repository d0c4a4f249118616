"""Connections that wait for an answer as long as they are told, however its bytes are spread.

A socket's timeout is for one byte: a server that sends one before each timeout holds its reader for as long as it
likes, in the head of an answer, in the body of an error, in the line before a chunk.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_INTERIM = range(102, 200)  # 101 is final to whoever asked for another protocol, and nobody did


def is_chunked(codings: Iterable[str] | None) -> bool:
    """Whether Transfer-Encoding says so; its last coding is what delimits a body (RFC 9112, 6.3)."""
    return ",".join(codings or ()).rpartition(",")[2].strip().lower() == "chunked"


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline, where there is one."""

    def __init__(self, below: io.RawIOBase, sock: socket.socket) -> None:
        self._below, self._sock = below, sock
        self._patience_seconds = sock.gettimeout()  # for one byte
        self._deadline: float | None = None
        self.has_ended = False

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Raise TimeoutError out of reads that are not done by then."""
        self._deadline = None if seconds is None else time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None
            with suppress(OSError):  # it is closed
                self._sock.settimeout(self._patience_seconds)

    def head(self) -> AbstractContextManager[None]:
        """As long for the whole head of an answer as for one byte."""
        return self.within(self._patience_seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.settimeout(self._seconds_left())
        size = self._below.readinto(buffer)
        self.has_ended = size == 0
        return size

    def _seconds_left(self) -> float | None:
        if self._deadline is None:
            return self._patience_seconds
        remaining_seconds = self._deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError("timed out")
        return remaining_seconds if self._patience_seconds is None else min(remaining_seconds, self._patience_seconds)

    def close(self) -> None:
        self._below.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer whose head has to come in time, and whole."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as http.client calls it
        super().__init__(sock, *args, **kwargs)
        self.peer = _peer_of(sock)
        self.reader = _TimedReader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.reader)

    def begin(self) -> None:
        with self.reader.head():
            super().begin()
        if not self.chunked and is_chunked(self.headers.get_all("Transfer-Encoding")):
            # http.client knows no other coding before it, and would hand out the lines of the chunks.
            self.chunked, self.chunk_left, self.length = True, None, None
        if self.reader.has_ended:  # http.client takes the end of the connection for the end of the head
            raise http.client.RemoteDisconnected("closed in the middle of the head")

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the final answer (RFC 9110, 15.2); http.client passes 100 over, and no other."""
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # of http.client, not in typeshed
            if status not in _INTERIM:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _peer_of(sock: socket.socket) -> str | None:
    """The numeric address at the other end; None where there is none any more."""
    try:
        return str(sock.getpeername()[0])
    except (OSError, IndexError):
        return None


class TimedHTTPConnection(HTTPConnection):
    """Over http."""

    response_class = _TimedResponse


class TimedHTTPSConnection(HTTPSConnection):
    """Over https."""

    response_class = _TimedResponse


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = TimedHTTPConnection


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = TimedHTTPSConnection


_POOLS = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}


class TimedAdapter(HTTPAdapter):
    """Makes such connections, through a proxy too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests calls it
        """Make the pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401 - as requests calls it
        """The pools of a proxy."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # those connect in a way of their own
            manager.pool_classes_by_scheme = _POOLS
        return manager


def timed_reader(response: requests.Response) -> _TimedReader | None:
    """What reads the body of an answer; None over a proxy of another kind."""
    # requests itself takes the cookies out of this field.
    return getattr(getattr(response.raw, "_original_response", None), "reader", None)


def peer_address(response: requests.Response) -> str | None:
    """The numeric address that an answer came from, which may be a proxy's; None where it is not known."""
    return getattr(getattr(response.raw, "_original_response", None), "peer", None)
