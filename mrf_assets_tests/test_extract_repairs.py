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


def _text(document: Document) -> str:
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
