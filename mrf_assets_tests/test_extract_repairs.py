"""What is repaired is counted, by both readers alike, under the names of docs/repairs.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mrf_assets.extract import READERS, Reader
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
    assert 9 == sum(got.tally.ignored_keys.values())


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
    assert "9.9.9" == read_file(_with_twice(_file(), "version", "9.9.9")).tally.header["version"]


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
