"""Whether a host is of our own machine, network or cloud, however it is written.

Names are looked at where they are resolved (`fetch.addresses`). Here are the spellings of numbers that some client,
resolver or proxy takes for an address, though others read a name: `127.1`, `2130706433`, `0xA9FEA9FE`, `0177.0.0.1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

PRIVATE = (  # behind the address, in errors
    "leads to a private address, which is refused; check who named it, and set MRF_REFUSE_PRIVATE_ADDRESSES=false "
    "if it is meant"
)

_NAT64 = ip_network("64:ff9b::/96")
_TRANSLATED = ip_network("::ffff:0:0:0/96")  # RFC 2765
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
# RFC 6761, RFC 6762, RFC 8375; ICANN keeps .internal out of the Internet (Google's metadata is there).
_LOCAL_NAMES = ("localhost", "localdomain", "local", "home.arpa", "internal")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_MAX_NUMBERS = 4  # in an IPv4 address
_BYTE_VALUES = 256


def is_private_address(address: str) -> bool:
    """Whether a numeric address is private, loopback, link-local, multicast, reserved, or a metadata service.

    IPv4 inside IPv6 (mapped, translated, 6to4, NAT64) counts as what it stands for.
    """
    ip = _meant(ip_address(address))
    return ip.is_multicast or not ip.is_global or any(ip in network for network in _REFUSED)


def is_private_host(host: str, is_private: Callable[[str], bool] = is_private_address) -> bool:
    """Whether a host is written as such an address, in any spelling, or has a name that no public machine has.

    Numbers that can be read in two ways (`010.0.0.1`, octal or decimal) count as private where one of them is, and so
    do those that are no address at all: who connects may read them in a third way.
    """
    host = host.strip("[]").rstrip(".").lower()
    if any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
        return True
    try:
        if ":" in host:
            return is_private(host)
        *_, last = numbers = host.split(".")
        if not _NUMBER.fullmatch(last):
            return False
        return any(is_private(str(_ipv4(numbers, octal=octal))) for octal in (True, False))
    except ValueError:
        return True


def _ipv4(texts: list[str], *, octal: bool) -> IPv4Address:
    """The address that C's `inet_aton`, browsers and `curl` make of up to four numbers; ValueError where it is none."""
    if len(texts) > _MAX_NUMBERS:
        raise ValueError(texts)
    *leading, last = (_number(text, octal=octal) for text in texts)
    if any(number >= _BYTE_VALUES for number in leading):
        raise ValueError(texts)
    high = sum(number * _BYTE_VALUES ** (3 - place) for place, number in enumerate(leading))
    if last >= _BYTE_VALUES ** (_MAX_NUMBERS - len(leading)):
        raise ValueError(texts)
    return IPv4Address(high + last)


def _number(text: str, *, octal: bool) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    if text.startswith(("0x", "0X")):
        return int(text[2:] or "0", 16)
    return int(text, 8 if octal and text.startswith("0") else 10)


def _meant(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64 or ip in _TRANSLATED:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
