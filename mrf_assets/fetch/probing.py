"""What a file's place says of it now, without reading it."""

from __future__ import annotations

import time

import requests

from mrf_assets.errors import FetchError
from mrf_assets.fetch.exchange import Client, status_error
from mrf_assets.fetch.local_file import local_validators
from mrf_assets.fetch.object_store import open_store
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.retries import Retries
from mrf_assets.fetch.validators import Validators
from mrf_assets.stream import TransferCounts
from mrf_assets.urls import canonical_url, is_remote, store_kind

_GONE = (404, 410)


def probe(url: str, options: FetchOptions = DEFAULT_OPTIONS) -> Validators | None:
    """What is said of the file now: by a HEAD, a 1-byte GET where that is refused, the store, or the disk.

    None where nothing can be learned: whoever then reads the file learns why.
    """
    try:
        if not is_remote(url):
            return local_validators(url)
        if store_kind(url):
            with open_store(url, options) as file:
                return file.validators
        return _probe_http(url, options)
    except FetchError:
        return None


def _probe_http(url: str, options: FetchOptions) -> Validators:
    counts = TransferCounts()
    client = Client(url, options, counts, Retries(canonical_url(url), options, counts, options.wait or time.sleep))
    with client.answer("HEAD") as head:
        told = head.validators if head.status == requests.codes.ok else None
    if told is not None and told.size_bytes:
        return told
    if head.status in _GONE:
        raise status_error(client.shown, head.status)
    # A link that is signed for GET refuses HEAD with 403; S3 gave no length to HEAD in 2022.
    with client.answer("GET", {"Range": "bytes=0-0"}) as answer:
        if answer.status in (requests.codes.ok, requests.codes.partial_content):
            return answer.validators
    if told is None:
        raise status_error(client.shown, answer.status)
    return told
