"""What a file's place says of it now, without reading it."""

from __future__ import annotations

import threading
from collections import Counter

from mrf_assets.errors import ConnectionLostError, FetchError, ServerBusy, TimeSpent, UntrustedServer
from mrf_assets.fetch.local_file import local_validators
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.validators import Validators
from mrf_assets.urls import is_remote, server_of, store_kind

_MAX_SILENCES = 3  # in a row, before a host is given up
_OF_THE_HOST = (ConnectionLostError, ServerBusy, TimeSpent, UntrustedServer)  # the next file would fare as badly


def probe(url: str, options: FetchOptions = DEFAULT_OPTIONS) -> Validators | None:
    """What is said of the file now: by a HEAD, a 1-byte GET where that is refused, the store, or the disk.

    None where nothing can be learned: whoever then reads the file learns why.
    """
    try:
        return _probed(url, options)
    except FetchError:
        return None


class Probes:
    """Asks about many files, in any threads, and gives up hosts that answer nothing: each would cost a time-out."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._silences = Counter[str]()  # by server, since its last answer
        self.not_asked = Counter[str]()  # files of servers that were given up, by server

    def __call__(self, url: str, *, is_from_stranger: bool = False) -> Validators | None:
        """As `probe`; None without a question where the host is given up."""
        server = server_of(url)
        with self._lock:
            if self._silences[server] >= _MAX_SILENCES:
                self.not_asked[server] += 1
                return None
        try:
            found = _probed(url, self._options.named_by(stranger=is_from_stranger))
        except _OF_THE_HOST:
            with self._lock:
                self._silences[server] += 1
            return None
        except FetchError:
            found = None
        with self._lock:
            self._silences[server] = 0
        return found


def _probed(url: str, options: FetchOptions) -> Validators:
    if not is_remote(url):
        return local_validators(url)
    if store_kind(url):
        from mrf_assets.fetch.object_store import open_store  # noqa: PLC0415 - as in `opening`

        with open_store(url, options) as file:
            return file.validators
    from mrf_assets.fetch.http_probe import probe_http  # noqa: PLC0415 - as in `opening`

    return probe_http(url, options)
