"""What hosts ask of programs: robots.txt (RFC 9309), asked for once per host and kept to.

A host without one, or whose robots.txt cannot be had, asks for nothing. Matching is protego's: wildcards, `$`, and the
longest rule wins. The standard library's knows none of these, and reads `Disallow: /*` as nothing.
"""

from __future__ import annotations

import logging
import threading
import zlib
from urllib.parse import urlsplit, urlunsplit

from protego import Protego

from mrf_assets.errors import MrfError, RobotsRefused
from mrf_assets.stream.decompress import is_zlib
from mrf_assets.stream.raw_file import Opener
from mrf_assets.urls.address import Address

logger = logging.getLogger(__name__)

AGENT = "mrf_assets"
_MAX_BYTES = 500 << 10  # RFC 9309, 2.5
_GZIP = b"\x1f\x8b"


def robots_refused(address: Address) -> RobotsRefused:
    """The error of an address that programs are not to read."""
    return RobotsRefused(address, f"robots.txt of {address.host} asks programs to stay away")


class Robots:
    """The wishes of all hosts that were asked so far; for any thread."""

    def __init__(self, open_url: Opener, open_named: Opener) -> None:
        self._open_url, self._open_named = open_url, open_named  # what the user names, and what strangers name
        self._rules: dict[str, Protego] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def allow(self, address: Address, *, is_from_stranger: bool = False) -> bool:
        """Whether the host lets a program of our name read the address; asks it where that is not known.

        A private address that a stranger names is asked for nothing: whoever opens it afterwards is refused.

        An address that cannot be taken apart is not allowed: nobody can say what its host asks for.
        """
        try:
            parts = urlsplit(address.real)
            open_url, named_by = (self._open_named, "named ") if is_from_stranger else (self._open_url, "")
            server = f"{named_by}{parts.scheme}://{address.server}"
            with self._lock:
                lock = self._locks.setdefault(server, threading.Lock())
            with lock:
                if server not in self._rules:
                    self._rules[server] = self._read_rules(
                        Address(urlunsplit((parts.scheme, parts.netloc, "/robots.txt", "", ""))), open_url
                    )
            return self._rules[server].can_fetch(address.real, AGENT)
        except ValueError:
            return False

    def _read_rules(self, address: Address, open_url: Opener) -> Protego:
        text = b""
        try:
            with open_url(address) as raw:
                while len(text) < _MAX_BYTES and (block := raw.read(_MAX_BYTES - len(text))):
                    text += block
            if text.startswith(_GZIP) or is_zlib(text):  # some send it packed to whoever did not ask for that
                text = zlib.decompressobj(wbits=47).decompress(text, _MAX_BYTES)
        except (MrfError, zlib.error) as error:
            logger.debug("%s: %s", address, error)
            text = b""
        return _understood(address, text)


def _understood(address: Address, text: bytes) -> Protego:
    try:
        return Protego.parse(text.decode("utf-8-sig", "replace"))
    except ValueError:  # of numbers that are none
        logger.info("%s cannot be understood, and counts as empty", address)
        return Protego.parse("")
