"""The funnel: what is comparable, what it says, and the sentence where it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets.settings import StatisticRules
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import (
    group,
    hospital_price,
    in_network_file,
    item,
    npi,
    price,
    publish,
    tins,
)

Row = dict[str, Any]
Ask = Callable[..., Row]
Rates = Sequence[tuple[Sequence[int], Sequence[Document]]]


def _each(amounts: Sequence[object], first: int = 1, **changes: Any) -> Rates:  # noqa: ANN401 - fields of a price
    """One TIN for each amount."""
    return [([number], [price(amount, **changes)]) for number, amount in enumerate(amounts, first)]


def _hospitals(amounts: Sequence[object], **changes: Any) -> Rates:  # noqa: ANN401 - fields of a price
    return [([number], [hospital_price(amount, **changes)]) for number, amount in enumerate(amounts, 1)]


ITEMS: dict[str, list[Document]] = {
    "six": [item("99213", _each([100, 110, 120, 130, 140, 150]))],
    "five": [item("99213", _each([100, 110, 120, 130, 140]))],
    "forty": [item("99213", _each(range(100, 140)))],
    "thin": [
        item("99213", _each([90, 91, 92, 93])),
        item("99213", _each([40] * 20, 10, kind="percentage")),
        item("99213", _each([30] * 8, 30, billing_code_modifier=["26"])),
        item("99213", _each([60] * 5, 40, service_code=["21"])),
    ],
    "percent": [item("CSTM-00", _each([45] * 7, kind="percentage", billing_class="professional"), "CSTM-ALL")],
    "medicare": [item("CSTM-00", _each([155, 225] * 4), "CSTM-ALL")],
    "anesthesia": [item("00840", _each([62, 70, 80, 900, 1000, 1050, 62]))],
    "drug": [item("J9271", _each([58.4, 58.4, 60, 60, 100, 5840, 100]), "HCPCS")],
    "revenue": [item("0450", _hospitals([500, 700, 800, 900, 950, 1000], setting="outpatient"), "RC")],
    "own": [item("R-1", _each([500, 700, 800, 900, 950, 1000]), "LOCAL")],
    "schedule": [item("99213", [*_each([100] * 80), *_each([200] * 20, 81)])],
    "one": [item("99213", _each([100] * 10))],
    "mixed": [item("99213", [*_each([10] * 10), *_each([120] * 10, 11), *_each([125] * 10, 21, service_code=["22"])])],
    "base": [item(f"{number:03d}", _hospitals([9800] * 6), "MS-DRG") for number in range(1, 121)],
    "rare": [item("99213", [*_each(range(100, 106)), *_each([0] * 200, 11)])],
    "outlier": [item("99213", [*_each(range(100, 150)), *_each([9000], 51)])],
    "contradiction": [item("99213", [*_each(range(100, 110)), ([11], [price(50), price(150)])])],
    "wide": [item("99213", _each([10, 11, 12, 13, 14, 20, 30, 45, 50, 60, 70, 80]))],
    "giant": [item("99213", _each([100, 110, 120, 130, 140, 150]))],
    "expired": [item("99213", [*_each(range(100, 106)), *_each([50] * 3, 7, expiration_date="2025-10-31")])],
    "recently_expired": [item("99213", _each(range(100, 106), expiration_date="2025-11-30"))],
    "derived": [item("99213", _each([50] * 6, kind="derived"))],
    "conditional": [item("99213", _each([50] * 6, additional_information="Lesser of charges"))],
    "capitation": [item("99213", _each([12] * 6), arrangement="capitation")],
    "drg": [item("470", _hospitals([20_000, 21_000, 22_000, 23_000, 24_000, 25_000, 900]), "MS-DRG")],
    "alternatives": [item("70551", _each(range(300, 310), billing_code_modifier=["26", "TC", "50"]))],
    "component": [item("70551", [*_each(range(700, 710)), *_each(range(75, 85), 11, billing_code_modifier=["26"])])],
}


def groups_of(name: str) -> dict[int, list[Document]]:
    """The references of a network's file."""
    if name == "giant":
        return tins(5) | {6: [group(6, [npi(number) for number in range(900, 960)])]}
    return tins(220)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network for each of `ITEMS`."""
    root = tmp_path_factory.mktemp("funnel") / "lake"
    for name, items in ITEMS.items():
        publish(root, name, in_network_file(groups_of(name), items))
    return root


@pytest.fixture(scope="module")
def catalog(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Under the default rules."""
    with connect(lake, memory_mb=512) as connection:
        yield connection


def _rows(catalog: duckdb.DuckDBPyConnection, view: str, network: str, **wanted: str) -> list[Row]:
    conditions = " AND ".join(["network_id = $network", *(f"{name} = ${name}" for name in wanted)])
    found = catalog.execute(f"SELECT * FROM {view} WHERE {conditions}", {"network": network, **wanted})
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


@pytest.fixture
def ask(catalog: duckdb.DuckDBPyConnection) -> Ask:
    """The statistic of the plain code in a network: an office where the bill type is professional."""

    def asked(network: str, view: str = "code_statistics", **wanted: str) -> Row:
        rows = [it for it in _rows(catalog, view, network, **wanted) if it["site"] != "facility"]
        return rows[0]

    return asked


# --- refusals -------------------------------------------------------------------------------

SENTENCES = {
    "five": "No median: 5 contracts have a comparable price, 6 are needed.",
    "thin": "No median: 4 contracts have a comparable price, 6 are needed. Of 37 contracts 20 are percentages, "
    "8 have a modifier, 5 are for another site.",
    "percent": "No dollar price: this network pays 45 % of charges for all codes; ask for `percentage`.",
    "medicare": "No dollar price: $155 to $225 stands for all codes, not for one; it is most likely percent of "
    "Medicare.",
    "anesthesia": "No price of anesthesia: the file does not say per unit or per case ($62 to $1,050).",
    "drug": "No price of a drug without its unit: the amounts differ 100-fold.",
    "revenue": "No price of a revenue code: the file does not say for how much of the service ($500 to $1,000).",
    "own": "No price: the code is the payer's own; only its name says for what.",
    "schedule": "No distribution: one schedule of $100 holds for 80 of 100 contracts; the other 20: $200.",
    "one": "No distribution: one schedule of $100 holds for all 10 contracts.",
    "base": "No DRG price: one amount of $9,800 stands for 120 DRGs; it is a base rate to be multiplied by weights.",
    "rare": "No median: only 6 of 206 contracts have a comparable price; 5 % of them are needed.",
    "derived": "No median: no contract has a comparable price, 6 are needed. Of 6 contracts 6 are derived.",
    "conditional": "No median: no contract has a comparable price, 6 are needed. Of 6 contracts 6 depend on a remark.",
    "capitation": "No median: no contract has a comparable price, 6 are needed. Of 6 contracts 6 are by capitation.",
}


@pytest.mark.parametrize("network", SENTENCES)
def test_a_refusal_says_why_in_numbers(ask: Ask, network: str) -> None:
    """And gives no median, unless only the distribution around it is refused."""
    found = ask(network)

    assert SENTENCES[network] == found["refused_because"]
    assert (found["median"] is None) != SENTENCES[network].startswith("No distribution")
    assert found["p25"] is None


def test_what_is_not_one_thing_is_asked_for_by_site(ask: Ask) -> None:
    """With the medians of the sites, where both have one."""
    assert (
        "Not one thing: the middle half spans 12-fold; the site does not explain it."
        == ask("mixed", "price_statistics")["refused_because"]
    )
    assert (
        "Not one thing: the middle half spans 12-fold; ask by site ($125 facility, $65 nonfacility) or modifier."
        == ask("mixed")["refused_because"]
    )


@pytest.mark.parametrize("network", ["anesthesia", "drug", "revenue", "medicare"])
def test_what_has_no_unit_has_no_statistic_under_its_own_conditions_either(ask: Ask, network: str) -> None:
    """`price_statistics` knows each set of conditions, and refuses the same."""
    assert SENTENCES[network] == ask(network, "price_statistics")["refused_because"]


# --- what passes ----------------------------------------------------------------------------


def test_six_contracts_have_a_median_and_no_quartiles(ask: Ask) -> None:
    """Of 6 values the median lies between lowest and highest with 97 %."""
    found = ask("six")

    assert (125, 6, 100, 150) == tuple(found[it] for it in ("median", "contracts", "lowest", "highest"))
    assert {None} == {found[it] for it in ("p10", "p25", "p75", "p90", "refused_because")}


def test_forty_contracts_have_all_quantiles(ask: Ask) -> None:
    """Interpolated between neighbours."""
    found = ask("forty")

    assert [Decimal(it) for it in ("103.9", "109.75", "119.5", "129.25", "135.1")] == [
        found[it] for it in ("p10", "p25", "median", "p75", "p90")
    ]
    assert (40, 40, 80, 40) == tuple(found[it] for it in ("contracts", "tins", "npis", "published"))


def test_an_amount_far_from_all_others_is_left_out(ask: Ask) -> None:
    """From 40 contracts on, by a fence on a log scale."""
    found = ask("outlier")

    assert ({"far from the others": 1}, 50, 149) == (found["gates"], found["contracts"], found["highest"])


def test_a_contract_that_contradicts_itself_has_no_vote(ask: Ask) -> None:
    """50 and 150 for one service of one TIN."""
    found = ask("contradiction")

    assert ({"several amounts": 1}, 10) == (found["gates"], found["contracts"])


def test_prices_count_for_a_year_after_they_expired(ask: Ask) -> None:
    """A contract that renews itself is published with the day before it did."""
    assert {"expired": 3} == ask("expired")["gates"]
    assert 6 == ask("recently_expired")["contracts"]


def test_no_drg_is_believed_below_its_bounds(ask: Ask) -> None:
    """900 dollars are no price of a hip."""
    found = ask("drg")

    assert ({"outside the bounds of a DRG": 1}, 22_500, "inpatient", "any") == (
        found["gates"], found["median"], found["bill_type"], found["site"],
    )  # fmt: skip


def test_a_list_of_alternatives_is_the_price_of_the_whole(ask: Ask) -> None:
    """Payers list all modifiers under which the price holds."""
    assert (10, Decimal("304.5")) == tuple(ask("alternatives")[it] for it in ("contracts", "median"))


def test_a_component_is_not_pooled_and_has_its_own_statistic(catalog: duckdb.DuckDBPyConnection, ask: Ask) -> None:
    """Neither is it called implausible."""
    whole = ask("component")
    own = {it["component"]: it["median"] for it in _rows(catalog, "price_statistics", "component")}
    flags = catalog.execute("SELECT count(*) FILTER (is_implausible) FROM rates_flagged WHERE network_id = 'component'")

    assert ({"modifier": 10}, Decimal("704.5")) == (whole["gates"], whole["median"])
    assert {"base": Decimal("704.5"), "26": Decimal("79.5")} == own
    assert (0,) == flags.fetchone()


def test_each_site_has_its_own_statistic(catalog: duckdb.DuckDBPyConnection) -> None:
    """A price for the office is no price for a hospital's rooms."""
    found = {it["site"]: it for it in _rows(catalog, "code_statistics", "mixed")}

    assert (10, 125, {"other site": 20}) == tuple(found["facility"][it] for it in ("contracts", "median", "gates"))
    assert (20, {"other site": 10}) == tuple(found["nonfacility"][it] for it in ("contracts", "gates"))


@pytest.mark.parametrize(
    ("network", "caution"),
    [("wide", "the middle half spans 4.1-fold"), ("giant", "one contract has 86 % of the NPIs")],
)
def test_a_median_may_come_with_a_caution(ask: Ask, network: str, caution: str) -> None:
    """It is sound, but a reader should know."""
    found = ask(network)

    assert [caution] == found["cautions"]
    assert found["median"] is not None


def test_gates_that_nobody_could_judge_are_named(ask: Ask) -> None:
    """They need Medicare's prices, and know who performs a code."""
    assert ["Medicare", "performed"] == ask("six")["not_judged"]


# --- rules ----------------------------------------------------------------------------------


def test_the_settings_are_the_rules(lake: Path) -> None:
    """And every statistic says under which rules it was made."""
    with connect(lake, rules=StatisticRules(min_contracts=4, min_comparable_share=0.01)) as connection:
        (found,) = (it for it in _rows(connection, "code_statistics", "thin") if it["site"] == "nonfacility")
        stated = connection.execute("SELECT min_contracts, rule_version FROM statistic_rules").fetchone()

    assert (Decimal("91.5"), "1 min_contracts=4 min_comparable_share=0.01") == (found["median"], found["rule_version"])
    assert (4, found["rule_version"]) == stated


@pytest.mark.parametrize("kind", ["CPT", "hcpcs"])
def test_a_code_is_found_under_either_type_of_its_family(catalog: duckdb.DuckDBPyConnection, kind: str) -> None:
    """`family_of` and `code_of` spell what a person asks."""
    sql = "SELECT count(*) > 0 FROM code_statistics WHERE code_family = family_of($1) AND code = code_of($1, ' 99213 ')"

    assert (True,) == catalog.execute(sql, [kind]).fetchone()
    assert ("039",) == catalog.execute("SELECT code_of('drg', '39')").fetchone()
