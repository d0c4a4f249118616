"""What the reference reader makes of in-network files: the oracle of every other reader."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings, strategies as st

from mrf_assets.errors import (
    ConnectionLostError,
    LimitExceeded,
    MalformedJson,
    NotFoundAtSource,
    NotInNetworkFile,
    TruncatedFile,
)
from mrf_assets.extract import READERS, Reader
from mrf_assets.extract.values import provider_set_id
from mrf_assets.schema import TABLES
from mrf_assets.whitelist import CodeWhitelist
from mrf_assets_tests.conftest import FakeOpener, Read, Reading, Row
from mrf_assets_tests.factory import Document, Number, document, gzipped, render
from mrf_assets_tests.strategies import documents, rendered

_NPI, _NPI_2 = 1234567893, 1245319599
_BASE = "https://mrf.example"
_TEN_AND_A_HALF = Number("10.50")


def _group(*npis: Any, tin: Any = "12-3456789", kind: str = "ein", **more: Any) -> Document:  # noqa: ANN401 - JSON
    return {"npi": list(npis), "tin": {"type": kind, "value": tin}, **more}


def _reference(group_id: Any, *groups: Any, **more: Any) -> Document:  # noqa: ANN401 - JSON
    return {"provider_group_id": group_id, "provider_groups": list(groups), **more}


def _price(rate: Any = _TEN_AND_A_HALF, **more: Any) -> Document:  # noqa: ANN401 - JSON
    return {
        "negotiated_type": "negotiated",
        "negotiated_rate": rate,
        "expiration_date": "9999-12-31",
        "service_code": ["11"],
        "billing_class": "professional",
    } | more


def _rate(*prices: Any, **more: Any) -> Document:  # noqa: ANN401 - JSON
    return {"provider_references": [1], "negotiated_prices": list(prices or [_price()])} | more


def _item(code: Any = "99213", *rates: Any, **more: Any) -> Document:  # noqa: ANN401 - JSON
    return {
        "negotiation_arrangement": "ffs",
        "name": "Made-up visit",
        "billing_code_type": "CPT",
        "billing_code_type_version": "2026",
        "billing_code": code,
        "description": "A made-up description",
        "negotiated_rates": list(rates or [_rate()]),
    } | more


def _file(*items: Any, references: list[Any] | None = None, **more: Any) -> Document:  # noqa: ANN401 - JSON
    return {
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": "2026-11-05",
        "version": "1.3.1",
        "provider_references": [_reference(1, _group(_NPI))] if references is None else references,
        "in_network": list(items or [_item()]),
    } | more


def _of(rows: list[Row], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


def _only(rows: list[Row]) -> Row:
    (row,) = rows
    return row


_CPT_99213 = CodeWhitelist(frozenset(), frozenset({("CPT", "99213")}))

# --- the whole of a small file --------------------------------------------------------------


def test_a_clean_file_gives_clean_rows(read: Read) -> None:
    """Every column of every table, from a file as the schema has it; nothing is repaired or rejected."""
    got = read(_file())

    set_id = provider_set_id(["1"])
    assert [
        {
            "provider_group_id": "1",
            "npi": _NPI,
            "tin_type": "ein",
            "tin_value": "123456789",
            "business_name": None,
            "network_names": None,
            "is_inline": False,
        }
    ] == got.providers
    assert [{"provider_set_id": set_id, "provider_group_id": "1"}] == got.provider_sets
    assert [
        {
            "provider_set_id": set_id,
            "negotiation_arrangement": "ffs",
            "billing_code_type": "CPT",
            "billing_code_type_version": "2026",
            "billing_code": "99213",
            "name": "Made-up visit",
            "description": "A made-up description",
            "severity_of_illness": None,
            "bundled_codes": None,
            "covered_services": None,
            "negotiated_type": "negotiated",
            "negotiated_rate": Decimal("10.5"),
            "expiration_date": dt.date(9999, 12, 31),
            "service_codes": ["11"],
            "billing_class": "professional",
            "setting": None,
            "billing_code_modifiers": None,
            "additional_information": None,
        }
    ] == got.rates
    assert ([], {}, {}) == (got.rejects, got.repairs, dict(got.counts.ignored_keys))


def test_the_tally_counts_what_was_read(read: Read) -> None:
    """Items, prices and groups, of references and inline."""
    rates = [_rate(_price(), _price()), _rate(_price(), provider_groups=[_group(_NPI), _group(_NPI_2)])]

    counts = read(_file(_item("99213", *rates), _item("J1100"))).counts

    assert (2, 2) == (counts.items_read, counts.items_kept)
    assert (4, 4, 0) == (counts.prices_read, counts.rate_rows, counts.prices_rejected)
    assert 3 == counts.provider_groups_read


def test_v2_fields_have_their_columns(read: Read) -> None:
    """network_name, business_name, severity_of_illness, setting and `both`."""
    group = {"npi": [_NPI], "tin": {"type": "ein", "value": "123456789", "business_name": "Made Up LLC"}}
    got = read(
        _file(
            _item("470", _rate(_price(setting="inpatient", billing_class="both")), severity_of_illness="3"),
            references=[_reference(1, group, network_name=["North", "South"])],
            issuer_name="Cardinal",
            plan_sponsor_name="Made Up Works",
        )
    )

    assert [("Made Up LLC", ["North", "South"])] == _of(got.providers, "business_name", "network_names")
    assert [("3", "inpatient", "both")] == _of(got.rates, "severity_of_illness", "setting", "billing_class")
    assert ("Cardinal", "Made Up Works") == (got.counts.header["issuer_name"], got.counts.header["plan_sponsor_name"])
    assert ({}, {}) == (got.repairs, dict(got.counts.ignored_keys))


@pytest.mark.parametrize("kind", ["negotiated", "derived", "fee schedule", "percentage", "per diem"])
def test_the_type_of_a_rate_is_kept_beside_it(read: Read, kind: str) -> None:
    """40.5 percent is 40.5, and says that it is no dollars."""
    got = read(_file(_item("CSTM-00", _rate(_price(Number("40.5"), negotiated_type=kind)))))

    assert [(kind, Decimal("40.5"))] == _of(got.rates, "negotiated_type", "negotiated_rate")


def test_codes_of_a_bundle_and_of_a_capitation(read: Read) -> None:
    """They are lists of structs, with every value as clean as elsewhere."""
    code = {"billing_code_type": "cpt", "billing_code_type_version": "2026", "billing_code": 99214, "description": "x"}
    clean = {**code, "billing_code_type": "CPT", "billing_code": "99214"}
    got = read(
        _file(
            _item("BND", negotiation_arrangement="bundle", bundled_codes=[code]),
            _item("CAP", negotiation_arrangement="capitation", covered_services=[code, code]),
        )
    )

    assert [("bundle", [clean], None), ("capitation", None, [clean, clean])] == _of(
        got.rates, "negotiation_arrangement", "bundled_codes", "covered_services"
    )
    assert {"number_as_text": 3, "word_case_or_space": 3} == got.repairs


def test_null_lists_of_codes_are_null(read: Read) -> None:
    """`covered_services: null` on ffs (Evry) is neither repair nor reject; an empty list is an empty list."""
    got = read(_file(_item(covered_services=None, bundled_codes=[])))

    assert [(None, [])] == _of(got.rates, "covered_services", "bundled_codes")
    assert ({}, []) == (got.repairs, got.rejects)


# --- where things stand ---------------------------------------------------------------------


def _comparable(got: Reading) -> tuple[Any, ...]:
    counts = got.counts
    rejects = Counter(_of(got.rejects, "dropped", "path", "reason", "excerpt"))
    return (
        got.providers, got.provider_sets, got.rates, rejects, got.repairs, dict(counts.ignored_keys), counts.header,
        (counts.items_read, counts.items_kept, counts.prices_read, counts.rate_rows, counts.prices_rejected),
    )  # fmt: skip


def test_the_order_of_sections_does_not_matter(read: Read) -> None:
    """References after the items (Optum), header keys last: the same tables."""
    whole = _file(_item(), _item("J1100", _rate(_price("x"))))
    usual = _comparable(read(whole))

    orders = permutations(["provider_references", "in_network", "version", "last_updated_on"])
    for order in orders:
        assert usual == _comparable(read({key: whole[key] for key in order} | whole)), order


def test_the_order_of_an_items_keys_does_not_matter(read: Read) -> None:
    """The code may stand behind the rates, and the rates first of all."""
    whole = _item("J1100", _rate(), _rate(_price(5)))
    usual = _comparable(read(_file(whole)))

    for first in whole:
        assert usual == _comparable(read(_file({first: whole[first]} | whole))), first
        last = {key: value for key, value in whole.items() if key != first} | {first: whole[first]}
        assert usual == _comparable(read(_file(last))), first


def test_a_group_id_may_follow_its_groups(read: Read) -> None:
    """UHC writes provider_group_id last."""
    reference = {"provider_groups": [_group(_NPI)], "provider_group_id": 47229613942}

    assert [("47229613942", _NPI)] == _of(read(_file(references=[reference])).providers, "provider_group_id", "npi")


@pytest.mark.parametrize("missing", ["absent", None, []])
def test_files_without_references_are_read(read: Read, missing: Any) -> None:  # noqa: ANN401 - JSON
    """Florida Blue and Evry have none; null and an empty list are none either."""
    whole = _file(_item("99213", _rate(provider_references=[], provider_groups=[_group(_NPI)])))
    whole["provider_references"] = missing
    if missing == "absent":
        del whole["provider_references"]

    got = read(whole)
    assert [(_NPI, True)] == _of(got.providers, "npi", "is_inline")
    assert {} == got.repairs


def test_an_empty_in_network_is_an_in_network_file(read: Read) -> None:
    """Schema 1.x allows it; that a file without rates is suspicious is for a check to say."""
    got = read(_file() | {"in_network": []})

    assert (0, []) == (got.counts.items_read, got.rates)


def test_sections_that_come_twice_are_both_read(read: Read) -> None:
    """JSON allows a key twice, and nothing may be lost."""
    items, references = render([_item()]).decode(), render([_reference(1, _group(_NPI))]).decode()
    more = render([_reference(2, _group(_NPI_2))]).decode()
    data = (
        f'{{"in_network":{items},"provider_references":{references},"in_network":{items},"provider_references":{more}}}'
    )

    got = read(data.encode())
    assert 2 == len(got.rates)
    assert ["1", "2"] == [row["provider_group_id"] for row in got.providers]


# --- provider groups ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "group_id"),
    [("0", 0), ("690.6447", Number("690.64470")), ("47229613942", 47229613942), ("7", Number("7.0")), ("7", "7")],
)
def test_a_reference_and_its_use_agree_on_the_id(read: Read, text: str, group_id: Any) -> None:  # noqa: ANN401 - JSON
    """0 and decimals are real ids; the spelling of the number does not matter."""
    other = Number(f"{text}.0" if "." not in text else f"{text}00")
    got = read(
        _file(_item("99213", _rate(provider_references=[other])), references=[_reference(group_id, _group(_NPI))])
    )

    assert [(text,)] == _of(got.providers, "provider_group_id")
    assert [(text,)] == _of(got.provider_sets, "provider_group_id")


def test_each_group_of_a_reference_has_its_tin(read: Read) -> None:
    """One row for each NPI, TIN by TIN."""
    got = read(_file(references=[_reference(1, _group(_NPI, _NPI_2), _group(_NPI, tin=str(_NPI), kind="npi"))]))

    assert [
        (_NPI, "ein", "123456789"),
        (_NPI_2, "ein", "123456789"),
        (_NPI, "npi", str(_NPI)),
    ] == _of(got.providers, "npi", "tin_type", "tin_value")


@pytest.mark.parametrize(
    ("repairs", "npis"),
    [
        ({"npi_zero_as_null": 1}, [0]),
        ({"npi_from_text": 1, "npi_zero_as_null": 1}, ["0"]),
        ({"group_without_npi": 1}, []),
        ({"npi_zero_as_null": 2, "duplicate_npi": 1}, [0, 0]),
    ],
)
def test_a_contract_with_a_tin_has_no_npi(read: Read, repairs: dict[str, int], npis: list[Any]) -> None:
    """0 or no NPI at all stands for everyone under the TIN: one row, and the count."""
    got = read(_file(references=[_reference(1, _group(*npis))]))

    assert [(None, "123456789")] == _of(got.providers, "npi", "tin_value")
    assert repairs == got.repairs


def test_a_bad_npi_costs_that_npi_alone(read: Read) -> None:
    """The reject says where; the other NPIs of the group stay."""
    got = read(_file(references=[_reference(1, _group("n/a", _NPI))]))

    assert [(_NPI,)] == _of(got.providers, "npi")
    assert [("value", "provider_groups.npi", "npi_not_a_number", "n/a")] == _of(
        got.rejects, "dropped", "path", "reason", "excerpt"
    )


def test_an_npi_twice_is_one_row(read: Read) -> None:
    """Within a group and across the groups of one TIN; each is counted."""
    got = read(_file(references=[_reference(1, _group(_NPI, _NPI), _group(_NPI))]))

    assert [(_NPI,)] == _of(got.providers, "npi")
    assert {"duplicate_npi": 2} == got.repairs


@pytest.mark.parametrize("groups", [[], None, [5], ["x", None]])
def test_a_reference_without_groups_is_kept(read: Read, groups: Any) -> None:  # noqa: ANN401 - JSON
    """Prices refer to it, so it has a row, without NPI and TIN."""
    got = read(_file(references=[_reference(1) | {"provider_groups": groups}]))

    assert [("1", None, None)] == _of(got.providers, "provider_group_id", "npi", "tin_value")
    assert 1 == got.repairs["group_without_providers"]


@pytest.mark.parametrize("group_id", [None, "", True, [1], {"id": 1}])
def test_a_reference_without_id_is_rejected(read: Read, group_id: Any) -> None:  # noqa: ANN401 - JSON
    """Nothing can refer to it; the reject shows the id alone, for a location may be signed."""
    secret = f"{_BASE}/1.json?Signature=S3cr3tV4lue"
    got = read(_file(references=[_reference(group_id, location=secret)]))

    assert [] == got.providers
    assert [("provider_group", "provider_references.provider_group_id", "group_id_missing")] == _of(
        got.rejects, "dropped", "path", "reason"
    )
    assert "S3cr3tV4lue" not in str(got.rejects)


def test_a_reference_that_is_no_object_is_rejected(read: Read) -> None:
    """And the others are read."""
    got = read(_file(references=[7, _reference(1, _group(_NPI)), None]))

    assert 1 == len(got.providers)
    assert [("provider_group", "7"), ("provider_group", "null")] == _of(got.rejects, "dropped", "excerpt")


def test_a_reference_written_twice_is_one(read: Read) -> None:
    """Equal content under the same id adds no rows."""
    got = read(_file(references=[_reference(1, _group(_NPI)), _reference(Number("1.0"), _group(_NPI))]))

    assert 1 == len(got.providers)
    assert {"duplicate_provider_group": 1} == got.repairs


def test_an_id_of_two_contents_keeps_both(read: Read) -> None:
    """Which one is meant cannot be known: the union, and a count."""
    got = read(_file(references=[_reference(1, _group(_NPI)), _reference(1, _group(_NPI_2))]))

    assert [_NPI, _NPI_2] == [row["npi"] for row in got.providers]
    assert {"conflicting_provider_group": 1} == got.repairs


def test_an_orphan_reference_stays_in_its_set(read: Read) -> None:
    """That no group has this id is for a check to say; the price is kept."""
    got = read(_file(_item("99213", _rate(provider_references=[1, 99]))))

    assert ["1", "99"] == sorted(row["provider_group_id"] for row in got.provider_sets)
    assert 1 == len(got.rates)


def test_an_unused_reference_is_kept(read: Read) -> None:
    """80 % of the groups of a real file are used by no price."""
    got = read(_file(references=[_reference(1, _group(_NPI)), _reference(2, _group(_NPI_2))]))

    assert ["1", "2"] == [row["provider_group_id"] for row in got.providers]


# --- provider sets --------------------------------------------------------------------------


def test_equal_sets_are_written_once(read: Read) -> None:
    """Order, repetition and spelling of the ids do not make another set."""
    sets: list[list[Any]] = [[1, 2], [2, 1], [1, 2, 1], [Number("2.0"), "1"]]
    got = read(_file(_item("99213", *(_rate(provider_references=each) for each in sets))))

    assert 1 == len({row["provider_set_id"] for row in got.rates})
    assert ["1", "2"] == [row["provider_group_id"] for row in got.provider_sets]
    assert {"duplicate_provider_reference": 1, "group_id_from_text": 1} == got.repairs


def test_a_rate_without_providers_has_no_set(read: Read) -> None:
    """The price is kept, with null, and counted."""
    got = read(_file(_item("99213", _rate(provider_references=[]), {"negotiated_prices": [_price()]})))

    assert [(None,), (None,)] == _of(got.rates, "provider_set_id")
    assert ([], {"rate_without_providers": 2}) == (got.provider_sets, got.repairs)


def test_a_bad_reference_in_a_set_costs_itself_alone(read: Read) -> None:
    """The set is that of the others."""
    got = read(_file(_item("99213", _rate(provider_references=[None, 1, [2]]))))

    assert ["1"] == [row["provider_group_id"] for row in got.provider_sets]
    assert [("value", "negotiated_rates.provider_references", "group_id_missing")] * 2 == _of(
        got.rejects, "dropped", "path", "reason"
    )


def test_inline_groups_are_groups(read: Read) -> None:
    """They get an id of their own, and are marked."""
    got = read(_file(_item("99213", _rate(provider_references=[], provider_groups=[_group(_NPI)])), references=[]))

    row, member = _only(got.providers), _only(got.provider_sets)
    assert row["is_inline"]
    assert row["provider_group_id"].startswith("inline-")
    assert 16 == len(row["provider_group_id"].removeprefix("inline-"))
    assert row["provider_group_id"] == member["provider_group_id"]
    assert _only(got.rates)["provider_set_id"] == member["provider_set_id"]


def test_equal_inline_groups_are_one(read: Read) -> None:
    """Same NPIs and TIN, whatever their order and spelling: one id, written once."""
    spellings = [
        _group(_NPI, _NPI_2),
        _group(_NPI_2, _NPI),
        _group(str(_NPI), _NPI_2, tin="123456789"),
    ]
    got = read(
        _file(
            _item("99213", *(_rate(provider_references=[], provider_groups=[each]) for each in spellings)),
            references=[],
        )
    )

    assert 2 == len(got.providers)
    assert 1 == len(got.provider_sets)
    assert 3 == len(got.rates)


@pytest.mark.parametrize(
    "other", [_group(_NPI_2), _group(_NPI, tin="98-7654321"), _group(_NPI, kind="npi"), _group(_NPI, _NPI_2)]
)
def test_different_inline_groups_are_two(read: Read, other: Document) -> None:
    """Another NPI, TIN or TIN type is another group."""
    rates = [_rate(provider_references=[], provider_groups=[each]) for each in (_group(_NPI), other)]
    got = read(_file(_item("99213", *rates), references=[]))

    assert 2 == len({row["provider_group_id"] for row in got.providers})


def test_references_and_inline_groups_mix(read: Read) -> None:
    """One rate may have both; its set has both."""
    got = read(_file(_item("99213", _rate(provider_groups=[_group(_NPI_2), 7]))))

    assert [False, True] == sorted(row["is_inline"] for row in got.providers)
    assert 2 == len(got.provider_sets)
    assert [("provider_group", "provider_groups", "not_an_object")] == _of(got.rejects, "dropped", "path", "reason")


# --- remote references ----------------------------------------------------------------------


def _remote(npi: int) -> bytes:
    return render({"version": "1.3.1", "provider_groups": [_group(npi)]})


def test_a_remote_reference_is_fetched(read: Read) -> None:
    """The groups come from the address, the id from the reference."""
    opener = FakeOpener({f"{_BASE}/7.json": _remote(_NPI)})
    got = read(_file(references=[{"provider_group_id": 7, "location": f"{_BASE}/7.json"}]), open_url=opener)

    assert [("7", _NPI, False)] == _of(got.providers, "provider_group_id", "npi", "is_inline")
    assert [f"{_BASE}/7.json"] == opener.opened
    assert 0 == opener.open_now


def test_an_address_is_fetched_once(read: Read) -> None:
    """Two groups that share an address cost one download, be it a success or a failure."""
    opener = FakeOpener({f"{_BASE}/a": _remote(_NPI), f"{_BASE}/b": NotFoundAtSource(f"{_BASE}/b", "HTTP 404")})
    names = ["a", "b", "a", "b", "a"]
    references = [{"provider_group_id": n, "location": f"{_BASE}/{name}"} for n, name in enumerate(names)]
    got = read(_file(references=references), open_url=opener)

    assert [f"{_BASE}/a", f"{_BASE}/b"] == sorted(opener.opened)
    assert [("0", _NPI), ("1", None), ("2", _NPI), ("3", None), ("4", _NPI)] == _of(
        got.providers, "provider_group_id", "npi"
    )
    assert 2 == got.repairs["remote_reference_failed"]


@pytest.mark.parametrize(
    "found",
    [
        NotFoundAtSource("u", "HTTP 404"),
        ConnectionLostError("u", "no answer"),
        b"",
        b"<html>moved</html>",
        b'{"provider_groups":[',
        b'{"provider_groups":[]} x',
        b"[]",
        gzipped(_remote(_NPI))[:-4],
        b'{"provider_groups":' + b"[" * 100 + b"]" * 100 + b"}",
    ],
    ids=["404", "no answer", "empty", "HTML", "truncated", "garbage after", "a list", "truncated gzip", "too deep"],
)
def test_a_failed_remote_reference_is_counted(read: Read, found: bytes | Exception) -> None:
    """The group stays, without NPIs; one dead link of hundreds does not stop the file."""
    url = f"{_BASE}/7.json?Signature=S3cr3tV4lue&v=1"
    got = read(_file(references=[{"provider_group_id": 7, "location": url}]), open_url=FakeOpener({url: found}))

    assert [("7", None, None)] == _of(got.providers, "provider_group_id", "npi", "tin_value")
    assert {"remote_reference_failed": 1, "group_without_providers": 1} == got.repairs
    assert [("value", "provider_references.location", "remote_reference_failed", f"{_BASE}/7.json")] == _of(
        got.rejects, "dropped", "path", "reason", "excerpt"
    )


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "file:///etc/passwd", "Missing file", "ftp://mrf.example/7.json", "../7.json"]
)
def test_a_location_that_is_no_web_address_is_never_opened(read: Read, location: str) -> None:
    """A stranger's file must not make us read local ones."""
    opener = FakeOpener({})
    got = read(_file(references=[{"provider_group_id": 7, "location": location}]), open_url=opener)

    assert [] == opener.opened
    assert 1 == got.repairs["remote_reference_failed"]


def test_groups_beside_a_location_are_kept(read: Read) -> None:
    """Any-of in the schema: both may be there, and one may fail."""
    opener = FakeOpener({f"{_BASE}/a": _remote(_NPI_2), f"{_BASE}/b": NotFoundAtSource("u", "HTTP 404")})
    got = read(
        _file(
            references=[
                _reference(1, _group(_NPI), location=f"{_BASE}/a"),
                _reference(2, _group(_NPI), location=f"{_BASE}/b"),
            ]
        ),
        open_url=opener,
    )

    assert [("1", _NPI), ("1", _NPI_2), ("2", _NPI)] == _of(got.providers, "provider_group_id", "npi")


@pytest.mark.parametrize("pack", [bytes, gzipped, lambda data: b"\xef\xbb\xbf" + data], ids=["plain", "gzip", "BOM"])
def test_a_remote_document_is_unpacked_like_any_file(read: Read, pack: Any) -> None:  # noqa: ANN401 - a function
    """Its first bytes decide what it is."""
    opener = FakeOpener({f"{_BASE}/7": pack(_remote(_NPI))})
    got = read(_file(references=[{"provider_group_id": 7, "location": f"{_BASE}/7"}]), open_url=opener)

    assert [("7", _NPI)] == _of(got.providers, "provider_group_id", "npi")


def test_a_value_rejected_in_a_remote_document_is_told_at_the_reference(read: Read) -> None:
    """The remote document has no offsets in the file that is read."""
    opener = FakeOpener({f"{_BASE}/7": render({"provider_groups": [_group("n/a")]})})
    data = render(_file(references=[{"provider_group_id": 7, "location": f"{_BASE}/7"}]))

    assert [(data.index(b'{"provider_group_id"'),)] == _of(read(data, open_url=opener).rejects, "byte_offset")


# --- whitelist ------------------------------------------------------------------------------


def test_only_wanted_codes_are_kept(read: Read) -> None:
    """And all that is read is counted."""
    got = read(_file(_item("99213"), _item("99214"), _item("99213")), codes=_CPT_99213)

    assert ["99213", "99213"] == [row["billing_code"] for row in got.rates]
    assert (3, 2, 2) == (got.counts.items_read, got.counts.items_kept, got.counts.prices_read)


@pytest.mark.parametrize(
    ("kept", "item"),
    [
        (True, _item("99213")),
        (True, _item(" 99213 ")),
        (True, _item(99213)),
        (True, _item("99213", billing_code_type=" cpt")),
        (False, _item("99213", billing_code_type="LOCAL")),
        (False, _item("99213", billing_code_type=None)),
        (False, _item(None)),
        (False, _item(["99213"])),
        (False, _item("99214", bundled_codes=[{"billing_code_type": "CPT", "billing_code": "99213"}])),
        (False, _item("99214", extra={"billing_code_type": "CPT", "billing_code": "99213"})),
    ],
)
def test_an_item_is_wanted_by_its_own_code_and_type(read: Read, item: Document, *, kept: bool) -> None:
    """Cleaned as in the table; codes inside a bundle do not count."""
    for whole in (item, dict(reversed(item.items()))):
        assert kept == bool(read(_file(whole), codes=_CPT_99213).rates)


def test_a_numeric_code_is_wanted_with_the_zeros_it_lost(read: Read) -> None:
    """Revenue code 0450 as the number 450, and as text without its zero."""
    codes = CodeWhitelist(frozenset(), frozenset({("RC", "0450")}))
    got = read(_file(_item(450, billing_code_type="RC"), _item("450", billing_code_type="RC")), codes=codes)

    assert ["0450", "450"] == [row["billing_code"] for row in got.rates]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("codes", [
    CodeWhitelist(frozenset({"450", "3"}), frozenset()),
    CodeWhitelist(frozenset({"0450", "003"}), frozenset()),
    CodeWhitelist(frozenset(), frozenset({("RC", "0450"), ("MS-DRG", "003")})),
])  # fmt: skip
def test_a_code_is_wanted_with_and_without_its_first_zeros(read: Read, reader: Reader, codes: CodeWhitelist) -> None:
    """Whoever lost them, the payer or the list; what is stored stays as the payer wrote it."""
    spellings = [("RC", "450"), ("RC", "0450"), ("MS-DRG", "3"), ("MS-DRG", "003")]
    others = [("RC", "045"), ("MS-DRG", "30"), ("CPT", "00450")]
    items = [_item(code, billing_code_type=kind) for kind, code in spellings + others]
    got = read(_file(*items), codes=codes, reader=reader)

    assert spellings == _of(got.rates, "billing_code_type", "billing_code")


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_second_code_behind_passed_over_rates_is_rejected(read: Read, reader: Reader) -> None:
    """The rates are gone by then; that is told instead of publishing an item without them."""
    data = render(_file(_item("99214"))).replace(b"}]}]}", b'}]}],"billing_code":"99213"}')
    got = read(data, codes=_CPT_99213, reader=reader)

    assert ([], ["code_given_twice"]) == (got.rates, got.reject_reasons)


def test_a_bare_code_is_wanted_with_any_type(read: Read) -> None:
    """An entry without type does not ask for it."""
    codes = CodeWhitelist(frozenset({"J1100"}), frozenset())
    got = read(_file(_item("j1100", billing_code_type="LOCAL"), _item("99213")), codes=codes)

    assert [("LOCAL", "j1100")] == _of(got.rates, "billing_code_type", "billing_code")


_FULL_OF_TRACES = {
    "extra": 1,
    "name": "",
    "description": 5,
    "bundled_codes": [7, {"billing_code": 1, "x": 2}],
    "negotiated_rates": [
        7,
        _rate(_price("abc"), 8, _price("5", extra=1), provider_groups=[_group("n/a", 0), 9], network_name=1),
        {},
    ],
}


@pytest.mark.parametrize("code_first", [True, False])
def test_an_unwanted_item_leaves_no_trace(read: Read, *, code_first: bool) -> None:
    """No repair, reject, ignored key, group, set or price of it is counted, wherever its code stands."""
    code = {"billing_code_type": "CPT", "billing_code": "99214"}
    unwanted = code | _FULL_OF_TRACES if code_first else _FULL_OF_TRACES | code

    got = read(_file(_item(), unwanted), codes=_CPT_99213)

    assert _comparable(read(_file(_item())))[:6] == _comparable(got)[:6]
    assert (2, 1, 1, 1) == (
        got.counts.items_read, got.counts.items_kept, got.counts.prices_read, got.counts.provider_groups_read
    )  # fmt: skip


def test_the_same_item_wanted_leaves_its_traces(read: Read) -> None:
    """So that the test above shows something."""
    got = read(_file(_item() | _FULL_OF_TRACES), codes=_CPT_99213)

    assert len(got.rejects) == 6
    assert {"in_network.extra", "negotiated_rates.network_name", "negotiated_prices.extra", "bundled_codes.x"} == set(
        got.counts.ignored_keys
    )
    assert (3, 1, 2) == (got.counts.prices_read, got.counts.rate_rows, got.counts.prices_rejected)


def test_providers_do_not_depend_on_the_whitelist(read: Read) -> None:
    """Every reference of the file is kept: which are used is a join."""
    references = [_reference(1, _group(_NPI)), _reference(2, _group(_NPI_2))]

    got = read(_file(_item("99214"), references=references), codes=_CPT_99213)

    assert 2 == len(got.providers)
    assert ([], []) == (got.provider_sets, got.rates)


# --- deviations -----------------------------------------------------------------------------


def test_repeated_items_and_prices_are_kept(read: Read) -> None:
    """AmeriBen repeats whole items: they are the payer's rows, and a check counts them."""
    got = read(_file(_item("99213", _rate(_price(), _price())), _item("99213", _rate(_price(), _price()))))

    assert 4 == len(got.rates)
    assert 1 == len({str(row) for row in got.rates})


@pytest.mark.parametrize(
    ("repairs", "document"),
    [
        ({"scalar_for_list": 1}, _file(in_network=_item())),
        ({"scalar_for_list": 1}, _file(provider_references=_reference(1, _group(_NPI)))),
        ({"scalar_for_list": 1}, _file(_item(negotiated_rates=_rate()))),
        ({"scalar_for_list": 1}, _file(_item("99213", _rate(negotiated_prices=_price())))),
        ({"scalar_for_list": 1}, _file(_item("99213", _rate(provider_references=1)))),
        ({"scalar_for_list": 1}, _file(references=[_reference(1) | {"provider_groups": _group(_NPI)}])),
        ({"scalar_for_list": 1}, _file(references=[_reference(1, _group() | {"npi": _NPI})])),
        ({"byte_order_mark": 1}, b"\xef\xbb\xbf" + render(_file())),
        ({}, render(_file(), pretty=True).replace(b"\n", b"\r\n")),
    ],
    ids=["item", "reference", "rate", "price", "provider reference", "group", "NPI", "byte order mark", "CRLF"],
)
def test_deviations_of_structure_are_repaired(read: Read, repairs: dict[str, int], document: Document | bytes) -> None:
    """One thing where a list belongs is a list of one; a byte order mark is skipped."""
    usual, got = read(_file()), read(document)

    assert usual.tables == got.tables
    assert repairs == got.repairs


@pytest.mark.parametrize(
    ("dropped", "path", "document"),
    [
        ("item", "in_network", _file(7, _item())),
        ("item", "in_network", _file(None, _item())),
        ("item", "in_network", _file(["x"], _item())),
        ("rate", "negotiated_rates", _file(_item("99213", 7, _rate()))),
        ("price", "negotiated_prices", _file(_item("99213", _rate(None, _price())))),
        ("price", "negotiated_prices.negotiated_rate", _file(_item("99213", _rate(_price("abc"), _price())))),
        ("price", "negotiated_prices.negotiated_rate", _file(_item("99213", _rate({}, _price())))),
    ],
)
def test_what_cannot_be_kept_is_rejected_and_the_rest_kept(
    read: Read, dropped: str, path: str, document: Document
) -> None:
    """A reject names what is missing because of it."""
    got = read(document)

    assert 1 == len(got.rates)
    assert [(dropped, path)] == _of(got.rejects, "dropped", "path")


@pytest.mark.parametrize(
    ("object_text", "document"),
    [
        (b'{"negotiated_type"', _file(_item("99213", _rate(_price("abc"))))),
        (b'{"type"', _file(references=[_reference(1, {"npi": [1], "tin": {"type": "ein", "value": True}})])),
        (b'{"npi"', _file(references=[_reference(1, _group("n/a"))])),
        (b'{"negotiation_arrangement"', _file(_item(name=True))),
        (b'{"negotiation_arrangement"', _file(_item("99213", 7))),
        (b'{"comment"', _file(version=True)),
    ],
    ids=["price", "tin", "group", "item", "rate", "header"],
)
def test_a_reject_points_to_the_object_that_held_the_value(read: Read, object_text: bytes, document: Document) -> None:
    """The offset is that of its opening brace, in bytes, whatever stands before."""
    data = render({"comment": "é{中"} | document)

    assert [(data.index(object_text),)] == _of(read(data, block_bytes=7).rejects, "byte_offset")


def test_unknown_keys_are_counted_at_every_level(read: Read) -> None:
    """What we do not keep is known to be there: AmeriBen has network_name in rates."""
    got = read(
        _file(
            _item("99213", _rate(_price(p=1), network_name=["x"]), i={"billing_code": "x"}),
            references=[_reference(1, _group(_NPI, g=1), r=1)],
            reporting_period={"from": "2026"},
        )
    )

    assert {
        "reporting_period": 1,
        "in_network.i": 1,
        "negotiated_rates.network_name": 1,
        "negotiated_prices.p": 1,
        "provider_references.r": 1,
        "provider_groups.g": 1,
    } == dict(got.counts.ignored_keys)
    assert 1 == len(got.rates)


def test_a_key_twice_is_counted_and_the_last_one_wins(read: Read) -> None:
    """As JSON libraries have it."""
    data = render(_file()).replace(b'"negotiated_rate":', b'"negotiated_rate":1,"negotiated_rate":')
    data = data.replace(b'"billing_code":', b'"billing_code":"x","billing_code":')

    got = read(data)
    assert [("99213", Decimal("10.5"))] == _of(got.rates, "billing_code", "negotiated_rate")
    assert {"duplicate_key": 2} == got.repairs


def test_an_items_rates_twice_are_both_read(read: Read) -> None:
    """Nothing is lost where a key comes twice."""
    item = render(_item()).replace(
        b'"negotiated_rates":', b'"negotiated_rates":[' + render(_rate(_price(1))) + b'],"negotiated_rates":'
    )
    data = b'{"in_network":[' + item + b"]}"

    assert [Decimal(1), Decimal("10.5")] == [row["negotiated_rate"] for row in read(data).rates]


@pytest.mark.parametrize("prices", [[], None])
def test_a_rate_without_prices_is_counted(read: Read, prices: Any) -> None:  # noqa: ANN401 - JSON
    """It has no row, but is not passed over in silence."""
    got = read(_file(_item("99213", _rate(negotiated_prices=prices))))

    assert ([], {"rate_without_prices": 1}) == (got.rates, got.repairs)


def test_header_is_cleaned(read: Read) -> None:
    """Its fields obey the same rules as the rows; a bad date is a reject of the header."""
    header = read(
        _file(
            plan_id_type="EIN", plan_id=123456789, plan_name="", last_updated_on="2022-08-5", version=2,
            plan_market_type="group",
        )
    ).counts.header  # fmt: skip

    assert {
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": dt.date(2022, 8, 5),
        "version": "2",
        "plan_name": None,
        "plan_id_type": "ein",
        "plan_id": "123456789",
        "plan_market_type": "group",
        "issuer_name": None,
        "plan_sponsor_name": None,
    } == header


# --- what is no in-network file -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("is a table of contents", {"reporting_entity_name": "x", "reporting_structure": []}),
        ("is an allowed-amounts file", {"reporting_entity_name": "x", "out_of_network": [], "version": "1"}),
        ("is a provider-reference file", {"provider_groups": [], "version": "1"}),
        ("has no `in_network`", {"reporting_entity_name": "x"}),
        ("has no `in_network`", {"provider_references": []}),
        ("has no `in_network`", {}),
    ],
)
def test_other_kinds_of_files_are_named(read: Read, text: str, document: Document) -> None:
    """The person learns what was given in place of an in-network file."""
    with pytest.raises(NotInNetworkFile, match=text):
        read(document)


@pytest.mark.parametrize("data", [b"[]", b'[{"in_network":[]}]', b'"x"', b"1", b"null", b"\xef\xbb\xbf[]"])
def test_json_that_is_no_object_is_refused(read: Read, data: bytes) -> None:
    """A list of items is not guessed to be the file."""
    with pytest.raises(NotInNetworkFile, match="not an object"):
        read(data)


def test_an_index_is_refused_at_once(read: Read) -> None:
    """Real ones are 10 GB: the key is enough, the rest is not read."""
    data = b'{"reporting_structure":[' + b'{"a":1},' * 1000 + b"x"

    with pytest.raises(NotInNetworkFile):
        read(data, block_bytes=100)


@pytest.mark.parametrize("tail", [b" x", b"}", b'{"in_network":[]}', b"\x00", b"]"])
def test_garbage_after_the_end_is_malformed(read: Read, tail: bytes) -> None:
    """A file that goes on is not the file that it claims to be."""
    with pytest.raises(MalformedJson):
        read(render(_file()) + tail)


@pytest.mark.parametrize(
    "document",
    [
        lambda deep: _file(_item(name=deep)),
        lambda deep: _file(references=[_reference(1, deep)]),
        lambda deep: _file(_item("99213", _rate(_price(deep)))),
        lambda deep: _file(version=deep),
        lambda deep: _file(x=deep),
        lambda deep: _file(_item(x=deep)),
    ],
    ids=["item", "reference", "price", "header", "unknown key", "unknown key of an item"],
)
def test_deep_nesting_is_refused(read: Read, document: Any) -> None:  # noqa: ANN401 - a function
    """Before Python's stack is exhausted, with the place."""
    deep: Any = 1
    for _ in range(100):
        deep = [deep]

    with pytest.raises(LimitExceeded, match="nested deeper than 64 levels"):
        read(document(deep))


@given(st.data())
@settings(max_examples=50)
def test_a_truncated_file_is_told(read: Read, draw: st.DataObject) -> None:
    """Wherever it is cut, it is truncated, and no other kind of file."""
    data = render(document(seed=7))
    length = draw.draw(st.integers(0, len(data) - 1))

    with pytest.raises(TruncatedFile) as error:
        read(data[:length])
    assert length == error.value.byte_offset


# --- what holds for every file --------------------------------------------------------------


def _read_any(read: Read, data: bytes, **request: Any) -> Reading | str:  # noqa: ANN401 - fields of Request
    try:
        return read(data, **request)
    except NotInNetworkFile as error:
        return str(error)


_any_file = documents().flatmap(rendered)


@given(_any_file)
@settings(max_examples=150)
def test_prices_read_are_rows_and_rejects(read: Read, data: bytes) -> None:
    """Nothing disappears: every price of a kept item is a row or a reject."""
    got = _read_any(read, data)
    assume(not isinstance(got, str))
    assert isinstance(got, Reading)
    counts = got.counts

    assert counts.prices_read == counts.rate_rows + counts.prices_rejected
    assert counts.rate_rows == len(got.rates)
    assert counts.prices_rejected == Counter(row["dropped"] for row in got.rejects)["price"]
    assert counts.items_read == counts.items_kept + Counter(row["dropped"] for row in got.rejects)["item"]
    assert [] == counts.rejects


@given(_any_file)
@settings(max_examples=100)
def test_sets_are_whole(read: Read, data: bytes) -> None:
    """Every set of a price is written, once, with its members; its id is made from them."""
    got = _read_any(read, data)
    assume(not isinstance(got, str))
    assert isinstance(got, Reading)
    members: dict[int, list[str]] = {}
    for row in got.provider_sets:
        members.setdefault(row["provider_set_id"], []).append(row["provider_group_id"])

    assert {row["provider_set_id"] for row in got.rates} - {None} <= members.keys()
    assert {set_id: provider_set_id(groups) for set_id, groups in members.items()} == {each: each for each in members}
    assert all(len(groups) == len(set(groups)) for groups in members.values())


@given(_any_file, st.sampled_from([1, 3, 1 << 16]))
@settings(max_examples=100)
def test_batches_blocks_and_spooling_do_not_matter(read: Read, data: bytes, block_bytes: int) -> None:
    """Batches of one row, small blocks, and items that wait on disk: the same tables and counts."""
    whole = _read_any(read, data)
    for options in (
        {"provider_batch_rows": 1, "rate_batch_rows": 1},
        {"item_rows_in_memory": 1, "block_bytes": block_bytes},
        {"item_rows_in_memory": 2, "provider_batch_rows": 2, "rate_batch_rows": 3},
    ):
        got = _read_any(read, data, **options)
        if isinstance(whole, str) or isinstance(got, str):
            assert whole == got
        else:
            assert (whole.tables, whole.counts) == (got.tables, got.counts)


@given(documents(), st.data())
@settings(max_examples=100)
def test_spelling_does_not_matter(read: Read, file: Document, draw: st.DataObject) -> None:
    """White space and escapes of the same document: the same rows, with other offsets."""
    one, other = (_read_any(read, draw.draw(rendered(file))) for _ in range(2))
    assume(not isinstance(one, str))
    assert isinstance(one, Reading)
    assert isinstance(other, Reading)
    for got in (one, other):
        got.counts.repairs.pop("byte_order_mark", None)

    assert _comparable(one) == _comparable(other)


@given(documents())
@settings(max_examples=100)
def test_a_whitelist_gives_the_rows_of_its_codes(read: Read, file: Document) -> None:
    """Reading with a whitelist is reading all and leaving out what is not wanted."""
    codes = CodeWhitelist(frozenset({"J1100", "470"}), frozenset({("CPT", "99213")}))
    whole, few = (_read_any(read, render(file), codes=each) for each in (None, codes))
    assume(not isinstance(whole, str))
    assert isinstance(whole, Reading)
    assert isinstance(few, Reading)

    assert [row for row in whole.rates if codes.wants(row["billing_code_type"], row["billing_code"])] == few.rates
    assert [row for row in whole.providers if not row["is_inline"]] == [
        row for row in few.providers if not row["is_inline"]
    ]
    assert whole.counts.items_read == few.counts.items_read


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_batches_hold_as_many_rows_as_asked_for(read: Read, rows: int) -> None:
    """All but the last of a table are full, none is empty."""
    got = read(render(document(seed=2)), provider_batch_rows=rows, rate_batch_rows=rows)

    for table in TABLES:
        sizes = [size for name, size in got.batch_rows if name == table]
        assert all(size == rows for size in sizes[:-1])
        assert all(0 < size <= rows for size in sizes)


def test_a_spooled_item_leaves_nothing_behind(read: Read, tmp_path: Path) -> None:
    """What waited on disk is gone with the item, wanted or not."""
    item = {"negotiated_rates": [_rate(_price(number)) for number in range(50)]}
    code = {"billing_code_type": "CPT", "billing_code": "99213"}
    other = {"billing_code_type": "CPT", "billing_code": "99214"}
    got = read(_file(item | code, item | other), codes=_CPT_99213, item_rows_in_memory=3, spool_dir=tmp_path)

    assert list(range(50)) == [row["negotiated_rate"] for row in got.rates]
    assert [] == list(tmp_path.iterdir())


def test_a_file_is_read_as_json_reads_it(read: Read) -> None:
    """Number of items, prices and NPIs, counted by the standard library."""
    data = render(document(seed=11, codes=20, groups=8, rates_per_item=3, inline_share=0.3))
    whole = json.loads(data)
    got = read(data)

    rates = [rate for item in whole["in_network"] for rate in item["negotiated_rates"]]
    assert sum(len(rate["negotiated_prices"]) for rate in rates) == len(got.rates)
    assert len(whole["in_network"]) == got.counts.items_read
