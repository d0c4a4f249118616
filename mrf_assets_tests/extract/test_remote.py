"""Remote provider references: side by side, once each, in order, within bounds; failures are counted and judged."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.errors import LimitExceeded, NotFoundAtSource, RemoteReferencesFailed
from mrf_assets.extract import Reader, Request, read_fast, read_reference
from mrf_assets.extract.remote import RemoteGroups
from mrf_assets.settings import Limits
from mrf_assets.stream.raw_file import RawFile
from mrf_assets.urls.address import Address
from mrf_assets_tests.conftest import FakeOpener, Reading, read_document
from mrf_assets_tests.factory import Document, gzipped, remote_document, render

_BASE = "https://mrf.example/groups"
_readers = pytest.mark.parametrize("reader", [read_fast, read_reference], ids=["fast", "ijson"])
_FAILS = NotFoundAtSource(f"{_BASE}/x", "HTTP 404")


def _file(locations: list[str]) -> Document:
    references = [{"provider_group_id": nth, "location": location} for nth, location in enumerate(locations)]
    return {"provider_references": references, "in_network": []}


def _files(count: int) -> dict[str, bytes | Exception]:
    return {f"{_BASE}/{nth}": render(remote_document(str(nth))) for nth in range(count)}


def _read(locations: list[str], opener: Any, reader: Reader, spool_dir: Path | None = None, **limits: Any) -> Reading:  # noqa: ANN401 - an Opener; fields of Limits
    return read_document(_file(locations), reader=reader, open_url=opener, spool_dir=spool_dir, limits=Limits(**limits))


class _Meeting:
    """An opener that answers nobody before a number of requests are there at a time."""

    def __init__(self, files: dict[str, bytes | Exception], parties: int) -> None:
        self._opener, self._barrier = FakeOpener(files), threading.Barrier(parties, timeout=60)

    @contextmanager
    def __call__(self, address: Address) -> Iterator[RawFile]:
        self._barrier.wait()
        with self._opener(address) as raw:
            yield raw


@_readers
def test_references_are_fetched_side_by_side(reader: Reader) -> None:
    """Hundreds of small files cost most of their time in waiting."""
    files = _files(40)
    got = _read(list(files), _Meeting(files, 8), reader, max_remote_fetches=8)

    assert list(map(str, range(40))) == list(dict.fromkeys(row["provider_group_id"] for row in got.providers))


@_readers
def test_rows_and_rejects_are_those_of_one_after_the_other(reader: Reader) -> None:
    """Whatever comes first from the servers."""
    files = _files(200) | {f"{_BASE}/{nth}": _FAILS for nth in range(0, 200, 7)}
    files |= {f"{_BASE}/{nth}": b'{"provider_groups":[{"npi":["x%d"]}]}' % nth for nth in range(0, 200, 5)}
    locations = [*files, *list(files)[::3], "Missing file"]
    one = _read(locations, FakeOpener(files), reader, max_remote_fetches=1)
    many = _read(locations, FakeOpener(files), reader, max_remote_fetches=16)

    assert one.tables == many.tables
    assert one.counts == many.counts
    assert [row["byte_offset"] for row in many.rejects] == sorted(row["byte_offset"] for row in many.rejects)


@_readers
def test_bytes_behind_a_packed_reference_are_a_repair_where_its_address_comes_first(reader: Reader) -> None:
    """As all that is odd about its document."""
    files: dict[str, bytes | Exception] = {f"{_BASE}/0": gzipped(render(remote_document("0"))) + b"\r\n"}
    got = _read([f"{_BASE}/0", f"{_BASE}/0"], FakeOpener(files), reader)

    assert 1 == got.repairs["trailing_bytes"]


def test_both_readers_give_the_same() -> None:
    """With plain references between remote ones, and with what is no reference."""
    files = _files(150) | {f"{_BASE}/{nth}": _FAILS for nth in range(0, 150, 9)}
    made = _file([*files, *files])
    for nth in range(0, len(made["provider_references"]), 4):
        made["provider_references"][nth] = [5, {"provider_group_id": -nth, "provider_groups": []}][nth // 4 % 2]
    fast, slow = (
        read_document(made, reader=reader, open_url=FakeOpener(files), block_bytes=3_000)
        for reader in (read_fast, read_reference)
    )

    assert fast.tables == slow.tables
    assert fast.counts == slow.counts


@_readers
def test_an_address_is_fetched_once_in_a_run(reader: Reader, tmp_path: Path) -> None:
    """The parts of a network share what they fetched, be it a success or a failure."""
    files = _files(5) | {f"{_BASE}/3": _FAILS}
    opener = FakeOpener(files)
    first = _read([*files, *files], opener, reader, tmp_path)
    second = _read(list(files)[::-1], opener, reader, tmp_path)

    assert dict.fromkeys(files, 1) == Counter(opener.opened)
    assert (2, 1) == (first.repairs["remote_reference_failed"], second.repairs["remote_reference_failed"])
    assert {row["npi"] for row in first.providers} == {row["npi"] for row in second.providers}


@_readers
def test_equal_contents_are_kept_once(reader: Reader, tmp_path: Path) -> None:
    """By their digest: hosts serve the same file under many addresses."""
    files = dict.fromkeys(_files(9), render(remote_document("the same")))
    _read(list(files), FakeOpener(files), reader, tmp_path)

    assert 1 == len(list(tmp_path.glob("remote/*.json")))
    assert [] == list(tmp_path.glob("remote/*.partial"))


@_readers
def test_what_is_kept_on_disk_has_no_address(reader: Reader, tmp_path: Path) -> None:
    """It may be signed."""
    url = f"{_BASE}/0?Signature=S3cr3tV4lue"
    _read([url, f"{_BASE}/1"], FakeOpener({url: _FAILS, f"{_BASE}/1": b'{"provider_groups":[]}'}), reader, tmp_path)

    kept = list(tmp_path.glob("remote/*"))
    assert 3 == len(kept)
    assert not any(b"S3cr3tV4lue" in path.read_bytes() or "S3cr3tV4lue" in path.name for path in kept)


@_readers
@pytest.mark.parametrize(("failures", "share"), [(5, 0.5), (2, 0.2), (10, 1.0), (0, 0.0)])
def test_failures_up_to_the_share_are_counted(failures: int, share: float, reader: Reader) -> None:
    """The file goes on."""
    files = _files(10) | dict.fromkeys(list(_files(failures)), _FAILS)
    got = _read(list(files), FakeOpener(files), reader, remote_reference_failure_share=share)

    assert failures == got.repairs.get("remote_reference_failed", 0)
    assert ["remote_reference_failed"] * failures == got.reject_reasons


@_readers
@pytest.mark.parametrize(("failures", "share"), [(6, 0.5), (3, 0.2), (1, 0.0)])
def test_failures_beyond_the_share_fail_the_file(failures: int, share: float, reader: Reader) -> None:
    """With counts and the first reasons, once for each address."""
    files = _files(10) | dict.fromkeys(list(_files(failures)), _FAILS)
    with pytest.raises(RemoteReferencesFailed) as caught:
        _read([*files, *files], FakeOpener(files), reader, remote_reference_failure_share=share)

    assert (failures, 10) == (caught.value.failures, caught.value.addresses)
    assert f"{failures} of 10 remote provider references could not be had" in str(caught.value)
    assert "HTTP 404" in caught.value.reasons[0]
    assert len(caught.value.reasons) <= 3


@_readers
def test_reasons_of_failures_are_logged(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    """The first ten, and how many there were."""
    files = _files(50) | dict.fromkeys(list(_files(20)), _FAILS)
    with caplog.at_level(logging.WARNING):
        _read(list(files), FakeOpener(files), reader)

    assert 11 == len(caplog.records)
    assert "HTTP 404" in caplog.messages[0]
    assert "20 remote provider references failed in all" in caplog.messages[-1]


@_readers
def test_one_that_is_too_large_has_failed(reader: Reader) -> None:
    """It is no reason to give up the others."""
    files = _files(4) | {f"{_BASE}/2": b'{"provider_groups":[]}' + b" " * 5_000}
    got = _read(list(files), FakeOpener(files), reader, max_remote_reference_bytes=4_000)

    assert 1 == got.repairs["remote_reference_failed"]


@_readers
def test_all_together_have_a_bound(reader: Reader) -> None:
    """Be it many documents or one that is named again and again."""
    document = b'{"provider_groups":[]}' + b" " * 1_000
    for files, times in ((dict.fromkeys(_files(20), document), 1), (dict.fromkeys(_files(1), document), 20)):
        with pytest.raises(LimitExceeded) as caught:
            _read(list(files) * times, FakeOpener(files), reader, max_remote_total_bytes=10_000)

        assert "max_remote_total_bytes" == caught.value.setting


@_readers
def test_the_number_of_addresses_has_a_bound(reader: Reader) -> None:
    """Each costs memory."""
    files = _files(6)
    assert len(_read(list(files), FakeOpener(files), reader, max_remote_references=6).providers) > 5
    with pytest.raises(LimitExceeded) as caught:
        _read(list(files), FakeOpener(files), reader, max_remote_references=5)

    assert "max_remote_references" == caught.value.setting


@_readers
def test_a_document_that_is_nested_without_end_has_failed(reader: Reader) -> None:
    """Its bounds are those of the file."""
    files = _files(4) | {f"{_BASE}/2": b'{"provider_groups":' + b"[" * 10_000 + b"]" * 10_000 + b"}"}
    got = _read(list(files), FakeOpener(files), reader)

    assert 1 == got.repairs["remote_reference_failed"]


def test_a_file_that_is_given_up_asks_no_more(tmp_path: Path) -> None:
    """What waits for a thread is dropped, and nobody waits for a server."""
    release, opener = threading.Event(), FakeOpener(_files(200))

    @contextmanager
    def slow(address: Address) -> Iterator[RawFile]:
        with opener(address) as raw:
            release.wait()
            yield raw

    request = Request(url="u", file_id="f", open_url=slow, spool_dir=tmp_path, limits=Limits(max_remote_fetches=3))
    remote = RemoteGroups(request, lambda _blocks, _url, _offset, _tally: None)
    remote.expect(_files(200))
    remote.close()
    release.set()

    assert len(opener.opened) <= 3
