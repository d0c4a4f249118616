"""What is repaired is counted, by both readers alike, under the names of docs/repairs.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mrf_assets.errors import MalformedJson
from mrf_assets.extract import READERS, Reader
from mrf_assets.schema import RATES
from mrf_assets_tests.conftest import Read, Reading
from mrf_assets_tests.factory import Document, render

ReadFile = Callable[[Document | bytes], Reading]

_NPI, _NPI_2 = 1234567893, 1245319599
_PRICE: Document = {
    "negotiated_type": "negotiated",
    "negotiated_rate": 10,
    "expiration_date": "9999-12-31",
    "service_code": ["11"],
    "billing_class": "professional",
    "setting": "outpatient",
}


def _group(*npis: object, tin: object = "12-3456789", **more: object) -> Document:
    return {"npi": list(npis), "tin": {"type": "ein", "value": tin, **more}}


def _reference(group_id: int, *groups: Document) -> Document:
    return {"provider_group_id": group_id, "network_name": ["N"], "provider_groups": list(groups)}


def _rate(**price: object) -> Document:
    return {"provider_references": [1], "negotiated_prices": [_PRICE | price]}


def _item(*rates: Document, **more: object) -> Document:
    return {
        "negotiation_arrangement": "ffs",
        "name": "Made-up visit",
        "billing_code_type": "CPT",
        "billing_code_type_version": "2026",
        "billing_code": "99213",
        "description": "A made-up description",
        "negotiated_rates": list(rates or [_rate()]),
    } | more


def _file(*items: Document, references: list[Document] | None = None, **more: object) -> Document:
    return {
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": "2026-11-05",
        "version": "2.1.0",
        "provider_references": [_reference(1, _group(_NPI))] if references is None else references,
        "in_network": list(items or [_item()]),
    } | more


def _text(document: object) -> str:
    return render(document).decode()


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    """Each reader."""
    return READERS[request.param]


@pytest.fixture
def read_file(read: Read, reader: Reader) -> ReadFile:
    """Read a document with each reader, in one block and in blocks of seven bytes."""

    def both(document: Document | bytes) -> Reading:
        whole, in_pieces = (read(document, reader=reader, block_bytes=size) for size in (1 << 20, 7))
        assert whole.tables == in_pieces.tables
        assert whole.repairs == in_pieces.repairs
        return whole

    return both


# --- keys -----------------------------------------------------------------------------------

_UNKNOWN_EVERYWHERE = _file(
    _item(_rate(x_price=1) | {"x_rate": 1}, x_flag=True, x_list=[1], bundled_codes=[{"x_code": 1}]),
    references=[_reference(1, _group(_NPI, x_tin=1) | {"x_group": 1}) | {"x_reference": 1}],
    x_root={"x": 1},
)


def test_an_unknown_key_leaves_no_entry_in_the_repairs(read_file: ReadFile) -> None:
    """Wherever it stands: a repair that was not made is not listed with a zero."""
    got = read_file(_UNKNOWN_EVERYWHERE)

    assert {} == got.repairs
    assert 9 == sum(got.counts.ignored_keys.values())


_RATES_KEY = b'"negotiated_rates":'


def _with_twice(document: Document, key: str, value: object) -> bytes:
    """The document with a second value of a key of its root, at the end."""
    return render(document)[:-1] + f',"{key}":{_text(value)}}}'.encode()


@pytest.mark.parametrize(
    ("repairs", "rates", "groups", "data"),
    [
        ({"duplicate_section": 1}, 2, 1, _with_twice(_file(), "in_network", [_item()])),
        ({"duplicate_section": 1}, 1, 1, _with_twice(_file(), "in_network", None)),
        ({"duplicate_section": 1, "scalar_for_list": 1}, 2, 1, _with_twice(_file(), "in_network", _item())),
        ({"duplicate_section": 1}, 1, 2, _with_twice(_file(), "provider_references", [_reference(2, _group(_NPI_2))])),
        ({"duplicate_section": 1}, 1, 1, _with_twice(_file(), "provider_references", [])),
        ({"duplicate_key": 1}, 1, 1, _with_twice(_file(), "version", "9.9.9")),
        ({"duplicate_key": 1}, 1, 1, _with_twice(_file(), "version", None)),
        ({}, 1, 1, _with_twice(_file(x=1), "x", {"y": 1})),
        (
            {"duplicate_section": 1},
            2,
            1,
            render(_file()).replace(_RATES_KEY, b"%b[%b],%b" % (_RATES_KEY, render(_rate()), _RATES_KEY)),
        ),
        (
            {"duplicate_section": 1},
            1,
            1,
            render(_file()).replace(_RATES_KEY, b"%bnull,%b" % (_RATES_KEY, _RATES_KEY)),
        ),
    ],
    ids=[
        "items", "null for items", "one item", "references", "no references", "version", "null for a version",
        "unknown", "rates of an item", "null for rates",
    ],
)  # fmt: skip
def test_what_comes_twice_at_the_root_is_counted(
    read_file: ReadFile, repairs: dict[str, int], rates: int, groups: int, data: bytes
) -> None:
    """Lists are united, so that nothing is lost; of a header the last value holds; unknown keys are ignored twice."""
    got = read_file(data)

    assert (repairs, rates, groups) == (got.repairs, len(got.rates), len(got.providers))


def test_the_last_value_of_a_header_holds(read_file: ReadFile) -> None:
    """As in any other object."""
    assert "9.9.9" == read_file(_with_twice(_file(), "version", "9.9.9")).counts.header["version"]


# --- provider groups ------------------------------------------------------------------------

_FIRST, _SECOND, _NAMELESS = _group(_NPI, business_name="First"), _group(_NPI, business_name="Second"), _group(_NPI)


def _inline(*rates: list[Document]) -> Document:
    return _file(_item(*(_rate() | {"provider_references": [], "provider_groups": groups} for groups in rates)))


@pytest.mark.parametrize(
    ("repairs", "document"),
    [
        ({"second_business_name": 1}, _file(references=[_reference(1, _FIRST, _SECOND)])),
        ({"second_business_name": 2}, _file(references=[_reference(1, _FIRST, _SECOND, _SECOND)])),
        ({"duplicate_npi": 1}, _file(references=[_reference(1, _FIRST, _FIRST)])),
        ({"duplicate_npi": 1}, _file(references=[_reference(1, _FIRST, _NAMELESS)])),
        ({"second_business_name": 1}, _inline([_FIRST, _SECOND])),
        ({"duplicate_provider_group": 1}, _inline([_FIRST, _FIRST])),
        ({"second_business_name": 1}, _inline([_FIRST], [_SECOND])),
        ({"second_business_name": 1}, _inline([_FIRST], [_SECOND], [_FIRST], [_SECOND])),
        ({}, _inline([_FIRST], [_FIRST], [_NAMELESS])),
    ],
    ids=["one", "thrice", "same", "none", "inline", "same inline", "other rate", "other rates", "same in other rates"],
)
def test_a_second_business_name_is_counted_apart(
    read_file: ReadFile, repairs: dict[str, int], document: Document
) -> None:
    """The row has the first name; a double without a name of its own is a double and no more."""
    got = read_file(document)

    assert [{"First"}, repairs] == [{row["business_name"] for row in got.providers} - {None}, got.repairs]


@pytest.mark.parametrize(
    ("tin_value", "repairs", "tin"),
    [
        ("012345678", {"leading_zero_restored": 1}, "12345678"),
        ("012345678", {"leading_zero_restored": 1}, " 12345678"),
        ("012345678", {"number_as_text": 1}, 12345678),
        ("12345678", {}, "12-345678"),
        (None, {"tin_zero_as_null": 1}, "0"),
        (None, {"tin_zero_as_null": 1}, "00-0000000"),
        (None, {"tin_zero_as_null": 1, "number_as_text": 1}, 0),
        (None, {"empty_required_text": 1}, ""),
    ],
)
@pytest.mark.parametrize("others", [0, 3], ids=["alone", "in company"])
def test_an_ein_gets_back_its_zero(
    read_file: ReadFile, tin_value: str | None, repairs: dict[str, int], tin: object, others: int
) -> None:
    """As text as well as as a number; a TIN of zeros is none, which providers would share."""
    usual = [_reference(number, _group(_NPI_2)) for number in range(2, 2 + others)]
    got = read_file(_file(references=[_reference(1, _group(_NPI, tin=tin)), *usual]))

    assert (tin_value, repairs) == (got.providers[0]["tin_value"], got.repairs)


def test_a_negative_npi_is_out_of_range(read_file: ReadFile) -> None:
    """It is a number, and no NPI."""
    assert ["npi_out_of_range"] == read_file(_file(references=[_reference(1, _group(_NPI, -_NPI))])).reject_reasons


# --- prices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "repairs", "value"),
    [
        (["05"], {"leading_zero_restored": 1}, ["5"]),
        (["05"], {"number_as_text": 1}, [5]),
        (["11"], {"code_trimmed": 1}, [" 11"]),
        (["CSTM-00"], {"word_case_or_space": 1}, ["cstm-00"]),
        (["11", "22"], {"joined_codes_split": 1}, ["11,22"]),
        (["11", "22"], {"joined_codes_split": 1, "scalar_for_list": 1}, "11,22"),
        (["05", "011", "01", "Office"], {"leading_zero_restored": 2}, ["5", "011", "1", "Office"]),
        ([], {}, []),
    ],
)
@pytest.mark.parametrize("prices", [1, 5])
def test_places_of_service_get_their_form(
    read_file: ReadFile, codes: list[str], repairs: dict[str, int], value: object, prices: int
) -> None:
    """As text as well as as numbers; what cannot be one stays, for a rule to warn of."""
    got = read_file(_file(_item(*[_rate(service_code=value)] * prices)))

    assert [codes] * prices == [row["service_codes"] for row in got.rates]
    assert {kind: times * prices for kind, times in repairs.items()} == got.repairs


@pytest.mark.parametrize(
    ("codes", "repairs", "value"),
    [
        (["26", "TC"], {"joined_codes_split": 1}, ["26,TC"]),
        (["TC"], {"word_case_or_space": 1}, ["tc"]),
        (["26"], {"code_trimmed": 1}, ["26 "]),
        (["5"], {"number_as_text": 1}, [5]),
        (["none"], {}, ["none"]),
    ],
)
def test_modifiers_get_their_form(
    read_file: ReadFile, codes: list[str], repairs: dict[str, int], value: object
) -> None:
    """Two characters, in capitals; a single digit is not known to have lost a zero."""
    got = read_file(_file(_item(_rate(billing_code_modifier=value))))

    assert ([codes], repairs) == ([row["billing_code_modifiers"] for row in got.rates], got.repairs)


@pytest.mark.parametrize(
    ("column", "document"),
    [
        ("billing_class", _file(_item(_rate(billing_class="Profesional")))),
        ("negotiated_type", _file(_item(_rate(negotiated_type=" Agreed")))),
        ("negotiation_arrangement", _file(_item(negotiation_arrangement="Ffs-like"))),
        ("billing_code_type", _file(_item(billing_code_type="Drg"))),
    ],
)
def test_an_unknown_word_is_no_repair_of_its_case(read_file: ReadFile, column: str, document: Document) -> None:
    """It is stored in the schema's case, under a count of its own, and a rule warns of it."""
    got = read_file(document)

    assert {"unknown_word_folded": 1} == got.repairs
    assert got.rates[0][column] not in RATES.words[column]


@pytest.mark.parametrize(
    "document",
    [
        _file(_item(billing_code="")),
        _file(_item(billing_code_type=" ")),
        _file(_item(name="")),
        _file(_item(_rate(billing_class=""))),
        _file(_item(_rate(expiration_date=""))),
        _file(_item(covered_services=[{"billing_code": ""}])),
        _file(version=""),
    ],
)
def test_empty_text_is_counted_apart_where_text_is_required(read_file: ReadFile, document: Document) -> None:
    """Optional text may well be empty."""
    assert {"empty_required_text": 1} == read_file(document).repairs
    assert {"empty_text": 1} == read_file(_file(_item(_rate(additional_information="")))).repairs


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("escape", [rb"\ud83d", rb"\udc00"], ids=["high", "low"])
@pytest.mark.parametrize(
    ("table", "column", "document"),
    [
        ("rates", "description", _file(_item(description="caf\u00e9 HALF end"))),
        ("rates", "additional_information", _file(_item(_rate(additional_information="caf\u00e9 HALF end")))),
        (
            "providers",
            "business_name",
            _file(references=[_reference(1, _group(1, business_name="caf\u00e9 HALF end"))]),
        ),
    ],
)
def test_half_a_surrogate_pair_is_the_replacement_character(
    read_file: ReadFile, table: str, column: str, document: Document, escape: bytes
) -> None:
    """It costs neither the file nor a silent question mark."""
    got = read_file(render(document).replace(b"HALF", escape))

    assert ["caf\u00e9 \ufffd end"] == [row[column] for row in got.tables[table]]
    assert {"lone_surrogate": 1} == got.repairs


def test_half_a_pair_is_counted_wherever_it_stands(read_file: ReadFile) -> None:
    """In keys, in what is ignored and in the header; a whole pair is a character."""
    data = render(_file(version="HALF", x={"HALF": "WHOLE"})).replace(b"HALF", rb"\ud800")

    got = read_file(data.replace(b"WHOLE", rb"\ud83d\ude00"))
    assert ("\ufffd", {"lone_surrogate": 2}) == (got.counts.header["version"], got.repairs)


@pytest.mark.parametrize("where", ["item", "root"])
@pytest.mark.parametrize("value", ["[nonsense]", '["a\nb"]', "[1 2]", '{"a" 1}', '[null "]\n,'])
def test_a_value_that_is_ignored_has_to_be_json(read_file: ReadFile, value: str, where: str) -> None:
    """Nobody reads what stands under an unknown key; a file that is damaged there is damaged, and not cut short."""
    marked = _file(_item(unknown="here")) if where == "item" else _file(unknown="here")
    text = _text(marked).replace('"here"', value)
    assert value in text

    with pytest.raises(MalformedJson):
        read_file(text.encode())


@pytest.mark.parametrize("place", ['"name": "Made-up visit"', '"reporting_entity_type": "health insurance issuer"'])
def test_damage_before_what_is_nested_too_deep_is_the_reason(read_file: ReadFile, place: str) -> None:
    """One quote too many turns texts into brackets; what is told is where the damage is."""
    text = _text(_file(_item(description="[" * 200)))
    assert place in text.replace('":"', '": "')
    damaged = text.replace('": "', '":"').replace(place.replace('": "', '":"'), place.replace('": "', '":""'))

    with pytest.raises(MalformedJson):
        read_file(damaged.encode())
