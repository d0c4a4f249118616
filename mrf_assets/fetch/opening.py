"""`open_url`: the one door to http(s), object stores and our own disk; `probe`: what they say without a reading."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from mrf_assets.errors import (
    ConnectionLostError,
    FetchError,
    NotModified,
    ServerBusy,
    TimeSpent,
    UnsupportedUrl,
    UntrustedServer,
)
from mrf_assets.fetch.local_file import local_validators, open_local
from mrf_assets.fetch.opened import Validators
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.spool import spooled
from mrf_assets.stream.raw_file import RawFile
from mrf_assets.urls.address import Address

_SCHEMES = ("http://", "https://")
_MAX_SILENCES = 3  # in a row, before a host is given up
_OF_THE_HOST = (ConnectionLostError, ServerBusy, TimeSpent, UntrustedServer)  # the next file would fare as badly


@contextmanager
def open_url(
    address: Address | str, options: FetchOptions = DEFAULT_OPTIONS, *, if_changed_from: Validators | None = None
) -> Iterator[RawFile]:
    """Open an http(s) URL, an object of a store, a `file://` URL or a local path for one pass over its bytes.

    The bytes are those of one state of the file, however often the connection was lost.
    Errors come here, and from `read`.

    Raises:
        NotModified: It is still the file that `if_changed_from` describes.
        NotFoundAtSource: HTTP 404 or 410, or no such file or object.
        AccessRefused: HTTP 401, 403 or 409; also in the middle of a file, when its signature expires.
        ServerBusy, ConnectionLostError: To the last attempt.
        TimeSpent: Not within the total time.
        SourceChanged, ChecksumMismatch: Not the bytes that they were to be.
        UntrustedServer, AddressRefused, UnsupportedUrl, HttpStatusError: What no attempt changes.
        StoreError: No room for a spooled download.
    """
    address = Address.of(address)
    with _opened(address, options, if_changed_from) as raw:
        if options.spool_dir is not None and address.is_remote:
            with spooled(raw, options.spool_dir, options.min_free_bytes) as on_disk:
                yield on_disk
        else:
            yield raw


@contextmanager
def _opened(address: Address, options: FetchOptions, if_changed_from: Validators | None) -> Iterator[RawFile]:
    if not address.is_remote:
        with open_local(address) as local:
            _require_change(address, local.validators, if_changed_from)
            yield local
    elif address.real.lower().startswith(_SCHEMES):
        # Of a start, requests takes an eighth; who reads the disk has no use for it.
        from mrf_assets.fetch.http_file import open_http  # noqa: PLC0415

        with closing(open_http(address, options, if_changed_from)) as remote:
            yield remote
    elif address.store_kind is not None:
        from mrf_assets.fetch.object_store import open_store  # noqa: PLC0415 - pyarrow's file systems

        with open_store(address, options) as store_file:
            _require_change(address, store_file.validators, if_changed_from)
            yield store_file
    else:
        raise UnsupportedUrl(address, "only http, https, file://, local paths and object stores (s3, gs, az) are read")


def _require_change(address: Address, now: Validators, before: Validators | None) -> None:
    if before is not None and now.same_as(before):
        raise NotModified(address, "has not changed since it was last read")


def probe(address: Address | str, options: FetchOptions = DEFAULT_OPTIONS) -> Validators | None:
    """What is said of the file now: by a HEAD, a 1-byte GET where that is refused, the store, or the disk.

    None where nothing can be learned: whoever then reads the file learns why.
    """
    try:
        return _probed(Address.of(address), options)
    except FetchError:
        return None


class Probes:
    """Asks about many files, in any threads, and gives up hosts that answer nothing: each would cost a time-out."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._silences = Counter[str]()  # by server, since its last answer
        self.not_asked = Counter[str]()  # files of servers that were given up, by server

    def __call__(self, address: Address, *, is_from_stranger: bool = False) -> Validators | None:
        """As `probe`; None without a question where the host is given up."""
        server = address.server
        with self._lock:
            if self._silences[server] >= _MAX_SILENCES:
                self.not_asked[server] += 1
                return None
        try:
            validators = _probed(address, self._options.named_by(stranger=is_from_stranger))
        except _OF_THE_HOST:
            with self._lock:
                self._silences[server] += 1
            return None
        except FetchError:
            validators = None
        with self._lock:
            self._silences[server] = 0
        return validators


def _probed(address: Address, options: FetchOptions) -> Validators:
    if not address.is_remote:
        return local_validators(address)
    if address.store_kind:
        from mrf_assets.fetch.object_store import open_store  # noqa: PLC0415 - as in `_opened`

        with open_store(address, options) as file:
            return file.validators
    from mrf_assets.fetch.http_file import probe_http  # noqa: PLC0415 - as in `_opened`

    return probe_http(address, options)
