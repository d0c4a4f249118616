"""What goes too far is refused with its place, by both readers, wherever it stands; memory stays flat."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.errors import LimitExceeded, ListFileError, MrfError, SourceProblems, UnsupportedContent
from mrf_assets.extract import ReadCounts, Reader, Request, read_fast, read_reference
from mrf_assets.extract.interface import excerpt_of_value
from mrf_assets.settings import MIB, Limits
from mrf_assets.sources import SourceCounts, SourceOptions, read_source
from mrf_assets.stream.decompress import open_json
from mrf_assets.whitelist import CodeWhitelist, read_code_whitelist
from mrf_assets_tests.conftest import FakeFile, closed_door, read_document
from mrf_assets_tests.factory import gzipped, zipped
from mrf_assets_tests.hostile import (
    PLACES,
    VALUES,
    Endless,
    deep,
    emptiness,
    endless,
    gzipped_blocks,
    many_elements,
    nested_zip,
    packed_twice,
    zip_of_many,
    zip_of_names,
)

_LIMITS = Limits(max_element_bytes=2 * MIB, max_element_values=8 * MIB)
_PIECE = 1 << 20  # how exactly the reference reader knows a place
_READERS: dict[str, Reader] = {"fast": read_fast, "ijson": read_reference}
_NOTHING = CodeWhitelist(frozenset({"no such code"}), frozenset())
_readers = pytest.mark.parametrize("reader", _READERS)
_codes = pytest.mark.parametrize("codes", [None, _NOTHING], ids=["kept", "passed over"])


def _read(
    blocks: Iterator[bytes], reader: str, codes: CodeWhitelist | None = None, limits: Limits = _LIMITS
) -> ReadCounts:
    counts = ReadCounts()
    request = Request(
        url="https://mrf.example/rates.json", file_id="f", codes=codes, open_url=closed_door, limits=limits
    )
    for _ in _READERS[reader](blocks, request, counts):
        pass
    return counts


def _peak_bytes(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- values that are too long ---------------------------------------------------------------


@_codes
@_readers
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_without_end_is_refused(value: str, place: str, reader: str, codes: CodeWhitelist | None) -> None:
    """Text, number, white space or a list of them: whatever it is and wherever it stands, kept or not."""
    made = endless(value, place, 4 * MIB)
    with pytest.raises(LimitExceeded) as caught:
        _read(made.blocks(), reader, codes)

    assert "max_element_bytes" == caught.value.setting
    assert caught.value.byte_offset is not None
    assert 0 <= caught.value.byte_offset <= made.begin + _PIECE


@_readers
@pytest.mark.parametrize("value", [value for value in VALUES if value not in ("number", "decimals")])
def test_a_long_value_within_the_bound_is_no_reason(value: str, reader: str) -> None:
    """A megabyte is odd, and read."""
    _read(endless(value, "unknown key", MIB).blocks(), reader)


@_readers
def test_memory_does_not_grow_with_a_text(reader: str) -> None:
    """A gigabyte is announced; what is held is the bound."""
    limits = Limits(max_element_bytes=8 * MIB)

    def read() -> None:
        with pytest.raises(LimitExceeded):
            _read(endless("text", "header", 1 << 30).blocks(), reader, limits=limits)

    assert _peak_bytes(read) < 40 * MIB


@_readers
@pytest.mark.parametrize("place", ["rate", "reference", "header"])
@pytest.mark.parametrize("part", [b"{},", b'{"a":[]},', b'"a":{},', b'"a":[],'])
def test_an_element_without_end_is_refused(part: bytes, place: str, reader: str) -> None:
    """A list of brackets, or an object with keys without number, in what is kept whole."""
    with pytest.raises(LimitExceeded) as caught:
        _read(many_elements(place, part, 3 * MIB).blocks(), reader)

    assert "max_element_bytes" == caught.value.setting


_ELEMENTS = {  # each with a value, two lists or objects, and the values of a list
    "rate": b'{"in_network":[{"billing_code":"1","negotiated_rates":[{"x":"a,b,[c","y":[%b]}]}]}',
    "late rate": b'{"in_network":[{"negotiated_rates":[{"x":"a,b,[c","y":[%b]}],"billing_code":"1"}]}',
    "reference": b'{"provider_references":[{},{"provider_group_id":1,"x":[%b]}],"in_network":[]}',
    "lonely reference": b'{"provider_references":{"provider_group_id":1,"x":[%b]},"in_network":[]}',
    "head": b'{"in_network":[{"billing_code":"1","bundled_codes":[{"x":1},%b],"negotiated_rates":[]}]}',
    "header": b'{"version":[[],1,%b],"in_network":[]}',
}
_FEW = Limits(max_element_values=1_000)


@_readers
@pytest.mark.parametrize("place", _ELEMENTS)
def test_an_element_may_have_so_many_values_and_no_more(place: str, reader: str) -> None:
    """Lists and objects count as four, numbers and texts as one, what stands inside of texts does not."""
    within, beyond = (_ELEMENTS[place] % b",".join([b"1"] * (count - 9)) for count in (1_000, 1_001))
    _read(iter([within]), reader, limits=_FEW)
    with pytest.raises(LimitExceeded, match="has one element of more than 1000 values") as caught:
        _read(iter([beyond]), reader, limits=_FEW)

    assert "max_element_values" == caught.value.setting
    assert caught.value.byte_offset is not None
    assert 0 <= caught.value.byte_offset < len(beyond)


@_readers
@pytest.mark.parametrize("part", [b"[],", b'{"a":[]},'])
@pytest.mark.parametrize("place", ["rate", "reference"])
def test_memory_does_not_grow_with_the_values_of_an_element(part: bytes, place: str, reader: str) -> None:
    """Eight megabytes of brackets would be hundreds of megabytes of objects."""
    limits = Limits(max_element_values=50_000)

    def read() -> None:
        with pytest.raises(LimitExceeded):
            _read(many_elements(place, part, 8 * MIB).blocks(), reader, limits=limits)

    assert _peak_bytes(read) < 80 * MIB


@_readers
def test_an_item_with_keys_without_number_is_refused(reader: str) -> None:
    """What stands beside the rates of an item is kept until its end."""
    made = Endless(b'{"in_network":[{', b'"a":{},"b":[],', b'"z":1}]}', 5 * MIB)
    with pytest.raises(LimitExceeded) as caught:
        _read(made.blocks(), reader)

    assert "max_element_bytes" == caught.value.setting


@_codes
@_readers
def test_unknown_keys_without_number_are_passed_over(reader: str, codes: CodeWhitelist | None) -> None:
    """At the root nothing is kept of them but a few hundred names."""
    keys = b"".join(b'"a%d":{},' % number for number in range(20_000))
    counts = _read(iter([b"{" + keys + b'"in_network":[]}']), reader, codes)

    assert 20_000 == sum(counts.ignored_keys.values())
    assert len(counts.ignored_keys) < 1_000


# --- nesting --------------------------------------------------------------------------------


@_codes
@_readers
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [b"[", b"{"], ids=["lists", "objects"])
def test_bottomless_nesting_is_refused(kind: bytes, place: str, reader: str, codes: CodeWhitelist | None) -> None:
    """With the place, and no RecursionError, in whatever is kept or passed over."""
    data = deep(place, 10_000, kind=kind)
    with pytest.raises(LimitExceeded) as caught:
        _read(iter([data]), reader, codes)

    assert "max_nesting_depth" == caught.value.setting
    assert caught.value.byte_offset is not None
    begin = data.index(kind * 3 if kind == b"[" else b'{"a":{"a":')
    assert begin < caught.value.byte_offset <= begin + _PIECE


@_readers
@pytest.mark.parametrize(("levels", "is_read"), [(63, True), (64, False)])
def test_the_depth_is_counted_from_the_root(levels: int, reader: str, *, is_read: bool) -> None:
    """The root is one level; the bound is the last one that is read."""
    data = deep("unknown key", levels)
    if is_read:
        _read(iter([data]), reader)
        return
    with pytest.raises(LimitExceeded, match="nested deeper than 64 levels"):
        _read(iter([data]), reader)


@_readers
def test_a_setting_allows_deeper_nesting(reader: str) -> None:
    """As the error says."""
    _read(iter([deep("item", 150)]), reader, limits=Limits(max_nesting_depth=200))


def test_the_fast_reader_tells_the_very_bracket() -> None:
    """The 65th, whatever the blocks."""
    data = deep("unknown key", 10_000)
    for block_bytes in (1, 7, len(data)):
        with pytest.raises(LimitExceeded) as caught:
            read_document(data, reader=partial(read_fast, least_block_bytes=1), block_bytes=block_bytes)

        assert data.index(b"[") + 63 == caught.value.byte_offset


# --- numbers, patterns, rejects -------------------------------------------------------------


@_readers
@pytest.mark.parametrize("digits", [b"1." + b"3" * 100_000, b'"' + b"7" * 100_000 + b'x"', b"1e999999999"])
def test_a_huge_rate_is_rejected(digits: bytes, reader: str) -> None:
    """Without the square of its length in time."""
    data = b'{"in_network":[{"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":%b}]}]}]}' % digits
    got = read_document(data, reader=_READERS[reader])

    assert 1 == got.counts.prices_read
    assert 1 == got.counts.prices_rejected + got.counts.rate_rows
    assert all(len(reject["excerpt"]) <= 200 for reject in got.rejects)


@_readers
def test_an_integer_that_python_refuses_is_told_with_its_place(reader: str) -> None:
    """`Exceeds the limit (4300 digits) for integer string conversion` is no way to end."""
    data = b'{"in_network":[{"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":%b}]}]}]}' % (b"7" * 100_000)
    with pytest.raises(MrfError, match="a number or text that cannot be held"):
        _read(iter([data]), reader)


@pytest.mark.parametrize("text", ["://" * 700_000, "1" * 2_000_000 + "x", "://" + "a" * 2_000_000, "?" * 2_000_000])
def test_an_excerpt_takes_no_longer_for_a_long_text(text: str) -> None:
    """Patterns that take the square of the length would need days for these."""
    assert len(excerpt_of_value(text)) <= 200


def test_a_password_that_is_longer_than_what_is_looked_at_is_not_shown() -> None:
    """The `@` that ends it is far away."""
    assert "https://" == excerpt_of_value("https://user:" + "S3cr3t" * 10_000 + "@mrf.example/")


@_readers
def test_rejects_of_an_item_do_not_wait_in_memory(reader: str) -> None:
    """They go to disk, and come out in order, each of them."""
    rate = b'{"negotiated_prices":[%b]},' % b",".join([b'{"negotiated_rate":"%b"}' % (b"n" * 200)] * 500)
    before, behind = b'{"in_network":[{"negotiated_rates":[', b'{}],"billing_code":"1"}]}'
    readers: dict[str, Reader] = {"fast": partial(read_fast, batch_bytes=200_000), "ijson": read_reference}
    counts = dict.fromkeys(readers, 0)

    def read() -> None:
        blocks = iter([before, *[rate] * 100, behind])
        request = Request(url="u", file_id="f", open_url=closed_door, rate_batch_rows=1_000, item_rows_in_memory=1_000)
        offsets = list[Any]()
        for table, batch in readers[reader](blocks, request, ReadCounts()):
            assert "rejects" == table
            offsets += batch.column("byte_offset").to_pylist()
        assert sorted(offsets) == offsets
        counts[reader] = len(offsets)

    peak = _peak_bytes(read)
    assert 50_000 == counts[reader]
    assert peak < 12 * MIB  # all of them are more than 20


@_readers
def test_too_many_rejects_of_one_element_are_no_list(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped: the file is refused."""
    monkeypatch.setattr("mrf_assets.extract.interface._MAX_REJECTS", 1_000)
    prices = b",".join([b"5"] * 2_000)
    data = b'{"in_network":[{"negotiated_rates":[{"negotiated_prices":[%b]}]}]}' % prices
    with pytest.raises(LimitExceeded, match="more values than can be listed"):
        _read(iter([data]), reader)


# --- containers -----------------------------------------------------------------------------


def _unpack(data: bytes, **limits: Any) -> int:  # noqa: ANN401 - fields of Limits
    return sum(map(len, open_json(FakeFile(data), limits=Limits(**limits)).blocks()))


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Empty objects, hundreds of bytes in one."""
    return gzipped_blocks(emptiness(128 * MIB))


@pytest.mark.parametrize("pack", [bytes, packed_twice, lambda data: zipped({"a.json.gz": data})])
def test_a_bomb_is_refused(bomb: bytes, pack: Callable[[bytes], bytes]) -> None:
    """Gzipped once, three times over, in a zip."""
    with pytest.raises((LimitExceeded, UnsupportedContent)) as caught:
        _unpack(pack(bomb))

    assert not isinstance(caught.value, LimitExceeded) or "max_inflation" == caught.value.setting


def test_a_bomb_in_a_member_that_is_passed_over_is_refused() -> None:
    """It costs time like any other."""
    with pytest.raises(LimitExceeded) as caught:
        _unpack(zipped({"a.txt": b"x" * (80 * MIB), "b.json": b"{}"}))

    assert "max_inflation" == caught.value.setting


def test_memory_does_not_grow_with_a_bomb(bomb: bytes) -> None:
    """It comes in blocks, until it is refused."""

    def unpack() -> None:
        with pytest.raises(LimitExceeded):
            _unpack(bomb)

    assert _peak_bytes(unpack) < len(bomb) * 3 + 20 * MIB


def test_what_real_payers_ship_is_no_bomb() -> None:
    """CareFirst's shards unpack to 57 times their size."""
    data = gzipped(
        b'{"x":[' + b",".join(b'{"negotiated_rate":%d}' % (number % 900) for number in range(600_000)) + b"]}"
    )

    assert _unpack(data) > len(data) * 5


def test_a_zip_in_a_zip_in_a_zip_is_refused() -> None:
    """Payers need two containers."""
    with pytest.raises(UnsupportedContent, match="a zip inside of a zip"):
        _unpack(nested_zip(b"{}", 9))


def test_the_size_of_json_has_a_bound_if_one_is_set() -> None:
    """None by default."""
    assert 2 == _unpack(gzipped(b"{}"), max_json_bytes=2)
    with pytest.raises(LimitExceeded) as caught:
        _unpack(gzipped(b"{} "), max_json_bytes=2)

    assert "max_json_bytes" == caught.value.setting


def test_a_zip_of_members_without_number_is_refused() -> None:
    """At the first one beyond the bound, in flat memory."""
    data = b"".join(zip_of_many(100_000))

    def unpack() -> None:
        with pytest.raises(LimitExceeded, match="a zip of more than 1000 files"):
            _unpack(data)

    assert _peak_bytes(unpack) < 20 * MIB + 2 * len(data)


@pytest.mark.parametrize("name", ["../../../etc/x", "/etc/x", "C:\\x", "CON", "a\x01b", "x" * 60_000, "..", "\u202e"])
def test_the_name_of_a_member_is_never_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes decide what it is, and it is written nowhere."""
    monkeypatch.chdir(tmp_path)

    assert 2 == _unpack(zip_of_names(["b.txt", name], b"{}"))
    assert [] == list(tmp_path.iterdir())


# --- sources --------------------------------------------------------------------------------


def _plan(kind: str, path: Path, data: bytes, counts: SourceCounts | None = None) -> list[Any]:
    from mrf_assets.fetch import open_url  # noqa: PLC0415 - not all tests open files

    path.write_bytes(data)
    options = SourceOptions(limits=_LIMITS)
    return list(read_source(kind, str(path), open_url, options, counts))


_FILE = b'{"location":"https://mrf.example/a.json","description":"a"}'


@pytest.mark.parametrize("value", [b'"%b"' % (b"x" * 6 * MIB), b"1." + b"0" * 6 * MIB, b" " * 6 * MIB + b"1"])
@pytest.mark.parametrize(
    "index",
    [
        b'{"x":%b,"reporting_structure":[]}',
        b'{"reporting_entity_name":%b,"reporting_structure":[]}',
        b'{"reporting_structure":[{"reporting_plans":[{"plan_name":%b}]}]}',
        b'{"reporting_structure":[{"in_network_files":[{"location":%b}]}]}',
    ],
    ids=["unknown key", "header", "plan", "location"],
)
def test_an_index_with_a_value_without_end_is_refused(index: bytes, value: bytes, tmp_path: Path) -> None:
    """The parser would hold it whole."""
    with pytest.raises(LimitExceeded) as caught:
        _plan("index", tmp_path / "index.json", index % value)

    assert "max_element_bytes" == caught.value.setting


def test_an_index_with_a_number_that_python_refuses_is_malformed(tmp_path: Path) -> None:
    """No traceback, but the place."""
    with pytest.raises(MrfError, match="a number or text that cannot be held"):
        _plan("index", tmp_path / "index.json", b'{"x":%b}' % (b"7" * 100_000))


def test_an_index_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    """In what is passed over."""
    with pytest.raises(LimitExceeded) as caught:
        _plan("index", tmp_path / "index.json", b'{"x":' + b"[" * 10_000)

    assert "max_nesting_depth" == caught.value.setting


def test_a_long_text_of_an_index_is_cut_and_counted(tmp_path: Path) -> None:
    """Thousands of plans are held at a time."""
    counts = SourceCounts()
    structure = b'{"reporting_plans":[{"plan_name":"%b"}],"in_network_files":[%b]}' % (b"x" * MIB, _FILE)
    (task,) = _plan("index", tmp_path / "index.json", b'{"reporting_structure":[%b]}' % structure, counts)

    assert "x" * 10_000 == task.plans[0].plan_name
    assert {"text_cut": 1} == counts.repairs


def test_a_long_location_of_an_index_is_reported(tmp_path: Path) -> None:
    """Patterns over it would take the square of its length."""
    counts = SourceCounts()
    long = b'{"location":"https://mrf.example/%b","description":"a"}' % (b"." * MIB)
    structure = b'{"in_network_files":[%b,%b]}' % (long, _FILE)
    tasks = _plan("index", tmp_path / "index.json", b'{"reporting_structure":[%b]}' % structure, counts)

    assert 1 == len(tasks)
    assert "longer than 8192 characters" in str(counts.problems[0])
    assert len(str(counts.problems[0])) < 400


@pytest.mark.parametrize("kind", ["csv", "urls"])
def test_a_line_without_end_is_refused(kind: str, tmp_path: Path) -> None:
    """Of a list as of a CSV."""
    with pytest.raises(SourceProblems, match="longer than 1 MiB"):
        _plan(kind, tmp_path / "list", b"file_url\n" + b"x" * 6 * MIB)


@pytest.mark.parametrize("kind", ["csv", "urls", "index"])
def test_a_bomb_of_a_source_is_refused(kind: str, bomb: bytes, tmp_path: Path) -> None:
    """Sources come through the same door as files."""
    with pytest.raises(LimitExceeded if kind == "index" else MrfError):
        _plan(kind, tmp_path / "source", bomb)


def test_a_whitelist_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """A data file given by mistake, or a device."""
    path = tmp_path / "codes"
    with path.open("wb") as file:
        file.truncate(65 * MIB)
    with pytest.raises(ListFileError, match="is this a whitelist"):
        read_code_whitelist(path)
    with pytest.raises(ListFileError, match="is this a whitelist"):
        read_code_whitelist(Path("/dev/zero"))
