"""What hosts ask of programs: robots.txt (RFC 9309), asked for once per host and kept to.

A host without one, or whose robots.txt cannot be had, asks for nothing. Matching is that of the standard library.
"""

from __future__ import annotations

import logging
import threading
from urllib.parse import urlsplit, urlunsplit
from urllib.robotparser import RobotFileParser

from mrf_assets.errors import MrfError, RobotsRefused
from mrf_assets.stream import Opener
from mrf_assets.urls import canonical_url, host_of, server_of

logger = logging.getLogger(__name__)

AGENT = "mrf_assets"
_MOST_BYTES = 500 << 10  # RFC 9309, 2.5


def robots_refused(url: str) -> RobotsRefused:
    """The error of an address that programs are not to read."""
    return RobotsRefused(canonical_url(url), f"robots.txt of {host_of(url)} asks programs to stay away")


class Robots:
    """The wishes of all hosts that were asked so far; for any thread."""

    def __init__(self, open_url: Opener) -> None:
        self._open_url = open_url
        self._known: dict[str, RobotFileParser] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def allow(self, url: str) -> bool:
        """Whether the host lets a program of our name read the address; asks it where that is not known."""
        parts = urlsplit(url)
        server = f"{parts.scheme}://{server_of(url)}"
        with self._lock:
            lock = self._locks.setdefault(server, threading.Lock())
        with lock:
            if server not in self._known:
                self._known[server] = self._ask(urlunsplit((parts.scheme, parts.netloc, "/robots.txt", "", "")))
        return self._known[server].can_fetch(AGENT, url)

    def _ask(self, url: str) -> RobotFileParser:
        parser, text = RobotFileParser(), b""
        try:
            with self._open_url(url) as raw:
                while len(text) < _MOST_BYTES and (block := raw.read(_MOST_BYTES - len(text))):
                    text += block
            parser.parse(text.decode("utf-8", "replace").splitlines())
        except MrfError as error:
            logger.debug("%s", error)
            parser.parse([])
        except ValueError:  # int() of digits that are none, "Crawl-delay: \u00b2"
            logger.info("%s cannot be understood, and counts as empty", canonical_url(url))
            parser = RobotFileParser()
            parser.parse([])
        return parser
