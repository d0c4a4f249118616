"""Rules on prices and contracts over files of made-up contracts: what they find, and what they leave alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets.quality.contract_rules import CONTRACT_RULES
from mrf_assets.quality.lake_rules import CATALOG_CHECKS, audit_catalog
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.quality.price_rules import PRICE_RULES
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import ein, group, hospital_price, in_network_file, item, price, publish, tins

_RULES = (*PRICE_RULES, *CONTRACT_RULES)
_LAST_TIN = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """The prices of one network, and how many rows the rule finds; 0: it leaves them alone."""

    rule: str
    what: str
    items: Sequence[Document]
    found: int = 1

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def _one(code: str, *prices: Document, kind: str = "CPT") -> Document:
    """A code of one TIN."""
    return item(code, [([1], prices)], kind)


def _components(whole: float, professional: float, technical: float) -> list[Document]:
    rates = {None: whole, "26": professional, "TC": technical}
    return [price(rate, billing_code_modifier=[word] if word else None) for word, rate in rates.items()]


def _drgs(count: int) -> list[Document]:
    return [_one(f"{number}", hospital_price(9_800), kind="MS-DRG") for number in range(100, 100 + count)]


def _flat(count: int, codes: Sequence[int]) -> list[Document]:
    """One amount for codes that are counted from each of these on."""
    of_each = -(-count // len(codes))
    return [_one(f"{first + number}", price(250)) for first in codes for number in range(of_each)][:count]


def _remarks(conditional: int) -> list[Document]:
    remarks = ["Lesser of billed charges"] * conditional + ["Tier 1"] * (10 - conditional)
    return [_one(f"{90000 + n}", price(50 + n, additional_information=remark)) for n, remark in enumerate(remarks)]


def _all_codes(names_all: Sequence[int], names_one: Sequence[int]) -> list[Document]:
    """TINs that are priced for all codes, and TINs that are priced for a visit."""
    return [
        item("CSTM-00", [(names_all, [price(45, "percentage")])], "CSTM-ALL"),
        item("99213", [(names_one, [price(80)])]),
    ]


CASES = [
    Case(
        rule="dollar_price_of_all_codes",
        what="155 dollars for whatever it is",
        items=[_one("CSTM-00", price(155), kind="CSTM-ALL")],
    ),
    Case(
        rule="dollar_price_of_all_codes",
        what="45 % of charges for all codes",
        items=[_one("CSTM-00", price(45, "percentage"), kind="CSTM-ALL")],
        found=0,
    ),
    Case(rule="cpt_magnitude", what="a visit of 2,500 dollars", items=[_one("99213", price(2_500))]),
    Case(
        rule="cpt_magnitude",
        what="a hospital's emergency visit",
        items=[_one("99285", hospital_price(2_500, setting="outpatient"), price(400))],
        found=0,
    ),
    Case(rule="cpt_magnitude", what="a knee", items=[_one("27447", price(2_500))], found=0),
    Case(
        rule="drg_magnitude",
        what="base rates and charges",
        items=[_one("470", hospital_price(900), kind="MS-DRG"), _one("1", hospital_price(600_000), kind="DRG")],
        found=2,
    ),
    Case(
        rule="drg_magnitude",
        what="a case, a day, a percentage",
        items=[
            _one(
                "470",
                *(hospital_price(24_000), hospital_price(900, "per diem"), hospital_price(60, "percentage")),
                kind="MS-DRG",
            )
        ],
        found=0,
    ),
    Case(
        rule="drug_unit",
        what="a milligram and a vial",
        items=[item("J9271", [([1], [price(58.4)]), ([2], [price(5_840)])], "HCPCS")],
    ),
    Case(
        rule="drug_unit",
        what="15 times, and a schedule apart",
        items=[item("J1100", [([1], [price(2), price(100, "fee schedule")]), ([2], [price(30)])], "HCPCS")],
        found=0,
    ),
    Case(rule="penny", what="a visit of a cent", items=[_one("99213", price(0.01))]),
    Case(
        rule="penny",
        what="a report of quality, and a drug by the unit",
        items=[_one("3006F", price(0.01)), _one("J1644", price(0.005), kind="HCPCS")],
        found=0,
    ),
    Case(rule="placeholder_amount", what="nines", items=[_one("27447", price(9_999.99))]),
    Case(
        rule="placeholder_amount",
        what="one amount for 201 codes of three sections",
        items=_flat(201, [27000, 71000, 80000]),
        found=201,
    ),
    Case(rule="placeholder_amount", what="200 codes", items=_flat(200, [27000, 71000, 80000]), found=0),
    Case(rule="placeholder_amount", what="a group of surgery", items=_flat(201, [27000]), found=0),
    Case(
        rule="class_of_code",
        what="claim forms that do not know the code",
        items=[
            _one("0981", price(45, "percentage"), kind="RC"),
            _one("470", price(24_000), kind="MS-DRG"),
            _one("99213", hospital_price(80, setting="outpatient")),
        ],
        found=3,
    ),
    Case(
        rule="class_of_code",
        what="both forms for a visit, one for the rest",
        items=[
            _one("99213", hospital_price(80, setting="outpatient"), price(60)),
            _one("99214", price(90, billing_class="both")),
            _one("0450", hospital_price(700, setting="outpatient"), kind="RC"),
            _one("470", hospital_price(24_000), kind="MS-DRG"),
        ],
        found=0,
    ),
    Case(
        rule="setting_contradicts_place",
        what="an inpatient in an office, an outpatient in a ward",
        items=[
            _one("99213", price(60, setting="inpatient", service_code=["11"])),
            _one("99214", price(60, setting="outpatient", service_code=["21"])),
        ],
        found=2,
    ),
    Case(
        rule="setting_contradicts_place",
        what="places that fit, all places, and none",
        items=[
            _one("99221", price(60, setting="inpatient", service_code=["11", "21"])),
            _one("99222", price(60, setting="inpatient", service_code=["31"])),
            _one("99223", price(60, setting="inpatient", service_code=["CSTM-00"])),
            _one("99213", price(60, setting="outpatient", service_code=["21", "22"])),
            _one("470", hospital_price(24_000), kind="MS-DRG"),
        ],
        found=0,
    ),
    Case(
        rule="type_share",
        what="negotiated alone",
        items=[_one(f"{number}", price(9)) for number in range(90000, 90040)],
    ),
    Case(
        rule="type_share",
        what="nine of ten",
        items=[
            _one(f"{number}", price(9, "fee schedule" if number % 10 == 0 else "negotiated"))
            for number in range(90000, 90040)
        ],
        found=0,
    ),
    Case(rule="remark_share", what="two of ten", items=_remarks(2)),
    Case(rule="remark_share", what="one of ten", items=_remarks(1), found=0),
    Case(rule="anesthesia_convention", what="a conversion factor", items=[_one("00100", price(62))]),
    Case(rule="anesthesia_convention", what="no anesthesia", items=[_one("99213", price(62))], found=0),
    Case(
        rule="negotiated_and_fee_schedule_equal",
        what="one amount twice",
        items=[_one("99213", price(60), price(60, "fee schedule"))],
    ),
    Case(
        rule="negotiated_and_fee_schedule_equal",
        what="two amounts, and two sites",
        items=[
            _one("99213", price(60), price(50, "fee schedule")),
            _one("99214", price(60), price(60, "fee schedule", service_code=["22"])),
        ],
        found=0,
    ),
    Case(rule="component_order", what="a part dearer than the whole", items=[_one("70551", *_components(99, 150, 20))]),
    Case(rule="component_order", what="parts of half the whole", items=[_one("70551", *_components(100, 20, 30))]),
    Case(
        rule="component_order",
        what="parts of other sets of the same TIN",
        items=[item("70551", [([1, 2] if n else [1], [it]) for n, it in enumerate(_components(90, 10, 20))])],
    ),
    Case(rule="component_order", what="parts that add up", items=[_one("70551", *_components(100, 30, 65))], found=0),
    Case(rule="component_order", what="two parts alone", items=[_one("70551", *_components(100, 80, 50)[:2])], found=0),
    Case(
        rule="site_order",
        what="a facility dearer than the office",
        items=[_one("99213", price(100), price(120, service_code=["22"]))],
    ),
    Case(
        rule="site_order",
        what="a facility cheaper than the office",
        items=[_one("37229", price(8_700), price(730, service_code=["21", "22"]))],
        found=0,
    ),
    Case(rule="drg_flat_amount", what="one amount for 101 DRGs", items=_drgs(101)),
    Case(rule="drg_flat_amount", what="one amount for 100 DRGs", items=_drgs(100), found=0),
    Case(rule="all_codes_share", what="a TIN of four", items=_all_codes([1, 2], [2, 3, 4])),
    Case(rule="all_codes_share", what="a TIN of five", items=_all_codes([1, 2], [2, 3, 4, 5]), found=0),
]


def _network(case: Case) -> str:
    return f"n{CASES.index(case):02d}"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, CheckResult]]:
    """By network and rule."""
    root = tmp_path_factory.mktemp("rules") / "lake"
    for case in CASES:
        publish(root, _network(case), in_network_file(tins(_LAST_TIN), case.items))
    with connect(root) as connection:
        found = audit_catalog(connection, checks=_RULES)
    return {network: {result.check.name: result for result in of_network} for network, of_network in found.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_finds_what_is_wrong_and_leaves_the_rest_alone(
    case: Case, results: dict[str, dict[str, CheckResult]]
) -> None:
    """Each network has one thing that the rule is about."""
    result = results[_network(case)][case.rule]

    assert (case.found > 0, case.found) == (result.is_notable, result.offending_rows if result.is_notable else 0)


def test_every_rule_on_prices_and_contracts_has_both_cases() -> None:
    """A new rule needs data that it finds, and data that it does not."""
    for is_found in (True, False):
        assert {rule.name for rule in _RULES} == {case.rule for case in CASES if (case.found > 0) == is_found}


@pytest.mark.parametrize(("amounts", "looks"), [((155, 225), True), ((155.5, 225), False), ((31, 225), False)])
def test_whole_numbers_for_all_codes_look_like_percent_of_medicare(
    amounts: tuple[float, float], looks: bool, tmp_path: Path
) -> None:
    """If all of them are from 80 to 400; an administrator writes 155 and 225."""
    publish(
        tmp_path / "lake",
        "a",
        in_network_file(tins(2), [item("CSTM-00", [([1], [price(it)]) for it in amounts], "CSTM-ALL")]),
    )
    with connect(tmp_path / "lake") as connection:
        (result,) = audit_catalog(
            connection, checks=[rule for rule in PRICE_RULES if rule.name == "dollar_price_of_all_codes"]
        )["a"]

    assert looks == json.loads(result.sample)["looks_like_percent_of_medicare"]


@pytest.mark.parametrize(("amounts", "share"), [((62, 70), 1.0), ((560, 1_050), 0.0), ((62, 1_050), 0.0)])
def test_the_convention_of_anesthesia_is_read_from_the_amounts(
    amounts: tuple[int, int], share: float, tmp_path: Path
) -> None:
    """Dollars per unit are few and small; a set of providers has one convention."""
    codes = [_one(code, price(amount)) for code, amount in zip(("00100", "00840"), amounts, strict=True)]
    publish(tmp_path / "lake", "a", in_network_file(tins(1), codes))
    with connect(tmp_path / "lake") as connection:
        (result,) = audit_catalog(
            connection, checks=[rule for rule in PRICE_RULES if rule.name == "anesthesia_convention"]
        )["a"]

    assert share == pytest.approx(json.loads(result.sample)["share_per_unit"] or 0.0)


def test_no_sample_shows_a_likely_social_security_number(tmp_path: Path) -> None:
    """Of contracts that offend; an EIN that the IRS assigns is shown, so that it can be looked up."""
    root = tmp_path / "lake"
    document = in_network_file(
        {1: [group(1) | {"tin": {"type": "ein", "value": "071234567"}}], **tins(2, first=2)},
        [
            *_drgs(101),
            item("70551", [([1, 2], _components(100, 150, 20))]),
            item("99213", [([1, 2], [price(100), price(120, service_code=["22"])])]),
        ],
    )
    publish(root, "a", document)
    with connect(root) as connection:
        results = [it for it in audit_catalog(connection)["a"] if it.offending_rows]

    rules = {"component_order", "site_order", "drg_flat_amount", "ein_prefix"}
    assert rules <= {result.check.name for result in results}
    shown = {result.check.name: result.sample for result in results}
    assert [] == [name for name, sample in shown.items() if "071234567" in sample]
    assert "07*******" in shown["site_order"]
    assert ein(2) in shown["site_order"]
    assert {"network_id": "a", "prefix": "07", "tins": 1} == json.loads(shown["ein_prefix"])


def test_a_component_and_a_facility_price_offend_no_rule(tmp_path: Path) -> None:
    """They are far from the other prices of their codes, and right."""
    scans = item("70551", [([n], _components(700 + n, 80 + n, 615 + n)) for n in range(1, 46)])
    legs = item(
        "37229",
        [([n], [price(8_700 + 20 * n), price(730 + 2 * n, service_code=["21", "22"])]) for n in range(1, 46)],
    )
    publish(tmp_path / "lake", "a", in_network_file(tins(45), [scans, legs], month="2999-11"), month="2999-11")
    with connect(tmp_path / "lake") as connection:
        results = audit_catalog(connection, checks=CATALOG_CHECKS)["a"]

    assert [] == [result.check.name for result in results if not result.passed]
