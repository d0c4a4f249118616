"""Who has which price decides every statistic; how the payer writes it down decides none."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from hypothesis import HealthCheck, given, settings, strategies as st

from mrf_assets.lake.catalog import connect
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import group, hospital_price, in_network_file, item, npi, price, publish

CODES = (("CPT", "99213"), ("HCPCS", "99213"), ("CPT", "70551"), ("MS-DRG", "470"), ("CSTM-ALL", "CSTM-00"))
VIEWS = {  # view -> columns that count how a file is written
    "contract_rates": "rows",
    "code_statistics": "rows",
    "price_statistics": "rows",
    "best_rates": "",
    "all_codes_rates": "rows",
}


@dataclass(frozen=True)
class Fact:
    """One provider has one amount for one code, under one set of conditions."""

    code: tuple[str, str]
    tin: int
    npi: int
    amount: int
    site: str
    modifiers: tuple[str, ...]
    kind: str

    def price(self) -> Document:
        """As the file has it, without the providers."""
        modifiers = list(self.modifiers) or None
        if self.code[0] == "MS-DRG":
            return hospital_price(self.amount * 100, self.kind)
        return price(self.amount, self.kind, service_code=[self.site], billing_code_modifier=modifiers)


FACTS = st.sets(
    st.builds(
        Fact,
        code=st.sampled_from(CODES),
        tin=st.integers(1, 9),
        npi=st.integers(1, 2),
        amount=st.sampled_from([0, 20, 21, 22, 30, 300]),
        site=st.sampled_from(["11", "21"]),
        modifiers=st.sampled_from([(), ("26",), ("26", "TC"), ("RR",)]),
        kind=st.sampled_from(["negotiated", "fee schedule", "derived", "percentage"]),
    ),
    min_size=1,
    max_size=60,
)


def plainly(facts: set[Fact]) -> Document:
    """Each fact in a group and a rate of its own."""
    groups, rates = {}, []
    for number, fact in enumerate(sorted(facts, key=repr), 1):
        groups[number] = [group(fact.tin, [npi(10 * fact.tin + fact.npi)])]
        rates.append((fact.code, ([number], [fact.price()])))
    return in_network_file(groups, [item(code, [rate], kind) for (kind, code), rate in rates])


def otherwise(facts: set[Fact], rng: random.Random) -> Document:
    """The same: sets merged, rows repeated, NPIs gathered in groups, and all of it in another order."""
    holders: dict[tuple[Any, ...], set[tuple[int, int]]] = {}
    for fact in facts:
        key = (fact.code, fact.amount, fact.site, fact.modifiers, fact.kind)
        holders.setdefault(key, set()).add((fact.tin, fact.npi))
    by_holders: dict[tuple[tuple[int, int], ...], int] = {}
    groups: dict[int, list[Document]] = {}

    def references(members: set[tuple[int, int]]) -> list[int]:
        """Groups by TIN, or by TIN and NPI, as chance has it; equal ones are one reference, or two."""
        numbers = []
        for tin in rng.sample(sorted({tin for tin, _ in members}), len({tin for tin, _ in members})):
            mine = sorted(each for each in members if each[0] == tin)
            cuts = [mine] if rng.random() < 0.6 else [[each] for each in mine]
            for cut in cuts:
                name = tuple(cut)
                if name not in by_holders or rng.random() < 0.3:
                    by_holders[name] = 1_000 - len(groups)
                    groups[by_holders[name]] = [group(tin, [npi(10 * t + n) for t, n in rng.sample(cut, len(cut))])]
                numbers.append(by_holders[name])
        return numbers

    items: dict[tuple[str, str], list[tuple[list[int], list[Document]]]] = {}
    for (code, amount, site, modifiers, kind), members in holders.items():
        shuffled = tuple(rng.sample(modifiers, len(modifiers)))
        made = Fact(code, 0, 0, amount, site, shuffled, kind).price()
        for _ in range(rng.choice([1, 1, 2])):
            parts = [members] if rng.random() < 0.7 or len(members) == 1 else [{each} for each in members]
            for part in parts:
                items.setdefault(code, []).append((references(part), [made] * rng.choice([1, 1, 3])))
    codes = rng.sample(sorted(items), len(items))
    made_items = [item(code, rng.sample(items[kind, code], len(items[kind, code])), kind) for kind, code in codes]
    return in_network_file(groups, made_items)


def _shown(connection: duckdb.DuckDBPyConnection, network: str) -> dict[str, list[str]]:
    shown = {}
    for view, excluded in VIEWS.items():
        columns = f"* EXCLUDE (network_id{f', {excluded}' if excluded else ''})"
        sql = f"SELECT {columns} FROM {view} WHERE network_id = ? ORDER BY ALL"
        shown[view] = sorted(map(repr, connection.execute(sql, [network]).fetchall()))
    return shown


@given(facts=FACTS, seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_statistics_are_those_of_who_has_what(facts: set[Fact], seed: int) -> None:
    """However sets and groups are cut, merged, repeated and ordered."""
    with TemporaryDirectory() as folder:
        lake = Path(folder) / "lake"
        publish(lake, "plainly", plainly(facts))
        publish(lake, "otherwise", otherwise(facts, random.Random(seed)))  # noqa: S311 - a layout, no secret
        with connect(lake, memory_mb=512) as connection:
            assert _shown(connection, "plainly") == _shown(connection, "otherwise")
