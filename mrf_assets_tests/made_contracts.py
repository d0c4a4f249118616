"""Files of made-up contracts: who has which price is said outright, and any way of writing it down can be asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import Document, render

MONTH = "2026-11"
_FIRST_NPI = 1_000_000_000


def npi(number: int) -> int:
    """A valid NPI (Luhn over 80840 and nine digits)."""
    nine = str(_FIRST_NPI + 10 * number)[:9]
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(nine))]
    return int(f"{nine}{-(24 + sum(it - 9 if it > 9 else it for it in doubled)) % 10}")


def ein(number: int) -> str:
    """An EIN of a prefix that the IRS assigns."""
    return f"{450_000_000 + number}"


def group(number: int, npis: Iterable[int] | None = None) -> Document:
    """One provider group: TIN `number` with these NPIs, by default two of its own."""
    members = [npi(10 * number), npi(10 * number + 1)] if npis is None else list(npis)
    return {
        "npi": members,
        "tin": {"type": "ein", "value": ein(number), "business_name": f"Practice {number}"},
    }


def price(rate: object, kind: str = "negotiated", **changes: Any) -> Document:  # noqa: ANN401 - fields of the format
    """A professional price for an office, unless something else is said; None leaves a field out."""
    fields = {
        "negotiated_type": kind,
        "negotiated_rate": rate,
        "expiration_date": "9999-12-31",
        "billing_class": "professional",
        "service_code": ["11"],
        "setting": "outpatient",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def hospital_price(rate: object, kind: str = "negotiated", setting: str = "inpatient", **changes: Any) -> Document:  # noqa: ANN401 - the same
    """An institutional price, which has no places of service."""
    fields = {"billing_class": "institutional", "service_code": None, "setting": setting, **changes}
    return price(rate, kind, **fields)


def item(
    code: str,
    rates: Iterable[tuple[Sequence[int], Sequence[Document]]],
    kind: str = "CPT",
    arrangement: str = "ffs",
    **changes: Any,  # noqa: ANN401 - fields of the format
) -> Document:
    """One code: for each rate the groups that have it, and its prices."""
    return {
        "negotiation_arrangement": arrangement,
        "name": f"item {code}",
        "billing_code_type": kind,
        "billing_code_type_version": "2026",
        "billing_code": code,
        "description": f"made-up {code}",
        **changes,
        "negotiated_rates": [
            {"provider_references": list(groups), "negotiated_prices": list(prices)} for groups, prices in rates
        ],
    }


def in_network_file(
    groups: Mapping[int, Sequence[Document]], items: Sequence[Document], month: str = MONTH
) -> Document:
    """A file of schema 2; `groups` are its references by number."""
    return {
        "reporting_entity_name": "Made-up Payer",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": f"{month}-01",
        "version": "2.1.0",
        "provider_references": [
            {"provider_group_id": number, "network_name": ["PPO"], "provider_groups": list(members)}
            for number, members in groups.items()
        ],
        "in_network": list(items),
    }


def tins(last: int, first: int = 1) -> dict[int, list[Document]]:
    """References 1 to `last`, each of one TIN of its own."""
    return {number: [group(number)] for number in range(first, last + 1)}


def publish(lake: Path, network: str, document: Document, month: str = MONTH, **settings: Any) -> None:  # noqa: ANN401 - of Settings
    """Ingest one file as a network of its own; the file lies beside the lake."""
    source = lake.parent / f"{network}-{month}.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(render(document))
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=network, period=month)
    task = FileTask(address=Address(str(source)), network_id=network, identity=identity)
    ingest(network, [task], Settings(output_dir=lake, **settings)).require_published()
