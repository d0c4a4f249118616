"""What a file's place says of it now, without reading it."""

from __future__ import annotations

from mrf_assets.errors import FetchError
from mrf_assets.fetch.local_file import local_validators
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.validators import Validators
from mrf_assets.urls import is_remote, store_kind


def probe(url: str, options: FetchOptions = DEFAULT_OPTIONS) -> Validators | None:
    """What is said of the file now: by a HEAD, a 1-byte GET where that is refused, the store, or the disk.

    None where nothing can be learned: whoever then reads the file learns why.
    """
    try:
        if not is_remote(url):
            return local_validators(url)
        if store_kind(url):
            from mrf_assets.fetch.object_store import open_store  # noqa: PLC0415 - as in `opening`

            with open_store(url, options) as file:
                return file.validators
        from mrf_assets.fetch.http_probe import probe_http  # noqa: PLC0415 - as in `opening`

        return probe_http(url, options)
    except FetchError:
        return None
