"""The fast reader gives what the reference reader gives: rows, counts, rejects and errors, on any input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mrf_assets.errors import (
    LimitExceeded,
    MalformedJson,
    MrfError,
    NotFoundAtSource,
    NotInNetworkFile,
    RemoteReferencesFailed,
    TruncatedFile,
)
from mrf_assets.extract import Reader, read_reference
from mrf_assets.extract.fast.reader import read_fast
from mrf_assets.settings import Limits
from mrf_assets.whitelist import CodeWhitelist
from mrf_assets_tests.conftest import FakeOpener, Reading, read_document
from mrf_assets_tests.factory import Document, corruptions, document, remote_document, render, truncations
from mrf_assets_tests.strategies import documents, rendered, with_repeated_keys

_LOCATIONS = tuple(f"https://mrf.example/groups/{nth}.json" for nth in range(2))
_REMOTE: dict[str, bytes | Exception] = {
    _LOCATIONS[0]: render(remote_document(_LOCATIONS[0])),
    _LOCATIONS[1]: NotFoundAtSource(_LOCATIONS[1], "404"),
}
_NOTHING = CodeWhitelist(frozenset({"no such code"}), frozenset())
_SOME = CodeWhitelist(frozenset({"10000", "99213", "0", "1"}), frozenset({("CPT", "10001"), ("HCPCS", "A0000")}))
_EXAMPLES = settings().max_examples * 6 // 10  # they are large; `make fuzz` tries new ones until its time is up
_BLOCK_BYTES = (64, 1000, 1 << 20)

# Blocks as small as they come, batches of few elements, and an item that goes to disk after 400 bytes.
_FAST: Reader = partial(read_fast, least_block_bytes=1, batch_bytes=700)
_Outcome = tuple[Any, ...]
_COMPARED = Counter[str]()


@pytest.fixture(scope="module", autouse=True)
def _say_how_many() -> Iterator[None]:
    """`make fuzz` adds these up."""
    yield
    print(f"\n{_COMPARED['outcomes']} documents compared")  # noqa: T201 - for `make fuzz`, which captures it


def _outcome(data: bytes, reader: Reader, codes: CodeWhitelist | None, block_bytes: int, **request: Any) -> _Outcome:  # noqa: ANN401 - fields of Request
    """Everything a reader tells of a document; for one that it refuses, the kind of error."""
    _COMPARED["outcomes"] += reader is read_reference
    opener = FakeOpener(_REMOTE)
    options = {"codes": codes, "open_url": opener, "item_rows_in_memory": 1, "rate_batch_rows": 7} | request
    try:
        reading: Reading = read_document(data, reader=reader, block_bytes=block_bytes, **options)
    except (MalformedJson, TruncatedFile, NotInNetworkFile, LimitExceeded, RemoteReferencesFailed) as error:
        return (type(error),)
    counts = reading.counts
    return (
        reading.tables,
        counts.header,
        dict(counts.repairs),
        counts.ignored_keys,
        counts.rejects,
        (counts.items_read, counts.items_kept, counts.prices_read, counts.rate_rows, counts.prices_rejected),
        counts.provider_groups_read,
        sorted(opener.opened),
    )


def _assert_equal(
    data: bytes,
    codes: CodeWhitelist | None,
    sizes: tuple[int, ...] = _BLOCK_BYTES,
    **request: Any,  # noqa: ANN401 - fields of Request
) -> None:
    expected = _outcome(data, read_reference, codes, 1 << 20, **request)
    for block_bytes in sizes:
        for told, found in zip(expected, _outcome(data, _FAST, codes, block_bytes, **request), strict=True):
            assert told == found, block_bytes


@pytest.mark.fuzz
@pytest.mark.parametrize("codes", [None, _SOME, _NOTHING], ids=["all", "some", "none"])
@given(made=documents(locations=_LOCATIONS).flatmap(with_repeated_keys), escaped_keys=st.booleans(), data=st.data())
@settings(max_examples=_EXAMPLES, suppress_health_check=list(HealthCheck))
def test_any_document(codes: CodeWhitelist | None, made: Document, escaped_keys: bool, data: st.DataObject) -> None:
    """Valid JSON of any shape: same outcome, whatever the blocks, the whitelist and the spelling."""
    text = data.draw(rendered(made, escaped_keys=escaped_keys))
    _assert_equal(text, codes, (data.draw(st.integers(1, 300)), *_BLOCK_BYTES))


@pytest.mark.fuzz
@pytest.mark.parametrize("codes", [None, _SOME], ids=["all", "some"])
@given(made=documents(locations=_LOCATIONS).flatmap(with_repeated_keys), most_values=st.integers(1, 60))
@settings(max_examples=_EXAMPLES, suppress_health_check=list(HealthCheck))
def test_any_document_within_few_values(codes: CodeWhitelist | None, made: Document, most_values: int) -> None:
    """What is near to the bound is read by other means, and what is beyond it is refused by both."""
    _assert_equal(render(made), codes, limits=Limits(max_element_values=most_values))


@pytest.mark.parametrize("codes", [None, _SOME, _NOTHING], ids=["all", "some", "none"])
@pytest.mark.parametrize("seed", range(12))
def test_usual_documents(seed: int, codes: CodeWhitelist | None) -> None:
    """What payers publish, deviations included, in every order of keys."""
    _assert_equal(_usual_document(seed), codes)


def _usual_document(seed: int) -> bytes:
    made = document(
        seed=seed,
        schema="v2" if seed % 2 else "v1",
        codes=6,
        groups=5,
        rates_per_item=7,
        prices_per_rate=3,
        key_order=("head", "shuffled", "tail")[seed % 3],
        references=("first", "last", "absent")[seed // 3 % 3],
        inline_share=0.2,
        decimal_ids=seed % 5 == 0,
        arrangements=("ffs", "bundle", "capitation"),
        negotiated_types=("negotiated", "percentage"),
        deviation_share=0.3,
    )
    return render(made, pretty=seed % 4 == 0)


def test_memos_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was remembered and is forgotten is learnt again, and counted once each time it comes."""
    monkeypatch.setattr("mrf_assets.extract.fast.memo._MAX_BYTES", 3000)
    for seed in range(6):
        made = document(
            seed=seed, codes=5, groups=9, rates_per_item=20, prices_per_rate=4, inline_share=0.2, deviation_share=0.3
        )
        _assert_equal(render(made), None, (1 << 20,))


_ITEM = '"billing_code_type":"CPT","billing_code":"10001"'
_PRICE = '{"negotiated_rate":1.5,"service_code":["01"]}'


# ruff: noqa: UP031 - braces are what these texts are about
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "[]",
        "{}",
        "nul",
        '{"in_network":null}',
        '{"in_network":5}',
        '{"in_network":[5,[{}],"x",{}]}',
        '{"in_network":{%s}}' % _ITEM,
        '{"in_network":[{%s},]}' % _ITEM,
        '{"in_network":[,{%s}]}' % _ITEM,
        '{"in_network":[{%s}{%s}]}' % (_ITEM, _ITEM),
        '{"in_network":[{%s}.5,{%s}]}' % (_ITEM, _ITEM),
        '{"in_network":[]}x',
        '{"in_network":[]}{}',
        '{"in_network":[]}]',
        '{"in_network":[]]',
        '{"in_network":[]\x0b}',
        '{"out_of_network":[]}',
        '{"in_network":[],"out_of_network":[]}',
        '{"provider_groups":5}',
        '{"version":"1" "in_network":[]}',
        '{"version":{"a":1,"a":2},"in_network":[]}',
        '{"in_network":[],"in_network":[{%s}],"version":"1","version":"2"}' % _ITEM,
        '{"in_network":[{%s,"billing_code":"7"}]}' % _ITEM,
        '{"in_network":[{"negotiated_rates":[{"negotiated_prices":[%s]}],%s}]}' % (_PRICE, _ITEM),
        '{"in_network":[{%s,"negotiated_rates":{"negotiated_prices":%s}}]}' % (_ITEM, _PRICE),
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[%s,5,%s]},6]}]}' % (_ITEM, _PRICE, _PRICE),
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[%s %s]}]}]}' % (_ITEM, _PRICE, _PRICE),
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[%s]}],"negotiated_rates":[[],[%s]]}]}'
        % (_ITEM, _PRICE, _PRICE),
        '{"in_network":[{%s,"negotiated_r\\u0061tes":[{"negotiated_prices":[%s]}]}]}' % (_ITEM, _PRICE),
        '{"in_network":[{%s,"x":{"negotiated_rates":[1]},"negotiated_rates":[{"negotiated_prices":[%s]}]}]}'
        % (_ITEM, _PRICE),
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":NaN}]}]}]}' % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":01.5}]}]}]}' % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1.5.2}]}]}]}' % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1.5,}]}]}]}' % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"a":{"negotiated_rate":2}}]}]}]}' % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"a\\"negotiated_rate":2}]}]}]}' % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1,"negotiated_rate":"2"}]}]}]}'
        % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1,"a":"\\ud800"}]}]}]}'
        % _ITEM,
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1,"a":"\t"}]}]}]}' % _ITEM,
        '{"provider_references":[{"provider_group_id":1,"provider_groups":[{"npi":[1,1,0,01]}]}],"in_network":[]}',
        '{"provider_references":[{"provider_group_id":1,"provider_groups":[{"npi":[1 2]}]}],"in_network":[]}',
        '{"provider_references":[1,{"provider_group_id":1,"provider_groups":[{"npi":[1],"tin":5}]}],"in_network":[]}',
        '{"provider_references":{"provider_group_id":1,"provider_groups":{"npi":7}},"in_network":[]}',
        '{"a":%s1%s,"in_network":[]}' % ("[" * 200, "]" * 200),
        '{"in_network":[{%s,"x":%s1%s}]}' % (_ITEM, "[" * 200, "]" * 200),
        '{"in_network":[{%s,"name":%s1%s}]}' % (_ITEM, "[" * 64, "]" * 64),
        '{"in_network":[{%s,"name":%s1%s}]}' % (_ITEM, "[" * 65, "]" * 65),
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1,"a":%s1%s}]}]}]}'
        % (_ITEM, "[" * 62, "]" * 62),
        '{"in_network":[{%s,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":1,"a":%s1%s}]}]}]}'
        % (_ITEM, "[" * 63, "]" * 63),
    ],
)
@pytest.mark.parametrize("codes", [None, _SOME], ids=["all", "some"])
def test_edges(text: str, codes: CodeWhitelist | None) -> None:
    """Shapes that hardly any file has, valid and not."""
    _assert_equal(text.encode(), codes, (1, 7, 1 << 20))


def test_skipped_text_is_checked_for_brackets() -> None:
    """A bracket of the wrong kind is found in an item that nobody wants."""
    data = b'{"in_network":[{%b,"negotiated_rates":[{"a":[1}]}]}]}' % _ITEM.encode()

    with pytest.raises(MalformedJson) as caught:
        read_document(data, reader=_FAST, codes=_NOTHING)

    assert data.index(b"1}") + 1 == caught.value.byte_offset


def _documents(count: int) -> list[bytes]:
    return [
        render(
            document(
                seed=seed,
                codes=3,
                groups=3,
                rates_per_item=3,
                prices_per_rate=3,
                key_order=("head", "shuffled", "tail")[seed % 3],
                references=("first", "last")[seed % 2],
                inline_share=0.2,
                arrangements=("ffs", "bundle"),
                deviation_share=0.1,
            ),
            pretty=seed % 4 == 0,
        )
        for seed in range(count)
    ]


def _count_misses(
    damaged: list[bytes], codes: CodeWhitelist | None, is_miss: Callable[[_Outcome, _Outcome], bool]
) -> Counter[str]:
    counts = Counter[str]()
    for data in damaged:
        expected = _outcome(data, read_reference, codes, 1 << 20)
        found = _outcome(data, _FAST, codes, 200)
        counts["tried"] += 1
        counts["rejected by the reference"] += len(expected) == 1
        counts["accepted by the fast reader alone"] += len(expected) == 1 < len(found)
        counts["other error"] += len(expected) == len(found) == 1 and expected != found
        counts["missed"] += is_miss(expected, found)
    return counts


def _differs(expected: _Outcome, found: _Outcome) -> bool:
    return expected != found


@pytest.mark.parametrize("codes", [None, _NOTHING], ids=["all", "none"])
def test_truncated_documents(codes: CodeWhitelist | None, capsys: pytest.CaptureFixture[str]) -> None:
    """A document cut anywhere is told as cut."""
    damaged = [cut for seed, data in enumerate(_documents(12)) for cut in truncations(data, count=10, seed=seed)]
    counts = _count_misses(damaged, codes, _differs)
    with capsys.disabled():
        print(f"\ntruncations, {'all kept' if codes is None else 'nothing kept'}: {dict(counts)}")  # noqa: T201 - told on purpose

    assert counts["missed"] == 0


@pytest.mark.parametrize("codes", [None, _NOTHING], ids=["all", "none"])
def test_corrupted_documents(codes: CodeWhitelist | None, capsys: pytest.CaptureFixture[str]) -> None:
    """One wrong byte in what is kept has the same outcome; what is passed over is checked for nesting alone."""
    damaged = [bad for seed, data in enumerate(_documents(12)) for _, bad in corruptions(data, count=20, seed=seed)]
    # In what is passed over, only what the reference reader accepts has to be the same.
    is_miss = _differs if codes is None else lambda expected, found: len(expected) > 1 and expected != found
    counts = _count_misses(damaged, codes, is_miss)
    with capsys.disabled():
        print(f"\ncorruptions, {'all kept' if codes is None else 'nothing kept'}: {dict(counts)}")  # noqa: T201 - told on purpose

    assert counts["missed"] == 0


def _cut(data: bytes, offset: int, _byte: int) -> bytes:
    return data[:offset]


def _with_other(data: bytes, offset: int, byte: int) -> bytes:
    return data[:offset] + bytes([byte]) + data[offset + 1 :]


def _with_one_more(data: bytes, offset: int, byte: int) -> bytes:
    return data[:offset] + bytes([byte]) + data[offset:]


def _with_one_less(data: bytes, offset: int, _byte: int) -> bytes:
    return data[:offset] + data[offset + 1 :]


_made_documents = documents().flatmap(with_repeated_keys).flatmap(rendered)
_usual_documents = st.integers(0, 2**32).map(_usual_document)


@pytest.mark.fuzz
@pytest.mark.parametrize("damage", [_cut, _with_other, _with_one_more, _with_one_less])
@given(
    text=st.one_of(_made_documents, _made_documents, _usual_documents),
    place=st.floats(0, 1, exclude_max=True),
    byte=st.sampled_from(b'{}[]",:\\x0 -\x00\xff'),
    codes=st.sampled_from([None, _SOME]),
)
@settings(max_examples=_EXAMPLES // 3, suppress_health_check=list(HealthCheck))
def test_damage_to_any_document(
    damage: Callable[[bytes, int, int], bytes], text: bytes, place: float, byte: int, codes: CodeWhitelist | None
) -> None:
    """No damage makes the fast reader accept kept bytes that the reference reader refuses."""
    damaged = damage(text, int(place * len(text)), byte)
    expected = _outcome(damaged, read_reference, codes, 1 << 20)
    found = _outcome(damaged, _FAST, codes, 100)

    if codes is None or len(expected) > 1:
        assert expected == found


@pytest.mark.fuzz
@given(text=_usual_documents, codes=st.sampled_from([None, _SOME, _NOTHING]))
@settings(max_examples=_EXAMPLES // 3, suppress_health_check=list(HealthCheck))
def test_any_usual_document(text: bytes, codes: CodeWhitelist | None) -> None:
    """What payers publish, of any seed."""
    _assert_equal(text, codes, (300, 1 << 20))


_SHAPES = frozenset(
    {
        *("duplicate_key", "duplicate_section", "empty_required_text", "empty_text", "joined_codes_split"),
        *("code_trimmed", "leading_zero_restored", "lone_surrogate", "number_as_text", "scalar_for_list"),
        *("second_business_name", "tin_zero_as_null", "unknown_word_folded", "word_case_or_space"),
    }
)


def test_the_examples_have_every_shape_that_was_found_in_files() -> None:
    """Keys that are unknown, missing or twice, codes as text, surrogates, second names, values beyond their range."""
    repairs, reasons, unknown = Counter[str](), Counter[str](), Counter[str]()
    orders = set[tuple[str, ...]]()
    missing = Counter[str]()

    @given(text=_made_documents)
    @settings(max_examples=300, suppress_health_check=list(HealthCheck), database=None)
    def look(text: bytes) -> None:
        try:
            reading = read_document(text)
        except MrfError:
            return
        repairs.update(reading.counts.repairs)
        reasons.update(reading.reject_reasons)
        unknown.update(reading.counts.ignored_keys)
        orders.add(tuple(json.loads(text.decode("utf-8-sig"))))
        missing.update(name for row in reading.rates for name, value in row.items() if value in (None, []))

    look()
    assert frozenset() == _SHAPES - repairs.keys()
    assert {"npi_out_of_range", "rate_not_a_number"} <= reasons.keys()
    assert {"in_network", "negotiated_prices", "provider_groups"} <= {key.partition(".")[0] for key in unknown}
    assert {"billing_code", "negotiated_type", "billing_class", "service_codes", "setting"} <= missing.keys()
    assert len(orders) > 20


_USUAL_RATES = '"negotiated_rates":[{"provider_references":[1,2],"negotiated_prices":[%s]}]' % _PRICE
_CODE = '{"billing_code_type":"CPT","billing_code":"10000","description":"a"}'


@pytest.mark.parametrize(
    "head",
    [
        "",
        '"name":"a \\"b\\" \\\\","description":"\\\\\\"\\u00e9"',
        '"name":"\\ud83d\\ude00"',
        '"name":"\\ud800"',
        '"name":"a","name":"b"',
        '"name":"\\"","name":"b"',
        '"name":"a","n\\u0061me":"b"',
        '"name":1.50',
        '"name":123456789012345678901234567890',
        '"name":""',
        '"name":true,"description":-0',
        '"name":{"a":1}',
        '"name":"\t"',
        '"name":"a"x',
        '"name":"a",',
        '"name":01',
        '"colour":"red","colour":"blue"',
        '"colour":{"red":1}',
        '"billing_code":" 10001 "',
        '"billing_code":7',
        '"billing_code":"99999"',
        '"billing_code_type":" cpt"',
        '"negotiation_arrangement":"FFS"',
        '"negotiation_arrangement":"of its own"',
        '"negotiated_rates":null',
        '"negotiated_rates":[]',
        '"negotiated_r\\u0061tes":null',
        '"a\\"negotiated_rates":[]',
        '"bundled_codes":[%s,%s],"covered_services":[]' % (_CODE, _CODE),
        '"bundled_codes":[{"billing_code":"1","billing_code":"2"}]',
        '"bundled_codes":[{"billing_code":" 1","colour":"red"},5,[%s]]' % _CODE,
        '"bundled_codes":[{"billing_code_type":["CPT"],"billing_code":1.0}]',
        '"bundled_codes":%s,"covered_services":[{"description":{"a":[]}}]' % _CODE,
        '"bundled_codes":[%s],"bundled_codes":[]' % _CODE,
        '"bundled_codes":[%s1%s]' % ("[" * 64, "]" * 64),
    ],
)
@pytest.mark.parametrize("codes", [None, _SOME], ids=["all", "some"])
def test_odd_head_in_usual_company(head: str, codes: CodeWhitelist | None) -> None:
    """Items that stand whole in a block are read together, whatever one of them says."""
    usual = "{%s,%s}" % (_ITEM, _USUAL_RATES)
    before = "{%s}" % ",".join(filter(None, (head, _ITEM, _USUAL_RATES)))
    behind = "{%s}" % ",".join(filter(None, (_USUAL_RATES, _ITEM, head)))
    other = usual.replace("10001", "5")
    for odd in (before, behind):
        items = [usual, other, odd, usual, other, usual, usual, odd, odd, usual, "7", usual]
        _assert_equal(('{"in_network":[%s]}' % ",".join(items)).encode(), codes, (700, 1 << 20))


_GROUP = '{"npi":[1,2],"tin":{"type":"npi","value":"%s"%s}}'


@pytest.mark.parametrize(
    "odd",
    [
        '{"provider_group_id":1,"provider_groups":[{"npi":[1,2],"tin":{"type":"ein","value":"1-2"}}]}',
        '{"provider_group_id":2,"provider_group_id":3,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":"4","provider_groups":[{"npi":["1","2",0],"tin":{"type":"EIN","value":"1"}}]}',
        '{"provider_group_id":5.0,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":5}}]}',
        '{"provider_group_id":6,"network_name":["a","b"],"provider_groups":[%s,%s]}'
        % (_GROUP % (" 1-2 ", ',"business_name":"\\"c\\""'), _GROUP % ("3", ',"business_name":"c"')),
        '{"provider_group_id":7,"network_name":"a","provider_groups":[{"npi":[1],"tin":null}]}',
        '{"provider_group_id":8,"network_name":null,"provider_groups":[{"npi":[],"tin":{"type":"ein","value":""}}]}',
        '{"provider_group_id":9,"provider_groups":[{"npi":[1,1],"tin":{"type":"ein","value":"1","business_name":null}}]}',
        '{"provider_group_id":10,"provider_groups":[%s,%s]}' % (_GROUP % ("1", ""), _GROUP % ("1 ", "")),
        '{"provider_group_id":11,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1"},"npi":[2]}]}',
        '{"provider_group_id":12,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1","value":"2"}}],"a":1}',
        '{"provider_group_id":13,"location":"x","provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":123456789012345678901234567890,"provider_groups":[]}',
        '{"provider_group_id":true}',
        '{"provider_group_id":14,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1",}}]}',
        '{"provider_group_id":15,"provider_groups":[{"npi":[1],"tin":{"type":"npi","value":"12-3"}}]}',
        '{"provider_group_id":16,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1,2"}}]}',
        '{"provider_group_id":17,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"-"}}]}',
        '{"provider_group_id":18,"provider_groups":[{"npi":[1],"tin":{"type":["ein"],"value":"1"}}]}',
        '{"provider_group_id":19,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"\u2003 1\u00a0"}}]}',
        '{"provider_group_id":20,"provider_groups":[{"npi":[1],"tin":{"type":"ein"}},{"npi":[2]}]}',
        '{"provider_group_id":21,"provider_groups":[{"npi":["1"],"a":[3],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":22,"network_name":[""],"provider_groups":[%s]}' % (_GROUP % ("1", "")),
        '{"provider_group_id":23,"provider_groups":[{"npi":[[1]],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":24,"provider_groups":[{"npi":[1234567893,"1234567893",0],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":25,"provider_groups":[{"npi":[123456789:],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":26,"provider_groups":[{"npi":[0123456789],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":28,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":123456789}}]}',
        '{"provider_group_id":29,"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1","business_name":{}}}]}',
        '{"provider_group_id":30,"network_name":[5],"provider_groups":[{"npi":[1],"tin":{"type":"ein","value":"1"}}]}',
        '{"provider_group_id":31,"provider_groups":[{"npi":1,"tin":{"type":"ein","value":"1"}},5]}',
        '{"provider_group_id":27,"provider_groups":[{"npi":[99999999999,1 2],"tin":{"type":"ein","value":"1"}}]}',
        "5",
    ],
)
def test_odd_reference_in_usual_company(odd: str) -> None:
    """References are read together, some dozens or hundreds at once, whatever one of them says."""
    usual = '{"provider_group_id":%d,"provider_groups":[{"npi":[%d],"tin":{"type":"ein","value":"12-3456789"}}]}'
    many = [usual % (1000 + nth, 1_234_567_890 + nth) for nth in range(70)]
    references = [usual % (100, 1), odd, usual % (101, 2), odd, usual % (100, 1), usual % (100, 2), *many, odd, *many]
    text = '{"provider_references":[%s],"in_network":[]}' % ",".join(references)
    _assert_equal(text.encode(), None, (64, 1 << 20))


def test_samples(samples: Path) -> None:
    """Published files give the same, too."""
    read = 0
    for path in sorted(samples.glob("*/*")):
        if path.suffix == ".zip":
            with ZipFile(path) as archive:
                data = archive.read(archive.namelist()[0])
        else:
            data = path.read_bytes()
        for codes in (None, _NOTHING):

            def refuse(url: str) -> Any:  # noqa: ANN401 - never returns
                raise MrfError(url)

            expected = _outcome(data, read_reference, codes, 1 << 20, open_url=refuse)
            for block_bytes in _BLOCK_BYTES:
                assert expected == _outcome(data, _FAST, codes, block_bytes, open_url=refuse), path
        read += 1

    assert read
