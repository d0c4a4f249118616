"""A corpus of small lakes with one defect each: every rule finds its own, and nothing else.

The rules on prices and contracts have tests of their own, over files.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.definitions import build_defs
from mrf_assets.errors import ListFileError, SettingError
from mrf_assets.lake.catalog import CATALOG_NAME, connect, write_catalog
from mrf_assets.lake.store import Store
from mrf_assets.quality.contract_rules import CONTRACT_RULES
from mrf_assets.quality.lake_rules import CATALOG_CHECKS, audit_catalog
from mrf_assets.quality.network_rules import CHECKS, Check
from mrf_assets.quality.price_rules import PRICE_RULES
from mrf_assets.schema import FILES, PROVIDER_SETS, PROVIDERS, RATES, TABLES
from mrf_assets.settings import Settings
from mrf_assets_tests.table_rows import LABEL, Row, batch, row

RULES = [check for check in CATALOG_CHECKS if check not in (*PRICE_RULES, *CONTRACT_RULES)]
Tables = dict[str, list[Row]]
LakeRows = dict[tuple[str, str], Tables]  # (network, period)
TODAY = dt.date(2026, 11, 20)
BEFORE, LATEST = "2026-10", "2026-11"
A, B = ("a", LATEST), ("b", LATEST)
NPI, OTHER_NPI = 1234567893, 1000000004
FAMILY_MEDICINE, DENTIST = "207Q00000X", "122300000X"


def _tables(network: str) -> Tables:
    """A file of 50 prices for as many codes, alike in nothing but their code type, and one group."""
    base = 100 if network == "a" else 200
    return {
        RATES.name: [
            row(
                RATES,
                billing_code=f"{10001 + n}",
                negotiated_rate=Decimal(base + n),
                billing_code_type_version="2026",
            )
            for n in range(50)
        ],
        PROVIDERS.name: [row(PROVIDERS)],
        PROVIDER_SETS.name: [row(PROVIDER_SETS)],
        FILES.name: [row(FILES, sha256=network, last_updated_on=dt.date(2026, 11, 1), repairs={})],
    }


def _clean() -> LakeRows:
    """Two networks of two periods."""
    return {(network, period): _tables(network) for network in "ab" for period in (BEFORE, LATEST)}


def _publish(root: Path, lake: LakeRows) -> Path:
    for (network, period), tables in lake.items():
        with Store(root).stage(network) as stage:
            with stage.part(LABEL) as writer:
                for table in TABLES.values():
                    writer.write(table.name, batch(table, *tables.get(table.name, ())))
            stage.settle(LABEL, period)
            stage.publish(period)
    return root


def _directory(root: Path, entity_type: str | None = None, taxonomies: Mapping[int, str] | None = None) -> None:
    """What `provider_directory` leaves, as far as it is asked here; `taxonomies` are those of more NPIs."""
    (root / "reference").mkdir(parents=True)
    rows: list[Row] = [
        {"npi": NPI, "primary_taxonomy_code": FAMILY_MEDICINE, "taxonomy_codes": None},
        {"npi": OTHER_NPI, "primary_taxonomy_code": None, "taxonomy_codes": [DENTIST]},
        *(
            {"npi": npi, "primary_taxonomy_code": code, "taxonomy_codes": None}
            for npi, code in (taxonomies or {}).items()
        ),
    ]
    for each in rows:
        each["entity_type"] = entity_type
    pq.write_table(pa.Table.from_pylist(rows), root / "reference" / "provider_directory.parquet")


def _whose(root: Path, taxonomy: str = "207Q") -> Path:
    path = root.parent / "taxonomies.csv"
    path.write_text(f"taxonomy,billing_code_type,billing_code\n{taxonomy},cpt,10001\n122,CDT,D0120\n")
    return path


def _found(root: Path, *, taxonomy_codes: Path | None = None, as_of: dt.date = TODAY) -> dict[str, dict[str, int]]:
    """By network, the rules that failed and the information that there is, with their rows."""
    with connect(root, taxonomy_codes=taxonomy_codes) as connection:
        return {
            network: {result.check.name: result.offending_rows for result in results if result.is_notable}
            for network, results in audit_catalog(connection, as_of=as_of, checks=RULES).items()
        }


@dataclass(frozen=True)
class Defect:
    """One thing wrong with network a, the rule that must find it, and how often."""

    rule: str
    what: str
    change: Callable[[LakeRows], object]
    offending: int = 1
    also: tuple[str, ...] = ()  # networks that are as much concerned

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def _set(table: str, **values: object) -> Callable[[LakeRows], object]:
    return lambda lake: lake[A][table][0].update(values)


def _set_all(table: str, **values: object) -> Callable[[LakeRows], object]:
    return lambda lake: [each.update(values) for each in lake[A][table]]


def _add(table: str, *rows: Row) -> Callable[[LakeRows], object]:
    return lambda lake: lake[A][table].extend(rows)


def _outliers(lake: LakeRows) -> None:
    """40 contracts of one code about 100 dollars, and one of 100,000."""
    lake[A][RATES.name] = [row(RATES, negotiated_rate=Decimal(amount)) for amount in (*range(80, 120), 100_000)]
    _give_each_a_tin(lake)


def _give_each_a_tin(lake: LakeRows) -> None:
    """Each price of the first network becomes one of a contract of its own."""
    for number, each in enumerate(lake[A][RATES.name]):
        each["provider_set_id"] = number
        of_price = {"provider_group_id": f"{number}"}
        lake[A][PROVIDERS.name].append(row(PROVIDERS, **of_price, tin_value=f"{450_000_000 + number}", npi=None))
        lake[A][PROVIDER_SETS.name].append(row(PROVIDER_SETS, **of_price, provider_set_id=number))


def _spread(lake: LakeRows) -> None:
    """Ten prices of one code about 100 dollars, as in the other network, and five of 5,000."""
    lake[A][RATES.name] += [
        row(RATES, negotiated_rate=Decimal(amount), additional_information=f"{amount}")
        for amount in (*range(101, 111), *range(5_000, 5_005))
    ]


def _repeat(lake: LakeRows) -> None:
    lake[A][RATES.name].append(deepcopy(lake[A][RATES.name][0]))


def _contradict(lake: LakeRows, **values: object) -> None:
    """Two prices of 52 once more, at other amounts."""
    rates = lake[A][RATES.name]
    rates += [each | {"negotiated_rate": Decimal(110)} | values for each in rates[:2]]


def _contradict_by_another_set(lake: LakeRows) -> None:
    """The other set has the same group, beside one of its own."""
    _contradict(lake, provider_set_id=8)
    lake[A][PROVIDERS.name].append(row(PROVIDERS, provider_group_id="2", npi=OTHER_NPI))
    lake[A][PROVIDER_SETS.name] += [
        row(PROVIDER_SETS, provider_set_id=8),
        row(PROVIDER_SETS, provider_set_id=8, provider_group_id="2"),
    ]


def _contradict_by_another_group(lake: LakeRows) -> None:
    """The sets have no group in common, and their groups the same TIN and NPI."""
    _contradict(lake, provider_set_id=8)
    lake[A][PROVIDERS.name].append(row(PROVIDERS, provider_group_id="2"))
    lake[A][PROVIDER_SETS.name].append(row(PROVIDER_SETS, provider_set_id=8, provider_group_id="2"))


def _lower_tier(lake: LakeRows) -> None:
    """Physicians and nurses of one TIN, at two amounts."""
    _contradict(lake, provider_set_id=8)
    lake[A][PROVIDERS.name].append(row(PROVIDERS, provider_group_id="2", npi=OTHER_NPI))
    lake[A][PROVIDER_SETS.name].append(row(PROVIDER_SETS, provider_set_id=8, provider_group_id="2"))


def _own_codes(lake: LakeRows) -> None:
    """Three codes for two services each, which their names tell apart."""
    lake[A][RATES.name] += [
        row(RATES, billing_code_type="LOCAL", billing_code=code, name=name, negotiated_rate=Decimal(amount))
        for code in ("A1", "A2", "A3")
        for name, amount in (("Room", 40), ("Board", 41))
    ]


def _groups_without_npi(lake: LakeRows, **repairs: int) -> None:
    lake[A][PROVIDERS.name][0]["npi"] = None
    lake[A][FILES.name][0]["repairs"] = repairs


def _lose_parts(lake: LakeRows) -> None:
    lake["a", BEFORE][FILES.name].append(row(FILES, file_id="g", repairs={}))


def _same_content(lake: LakeRows) -> None:
    lake[B][RATES.name] = deepcopy(lake[A][RATES.name])


def _fall_behind(lake: LakeRows) -> None:
    for network, period in list(lake):
        if network == "a":
            lake["a", {LATEST: "2026-09", BEFORE: "2026-08"}[period]] = lake.pop((network, period))
    for key in (("a", "2026-09"), ("a", "2026-08")):
        lake[key][FILES.name][0]["last_updated_on"] = None


DEFECTS = [
    Defect("dollars_within_fence", "1,000 times the others", _outliers),
    Defect("spread_of_dollars", "a tail of 5,000", _spread),
    Defect("no_repeated_price", "a price twice", _repeat),
    Defect("one_amount_per_price", "two prices for one thing", _contradict, 4),
    Defect("one_amount_per_price", "two prices by sets that overlap", _contradict_by_another_set, 4),
    Defect("one_amount_per_price", "two prices by groups of one TIN and NPI", _contradict_by_another_group, 4),
    Defect("percent_of_something_else", "155 %", _set("rates", negotiated_type="percentage", negotiated_rate=155)),
    *(
        Defect("code_shape", f"{code} as {kind}", _set("rates", billing_code_type=kind, billing_code=code))
        for kind, code in (
            ("CPT", "100001"),
            ("MS-DRG", "D0120"),
            ("AP-DRG", "47012"),
            ("APR-DRG", "470-5"),
            ("APR-DRG", "47"),
            ("ICD", "E11-9"),
        )
    ),
    Defect("code_version_recent", "codes of 2020", _set("rates", billing_code_type_version="HCPCS LEVEL II 2020")),
    Defect("prices_in_force", "all prices of last year", _set_all("rates", expiration_date=dt.date(2025, 12, 31)), 50),
    Defect("rates_are_numbers", "a rate as text", _set("files", repairs={"rate_from_text": 3})),
    Defect("groups_have_npis", "a group without an NPI", lambda lake: _groups_without_npi(lake, group_without_npi=1)),
    Defect(
        "groups_are_used",
        "20 groups of 21 without a price",
        _add("providers", *(row(PROVIDERS, provider_group_id=f"{n}") for n in range(2, 22))),
        20,
    ),
    Defect(
        "business_name_of_tin",
        "six names",
        _add("providers", *(row(PROVIDERS, business_name=f"Clinic {n}", npi=OTHER_NPI) for n in range(5))),
    ),
    Defect("ein_prefix", "07 is not assigned", _set("providers", tin_value="071234567")),
    Defect(
        "npi_in_few_tins",
        "an NPI in 31 TINs",
        _add("providers", *(row(PROVIDERS, tin_value=f"1234567{n}") for n in range(10, 40))),
    ),
    Defect("header_date_fits", "2020 in a file of 2026", _set("files", last_updated_on=dt.date(2020, 8, 27))),
    Defect("keeps_up", "two months behind", _fall_behind),
    Defect("parts_stay", "one file of two", _lose_parts),
    Defect("same_file_once", "the file of b", _set("files", sha256="b"), also=("b",)),
    Defect("same_content_once", "the prices of b", _same_content, also=("b",)),
]


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_defect_fails_its_rule_alone(defect: Defect, tmp_path: Path) -> None:
    """Exactly one rule fails, in the networks concerned, with the number of rows that offend."""
    lake = _clean()
    defect.change(lake)

    expected = {network: {defect.rule: defect.offending} if network in ("a", *defect.also) else {} for network in "ab"}
    assert expected == _found(_publish(tmp_path / "lake", lake))


def test_an_old_network_is_told_by_the_day(tmp_path: Path) -> None:
    """Three months are not too many, four are."""
    root = _publish(tmp_path / "lake", _clean())

    assert {"a": {}, "b": {}} == _found(root, as_of=dt.date(2027, 2, 28))
    assert {"a": {"published_lately": 1}, "b": {"published_lately": 1}} == _found(root, as_of=dt.date(2027, 3, 1))


INNOCENT = {
    "nineteen groups of twenty without a price": _add(
        "providers", *(row(PROVIDERS, provider_group_id=f"{n}") for n in range(2, 21))
    ),
    "one name in six ways": _add(
        "providers", *(row(PROVIDERS, business_name=f"Made-Up{' ' * n}Clinic.") for n in range(5))
    ),
    "a contract with a whole TIN": lambda lake: _groups_without_npi(lake, npi_zero_as_null=1),
    "null NPIs of a file that has both 0 and nothing": lambda lake: _groups_without_npi(
        lake, npi_zero_as_null=1, group_without_npi=1
    ),
    "an NPI of a lower tier in the same TIN": _lower_tier,
    "services under codes of the payer's own": _own_codes,
    "prices without providers": lambda lake: _contradict(lake, provider_set_id=None),
    "codes that cost 10 dollars and codes that cost 100,000": lambda lake: [
        each.update(negotiated_rate=Decimal(10 ** (1 + number % 5)))
        for network in (A, B)
        for number, each in enumerate(lake[network][RATES.name], start=network == B)
    ],
    **{
        f"{code} as {kind}": _set("rates", billing_code_type=kind, billing_code=code)
        for kind, code in (
            ("CPT", "J1100"),
            ("HCPCS", "99213"),
            ("APR-DRG", "470-1"),
            ("APR-DRG", "4701"),
            ("APR-DRG", "470"),
            ("MS-DRG", "39"),
            ("RC", "450"),
            ("ICD", "E11.9"),
            ("LOCAL", "room and board"),
            ("CSTM-ALL", "OBS"),
        )
    },
}


@pytest.mark.parametrize("what", INNOCENT)
def test_what_payers_rightly_publish_is_not_found(what: str, tmp_path: Path) -> None:
    """By any rule."""
    lake = _clean()
    INNOCENT[what](lake)

    assert {"a": {}, "b": {}} == _found(_publish(tmp_path / "lake", lake))


@pytest.mark.parametrize(("entity_type", "found"), [("organization", {}), ("individual", {"npi_in_few_tins": 1})])
def test_a_laboratory_may_have_many_tins(entity_type: str, found: dict[str, int], tmp_path: Path) -> None:
    """Where the directory knows that the NPI is an organization's; one that it does not know is judged."""
    lake = _clean()
    _add("providers", *(row(PROVIDERS, tin_value=f"1234567{n}") for n in range(10, 40)))(lake)
    root = _publish(tmp_path / "lake", lake)
    _directory(root, entity_type=entity_type)

    assert {"a": found, "b": {}} == _found(root)


@pytest.mark.parametrize(
    ("entity_type", "npis", "billing_class", "found"),
    [
        ("individual", [NPI, OTHER_NPI], "institutional", {"npi_type_fits_class": 50}),
        ("organization", [NPI, OTHER_NPI], "institutional", {}),
        ("individual", [NPI, 1999999984], "institutional", {}),
        ("individual", [NPI, None], "institutional", {}),
        ("individual", [NPI, OTHER_NPI], "professional", {}),
    ],
)
def test_an_institutional_price_is_for_an_organization(
    entity_type: str, npis: list[int | None], billing_class: str, found: dict[str, int], tmp_path: Path
) -> None:
    """An NPI that the directory does not know, and a whole TIN, may be one."""
    lake = _clean()
    _set_all("rates", billing_class=billing_class)(lake)
    lake[A][PROVIDERS.name] = [row(PROVIDERS, npi=each) for each in npis]
    root = _publish(tmp_path / "lake", lake)
    _directory(root, entity_type)

    assert {"a": found, "b": {}} == _found(root)


@pytest.mark.parametrize(
    ("of_tin", "others", "specialties", "found"),
    [(31, 0, 31, {"tin_of_everyone": 1}), (31, 0, 30, {}), (31, 124, 31, {})],
)
def test_a_tin_of_all_specialties_and_of_a_fifth_of_a_network_is_nobodys(
    of_tin: int, others: int, specialties: int, found: dict[str, int], tmp_path: Path
) -> None:
    """It takes both: hospitals have many specialties, and groups many doctors."""
    npis = range(1_100_000_000, 1_100_000_000 + of_tin + others)
    lake = _clean()
    lake[A][PROVIDERS.name] = [
        row(PROVIDERS, npi=npi, tin_value="123456789" if number < of_tin else f"{200_000_000 + number}")
        for number, npi in enumerate(npis)
    ]
    root = _publish(tmp_path / "lake", lake)
    _directory(root, taxonomies={npi: f"20{number % specialties:02}00000X" for number, npi in enumerate(npis)})

    assert {"a": found, "b": {}} == _found(root)


def test_information_is_never_failed(tmp_path: Path) -> None:
    """Its number is there, and no rule was broken."""
    lake = _clean()
    _same_content(lake)
    with connect(_publish(tmp_path / "lake", lake)) as connection:
        results = audit_catalog(connection, ["a"], as_of=TODAY, checks=RULES)["a"]

    (twins,) = [result for result in results if result.is_notable]
    assert ("info", 1, True) == (twins.check.severity, twins.offending_rows, twins.passed)


def test_each_npi_is_judged_by_its_specialty(tmp_path: Path) -> None:
    """The family doctor of a set does not make a dentist of the same set fit for an office visit."""
    lake = _clean()
    _add("providers", row(PROVIDERS, npi=OTHER_NPI))(lake)
    root = _publish(tmp_path / "lake", lake)
    _directory(root)
    with connect(root, taxonomy_codes=_whose(root)) as connection:
        checks = [check for check in CATALOG_CHECKS if check.name == "specialty_fits"]
        (result,) = audit_catalog(connection, ["a"], checks=checks)["a"]

    assert (1, 2, True) == (result.offending_rows, result.population, result.passed)
    assert OTHER_NPI == json.loads(result.sample)["npi"]


def test_a_price_of_a_wrong_specialty_is_told(tmp_path: Path) -> None:
    """Where the user says what specialties do and the directory who has them; a dentist's office visit is a ghost."""
    lake = _clean()
    _set("providers", npi=OTHER_NPI)(lake)
    root = _publish(tmp_path / "lake", lake)

    assert {"a": {}, "b": {}} == _found(root, taxonomy_codes=_whose(root))
    _directory(root)
    assert {"a": {}, "b": {}} == _found(root)
    assert {"a": {"specialty_fits": 1}, "b": {}} == _found(root, taxonomy_codes=_whose(root))


def test_clean_networks_pass_every_rule(tmp_path: Path) -> None:
    """Of both sets in their names: none is there twice."""
    root = _publish(tmp_path / "lake", _clean())
    _directory(root)

    assert {"a": {}, "b": {}} == _found(root, taxonomy_codes=_whose(root))
    names = [(check.table, check.name) for check in (*CHECKS, *CATALOG_CHECKS)]
    assert len(names) == len(set(names))


def test_every_rule_has_a_defect() -> None:
    """A new rule needs a test."""
    apart = {"published_lately", "specialty_fits", "npi_type_fits_class", "tin_of_everyone"}

    assert {check.name for check in RULES} == {defect.rule for defect in DEFECTS} | apart


@pytest.mark.parametrize("check", CATALOG_CHECKS, ids=lambda check: check.name)
def test_a_rule_runs_where_nothing_is_published(check: Check, tmp_path: Path) -> None:
    """And warns only: what is published is published."""
    with connect(tmp_path) as connection:
        assert {} == audit_catalog(connection, checks=[check])
    assert not check.blocking


def test_networks_may_be_chosen(tmp_path: Path) -> None:
    """Others are looked at for comparison alone."""
    lake = _clean()
    _same_content(lake)
    with connect(_publish(tmp_path / "lake", lake)) as connection:
        results = audit_catalog(connection, ["b"], as_of=TODAY, checks=RULES)
        with pytest.raises(SettingError, match="c is not published; there are: a, b"):
            audit_catalog(connection, ["c"])

    assert {"b": ["same_content_once"]} == {
        network: [it.check.name for it in found if it.is_notable] for network, found in results.items()
    }


def test_the_sample_names_the_offending_rows(tmp_path: Path) -> None:
    """As JSON lines, five at most; the population says of how many."""
    lake = _clean()
    _set_all("rates", expiration_date=dt.date(2025, 12, 31))(lake)
    with connect(_publish(tmp_path / "lake", lake)) as connection:
        wanted = [check for check in CATALOG_CHECKS if check.name == "prices_in_force"]
        (result,) = audit_catalog(connection, ["a"], checks=wanted)["a"]

    lines = [json.loads(line) for line in result.sample.splitlines()]
    assert (50, 50, 5) == (result.offending_rows, result.population, len(lines))
    assert {"2025-12-31"} == {line["expiration_date"] for line in lines}


# --- flags ----------------------------------------------------------------------------------


def test_implausible_prices_are_flagged_and_never_left_out(tmp_path: Path) -> None:
    """Each with the rules that hold; the view has all prices."""
    lake = _clean()
    _outliers(lake)
    lake[A][RATES.name] += [
        row(RATES, negotiated_rate=Decimal(0)),
        row(RATES, negotiated_rate=Decimal(100_000_001), billing_code="20001"),
        row(RATES, negotiated_rate=Decimal("100.5"), negotiated_type="percentage"),
        row(RATES, negotiated_rate=Decimal("40.5"), negotiated_type="percentage"),
    ]
    root = _publish(tmp_path / "lake", lake)

    with connect(root) as connection:
        found = connection.execute(
            """SELECT negotiated_rate, implausible_by FROM rates_flagged
            WHERE network_id = 'a' AND is_implausible ORDER BY ALL"""
        ).fetchall()
        percents = connection.execute(
            "SELECT negotiated_rate FROM rates_flagged WHERE is_percent_of_something_else"
        ).fetchall()
        assert [(45, 45)] == connection.execute(
            "SELECT count(*), count(is_implausible) FROM rates_flagged WHERE network_id = 'a'"
        ).fetchall()
    assert [
        (Decimal(0), ["not_positive"]),
        (Decimal(100_000), ["outside_fence"]),
        (Decimal(100_000_001), ["above_cap"]),
    ] == found
    assert [(Decimal("100.5"),)] == percents


def test_nothing_is_outside_the_fence_for_being_a_component_or_of_a_facility(tmp_path: Path) -> None:
    """A component of an MRI costs a tenth of the whole, a procedure in a facility a twelfth; both are right."""
    lake = _clean()
    whole = [
        row(RATES, billing_code="70551", negotiated_rate=Decimal(700 + 3 * number), billing_code_modifiers=[])
        for number in range(60)
    ]
    components = [
        row(RATES, billing_code="70551", negotiated_rate=Decimal(75 + number), billing_code_modifiers=["26"])
        for number in range(45)
    ]
    offices = [
        row(RATES, billing_code="37229", negotiated_rate=Decimal(8_700 + 20 * number), service_codes=["11"])
        for number in range(50)
    ]
    facilities = [
        row(RATES, billing_code="37229", negotiated_rate=Decimal(730 + 2 * number), service_codes=["21", "22"])
        for number in range(12)
    ]
    far = row(RATES, billing_code="70551", negotiated_rate=Decimal(2), billing_code_modifiers=["26"])
    lake[A][RATES.name] = [*whole, *components, *offices, *facilities, far]
    _give_each_a_tin(lake)

    with connect(_publish(tmp_path / "lake", lake)) as connection:
        found = connection.execute("SELECT negotiated_rate FROM rates_flagged WHERE is_outside_fence").fetchall()

    assert [(Decimal(2),)] == found


def test_a_ghost_rate_is_flagged(tmp_path: Path) -> None:
    """The provider's specialty does not do what the price is for; one provider that does is enough."""
    lake = _clean()
    _set("providers", npi=OTHER_NPI)(lake)
    lake[B][PROVIDERS.name].append(row(PROVIDERS, npi=OTHER_NPI))
    root = _publish(tmp_path / "lake", lake)
    _directory(root)

    with connect(root, taxonomy_codes=_whose(root)) as connection:
        assert [("a", "10001", ["no_fitting_specialty"])] == connection.execute(
            "SELECT network_id, billing_code, implausible_by FROM rates_flagged WHERE is_implausible"
        ).fetchall()


def test_what_was_not_judged_is_null(tmp_path: Path) -> None:
    """A share of ghost rates without specialties is unknown, not 0; the view says why."""
    root = _publish(tmp_path / "lake", _clean())
    share = "SELECT avg(CAST(is_ghost_rate AS INTEGER)), count(is_ghost_rate), count(*) > 0 FROM rates_flagged"
    comment = "SELECT comment FROM duckdb_views() WHERE view_name = 'rates_flagged'"
    with connect(root) as connection:
        assert [(None, 0, True)] == connection.execute(share).fetchall()
        assert "No ghost rates are judged here: give `mrf catalog --taxonomy-codes FILE`" in str(
            connection.execute(comment).fetchall()
        )
    _directory(root)
    with connect(root, taxonomy_codes=_whose(root)) as connection:
        ((mean, judged, _),) = connection.execute(share).fetchall()
        assert (0, True) == (mean, judged > 0)
        assert "No ghost rates" not in str(connection.execute(comment).fetchall())
        # Fewer than 40 contracts make no fence.
        assert [(0,)] == connection.execute("SELECT count(is_outside_fence) FROM rates_flagged").fetchall()


def test_specialties_are_kept_with_the_lake(tmp_path: Path) -> None:
    """Until others are given: the file that was named may go."""
    lake = _clean()
    _set("providers", npi=OTHER_NPI)(lake)
    root = _publish(tmp_path / "lake", lake)
    _directory(root)
    path = _whose(root)
    write_catalog(root, str(path))
    path.unlink()
    write_catalog(root)
    with duckdb.connect(str(root / CATALOG_NAME), read_only=True) as file, connect(root) as connection:
        for each in (file, connection):
            assert [(1,)] == each.execute("SELECT count(*) FROM rates_flagged WHERE is_ghost_rate").fetchall()
    assert {"a": {"specialty_fits": 1}, "b": {}} == _found(root)
    write_catalog(root, _whose(root, DENTIST))
    with connect(root) as connection:
        assert [(0,)] == connection.execute(
            "SELECT count(*) FROM rates_flagged WHERE network_id = 'a' AND is_ghost_rate"
        ).fetchall()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_table_of_specialties_may_be_named_as_text(tmp_path: Path, kind: type[str | Path]) -> None:
    """As in a notebook."""
    root = _publish(tmp_path / "lake", _clean())

    with connect(root, taxonomy_codes=kind(_whose(root))) as connection:
        assert [(2,)] == connection.execute("SELECT count(*) FROM taxonomy_codes").fetchall()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("taxonomy,billing_code\n207Q,10001\n", "has no column billing_code_type"),
        ("taxonomy,billing_code_type,billing_code\n207Q,CPT,\n", "lacks a value in line 2"),
        (None, "cannot be read"),
    ],
)
def test_a_table_of_specialties_that_cannot_be_used_is_told(tmp_path: Path, text: str | None, expected: str) -> None:
    """With the file and what is wrong with it."""
    path = tmp_path / "taxonomies.csv"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ListFileError, match=expected):
        connect(tmp_path, taxonomy_codes=path)


# --- in Dagster -----------------------------------------------------------------------------


def test_the_rules_are_checks_of_the_catalog(tmp_path: Path) -> None:
    """A job of their own runs them; each tells the networks that fail, and warns; information passes."""
    lake = _clean()
    _same_content(lake)
    _set("files", sha256="a", repairs={"rate_from_text": 3})(lake)
    root = _publish(tmp_path / "lake", lake)
    definitions = build_defs(Settings(output_dir=root))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("audit_catalog").execute_in_process(instance=instance)

    found = {it.check_name: it for it in result.get_asset_check_evaluations()}
    assert {check.name for check in CATALOG_CHECKS} == set(found)
    twins = found["same_content_once"]
    assert twins.passed
    assert [{"network_id": network, "rows": 1, "population": None} for network in "ab"] == twins.metadata[
        "networks_concerned"
    ].value
    texts = found["rates_are_numbers"]
    assert (False, dg.AssetCheckSeverity.WARN) == (texts.passed, texts.severity)
    assert [{"network_id": "a", "rows": 1, "population": None}] == texts.metadata["networks_concerned"].value
    assert found["no_repeated_price"].passed
