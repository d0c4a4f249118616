"""Which machines a stranger's address may lead to, checked where the connection is made.

An address in an index, or a redirect, may name a machine of our own network or the metadata
service of a cloud. The name is no proof of anything (DNS answers differ from one moment to the
next), so it is the numeric address about to be connected to that is looked at. Behind a proxy it
is the proxy that resolves and connects: there, only addresses that are written as numbers are
refused here, and the proxy's rules decide on names.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from mrf_assets.fetch.connections import TimedAdapter, TimedHTTPConnection, TimedHTTPSConnection

_NAT64 = ip_network("64:ff9b::/96")
_REFUSED = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata is 192.0.0.192
            "168.63.129.16/32",  # Azure's wire server, in a public range
            "::/96",  # IPv4-compatible
            "64:ff9b:1::/48",  # local NAT64
            "2001::/32",  # Teredo
        ),
    )
)


def is_private_address(address: str) -> bool:
    """Whether a numeric address is private, loopback, link-local, multicast, reserved, or a metadata service.

    IPv4 inside IPv6 (mapped, 6to4, NAT64) counts as what it stands for.
    """
    ip = _meant(ip_address(address))
    return ip.is_multicast or not ip.is_global or any(ip in network for network in _REFUSED)


def is_private_literal(host: str) -> bool:
    """Whether a host is written as such an address; names are looked at when they are resolved."""
    try:
        return is_private_address(host.strip("[]"))
    except ValueError:
        return False


def _meant(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


class PrivateAddress(Exception):
    """A connection that was about to lead to a private address."""


class _CheckedHTTPConnection(TimedHTTPConnection):
    """Resolves, refuses if any answer is private, and connects to the very address that was looked at."""

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self.host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
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
