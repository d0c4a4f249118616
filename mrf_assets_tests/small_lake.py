"""A small output folder of two networks and two periods, and what it must answer, out of the documents alone.

Everything here is worked out in Python from what `factory.document` made: no SQL, no reader of ours.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import Code, Document, document, render

CODES: tuple[Code, ...] = (("CPT", "99213"), ("CPT", "70450"), ("HCPCS", "A0001"), ("MS-DRG", "470"), ("RC", "510"))
PERIODS = ("2026-10", "2026-11")
LATEST = PERIODS[-1]
TYPES = ("negotiated", "percentage", "fee schedule", "per diem", "derived", "negotiated")
ARRANGEMENTS = ("ffs", "ffs", "ffs", "bundle", "capitation")
_UNITS = {"percentage": "percent", "per diem": "dollars per day"}
_BY_ARRANGEMENT = {
    ("bundle", "dollars"): "dollars per bundle",
    ("bundle", "dollars per day"): "dollars per day of a bundle",
    ("bundle", "percent"): "percent of a bundle",
    ("capitation", "dollars"): "dollars by capitation",
    ("capitation", "dollars per day"): "dollars per day by capitation",
    ("capitation", "percent"): "percent by capitation",
}

Holder = tuple[str, str, int]  # TIN type, TIN, NPI


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One negotiated price as its document has it."""

    network: str
    period: str
    code: Code
    arrangement: str
    kind: str
    rate: Decimal
    billing_class: str
    setting: str | None
    modifiers: tuple[str, ...]
    expiration: dt.date
    groups: frozenset[str]
    holders: frozenset[Holder]

    @property
    def unit(self) -> str:
        """What the rate is."""
        unit = _UNITS.get(self.kind, "dollars")
        return _BY_ARRANGEMENT.get((self.arrangement, unit), unit)

    @property
    def is_in_dollars(self) -> bool:
        """Whether the rate is dollars for the code: of a revenue code nobody knows for what."""
        return self.unit == "dollars" and self.code[0] != "RC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """The folder, and the prices in it."""

    root: Path
    prices: list[Price]
    plans: dict[str, tuple[Plan, ...]]

    def latest(self, **wanted: Any) -> list[Price]:  # noqa: ANN401 - values of the fields
        """Prices of the latest period with these values."""
        return [it for it in self.prices if it.period == LATEST and all(getattr(it, k) == v for k, v in wanted.items())]


def make_lake(root: Path, networks: str = "ab") -> Lake:
    """Ingest two periods of each network; the last network is the first one under another name."""
    prices: list[Price] = []
    plans: dict[str, tuple[Plan, ...]] = {}
    for letter in networks:
        plans[f"t~{letter}"] = (_plan(letter, 1), _plan(letter, 2))
        for number, period in enumerate(PERIODS):
            made = _document(f"{letter}{number}")
            _publish(root, f"t~{letter}", period, made, plans[f"t~{letter}"])
            prices += prices_of(made, f"t~{letter}", period)
    twin = _document(f"{networks[0]}{len(PERIODS) - 1}")
    _publish(root, "t~twin", LATEST, twin, ())
    prices += prices_of(twin, "t~twin", LATEST)
    plans["t~twin"] = ()
    return Lake(root=root / "lake", prices=prices, plans=plans)


def _document(seed: str) -> Document:
    """Many groups to a price, NPIs in several groups of it, a zero, and every unit."""
    made = document(
        seed=sum(map(ord, seed)) + 1000 * int(seed[-1]),
        schema="v2",
        codes=[code for code in CODES for _ in ARRANGEMENTS],
        groups=5,
        rates_per_item=2,
        prices_per_rate=5,
        negotiated_types=TYPES,
        arrangements=ARRANGEMENTS,
    )
    for entry in made["provider_references"]:
        for group in entry["provider_groups"]:
            group["npi"] = sorted({*group["npi"], 1234567893})
            group["tin"] = made["provider_references"][0]["provider_groups"][0]["tin"]
        entry["provider_groups"][0]["tin"] = {"type": "ein", "value": f"12-34567{entry['provider_group_id']:02d}"}
    made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][0]["negotiated_rate"] = 0
    made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][2]["expiration_date"] = "2024-05-31"
    return made


def _plan(letter: str, number: int) -> Plan:
    return Plan(
        plan_name=f"Willow {letter.upper()} {number}",
        plan_id_type="ein",
        plan_id=f"12-000000{number}" if letter == "a" else f"98-000000{number}",
        plan_market_type="group",
    )


def _publish(root: Path, network: str, period: str, made: Document, plans: tuple[Plan, ...]) -> None:
    source = root / f"{network}-{period}.json"
    source.write_bytes(render(made))
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=network, period=period)
    task = FileTask(address=Address(str(source)), network_id=network, identity=identity, plans=plans)
    ingest(network, [task], Settings(output_dir=root / "lake")).require_published()


def prices_of(made: Document, network: str, period: str) -> Iterator[Price]:
    """Every price of a document with all that its references say."""
    holders = {
        str(entry["provider_group_id"]): {
            (group["tin"]["type"], group["tin"]["value"].replace("-", ""), npi)
            for group in entry["provider_groups"]
            for npi in group["npi"]
        }
        for entry in made["provider_references"]
    }
    for item in made["in_network"]:
        for rate in item["negotiated_rates"]:
            groups = frozenset(map(str, rate["provider_references"]))
            for price in rate["negotiated_prices"]:
                yield Price(
                    network=network,
                    period=period,
                    code=(item["billing_code_type"], item["billing_code"]),
                    arrangement=item["negotiation_arrangement"],
                    kind=price["negotiated_type"],
                    rate=Decimal(str(price["negotiated_rate"])),
                    billing_class=price["billing_class"],
                    setting=price.get("setting"),
                    modifiers=tuple(price.get("billing_code_modifier", ())),
                    expiration=dt.date.fromisoformat(price["expiration_date"]),
                    groups=groups,
                    holders=frozenset(holder for group in groups for holder in holders[group]),
                )
