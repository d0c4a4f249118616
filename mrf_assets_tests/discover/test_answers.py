"""What a portal's answers name, by their shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mrf_assets.discover.answers import itself, read_portal_answer
from mrf_assets_tests.factory import document, index, plans, render
from mrf_assets_tests.portal_server import INDEX, RATES, SECRET, SIGNED, listing_of_azure, listing_of_s3

_URL = "https://p.example/lists/latest.json"
_FOLDER = "https://p.example/lists"


def _read(body: Any, url: str = _URL) -> dict[str, str]:  # noqa: ANN401 - JSON, text or bytes
    """Address -> kind."""
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
    reading = read_portal_answer(url, body.encode() if isinstance(body, str) else body, "x")
    return {file.url: file.kind for file in reading.files.values()}


def test_healthsparqs_metadata_names_files_below_its_own_folder() -> None:
    """The schema of a file says its kind, whatever it is called."""
    metadata = {
        "files": [
            {"fileSchema": "TABLE_OF_CONTENTS", "filePath": "2026-11-05/tableOfContents/gold.json.gz"},
            {
                "fileSchema": "IN_NETWORK_RATES",
                "filePath": "2026-11-05/x/a.json.gz",
                "reportingPlans": [{"planId": "1"}],
            },
        ]
    }

    assert {
        f"{_FOLDER}/2026-11-05/tableOfContents/gold.json.gz": "table_of_contents",
        f"{_FOLDER}/2026-11-05/x/a.json.gz": "in_network",
    } == _read(metadata)


def test_the_blobs_of_uhc_are_known_by_their_names() -> None:
    """The address of a download need not say what it is."""
    blobs = {
        "blobs": [
            {"name": INDEX, "downloadUrl": "https://u.example/api/v1/uhc/blobs/download?fd=2026-11-01&fn=1", "size": 7},
            {"name": RATES, "downloadUrl": f"/api/v1/uhc/blobs/download/{RATES}", "size": 8},
            {"name": "readme.txt", "downloadUrl": "/api/v1/uhc/blobs/download/readme.txt", "size": 9},
        ]
    }

    assert {
        "https://u.example/api/v1/uhc/blobs/download?fd=2026-11-01&fn=1": "table_of_contents",
        f"https://p.example/api/v1/uhc/blobs/download/{RATES}": "in_network",
    } == _read(blobs)


def test_cignas_latest_names_its_signed_table_of_contents() -> None:
    """Whatever the file is called."""
    latest = {"mrfs": [{"kind": "TOC", "files": [{"url": f"https://c.example/november.json{SIGNED}"}]}]}

    assert {f"https://c.example/november.json{SIGNED}": "table_of_contents"} == _read(latest)


def test_hcscs_list_has_one_table_of_contents_per_employer() -> None:
    """A list of objects."""
    listed = [{"ein": str(ein), "url": f"https://h.example/2026-11-01_{ein}_index.json"} for ein in (1, 2)]

    assert ["https://h.example/2026-11-01_1_index.json", "https://h.example/2026-11-01_2_index.json"] == list(
        _read(listed)
    )


def test_any_json_is_searched_for_addresses() -> None:
    """Single ones, arrays, bare names; deep inside, and under any key."""
    value = {
        "a": {"b": [f"https://x.example/{INDEX}", INDEX, "text", 1, None], "c": "/mrf/toc.json"},
        "d": "package.json",
    }

    assert {f"https://x.example/{INDEX}", f"{_FOLDER}/{INDEX}", "https://p.example/mrf/toc.json"} == set(_read(value))


def test_json_that_breaks_off_names_what_came_before() -> None:
    """And says where it broke."""
    reading = read_portal_answer(_URL, json.dumps([{"url": f"/{INDEX}"}, {"url": f"/2{INDEX}"}])[:-10].encode(), "x")

    assert {f"https://p.example/{INDEX}"} <= set(reading.files)
    assert "ended early" in reading.note


def test_a_bucket_of_s3_names_its_files_and_its_next_page() -> None:
    """Keys are below the bucket, whatever folder was asked for."""
    url = "https://acme.s3.amazonaws.com/?list-type=2&prefix=mrf%2F"
    reading = read_portal_answer(
        url, listing_of_s3(f"mrf/{INDEX}", "mrf/readme.txt", "mrf/a b_index.json", token="t/1=").encode(), "x"
    )

    assert [
        f"https://acme.s3.amazonaws.com/mrf/{INDEX}", "https://acme.s3.amazonaws.com/mrf/a%20b_index.json",
    ] == list(reading.files)  # fmt: skip
    assert ["https://acme.s3.amazonaws.com/?list-type=2&prefix=mrf%2F&continuation-token=t%2F1%3D"] == list(
        reading.more
    )


def test_a_container_of_azure_names_its_files_and_its_next_page() -> None:
    """With the signature that opened the listing, which opens the blobs, too."""
    url = "https://acme.blob.core.windows.net/mrf?restype=container&comp=list&sv=1&sig=abc"
    reading = read_portal_answer(url, listing_of_azure(f"november/{INDEX}", "x.txt", marker="m").encode(), "x")

    assert [f"https://acme.blob.core.windows.net/mrf/november/{INDEX}?sv=1&sig=abc"] == list(reading.files)
    assert [f"{url}&marker=m"] == list(reading.more)


def test_the_last_page_of_a_listing_has_no_next() -> None:
    """An empty marker is none."""
    assert not read_portal_answer(_URL, listing_of_azure(INDEX).encode(), "x").more


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
    ],
)
def test_a_listing_with_a_document_type_is_not_read(attack: str) -> None:
    """No entity expands, and nothing is fetched."""
    body = listing_of_s3(INDEX).replace("<ListBucketResult", f"{attack}<ListBucketResult", 1)
    reading = read_portal_answer(_URL, body.encode(), "x")

    assert not reading.files
    assert "a document type" in reading.note


def test_a_listing_that_breaks_off_names_what_came_before() -> None:
    """As JSON does."""
    reading = read_portal_answer(_URL, listing_of_s3(INDEX, "b")[:-30].encode(), "x")

    assert [f"{_FOLDER}/latest.json/{INDEX}"] == list(reading.files)
    assert "breaks off" in reading.note


@pytest.mark.parametrize("encoding", ["gb18030", "foo", "base64", "idna", "utf-7"])
def test_a_listing_in_an_odd_encoding_is_read_to_its_end(encoding: str) -> None:
    """What Python's XML makes of it is an error of many kinds, and for a person a note."""
    reading = read_portal_answer(_URL, f'<?xml version="1.0" encoding="{encoding}"?><ListBucketResult>'.encode(), "x")

    assert not reading.files
    assert reading.note


def test_a_bucket_of_s3s_first_version_goes_on_behind_its_last_name() -> None:
    """It says that there is more, and where only to whoever asked for folders."""
    body = listing_of_s3(f"1_{INDEX}", f"2_{INDEX}").replace("<Name>", "<IsTruncated>true</IsTruncated><Name>")

    reading = read_portal_answer("https://acme.s3.amazonaws.com/?prefix=a", body.encode(), "x")
    second = read_portal_answer("https://acme.s3.amazonaws.com/?list-type=2", body.encode(), "x")

    assert [f"https://acme.s3.amazonaws.com/?prefix=a&marker=2_{INDEX}"] == list(reading.more)
    assert not second.more
    assert "the listing goes on" in second.note


def test_a_list_in_plain_text_names_a_file_in_each_line() -> None:
    """Kaiser's and Highmark's; further columns are passed over."""
    text = f"https://k.example/{RATES}{SIGNED}\r\n{INDEX}\t17\n# a note\n\nreadme.txt\n"

    assert {f"https://k.example/{RATES}{SIGNED}": "in_network", f"{_FOLDER}/{INDEX}": "table_of_contents"} == _read(
        text
    )


def test_a_page_is_read_as_a_page() -> None:
    """Sapphire's hub: tables of contents by month."""
    html = f'<!doctype html><ul><li><a href="/tocs/202611/blue_index.json{SIGNED.replace("&", "&amp;")}">x</a></ul>'

    assert {f"https://p.example/tocs/202611/blue_index.json{SIGNED}": "table_of_contents"} == _read(html)


def test_a_page_without_end_is_read_to_a_bound() -> None:
    """Eight MiB of it, and the rest is told."""
    body = b"<html>" + b" " * (8 << 20) + f'<a href="{INDEX}">'.encode()
    reading = read_portal_answer(_URL, body, "x")

    assert not reading.files
    assert "longer than 8 MiB" in reading.note


def test_an_index_is_itself_what_is_looked_for() -> None:
    """Its files are not: they are read when it is ingested."""
    body = render(index([(f"https://x.example/{RATES}", plans(1))]))

    assert {"https://p.example/november": "table_of_contents"} == _read(body, "https://p.example/november")


def test_rates_are_known_by_their_keys() -> None:
    """A list that has a key of that name is none."""
    found = itself("https://p.example/x", render(document(seed=1, codes=2)), "x")

    assert found is not None
    assert "in_network" == found.kind
    assert itself("https://p.example/x", b'{"in_network": ["https://x.example/a.json"]}', "x") is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"reporting_entity_name": "A", "provider_references": [{"provider_group_id": 1', "in_network"),
        (b'{"reporting_entity_name": "A", "out_of_network": [', "allowed_amounts"),
        (b"PK\x03\x04\x14\x00", "table_of_contents"),
        (b"7z\xbc\xaf\x27\x1c\x00", "table_of_contents"),
    ],
)
def test_a_file_is_known_by_its_beginning(head: bytes, kind: str) -> None:
    """Rates whose prices come late, allowed amounts, and what is packed: that by its name."""
    found = itself("https://p.example/2026-11-01_acme_index.zip", head, "x")

    assert found is not None
    assert kind == found.kind
    assert itself("https://p.example/brochures.zip", b"PK\x03\x04\x14\x00", "x") is None


def test_a_found_address_is_not_shown_with_its_signature() -> None:
    """Neither by `shown` nor in any repr."""
    (file,) = read_portal_answer(_URL, json.dumps([f"/{INDEX}{SIGNED}"]).encode(), "x").files.values()

    assert SECRET in file.url
    assert SECRET not in file.shown + repr(file)


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["//[", INDEX, "/a_index.json", "TOC"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["url", "filePath", "downloadUrl", "kind", "x"]), inner)
    ),
)


@given(
    st.binary()
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.text().map(lambda it: f"<{it}".encode("utf-8", "replace"))
)
def test_any_answer_is_read_to_its_end(body: bytes) -> None:
    """Nothing that a server sends is a traceback; what comes out is an address of the web."""
    for cut in (body, body[: len(body) // 2]):
        for url in read_portal_answer(_URL, cut, "x").files:
            assert url.startswith(("http://", "https://"))
