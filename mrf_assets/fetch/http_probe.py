"""What a server says of a file now."""

from __future__ import annotations

import time

import requests

from mrf_assets.errors import HttpStatusError, NotFoundAtSource, ServerBusy
from mrf_assets.fetch.client import Client, status_error
from mrf_assets.fetch.options import FetchOptions
from mrf_assets.fetch.retries import Retries
from mrf_assets.fetch.validators import Validators
from mrf_assets.stream.decompress import TransferCounts
from mrf_assets.urls import canonical_url
from mrf_assets.urls.redaction import unescaped

_GONE = (404, 410)


def probe_http(url: str, options: FetchOptions) -> Validators:
    """By a HEAD, or a 1-byte GET where that is refused; FetchError where neither tells.

    Where the address is refused as written, what its HTML escapes stand for is asked.
    """
    try:
        return _probed(url, options)
    except (NotFoundAtSource, HttpStatusError) as refusal:
        if (meant := unescaped(url)) == url or isinstance(refusal, ServerBusy):
            raise
        return _probed(meant, options)


def _probed(url: str, options: FetchOptions) -> Validators:
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
