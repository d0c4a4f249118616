"""What the generator and the server promise to the other tests."""

from __future__ import annotations

import gzip
import http.client
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mrf_assets_tests import factory
from mrf_assets_tests.factory import SHAPES, document, index, luhn_valid, plans, render, write_large
from mrf_assets_tests.mrf_server import HTML_PAGE, Answer, MrfServer


def _npis(value: Any) -> Iterator[int]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from each if key == "npi" else _npis(each)
    elif isinstance(value, list):
        for each in value:
            yield from _npis(each)


@pytest.mark.parametrize("key_order", ["head", "shuffled", "tail"])
def test_same_seed_same_document(key_order: factory.KeyOrder) -> None:
    """A document depends on its seed alone."""
    first, again, other = (
        render(document(seed=seed, key_order=key_order, inline_share=0.5, deviation_share=0.3)) for seed in (5, 5, 6)
    )

    assert first == again
    assert first != other


def test_every_npi_passes_luhn() -> None:
    """Made-up NPIs would be accepted by the registry's own check, inline and referenced ones."""
    npis = list(_npis(document(codes=20, groups=20, inline_share=0.5)))

    assert len(npis) > 50
    assert all(luhn_valid(str(npi)) for npi in npis)
    assert not luhn_valid("1234567890")
    assert luhn_valid("1234567893")  # the example of the CMS check digit specification


def test_head_and_tail_place_the_code_around_the_rates() -> None:
    """The key order is what a one-pass reader depends on."""
    head, tail = (list(document(key_order=order)["in_network"][0]) for order in ("head", "tail"))

    assert head[-1] == "negotiated_rates"
    assert tail[0] == "negotiated_rates"


def test_decimal_group_ids_keep_their_spelling() -> None:
    """A trailing zero is written as BCBSA shards write it."""
    text = render(document(decimal_ids=True, groups=2)).decode()

    assert '"provider_group_id":690.00010' in text


@pytest.mark.parametrize("shape", SHAPES)
def test_large_file_has_its_size_and_is_valid(shape: str, tmp_path: Path) -> None:
    """Every shape hits the size asked for, counts right, and is JSON."""
    spec = SHAPES[shape](300_000, keep_share=0.1, deviation_share=0.05)
    written = write_large(tmp_path / "large.json.gz", spec)
    data = gzip.decompress(written.path.read_bytes())
    found = json.loads(data)
    prices = [
        price
        for item in found["in_network"]
        for rate in item["negotiated_rates"]
        for price in rate["negotiated_prices"]
    ]

    assert written.json_bytes == len(data)
    assert len(data) == pytest.approx(300_000, rel=0.02)
    assert written.items == len(found["in_network"])
    assert written.prices == len(prices)
    assert written.groups == len(found.get("provider_references", []))


def test_large_file_is_the_same_in_every_container(tmp_path: Path) -> None:
    """Same seed, same bytes, packed or not."""
    plain, packed, again, zipped = (
        write_large(tmp_path / name, factory.skewed(100_000, seed=3)).path.read_bytes()
        for name in ("a.json", "b.json.gz", "c.json.gz", "d.json.zip")
    )

    assert plain == gzip.decompress(packed)
    assert packed == again
    with zipfile.ZipFile(tmp_path / "d.json.zip") as archive:
        assert archive.namelist() == ["d.json"]
        assert plain == archive.read("d.json")
    assert zipped.startswith(b"PK")


def test_whitelist_keeps_about_its_share(tmp_path: Path) -> None:
    """The whitelist's codes hold the bytes that it promises."""
    written = write_large(tmp_path / "large.json", factory.many_small(500_000, keep_share=0.2))
    codes = [tuple(line.split(",")) for line in written.whitelist.read_text().splitlines()]
    items = json.loads(written.path.read_bytes())["in_network"]
    kept = [item for item in items if (item["billing_code_type"], item["billing_code"]) in codes]

    assert written.wanted_codes == len(codes)
    assert len(json.dumps(kept)) / len(json.dumps(items)) == pytest.approx(0.2, abs=0.05)
    assert written.wanted_bytes / written.json_bytes == pytest.approx(0.2, abs=0.02)


def test_giant_item_has_its_size_and_its_code_last(tmp_path: Path) -> None:
    """One element of a given size, whose code is known only at its end, and is wanted."""
    written = write_large(tmp_path / "large.json", factory.giant_tail(200_000))
    items = json.loads(written.path.read_bytes())["in_network"]
    giant = next(item for item in items if item["billing_code"] == factory.GIANT_CODE[1])

    assert next(iter(giant)) == "negotiated_rates"
    assert written.largest_item_bytes == pytest.approx(120_000, rel=0.02)
    assert "LOCAL,GIANT" in written.whitelist.read_text()


def test_gzip_damage_is_what_it_says() -> None:
    """Several members read as one file; a bad checksum is noticed by the reference decompressor."""
    data = b"0123456789" * 100

    assert data == gzip.decompress(factory.gzipped(data, members=3))
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        gzip.decompress(factory.gzipped_with_bad_crc(data))


def test_index_by_plan_repeats_shared_files() -> None:
    """A file that two plans use stands in both structures."""
    first, second = plans(2, schema="v2", hyphenated_ein=False)
    found = index(
        [("http://x/a", [first, second]), ("http://x/b", [second])], by="plan", schema="v2", allowed_amounts="array"
    )
    locations = [[file["location"] for file in each["in_network_files"]] for each in found["reporting_structure"]]

    assert locations == [["http://x/a"], ["http://x/a", "http://x/b"]]
    assert isinstance(found["reporting_structure"][0]["allowed_amount_file"], list)
    assert first["plan_id"].isdecimal()


def test_server_answers_from_its_script_and_counts() -> None:
    """Scripted answers come once each and in order, then the stored file."""
    with MrfServer({"/a.json": b"{}"}) as server, requests.Session() as session:
        server.script("/a.json", Answer(status=503, headers={"Retry-After": "7"}), HTML_PAGE)
        answers = [session.get(server.url("/a.json"), timeout=10) for _ in range(3)]
        missing = session.get(server.url("/b.json"), timeout=10)

    assert [answer.status_code for answer in answers] == [503, 200, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[1].text.startswith("<!DOCTYPE html>")
    assert answers[2].content == b"{}"
    assert missing.status_code == 404
    assert server.counts() == {"/a.json": 3, "/b.json": 1}


def test_server_truncates_below_the_announced_length() -> None:
    """The client is told the whole length and gets less."""
    with MrfServer({"/a": b"x" * 1000}) as server:
        server.script("/a", Answer(truncate_at=300))
        with pytest.raises(http.client.IncompleteRead) as caught:
            _read_plain(server.port, "/a")

    assert len(caught.value.partial) == 300
    assert caught.value.expected == 700


def _read_plain(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_server_holds_an_answer_until_released() -> None:
    """A test can act while the client has the first half and waits for the second."""
    with MrfServer({"/a": b"first" + b"second"}) as server, requests.Session() as session:
        gate = server.hold("/a", at=5)
        answer = session.get(server.url("/a"), stream=True, timeout=10)
        head = answer.raw.read(5)
        assert gate.reached.wait(10)
        gate.release()

        assert head == b"first"
        assert answer.raw.read() == b"second"


def test_server_gives_ranges_and_validators(tmp_path: Path) -> None:
    """A download can be resumed, and an unchanged file is 304."""
    (tmp_path / "a.json").write_bytes(b"0123456789")
    with MrfServer(tmp_path) as server, requests.Session() as session:
        url = server.url("/a.json")
        head = session.head(url, timeout=10)
        rest = session.get(url, headers={"Range": "bytes=4-", "If-Range": head.headers["ETag"]}, timeout=10)
        stale = session.get(url, headers={"Range": "bytes=4-", "If-Range": '"other"'}, timeout=10)
        fresh = session.get(url, headers={"If-None-Match": head.headers["ETag"]}, timeout=10)
        outside = session.get(server.url("/../a.json"), timeout=10)

    assert (head.headers["Content-Length"], head.content) == ("10", b"")
    assert (rest.status_code, rest.content, rest.headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    assert (stale.status_code, stale.content) == (200, b"0123456789")
    assert fresh.status_code == 304
    assert outside.url == url  # clients resolve dots themselves
    assert server.count("/a.json", "HEAD") == 1


def test_server_stops_with_open_connections_and_closed_gates(capfd: pytest.CaptureFixture[str]) -> None:
    """The end of a test never waits for a client, and nothing is printed."""
    with MrfServer({"/a": b"x" * 100}) as server:
        gate = server.hold("/a", at=10)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/a")
        assert gate.reached.wait(10)

    connection.close()
    assert capfd.readouterr() == ("", "")
