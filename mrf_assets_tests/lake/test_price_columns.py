"""What the views say that a price is and is for, price by price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.price_columns import (
    ALL_CODES_BASIS,
    ANESTHESIA_BASIS,
    DRUG_BASIS,
    PRICE_COLUMNS,
    REVENUE_CODE_BASIS,
)
from mrf_assets.schema import RATES
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.table_rows import Row, batch, row

Derive = Callable[[Row], dict[str, Any]]

_CONTENTS = [{"billing_code": "27447"}]
_DRG = {"billing_code_type": "MS-DRG", "billing_class": "institutional"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The view of an empty lake, whose source each test replaces by one price."""
    with connect(tmp_path_factory.mktemp("empty")) as connection:
        yield connection


@pytest.fixture
def derive(lake: duckdb.DuckDBPyConnection) -> Derive:
    """Works out the derived columns of one price by the SQL of the view."""

    def derived(values: Row) -> dict[str, Any]:
        lake.register("one_price", batch(RATES, row(RATES, **values)))
        columns = ", ".join(f"{it.sql} AS {name}" for name, it in PRICE_COLUMNS.items())
        found = lake.execute(f"SELECT *, {columns} FROM (SELECT *, 0 AS file_row_number FROM one_price)")
        names = [column[0] for column in found.description or ()]
        (values_found,) = found.fetchall()
        return dict(zip(names, values_found, strict=True))

    return derived


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("HCPCS", "10001", "standard")),
        ({"billing_code_type": "HCPCS", "billing_code": " j1100 "}, ("HCPCS", "J1100", "standard")),
        ({"billing_code_type": "DRG", "billing_code": "39"}, ("MS-DRG", "039", "standard")),
        ({"billing_code_type": "RC", "billing_code": "450"}, ("RC", "0450", "standard")),
        ({"billing_code_type": "APR-DRG", "billing_code": "470-1"}, ("APR-DRG", "470", "standard")),
        ({"billing_code_type": "APR-DRG", "billing_code": "4701"}, ("APR-DRG", "470", "standard")),
        ({"billing_code_type": "APR-DRG", "billing_code": "470"}, ("APR-DRG", "470", "standard")),
        ({"billing_code": "CSTM-00"}, ("HCPCS", "CSTM-00", "all codes")),
        ({"billing_code_type": "CSTM-ALL", "billing_code": "OBS"}, ("CSTM-ALL", "OBS", "payer's own")),
        ({"billing_code_type": "LOCAL", "billing_code": "CAP01"}, ("LOCAL", "CAP01", "payer's own")),
    ],
)
def test_a_code_is_compared_under_its_family_and_with_its_zeros(
    derive: Derive, values: Row, expected: tuple[str, str, str]
) -> None:
    """CPT is filed under HCPCS, and CSTM-00 is no code at all."""
    found = derive(values)

    assert expected == (found["code_family"], found["code"], found["code_scope"])


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [("470-1", None, "1"), ("4703", None, "3"), ("470", "2", "2"), ("470-1", "4", "4"), ("470", None, None)],
)
def test_the_severity_of_an_apr_drg_is_found_in_either_place(
    derive: Derive, code: str, said: str | None, expected: str | None
) -> None:
    """Schema 2 has a field for it, schema 1 hides it in the code."""
    found = derive({"billing_code_type": "APR-DRG", "billing_code": code, "severity_of_illness": said})

    assert expected == found["severity"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "professional"),
        (_DRG, "inpatient"),
        ({"billing_class": "institutional", "setting": "inpatient"}, "inpatient"),
        ({"billing_class": "institutional", "setting": None}, "outpatient"),
        ({"billing_class": "institutional", "billing_code_type": "RC", "setting": "outpatient"}, "outpatient"),
        ({"billing_class": "institutional", "billing_code_type": "RC", "setting": "both"}, "mixed"),
        ({"billing_class": "both"}, "mixed"),
        ({"billing_class": None}, "mixed"),
    ],
)
def test_the_bill_of_a_price_follows_from_class_setting_and_type(derive: Derive, values: Row, expected: str) -> None:
    """CMS-1500 or UB-04, and of the latter inpatient or outpatient."""
    found = derive(values)

    assert expected == found["bill_type"]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (None, "not said"),
        ([], "not said"),
        (["CSTM-00"], "any"),
        (["11"], "nonfacility"),
        (["11", "12"], "nonfacility"),
        (["21", "22"], "facility"),
        (["11", "22"], "any"),
        ([f"{number:02}" for number in range(1, 100)], "any"),
    ],
)
def test_places_are_told_apart_as_medicare_pays_them(derive: Derive, places: list[str] | None, expected: str) -> None:
    """A list means the same price in each of them."""
    found = derive({"service_codes": places})

    assert expected == found["site"]


@pytest.mark.parametrize(
    ("modifiers", "expected"),
    [
        (None, "base"),
        ([], "base"),
        (["26"], "26"),
        (["GT", "26"], "26"),
        (["TC"], "TC"),
        (["26", "TC", "50"], "alternatives"),
        (["RR"], "other"),
    ],
)
def test_components_of_a_service_are_told_apart(derive: Derive, modifiers: list[str] | None, expected: str) -> None:
    """A list with both is a list of alternatives: the price of the whole."""
    found = derive({"billing_code_modifiers": modifiers})

    assert expected == found["component"]


@pytest.mark.parametrize(
    ("values", "unit", "basis"),
    [
        ({}, "dollars", "dollars"),
        ({"negotiated_type": "percentage"}, "percent", "percent"),
        ({"negotiated_type": "per diem"}, "dollars per day", "dollars per day"),
        ({"negotiated_type": "odd"}, None, None),
        # the arrangement before the type
        (
            {"negotiated_type": "percentage", "negotiation_arrangement": "capitation"},
            "percent by capitation",
            "percent by capitation",
        ),
        (
            {"negotiated_type": "per diem", "negotiation_arrangement": "bundle"},
            "dollars per day of a bundle",
            "dollars per day of a bundle",
        ),
        ({"negotiation_arrangement": "bundle"}, "dollars per bundle", "dollars per bundle"),
        # a DRG is a bundle of itself, unless it lists what is in it
        ({**_DRG, "billing_code": "470", "negotiation_arrangement": "bundle"}, "dollars", "dollars"),
        (
            {**_DRG, "billing_code": "470", "negotiation_arrangement": "bundle", "bundled_codes": _CONTENTS},
            "dollars per bundle",
            "dollars per bundle",
        ),
        # what is no price of the code
        ({"billing_code": "CSTM-00"}, "dollars", ALL_CODES_BASIS),
        ({"billing_code_type": "CSTM-ALL", "billing_code": "CSTM-00"}, "dollars", ALL_CODES_BASIS),
        ({"billing_code": "00840"}, "dollars", ANESTHESIA_BASIS),
        ({"billing_code": "01999"}, "dollars", ANESTHESIA_BASIS),
        ({"billing_code": "0019T"}, "dollars", "dollars"),
        ({"billing_code": "02000"}, "dollars", "dollars"),
        ({"billing_code_type": "HCPCS", "billing_code": "J9271"}, "dollars", DRUG_BASIS),
        ({"billing_code_type": "HCPCS", "billing_code": "A9500"}, "dollars", DRUG_BASIS),
        ({"billing_code_type": "NDC", "billing_code": "00006302602"}, "dollars", DRUG_BASIS),
        ({"billing_code_type": "HCPCS", "billing_code": "Q3014"}, "dollars", "dollars"),
        ({"billing_code_type": "HCPCS", "billing_code": "Q0091"}, "dollars", "dollars"),
        ({"billing_code_type": "HCPCS", "billing_code": "C9600"}, "dollars", "dollars"),
        ({"billing_code_type": "RC", "billing_code": "0110"}, "dollars", REVENUE_CODE_BASIS),
    ],
)
def test_dollars_are_only_what_is_a_price_of_the_code(
    derive: Derive, values: Row, unit: str | None, basis: str | None
) -> None:
    """All else says what it is instead, and is null there."""
    found = derive(values)

    assert (unit, basis) == (found["rate_unit"], found["price_basis"])
    assert (Decimal("12.5") if basis == "dollars" else None) == found["dollars"]
    assert (Decimal("12.5") if unit == "percent" else None) == found["percentage"]
    assert (Decimal("12.5") if unit == "dollars per day" else None) == found["dollars_per_day"]


@pytest.mark.parametrize(
    ("remark", "expected"),
    [
        (None, False),
        ("Effective 2026", False),
        ("Lesser of billed charges and the schedule", True),
        ("Outlier above 250000", True),
        ("stop-loss applies", True),
        ("Not otherwise priced", True),
        ("pays 40% of charges", True),
    ],
)
def test_a_remark_that_makes_a_price_depend_on_something_is_known(
    derive: Derive, remark: str | None, expected: bool
) -> None:
    """It is no plain price any more."""
    found = derive({"additional_information": remark})

    assert expected is found["is_conditional"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"negotiated_rate": Decimal("0.01")}, True),
        ({"negotiated_rate": Decimal("9999.99")}, True),
        ({"negotiated_rate": Decimal(999_999)}, True),
        ({"negotiated_rate": Decimal("0.02")}, False),
        ({"negotiated_rate": Decimal(0)}, False),
        ({"negotiated_rate": Decimal("0.01"), "billing_code": "0001F"}, False),
        ({"negotiated_rate": Decimal(1), "negotiated_type": "percentage"}, False),
        ({"negotiated_rate": Decimal("0.01"), "negotiated_type": None}, False),
    ],
)
def test_a_cent_and_a_row_of_nines_stand_for_no_price(derive: Derive, values: Row, expected: bool) -> None:
    """But of a code that reports quality, which costs a cent in truth."""
    found = derive(values)

    assert expected is found["is_placeholder"]


def test_no_derived_column_but_the_amounts_is_ever_missing(derive: Derive) -> None:
    """A price of nulls has none of them, and no query has to think of it."""
    found = derive(
        {name: None for name in row(RATES) if name not in ("file_id", "negotiated_rate")},
    )

    amounts = {"rate_unit", "price_basis", "dollars", "dollars_per_day", "percentage", "severity"}
    assert {"code_family", "code"} | amounts == {name for name in PRICE_COLUMNS if found[name] is None}


@pytest.fixture
def ameriben(samples: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Eight real files of a third-party administrator, March 2026."""
    for path in sorted((samples / "ameriben-2026-03").glob("*.zip")):
        identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=path.stem, period="2026-03")
        task = FileTask(address=Address(str(path)), network_id=f"t~{path.stem}", identity=identity)
        ingest(task.network_id, [task], Settings(output_dir=tmp_path)).require_published()
    with connect(tmp_path) as connection:
        yield connection


def test_ameriben_has_no_price_in_dollars(ameriben: duckdb.DuckDBPyConnection) -> None:
    """Its 300 amounts of 155 and 225 are for all codes: most likely percent of Medicare."""
    amounts = ameriben.execute("SELECT count(dollars), count(*) FROM rates").fetchone()
    bases = ameriben.execute(
        "SELECT DISTINCT price_basis, negotiated_rate FROM rates WHERE rate_unit = 'dollars' ORDER BY ALL"
    )

    assert (0, 910) == amounts
    assert [(ALL_CODES_BASIS, Decimal(155)), (ALL_CODES_BASIS, Decimal(225))] == bases.fetchall()
