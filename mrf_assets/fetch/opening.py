"""`open_url`: the one door to http(s), object stores and our own disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from mrf_assets.errors import NotModified, UnsupportedUrl
from mrf_assets.fetch.local_file import open_local
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.spool import spooled
from mrf_assets.fetch.validators import Validators
from mrf_assets.stream.decompress import RawFile
from mrf_assets.urls import canonical_url, is_remote, store_kind

_SCHEMES = ("http://", "https://")


@contextmanager
def open_url(
    url: str, options: FetchOptions = DEFAULT_OPTIONS, *, if_changed_from: Validators | None = None
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
    with _opened(url, options, if_changed_from) as raw:
        if options.spool_dir is not None and is_remote(url):
            with spooled(raw, options.spool_dir, options.min_free_bytes) as on_disk:
                yield on_disk
        else:
            yield raw


@contextmanager
def _opened(url: str, options: FetchOptions, if_changed_from: Validators | None) -> Iterator[RawFile]:
    if not is_remote(url):
        with open_local(url) as local:
            _require_change(url, local.validators, if_changed_from)
            yield local
    elif url.lower().startswith(_SCHEMES):
        # Of a start, requests takes an eighth; who reads the disk has no use for it.
        from mrf_assets.fetch.http_file import answered  # noqa: PLC0415

        with closing(answered(url, options, if_changed_from)) as remote:
            yield remote
    elif store_kind(url) is not None:
        from mrf_assets.fetch.object_store import open_store  # noqa: PLC0415 - pyarrow's file systems

        with open_store(url, options) as stored:
            _require_change(url, stored.validators, if_changed_from)
            yield stored
    else:
        raise UnsupportedUrl(
            canonical_url(url), "only http, https, file://, local paths and object stores (s3, gs, az) are read"
        )


def _require_change(url: str, now: Validators, before: Validators | None) -> None:
    if before is not None and now.same_as(before):
        raise NotModified(canonical_url(url), "has not changed since it was last read")
