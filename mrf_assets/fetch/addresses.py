"""Which machines a stranger's address may lead to, checked where the connection is made.

An address in an index, or a redirect, may name a machine of our own network or the metadata
service of a cloud. The name is no proof of anything (DNS answers differ from one moment to the
next), so it is the numeric address about to be connected to that is looked at. Behind a proxy it
is the proxy that resolves and connects: there, addresses that are written as numbers and names of
local networks are refused here (`private_addresses`), and the proxy's rules decide on other names.
"""

from __future__ import annotations

import re
import socket
from typing import Any
from urllib.parse import urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import parse_url
from urllib3.util.connection import allowed_gai_family, create_connection

from mrf_assets.fetch.connections import TimedAdapter, TimedHTTPConnection, TimedHTTPSConnection
from mrf_assets.urls.private_addresses import is_private_address

# Names as IDNA leaves them, and IPv6. urllib3 passes more on, and fails at some by AssertionError behind a proxy.
_HOST = re.compile(r"[a-z0-9_.-]+\Z|[0-9a-f:.]+\Z")
# What one parser takes for a part of the host and another for its end, or decodes.
_AMBIGUOUS = re.compile(r"[\\\x00-\x20\x7f]")


def connected_host(written_url: str, prepared_url: str) -> str:
    """The host that the client connects to for an address as it is written.

    `prepared_url` is what the client made of it: its parser decides, for the check as for the connection.

    Raises:
        ValueError: There is no host, or others could read another one out of the address.
    """
    authority = urlsplit(written_url).netloc
    host = (parse_url(prepared_url).host or "").strip("[]").lower()
    if _AMBIGUOUS.search(authority) or "%" in authority.rpartition("@")[2]:
        raise ValueError(written_url)
    if not _HOST.match(host) or host != urlsplit(prepared_url).hostname:
        raise ValueError(written_url)
    return host


class PrivateAddress(Exception):
    """A connection that was about to lead to a private address."""


class _CheckedHTTPConnection(TimedHTTPConnection):
    """Resolves, refuses if any answer is private, and connects to the very address that was looked at."""

    def _new_conn(self) -> socket.socket:
        try:
            entries = socket.getaddrinfo(self.host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        if any(map(is_private_address, addresses)):
            raise PrivateAddress
        failure: OSError | None = None
        for address in addresses:
            try:
                return create_connection(
                    (address, self.port),
                    self.timeout,
                    source_address=self.source_address,
                    socket_options=self.socket_options,
                )
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "timed out")
        raise NewConnectionError(self, f"no connection ({failure})")


class _CheckedHTTPSConnection(_CheckedHTTPConnection, TimedHTTPSConnection):
    pass


class _CheckedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _CheckedHTTPConnection


class _CheckedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedHTTPSConnection


class PublicOnlyAdapter(TimedAdapter):
    """Connects to public addresses alone; a proxy of the environment is trusted."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests calls it
        """Make the pools, of checked connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _CheckedHTTPPool, "https": _CheckedHTTPSPool}
