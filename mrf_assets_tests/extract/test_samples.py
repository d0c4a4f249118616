"""Published files, beside the project and no part of it: what the standard library finds in them, we find.

CMS's own examples (versions 1.3.3, 1.6.2 and 2.2.0 of the schema) and eight files of a third-party
administrator of March 2026. The tests are skipped where the files are absent.
"""

from __future__ import annotations

import datetime as dt
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.errors import NotFoundAtSource, NotInNetworkFile
from mrf_assets.extract import READERS
from mrf_assets.fetch import open_url
from mrf_assets.stream.decompress import open_json
from mrf_assets_tests.conftest import FakeOpener, Read, Reading, Row
from mrf_assets_tests.factory import Document, Number, render

Flat = tuple[Any, ...]  # one price, one TIN, one NPI

_REMOTE = "https://www.cms.gov/some_provider_group.json"  # the one remote location in CMS's examples: never fetched
_NO_REMOTE = FakeOpener({_REMOTE: NotFoundAtSource(_REMOTE, "HTTP 404")})

_CMS = {  # items, prices, prices x TINs x NPIs
    "cms-v1.3.3/in-network-rates-bundle-single-plan-sample.json": (1, 2, 14),
    "cms-v1.3.3/in-network-rates-capitation-single-plan-sample.json": (1, 2, 14),
    "cms-v1.3.3/in-network-rates-fee-for-service-single-plan-sample.json": (2, 5, 35),
    "cms-v1.3.3/in-network-rates-multiple-plans-sample.json": (2, 5, 35),
    "cms-v1.3.3/in-network-rates-no-npi.json": (1, 1, 1),
    "cms-v1.6.2/in-network-rates-bundle-single-plan-sample.json": (1, 2, 14),
    "cms-v1.6.2/in-network-rates-capitation-single-plan-sample.json": (1, 2, 14),
    "cms-v1.6.2/in-network-rates-fee-for-service-single-plan-sample.json": (2, 5, 35),
    "cms-v1.6.2/in-network-rates-multiple-plans-sample.json": (2, 6, 39),
    "cms-v1.6.2/in-network-rates-no-npi.json": (1, 1, 1),
    "cms-v2.2.0/in-network-rates-all-negotiated-types-sample.json": (6, 8, 30),
    "cms-v2.2.0/in-network-rates-bundle-single-plan-sample.json": (1, 2, 20),
    "cms-v2.2.0/in-network-rates-capitation-single-plan-sample.json": (1, 2, 20),
    "cms-v2.2.0/in-network-rates-fee-for-service-single-plan-sample.json": (2, 5, 50),
    "cms-v2.2.0/in-network-rates-multiple-plans-sample.json": (2, 6, 60),
    "cms-v2.2.0/in-network-rates-no-npi.json": (1, 1, 1),
}
_OTHER_KINDS = {
    "table-of-contents-sample.json": "table of contents",
    "allowed-amounts-single-plan-sample.json": "allowed-amounts",
    "allowed-amounts-multiple-plan-sample.json": "allowed-amounts",
    "provider-reference.json": "provider-reference",
}
_TPA = {  # items, prices, percentages
    "arizona_local_government_ebt": (2, 8, 8),
    "borderland_construction": (2, 8, 8),
    "cochise_combined_trust": (29, 149, 99),
    "frontier_behavioral_health": (29, 149, 99),
    "hd_supply_inc": (29, 149, 99),
    "kyrene_elem_school_district": (29, 149, 99),
    "monterey_mushrooms_llc": (29, 149, 99),
    "russell_sigler_inc": (29, 149, 99),
}


def _prices(document: Document) -> Iterator[tuple[Document, Document, Document]]:
    for item in document["in_network"]:
        for rate in item["negotiated_rates"]:
            for price in rate["negotiated_prices"]:
                yield item, rate, price


def _texts(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(text for text in value if text)


def _codes(value: list[Row] | None) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True)


def _tin(tin: Document) -> tuple[str, str, str | None]:
    value = tin["value"].replace("-", "") if tin["type"] == "ein" else tin["value"]
    return tin["type"], value, tin.get("business_name") or None


def _flattened(document: Document) -> Counter[Flat]:
    """Straight out of `json`: prices with each NPI of each group they are for."""
    references: dict[Any, list[tuple[Document, Any]]] = {
        reference["provider_group_id"]: [
            (group, reference.get("network_name")) for group in reference.get("provider_groups", [])
        ]
        for reference in document.get("provider_references", [])
    }
    flat: Counter[Flat] = Counter()
    for item, rate, price in _prices(document):
        groups = [(group, None) for group in rate.get("provider_groups", [])]
        unknown = 0
        for group_id in dict.fromkeys(rate.get("provider_references", [])):
            groups += references[group_id]
            unknown += not references[group_id]
        columns = (
            item["negotiation_arrangement"], item["billing_code_type"], item["billing_code_type_version"],
            item["billing_code"], item["name"], item["description"] or None, item.get("severity_of_illness"),
            _codes(item.get("bundled_codes")), _codes(item.get("covered_services")),
            price["negotiated_type"], price["negotiated_rate"], dt.date.fromisoformat(price["expiration_date"]),
            _texts(price.get("service_code")), price["billing_class"], price.get("setting"),
            _texts(price.get("billing_code_modifier")), price.get("additional_information") or None,
        )  # fmt: skip
        for group, networks in groups:
            for npi in group["npi"] or [0]:
                flat[(*columns, *_tin(group["tin"]), _texts(networks), npi or None)] += 1
        if unknown:
            flat[(*columns, None, None, None, None, None)] += unknown
    return flat


def _joined(got: Reading) -> Counter[Flat]:
    """The same, by joining our tables."""
    groups, members = defaultdict[str, list[Row]](list), defaultdict[int, list[str]](list)
    for row in got.providers:
        groups[row["provider_group_id"]].append(row)
    for row in got.provider_sets:
        members[row["provider_set_id"]].append(row["provider_group_id"])
    flat: Counter[Flat] = Counter()
    for row in got.rates:
        columns = (
            row["negotiation_arrangement"], row["billing_code_type"], row["billing_code_type_version"],
            row["billing_code"], row["name"], row["description"], row["severity_of_illness"],
            _codes(row["bundled_codes"]), _codes(row["covered_services"]),
            row["negotiated_type"], row["negotiated_rate"], row["expiration_date"],
            _texts(row["service_codes"]), row["billing_class"], row["setting"],
            _texts(row["billing_code_modifiers"]), row["additional_information"],
        )  # fmt: skip
        for group_id in members[row["provider_set_id"]]:
            for group in groups[group_id]:
                tin = (group["tin_type"], group["tin_value"], group["business_name"])
                flat[(*columns, *tin, _texts(group["network_names"]), group["npi"])] += 1
    return flat


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", _CMS)
def test_an_example_of_cms_is_read_as_json_reads_it(samples: Path, read: Read, name: str, reader: str) -> None:
    """Every price with every NPI, through the joins that our readers make."""
    data = (samples / name).read_bytes()
    got = read(data, reader=READERS[reader], open_url=_NO_REMOTE)

    assert _flattened(json.loads(data, parse_float=Decimal)) == _joined(got)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("name", "counts"), _CMS.items())
def test_an_example_of_cms_has_its_counts(
    samples: Path, read: Read, name: str, counts: tuple[int, int, int], reader: str
) -> None:
    """Items, prices and prices with NPIs, as counted by hand; no value is lost."""
    got = read((samples / name).read_bytes(), reader=READERS[reader], open_url=_NO_REMOTE)

    assert counts == (got.counts.items_read, len(got.rates), _joined(got).total())
    assert {"remote_reference_failed"} >= set(got.reject_reasons)


@pytest.mark.parametrize("reader", READERS)
def test_the_remote_reference_of_cms_is_read_from_where_it_is(samples: Path, read: Read, reader: str) -> None:
    """Its address is opened once; CMS's own provider-reference file stands for what is there."""
    found = (samples / "cms-v1.3.3/provider-reference.json").read_bytes()
    opener = FakeOpener({_REMOTE: found})
    data = (samples / "cms-v1.3.3/in-network-rates-fee-for-service-single-plan-sample.json").read_bytes()
    got = read(data, reader=READERS[reader], open_url=opener)

    whole = json.loads(data, parse_float=Decimal)
    whole["provider_references"][1]["provider_groups"] = json.loads(found)["provider_groups"]
    assert _flattened(whole) == _joined(got)
    assert [_REMOTE] == opener.opened
    assert [] == got.rejects


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("name", "kind"), _OTHER_KINDS.items())
def test_other_examples_of_cms_are_refused_by_kind(
    samples: Path, read: Read, name: str, kind: str, reader: str
) -> None:
    """Indexes, allowed amounts and provider references are told apart from in-network files."""
    paths = list(samples.glob(f"cms-v*/{name}"))

    assert len(paths) >= 2
    for path in paths:
        with pytest.raises(NotInNetworkFile, match=kind):
            read(path.read_bytes(), reader=READERS[reader])


def _published(samples: Path, employer: str) -> Path:
    return samples / "ameriben-2026-03" / f"2026-03-01_ameriben_{employer}_in-network-rates.zip"


def _unzipped(path: Path) -> Document:
    with zipfile.ZipFile(path) as archive:
        whole: Document = json.loads(archive.read(archive.namelist()[0]), parse_float=Decimal)
    return whole


def _read_published(read: Read, path: Path, reader: str) -> Reading:
    with open_url(str(path)) as raw:
        file = open_json(raw)
        data = b"".join(file.blocks())
    assert ("zip", path.stat().st_size) == (file.container, file.size_bytes)
    return read(data, reader=READERS[reader])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("employer", "counts"), _TPA.items())
def test_a_real_file_gives_every_price(
    samples: Path, read: Read, employer: str, counts: tuple[int, int, int], reader: str
) -> None:
    """Items, prices and percentages, repeated items included; a percentage is told apart from dollars."""
    path = _published(samples, employer)
    got = _read_published(read, path, reader)

    whole = _unzipped(path)
    kinds = Counter(price["negotiated_type"] for *_, price in _prices(whole))
    assert (len(whole["in_network"]), kinds.total(), kinds["percentage"]) == counts
    assert counts == (
        got.counts.items_kept, len(got.rates), sum(row["negotiated_type"] == "percentage" for row in got.rates)
    )  # fmt: skip
    assert sorted((price["negotiated_type"], price["negotiated_rate"]) for *_, price in _prices(whole)) == sorted(
        (row["negotiated_type"], row["negotiated_rate"]) for row in got.rates
    )
    assert ([], 0) == (got.rejects, got.counts.prices_rejected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("employer", _TPA)
def test_a_real_file_is_read_as_json_reads_it(samples: Path, read: Read, employer: str, reader: str) -> None:
    """Every price with every NPI, TIN and network name."""
    path = _published(samples, employer)

    assert _flattened(_unzipped(path)) == _joined(_read_published(read, path, reader))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("employer", _TPA)
def test_deviations_of_a_real_file_are_counted(samples: Path, read: Read, employer: str, reader: str) -> None:
    """`billing_code_modifier: [""]` is repaired, `service_code: []` kept, `network_name` in rates ignored."""
    path = _published(samples, employer)
    got = _read_published(read, path, reader)

    whole = _unzipped(path)
    prices = [price for *_, price in _prices(whole)]
    lists = [price[key] for price in prices for key in ("service_code", "billing_code_modifier") if key in price]
    lists += [reference["network_name"] for reference in whole["provider_references"]]
    rates = [rate for item in whole["in_network"] for rate in item["negotiated_rates"]]
    assert sum(entry == "" for each in lists for entry in each) == got.repairs["empty_entry_in_list"]
    assert sum(price["service_code"] == [] for price in prices) == sum(row["service_codes"] == [] for row in got.rates)
    assert {"negotiated_rates.network_name": sum("network_name" in rate for rate in rates)} == dict(
        got.counts.ignored_keys
    )
    assert dt.date(2026, 3, 1) == got.counts.header["last_updated_on"]


def test_the_flattening_of_these_tests_is_right() -> None:
    """Two groups, one of them without NPI, are three rows of one price."""
    groups = [
        {"npi": [1, 2], "tin": {"type": "ein", "value": "12-3456789"}},
        {"npi": [], "tin": {"type": "npi", "value": "1"}},
    ]
    price = {"negotiated_type": "negotiated", "negotiated_rate": Number("1.50"), "expiration_date": "9999-12-31"}
    item = dict.fromkeys(
        ("negotiation_arrangement", "billing_code_type", "billing_code_type_version", "billing_code", "name"), "x"
    )
    rates = [{"provider_groups": groups, "negotiated_prices": [price | {"billing_class": "both"}]}]
    whole = {"in_network": [item | {"description": "", "negotiated_rates": rates}]}

    flat = _flattened(json.loads(render(whole), parse_float=Decimal))
    assert [("ein", "123456789", 1), ("ein", "123456789", 2), ("npi", "1", None)] == [
        (row[17], row[18], row[21]) for row in flat
    ]
    assert {Decimal("1.5")} == {row[10] for row in flat}
