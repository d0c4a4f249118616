"""Objects of a real S3 server on loopback (moto)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import requests
from moto.server import ThreadedMotoServer

from mrf_assets.errors import (
    ConnectionLostError,
    FetchError,
    NotFoundAtSource,
    NotModified,
    SourceChanged,
    UnsupportedUrl,
)
from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets.fetch.object_store import azure_account, is_in_private_store
from mrf_assets.sources import read_source
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.urls.address import Address

_DATA = bytes(range(256)) * 50_000  # of two pieces
_KEY = "2026/ä b?c.json.gz"


@pytest.fixture(scope="module")
def options() -> Iterator[FetchOptions]:
    """Options that lead to a bucket `acme` with one object."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    requests.put(f"{endpoint}/acme", timeout=10).raise_for_status()
    made = FetchOptions(
        object_store_endpoint=endpoint, connect_timeout_seconds=60, read_timeout_seconds=60, wait=lambda _seconds: None
    )
    for key in ("2026/%C3%A4%20b%3Fc.json.gz", "plain.json"):
        _put(made, key, _DATA)
    yield made
    server.stop()


@pytest.mark.parametrize("key", ["plain.json", "2026/%C3%A4%20b%3Fc.json.gz", "2026/ä b%3Fc.json.gz"])
def test_an_object_is_read_whole(options: FetchOptions, key: str) -> None:
    """Escapes of the address are decoded, and the store's validators are there."""
    with open_url(f"s3://acme/{key}", options) as raw:
        read = b"".join(iter(lambda: raw.read(1 << 20), b""))
        told = (raw.size_bytes, raw.transfer)
        assert raw.etag
        assert raw.last_modified

    assert _DATA == read
    assert (len(_DATA), TransferCounts(requests=4)) == told


@pytest.mark.parametrize("data", [_DATA[::-1], _DATA + b"more", _DATA[:100]], ids=["as long", "longer", "shorter"])
@pytest.mark.parametrize("read_bytes", [0, 1], ids=["before the first piece", "between two pieces"])
def test_an_object_that_is_replaced_while_it_is_read_is_told(
    options: FetchOptions, data: bytes, read_bytes: int
) -> None:
    """Pieces of two states are never one file: the last bytes are not handed out."""
    _put(options, "replaced.json", _DATA)

    with open_url("s3://acme/replaced.json", options) as raw:
        begun = raw.read(read_bytes)
        _put(options, "replaced.json", data)
        with pytest.raises(SourceChanged, match="another object lies there"):
            begun += b"".join(iter(lambda: raw.read(1 << 20), b""))

    assert len(begun) < len(data)


def _put(options: FetchOptions, key: str, data: bytes) -> None:
    headers = {"x-amz-acl": "public-read"}  # open to anybody: what is published has no credentials
    url = f"{options.object_store_endpoint}/acme/{key}"
    requests.put(url, data=data, headers=headers, timeout=10).raise_for_status()


def test_an_object_is_known_before_it_is_read(options: FetchOptions) -> None:
    """As a file of the web, and not read again while it is the same."""
    told = probe("s3://acme/plain.json", options)

    assert told is not None
    assert len(_DATA) == told.size_bytes
    with pytest.raises(NotModified), open_url("s3://acme/plain.json", options, if_changed_from=told):
        pass
    with open_url("s3://acme/plain.json", options, if_changed_from=replace(told, etag='"other"')) as raw:
        assert raw.read(1)


@pytest.mark.parametrize("url", ["s3://acme/none.json", "s3://nobody-has-this/x.json"])
def test_an_object_that_is_not_there_is_told(options: FetchOptions, url: str) -> None:
    """There is nothing to wait for."""
    with pytest.raises(NotFoundAtSource, match="no such object"), open_url(url, options):
        pass
    assert probe(url, options) is None


@pytest.mark.parametrize(
    "url", ["s3://acme/x?endpoint_override=evil.example", "s3://acme", "s3://acme/", "s3:///x", "s3://acme/x#y"]
)
def test_an_address_chooses_neither_endpoint_nor_credentials(options: FetchOptions, url: str) -> None:
    """Options of pyarrow's addresses are for settings alone."""
    with pytest.raises(UnsupportedUrl, match="is no object's address"), open_url(url, options):
        pass


def test_a_store_that_the_settings_leave_out_is_not_read(options: FetchOptions) -> None:
    """`object_stores` names the ones that are."""
    with pytest.raises(UnsupportedUrl, match="kind s3, which the setting object_stores leaves out"):
        _open(options.changed(object_stores="gs"))


def test_a_store_that_does_not_answer_is_asked_again(options: FetchOptions) -> None:
    """As often as a web server."""
    waits: list[float] = []
    nowhere = options.changed(object_store_endpoint="http://127.0.0.1:9", connect_timeout_seconds=1, wait=waits.append)
    with pytest.raises(ConnectionLostError, match="the store does not answer"):
        _open(nowhere)

    assert 3 == len(waits)


def _open(options: FetchOptions) -> None:
    with open_url("s3://acme/plain.json", options):
        pass


def test_a_list_in_a_private_store_is_no_strangers(options: FetchOptions) -> None:
    """It lies in our own network, as one of a web server there does, so it may name private addresses."""
    _put(options, "list.txt", b"http://10.1.2.3/2026-11_302_42A0_in-network-rates.json")

    (task,) = read_source("urls", "s3://acme/list.txt", partial(open_url, options=options))

    assert not task.is_from_stranger


@pytest.mark.parametrize(
    ("url", "endpoint", "expected"),
    [
        ("s3://acme/x", "http://10.1.2.3:9000", True),
        ("gs://acme/x", "http://127.1:4443", True),
        ("s3://acme/x", "https://minio.internal", True),
        ("s3://acme/x", "https://s3.wasabisys.com", False),
        ("s3://acme/x", None, False),
        ("az://box/x", "http://10.1.2.3:9000", False),
    ],
)
def test_a_store_is_private_by_the_host_of_its_endpoint(url: str, endpoint: str | None, expected: bool) -> None:
    """Azure's stores are not asked there, and the clouds' hold files of strangers."""
    assert expected is is_in_private_store(Address(url), FetchOptions(object_store_endpoint=endpoint))


@pytest.mark.parametrize(
    ("host", "container", "account", "expected"),
    [
        ("acme.dfs.core.windows.net", "box", None, "acme"),
        ("acme.blob.core.windows.net", "box", "other", "acme"),
        ("box", None, "acme", "acme"),
    ],
)
def test_azures_account_is_in_the_address_or_in_the_settings(
    host: str, container: str | None, account: str | None, expected: str
) -> None:
    """`abfs://box@acme.dfs.core.windows.net/x` has it, `az://box/x` does not."""
    assert expected == azure_account(Address("az://box/x"), host, container, account)


@pytest.mark.parametrize(("host", "container"), [("box", None), ("evil.example", "box")])
def test_an_address_without_an_account_is_told(host: str, container: str | None) -> None:
    """The setting to mend it is named; another host is never asked."""
    with pytest.raises(FetchError, match="object_store_account"):
        azure_account(Address("az://box/x"), host, container, None)
