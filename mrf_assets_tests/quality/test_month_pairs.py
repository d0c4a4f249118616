"""Two months of one network, case by case: what really changed, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings, strategies as st

from mrf_assets.quality.changes import Changes, changes_path, write_changes
from mrf_assets.schema import MEMBERSHIP_CHANGES
from mrf_assets.settings import Settings
from mrf_assets_tests.factory import Document
from mrf_assets_tests.lake.test_layout_invariance import FACTS, Fact, otherwise, plainly
from mrf_assets_tests.made_contracts import ein, group, hospital_price, in_network_file, item, npi, price, publish, tins

BEFORE, NOW = "2026-10", "2026-11"
TEN = [f"9921{number}" for number in range(10)]
ALL = list(range(1, 51))
DOCTORS_AND_NURSES = {1: [group(1, [npi(11)])], 2: [group(1, [npi(12)])]}


def _compare(root: Path, before: Document, now: Document, **changes: Any) -> Changes:  # noqa: ANN401 - of Settings
    publish(root / "lake", "t~a", before, BEFORE)
    publish(root / "lake", "t~a", now, NOW, **changes)
    return write_changes(Settings(output_dir=root / "lake"), "t~a")


def _rows(found: Changes) -> list[dict[str, Any]]:
    return pq.read_table(found.path, partitioning=None).to_pylist()


def _schedule(members: Sequence[int], amount: int, *, step: int = 0) -> Document:
    """Ten codes for one set of TINs."""
    groups = {1: [group(number) for number in members]}
    return in_network_file(groups, [item(code, [([1], [price(amount + step * n)])]) for n, code in enumerate(TEN)])


def _visit(rates: list[tuple[list[int], list[Document]]], groups: dict[int, list[Document]]) -> Document:
    return in_network_file(groups, [item("99213", rates)])


def test_one_tin_is_raised(tmp_path: Path) -> None:
    """Case 1: 100 -> 105."""
    found = _compare(tmp_path, _visit([([1], [price(100)])], tins(1)), _visit([([7], [price(105)])], {7: [group(1)]}))

    assert ({"changed": 1}, 1, 0, 1.05) == (found.counts, found.raised, found.lowered, found.median_ratio)
    (row,) = _rows(found)
    assert ("one amount", Decimal(100), Decimal(105), Decimal(5), 1, [f"ein:{ein(1)}"]) == tuple(
        row[it] for it in ("paired_by", "previous_rate", "rate", "difference", "tins", "first_tins")
    )


def test_a_tin_that_joins_a_schedule_makes_nothing_else_new(tmp_path: Path) -> None:
    """Case 2: fifty TINs of ten codes are as they were."""
    found = _compare(tmp_path, _schedule(ALL, 100, step=1), _schedule([*ALL, 51], 100, step=1))

    assert {"same": 500, "tin added": 10} == found.counts
    assert [1] * 10 == [row["tins"] for row in _rows(found)]


def test_a_raise_for_all_is_seen_where_a_tin_joins(tmp_path: Path) -> None:
    """Case 3: 10 % for fifty TINs."""
    found = _compare(tmp_path, _schedule(ALL, 100), _schedule([*ALL, 51], 110))

    assert ({"changed": 500, "tin added": 10}, 500, 1.1) == (found.counts, found.raised, found.median_ratio)
    assert 20 == found.rows


def test_a_set_that_is_split_is_compared_tin_by_tin(tmp_path: Path) -> None:
    """Case 4: of two TINs, one is raised."""
    found = _compare(
        tmp_path,
        _visit([([1, 2], [price(100)])], tins(2)),
        _visit([([1], [price(100)]), ([2], [price(110)])], tins(2)),
    )

    assert {"same": 1, "changed": 1} == found.counts
    assert [f"ein:{ein(2)}"] == _rows(found)[0]["first_tins"]


def test_physicians_and_nurses_are_paired_with_themselves(tmp_path: Path) -> None:
    """Case 5: 100 -> 110 and 85 -> 100, not 85 -> 110."""
    before = _visit([([1], [price(100)]), ([2], [price(85)])], DOCTORS_AND_NURSES)
    now = _visit([([1], [price(110)]), ([2], [price(100)])], DOCTORS_AND_NURSES)
    found = _compare(tmp_path, before, now)

    assert {"changed": 2} == found.counts
    assert [("NPIs", 85, 100), ("NPIs", 100, 110)] == [
        (row["paired_by"], row["previous_rate"], row["rate"]) for row in _rows(found)
    ]


def test_a_new_schema_changes_no_price(tmp_path: Path) -> None:
    """Case 6: the setting appears, and unassigned places of service go."""
    places = [f"{number:02d}" for number in range(1, 100)]
    assigned = [place for place in places if place not in {"28", "29", "30", "35", "40", "59", "63", "99"}]
    old = [item(code, [([1], [price(100, setting=None, service_code=places)])]) for code in TEN]
    new = [item(code, [([1], [price(100, setting="both", service_code=assigned)])]) for code in TEN]
    found = _compare(tmp_path, in_network_file(tins(1), old), in_network_file(tins(1), new))

    assert {"same": 10} == found.counts
    assert found.note is not None
    assert found.note.endswith("(schema 1 and 2): the setting is left out; 10 prices compare.")


def test_spelling_changes_no_price(tmp_path: Path) -> None:
    """Case 7: order of lists, an empty modifier, an expiry that is rolled on."""
    old = [
        price(50, billing_code_modifier=["26", "GT"], service_code=["22", "11"], expiration_date="2026-09-30"),
        price(300),
    ]
    new = [
        price(50, billing_code_modifier=["GT", "26"], service_code=["11", "22"], expiration_date="2027-09-30"),
        price(300, billing_code_modifier=[""]),
    ]
    found = _compare(tmp_path, _visit([([1], old)], tins(1)), _visit([([1], new)], tins(1)))

    assert {"same": 2} == found.counts


def test_a_remark_tells_prices_apart_where_a_tin_has_several(tmp_path: Path) -> None:
    """Case 8: inpatient 40 -> 60 %, outpatient 60 -> 65 %."""

    def shares(inpatient: int, outpatient: int) -> Document:
        remarks = {"Inpatient services not otherwise priced": inpatient, "Outpatient services, the same": outpatient}
        prices = [
            hospital_price(share, "percentage", "both", additional_information=remark)
            for remark, share in remarks.items()
        ]
        return in_network_file(tins(1), [item("CSTM-00", [([1], prices)], "CSTM-ALL")])

    found = _compare(tmp_path, shares(40, 60), shares(60, 65))

    assert {"changed": 2} == found.counts
    assert [("remark", 40, 60), ("remark", 60, 65)] == [
        (row["paired_by"], row["previous_rate"], row["rate"]) for row in _rows(found)
    ]
    assert (0, None) == (found.dollar_changes, found.median_ratio)


def test_a_remark_that_changes_makes_nothing_new(tmp_path: Path) -> None:
    """Where a TIN has one amount, no remark tells it from another."""
    found = _compare(
        tmp_path,
        _visit([([1], [price(100, additional_information="as of September")])], tins(1)),
        _visit([([1], [price(101, additional_information="as of October")])], tins(1)),
    )

    assert {"changed": 1} == found.counts


def test_another_method_has_no_ratio(tmp_path: Path) -> None:
    """Case 9: 60 % of charges become 12,000 dollars."""
    old, new = hospital_price(60, "percentage", "both"), hospital_price(12_000, setting="both")
    found = _compare(tmp_path, _visit([([1], [old])], tins(1)), _visit([([1], [new])], tins(1)))

    (row,) = _rows(found)
    assert {"method changed": 1} == found.counts
    assert (60, "percent", 12_000, "dollars", None, None) == tuple(
        row[it] for it in ("previous_rate", "previous_rate_unit", "rate", "rate_unit", "difference", "ratio")
    )


def test_another_type_of_the_same_amount_is_no_change(tmp_path: Path) -> None:
    """A payer that calls its fee schedule negotiated pays what it paid."""
    found = _compare(
        tmp_path, _visit([([1], [price(60, "fee schedule")])], tins(1)), _visit([([1], [price(60)])], tins(1))
    )

    assert {"same": 1} == found.counts


def test_npis_that_leave_change_no_price_and_are_listed(tmp_path: Path) -> None:
    """Case 10: nine of ten leave their TIN."""
    ten, one = {1: [group(1, map(npi, range(100, 110)))]}, {1: [group(1, [npi(100), npi(200)])]}
    found = _compare(tmp_path, _visit([([1], [price(100)])], ten), _visit([([1], [price(100)])], one))

    assert ({"same": 1}, 1, 9) == (found.counts, found.joined, found.left)
    path = changes_path(tmp_path / "lake", "t~a", MEMBERSHIP_CHANGES)
    rows = pq.read_table(path, partitioning=None).to_pylist()
    assert {npi(200): "joined", **{npi(number): "left" for number in range(101, 110)}} == {
        row["npi"]: row["change"] for row in rows
    }


def test_amounts_that_swap_are_two_changes(tmp_path: Path) -> None:
    """Case 11: the sets of amounts are equal, who has them is not."""
    before = _visit([([1], [price(100)]), ([2], [price(85)])], DOCTORS_AND_NURSES)
    now = _visit([([1], [price(85)]), ([2], [price(100)])], DOCTORS_AND_NURSES)
    found = _compare(tmp_path, before, now)

    assert ({"changed": 2}, 1, 1) == (found.counts, found.raised, found.lowered)


def test_a_tin_that_leaves_the_schedule_alone_changes(tmp_path: Path) -> None:
    """Case 12: one of fifty goes from 100 to 130."""
    before = in_network_file(tins(50), [item(code, [(ALL, [price(100)])]) for code in TEN])
    rates = [(ALL[:-1], [price(100)]), ([50], [price(130)])]
    found = _compare(tmp_path, before, in_network_file(tins(50), [item(code, rates) for code in TEN]))

    assert ({"same": 490, "changed": 10}, 10, 1.3) == (found.counts, found.raised, found.median_ratio)


def test_months_of_different_whitelists_are_not_compared(tmp_path: Path) -> None:
    """A code that was not asked for is not gone."""
    codes = tmp_path / "codes.csv"
    codes.write_text("99210\n", encoding="utf-8")
    found = _compare(tmp_path, _schedule(ALL, 100), _schedule(ALL, 100), cpt_whitelist=codes)

    assert "No trend: the months were read with different whitelists; ingest both with the same one." == (
        found.refused_because
    )
    assert ([], {}) == (_rows(found), found.counts)


def test_months_that_are_far_apart_are_not_compared(tmp_path: Path) -> None:
    """A quarter and a late month are the most."""
    publish(tmp_path / "lake", "t~a", _schedule(ALL, 100), "2026-06")
    publish(tmp_path / "lake", "t~a", _schedule(ALL, 110), NOW)
    found = write_changes(Settings(output_dir=tmp_path / "lake"), "t~a")

    assert (
        "No trend: 2026-06 and 2026-11 are 5 months apart, 4 are the most that are compared." == found.refused_because
    )
    assert 500 == write_changes(Settings(output_dir=tmp_path / "lake", max_months_apart=5), "t~a").raised


def test_a_code_that_nobody_had_is_no_new_tin(tmp_path: Path) -> None:
    """Nor is one that nobody has any more."""
    old = [item("99213", [([1, 2], [price(100)])]), item("99214", [([1, 2], [price(100)])])]
    new = [item("99213", [([1], [price(100)])], "HCPCS"), item("99215", [([1, 2], [price(100)])])]
    found = _compare(tmp_path, in_network_file(tins(2), old), in_network_file(tins(2), new))

    assert {"same": 1, "tin removed": 1, "code removed": 2, "code added": 2} == found.counts


def test_several_amounts_that_nothing_pairs_have_no_ratio(tmp_path: Path) -> None:
    """One set of NPIs with two amounts in each month: which became which is not said."""
    found = _compare(
        tmp_path,
        _visit([([1], [price(100), price(85)])], tins(1)),
        _visit([([1], [price(110), price(95)])], tins(1)),
    )

    (row,) = _rows(found)
    assert {"not paired": 1} == found.counts
    assert ([85, 100], [95, 110], None, None) == tuple(
        row[it] for it in ("previous_amounts", "amounts", "ratio", "paired_by")
    )


def test_a_further_amount_of_a_tin_is_not_paired(tmp_path: Path) -> None:
    """It had one price for this already."""
    found = _compare(
        tmp_path,
        _visit([([1], [price(100)])], tins(1)),
        _visit([([1], [price(100), price(120, additional_information="after hours")])], tins(1)),
    )

    assert {"same": 1, "not paired": 1} == found.counts


@given(facts=FACTS, seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_another_layout_is_no_change(facts: set[Fact], seed: int) -> None:
    """However sets and groups are cut, merged, repeated, renumbered and ordered."""
    with TemporaryDirectory() as folder:
        found = _compare(Path(folder), plainly(facts), otherwise(facts, random.Random(seed)))  # noqa: S311 - a layout

    assert {"same"} == set(found.counts)
    assert (0, 0, 0) == (found.rows, found.joined, found.left)
    assert found.refused_because is None
    assert {it.check.name for it in found.drift if not it.passed} <= {"drift_of_rows"}
