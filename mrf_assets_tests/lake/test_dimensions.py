"""The views of what prices hang on, over published files of made-up contracts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, PLANS, PROVIDER_DIRECTORY, RATES
from mrf_assets_tests.factory import Document
from mrf_assets_tests.made_contracts import ein, in_network_file, item, npi, price, publish
from mrf_assets_tests.table_rows import LABEL, batch, row

BEFORE, LATEST = "2026-10", "2026-11"
LIKELY_SSN = "078051120"  # of an advertisement of 1938; no number of a person
Asked = Callable[[str], list[tuple[Any, ...]]]


def _group(tin: str, *members: int, name: str | None = None, kind: str = "ein") -> Document:
    named = {} if name is None else {"business_name": name}
    return {"npi": list(members), "tin": {"type": kind, "value": tin, **named}}


def _file(*groups: Document, month: str = LATEST) -> Document:
    """One price for each group."""
    numbered = dict(enumerate(groups, 1))
    rates = [([number], [price(100 + number)]) for number in numbered]
    return in_network_file(
        {number: [member] for number, member in numbered.items()}, [item("99213", rates)], month=month
    )


def _publish_practices(root: Path) -> None:
    """Three networks that name one TIN in three ways, and TINs that nobody names."""
    own = _group(ein(2), npi(21)), _group(LIKELY_SSN, npi(31)), _group(str(npi(41)), npi(41), kind="npi")
    publish(root, "t~a", _file(_group(ein(1), npi(11), name="Heron Clinic, Inc."), *own))
    publish(root, "t~b", _file(_group(ein(1), npi(11), npi(12), name="HERON CLINIC INC")))
    publish(root, "t~c", _file(_group(ein(1), npi(13), name="Otter Clinic"), _group(ein(2), npi(22), npi(23))))
    publish(root, "t~a", _file(_group(ein(3), npi(51), name="Left Long Ago"), month=BEFORE), BEFORE)


def _publish_directory(root: Path) -> None:
    practices = [(21, "organization", "Lake Labs", "OH"), (22, "organization", "Lake Labs Inc", "MI"),
                 (23, "individual", "Ann Doe", "OH"), (11, "organization", "Heron", None)]  # fmt: skip
    rows = [
        {
            "npi": npi(number),
            "rates": 1,
            "networks": 1,
            "entity_type": kind,
            "provider_name": name,
            "practice_state": state,
        }
        for number, kind, name, state in practices
    ]
    write_table(Reference(root).directory, PROVIDER_DIRECTORY.arrow, [batch(PROVIDER_DIRECTORY, *rows)])


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """SQL over the practices, without a directory."""
    root = tmp_path_factory.mktemp("dimensions") / "lake"
    _publish_practices(root)
    with connect(root) as connection:
        yield lambda sql: connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def ask_with_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The same with one."""
    root = tmp_path_factory.mktemp("dimensions") / "lake"
    _publish_practices(root)
    _publish_directory(root)
    with connect(root) as connection:
        yield lambda sql: connection.execute(sql).fetchall()


# --- tins -----------------------------------------------------------------------------------


def test_a_tin_has_the_name_that_most_networks_give(ask: Asked) -> None:
    """Two spellings of one name are one; each network has a vote."""
    found = ask(f"SELECT name, name_source, confidence, votes, npis, networks FROM tins WHERE tin_value = '{ein(1)}'")

    assert [("HERON CLINIC INC", "payers", pytest.approx(2 / 3), 3, 3, 3)] == found


def test_a_tin_that_no_payer_names_has_the_name_of_its_organizations(ask: Asked, ask_with_directory: Asked) -> None:
    """An individual's name is not that of the TIN; without a directory there is no name and no state."""
    sql = f"SELECT name, name_source, confidence, votes, npis, states FROM tins WHERE tin_value = '{ein(2)}'"

    assert [(None, None, None, 0, 3, [])] == ask(sql)
    assert [("Lake Labs", "NPPES", 0.5, 2, 3, ["MI", "OH"])] == ask_with_directory(sql)


def test_a_name_of_the_payers_comes_before_that_of_the_registry(ask_with_directory: Asked) -> None:
    """The registry's is Heron."""
    assert [("HERON CLINIC INC", [])] == ask_with_directory(
        f"SELECT name, states FROM tins WHERE tin_value = '{ein(1)}'"
    )


def test_a_likely_ssn_is_masked(ask: Asked) -> None:
    """An EIN and an NPI are not."""
    found = ask("SELECT tin_type, tin_value, tin_masked, is_masked FROM tins ORDER BY ALL")

    assert [
        ("ein", LIKELY_SSN, "07*******", True),
        ("ein", ein(1), ein(1), False),
        ("ein", ein(2), ein(2), False),
        ("npi", str(npi(41)), str(npi(41)), False),
    ] == found


# --- network_names --------------------------------------------------------------------------


def test_a_group_of_two_names_counts_under_each(tmp_path: Path) -> None:
    """The latest period alone; a TIN and an NPI count once."""
    document = _file(_group(ein(1), npi(11), npi(12)), _group(ein(1), npi(12)), _group(ein(2), npi(21)))
    for reference, names in zip(document["provider_references"], (["PPO"], ["PPO", "HMO"], ["HMO"]), strict=True):
        reference["network_name"] = names
    publish(tmp_path / "lake", "t~a", document)
    publish(tmp_path / "lake", "t~a", _file(_group(ein(1), npi(11)), month=BEFORE), BEFORE)

    with connect(tmp_path / "lake") as connection:
        found = connection.execute("FROM network_names ORDER BY ALL").fetchall()
    assert [("t~a", LATEST, "HMO", 2, 2, 2), ("t~a", LATEST, "PPO", 2, 1, 2)] == found


def test_the_scope_of_a_group_says_what_its_row_knows(tmp_path: Path) -> None:
    """A TIN without NPIs may be a contract with all of it, or a defect."""
    publish(tmp_path / "lake", "t~a", _file(_group(ein(1), npi(11)), _group(ein(2), 0)))

    with connect(tmp_path / "lake") as connection:
        found = connection.execute("SELECT tin_value, npi_scope FROM providers ORDER BY ALL").fetchall()
    assert [(ein(1), "listed"), (ein(2), "whole TIN or not said")] == found


# --- inner codes ----------------------------------------------------------------------------


def _inner(code: str) -> Document:
    return {
        "billing_code_type": "CPT",
        "billing_code_type_version": "2026",
        "billing_code": code,
        "description": f"made-up {code}",
    }


def test_codes_inside_a_price_are_rows_in_their_order(tmp_path: Path) -> None:
    """With the number of the price; a price without any has none."""
    bundle = item("470", [([1], [price(9)])], "MS-DRG", "bundle", bundled_codes=[_inner("27447"), _inner("01402")])
    capitation = item("99999", [([1], [price(30)])], arrangement="capitation", covered_services=[_inner("99213")])
    items = [item("99213", [([1], [price(5)])]), bundle, capitation]
    publish(tmp_path / "lake", "t~a", in_network_file({1: [_group(ein(1), npi(11))]}, items))

    def codes(view: str) -> str:
        return f"""SELECT code, position, inner_code_type, inner_code, inner_description, negotiated_rate
        FROM {view} JOIN (SELECT file_id, price_number, negotiated_rate FROM rates) USING (file_id, price_number)
        ORDER BY position"""

    with connect(tmp_path / "lake") as connection:
        bundled, covered = (
            connection.execute(codes(view)).fetchall() for view in ("bundled_codes_flat", "covered_services_flat")
        )
    assert [("470", 1, "CPT", "27447", "made-up 27447", 9), ("470", 2, "CPT", "01402", "made-up 01402", 9)] == bundled
    assert [("99999", 1, "CPT", "99213", "made-up 99213", 30)] == covered


# --- plan_key -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "plan_id", "key"),
    [
        ("ein", "12-3456789", "123456789"),
        ("EIN", " 123456789 ", "123456789"),
        ("ein", "12345678", None),
        ("hios", "12345ny0010001", "12345NY001"),
        ("hios", "12345NY001-0001", "12345NY001"),
        ("hios", "12345NY001", "12345NY001"),
        ("hios", "12345", None),
        ("hios", "12345NY0010", None),
        (None, "123456789", None),
    ],
)
def test_a_plan_has_one_key_in_index_and_header(
    kind: str | None, plan_id: str, key: str | None, tmp_path: Path
) -> None:
    """An id of another shape has none, for what it lacks is a guess."""
    plan: dict[str, Any] = {"plan_name": "Willow", "plan_id_type": kind, "plan_id": plan_id}
    for network, table in (("index", PLANS), ("header", FILES)):
        with Store(tmp_path).stage(network) as stage:
            with stage.part(LABEL) as writer:
                writer.write(RATES.name, batch(RATES, row(RATES)))
                writer.write(FILES.name, batch(FILES, row(FILES, **(plan if table is FILES else {}))))
                if table is PLANS:
                    writer.write(PLANS.name, batch(PLANS, row(PLANS, **plan)))
            stage.settle(LABEL, LATEST)
            stage.publish(LATEST)

    with connect(tmp_path) as connection:
        found = connection.execute("SELECT network_id, plan_key FROM rates_by_plan ORDER BY ALL").fetchall()
    assert [("header", key), ("index", key)] == found
