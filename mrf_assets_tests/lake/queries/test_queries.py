"""The shipped queries: what they say of themselves, and their answers, worked out anew from the documents."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pytest

from mrf_assets.errors import SettingError
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.queries import Query, names, parse, shipped
from mrf_assets.lake.store import Store
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATES
from mrf_assets.schema.code_types import CODE_SHAPES
from mrf_assets.whitelist import read_code_whitelist
from mrf_assets_tests.small_lake import CODES, LATEST, Lake, Price, make_lake
from mrf_assets_tests.table_rows import LABEL, batch, row

Row = dict[str, Any]
Ask = Callable[..., list[Row]]
NETWORKS = ("t~a", "t~b", "t~twin")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three networks; the twin has what the first has."""
    return make_lake(tmp_path_factory.mktemp("queries"))


def _answer(connection: duckdb.DuckDBPyConnection, name: str, **given: str) -> list[Row]:
    query = shipped(name)
    wanted = set(duckdb.extract_statements(query.sql)[0].named_parameters)
    found = connection.execute(query.sql, query.bind(given, wanted))
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, values, strict=True)) for values in found.fetchall()]


@pytest.fixture
def ask(lake: Lake) -> Iterator[Ask]:
    """Run a shipped query; rows by column."""
    with connect(lake.root, memory_mb=256) as connection:
        yield partial(_answer, connection)


def _grouped(prices: list[Price], *fields: str) -> dict[tuple[Any, ...], list[Price]]:
    found = defaultdict(list)
    for price in prices:
        found[tuple(getattr(price, field) for field in fields)].append(price)
    return found


# --- what they say --------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_a_query_states_question_grain_and_caveats(name: str) -> None:
    """And documents each of its parameters, and no other."""
    query = shipped(name)

    assert query.question.endswith("?")
    assert query.grain.startswith("One row per ")
    assert query.caveats.endswith(".")
    named = duckdb.extract_statements(query.sql)[0].named_parameters
    assert set(named) == {it.name for it in query.parameters}
    assert all(it.doc.endswith(".") for it in query.parameters)


@pytest.mark.parametrize("name", names())
def test_a_query_runs_where_nothing_is_published(name: str, tmp_path: Path) -> None:
    """It gives no rows and no error."""
    (tmp_path / "codes.csv").write_text("billing_code_type,billing_code,dollars\nCPT,99213,1\n")
    query = shipped(name)
    given = {it.name: it.default or "x" for it in query.parameters} | {
        it.name: str(tmp_path / "codes.csv") for it in query.parameters if it.name in ("reference", "whitelist")
    }
    with connect(tmp_path) as connection:
        assert [] == connection.execute(query.sql, given).fetchall()


def test_a_head_is_read_into_its_parts() -> None:
    """Fields may run over several lines; parameters have defaults, or must be given."""
    query = parse(
        "q",
        "-- Question: What?\n-- Grain: One.\n--   Two.\n-- Parameter a: A.\n-- Parameter b [x y]: B.\nSELECT $a, $b",
    )

    assert ("What?", "One. Two.", "") == (query.question, query.grain, query.caveats)
    assert [("a", None), ("b", "x y")] == [(it.name, it.default) for it in query.parameters]


def test_sql_without_a_head_is_a_query_too() -> None:
    """A user's own file."""
    assert Query(name="q", sql="SELECT 1") == parse("q", "SELECT 1")


def test_parameters_are_bound_or_told() -> None:
    """Defaults stand in; what is missing or unknown is named."""
    query = shipped("price_distribution")
    wanted = {"billing_code", "billing_code_type"}

    assert {"billing_code": "1", "billing_code_type": "CPT"} == query.bind({"billing_code": "1"}, wanted)
    with pytest.raises(SettingError, match="price_distribution needs billing_code; give each as --param name=value"):
        query.bind({}, wanted)
    with pytest.raises(SettingError, match="has no parameter code; it has: billing_code, billing_code_type"):
        query.bind({"billing_code": "1", "code": "1"}, wanted)


def test_a_query_that_is_not_shipped_is_told() -> None:
    """With those that are; a name is no path."""
    with pytest.raises(SettingError, match=r"\.\./x is no shipped query; there are: duplicate_networks, "):
        shipped("../x")


def test_a_value_is_no_sql(ask: Ask) -> None:
    """Whatever it holds."""
    assert [] == ask("price_distribution", billing_code="' OR 1=1 --")
    assert [] == ask("plan_networks", plan="%")


# --- what they answer -----------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES, ids="-".join)
def test_price_distribution(ask: Ask, lake: Lake, code: tuple[str, str]) -> None:
    """Counts, medians and holders of each network, unit, class and setting."""
    found = {
        (it["network_id"], it["rate_unit"], it["billing_class"], it["setting"]): it
        for it in ask("price_distribution", billing_code=code[1], billing_code_type=code[0])
    }

    expected = _grouped(lake.latest(code=code), "network", "unit", "billing_class", "setting")
    assert set(expected) == set(found)
    for key, prices in expected.items():
        kept = [it for it in prices if it.rate > 0]
        rates = [it.rate for it in kept]
        held = [holder for it in kept for holder in it.holders]
        assert {
            "prices": len(kept),
            "left_out": len(prices) - len(kept),
            "lowest": min(rates, default=None),
            "highest": max(rates, default=None),
            "median": round(median(rates), 4) if rates else None,
            "tins": len({it[:2] for it in held}),
            "npis": len({it[2] for it in held}),
        }.items() <= found[key].items()


@pytest.mark.parametrize("by", ["npi", "tin", "both"])
def test_provider_rates(ask: Ask, lake: Lake, by: str) -> None:
    """Every price of the provider once per TIN, in each network."""
    tin_type, tin, npi = min(lake.latest(network="t~b")[0].holders)
    given = {"npi": str(npi)} if by == "npi" else {"tin": f"{tin[:2]}-{tin[2:]}"} if by == "tin" else {}
    found = ask("provider_rates", **(given or {"npi": str(npi), "tin": tin}))

    expected = Counter(
        (it.network, *it.code, it.rate, *holder)
        for it in lake.latest()
        for holder in {held[:2] for held in it.holders if by == "tin" or held[2] == npi}
        if by == "npi" or holder == (tin_type, tin)
    )
    columns = ("network_id", "billing_code_type", "billing_code", "negotiated_rate", "tin_type", "tin_value")
    times = Counter[tuple[Any, ...]]()
    for it in found:
        times[tuple(it[column] for column in columns)] += it["times"]
    assert expected == times


def test_provider_rates_of_one_code(ask: Ask, lake: Lake) -> None:
    """And of nobody, where nobody is named."""
    found = ask("provider_rates", npi="1234567893", billing_code="99213")

    assert {("99213", "named")} == {(it["billing_code"], it["applies_as"]) for it in found}
    prices = Counter((it.network, it.rate) for it in lake.latest(code=("CPT", "99213")))
    assert set(prices) == {(it["network_id"], it["negotiated_rate"]) for it in found}
    assert [] == ask("provider_rates")
    assert [] == ask("provider_rates", npi="no number")


def test_provider_rates_of_a_code_include_those_for_all_codes(tmp_path: Path) -> None:
    """A TIN whose only price is 45 % for all codes has one for 99213, and repetitions are one row."""
    prices = [
        {"billing_code_type": "CSTM-ALL", "billing_code": "CSTM-00", "negotiated_type": "percentage"},
        {"billing_code_type": "HCPCS", "billing_code": "CSTM-00"},
        {"billing_code_type": "RC", "billing_code": "CSTM-00"},
        {"billing_code_type": "HCPCS", "billing_code": "99213"},
        {"billing_code_type": "HCPCS", "billing_code": "99213"},
        {"billing_code": "99214"},
        {"billing_code_type": "RC", "billing_code": "0450"},
    ]
    tables = {
        RATES.name: [row(RATES, **values) for values in prices],
        PROVIDERS.name: [row(PROVIDERS)],
        PROVIDER_SETS.name: [row(PROVIDER_SETS)],
    }
    with Store(tmp_path).stage("acme") as stage:
        with stage.part(LABEL) as writer:
            for table in (RATES, PROVIDERS, PROVIDER_SETS):
                writer.write(table.name, batch(table, *tables[table.name]))
        stage.settle(LABEL, LATEST)
        stage.publish(LATEST)

    with connect(tmp_path) as connection:
        asked = [
            _answer(connection, "provider_rates", tin="12-3456789", billing_code=code, billing_code_type=kind)
            for code, kind in (("99213", "cpt"), ("99213", ""), ("450", "RC"))
        ]
    of_cpt, of_any, of_rc = (
        [(it["billing_code_type"], it["billing_code"], it["applies_as"], it["times"]) for it in rows] for rows in asked
    )

    of_all = ("CSTM-ALL", "CSTM-00", "all codes", 1)
    named = ("HCPCS", "99213", "named", 2)
    assert [of_all, named, ("HCPCS", "CSTM-00", "all codes of the type", 1)] == of_cpt
    assert [of_all, named] == of_any
    assert [of_all, ("RC", "0450", "named", 1), ("RC", "CSTM-00", "all codes of the type", 1)] == of_rc


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("willow a", {("Willow A 1", "t~a"), ("Willow A 2", "t~a")}),
        ("12-0000001", {("Willow A 1", "t~a")}),
        ("980000002", {("Willow B 2", "t~b")}),
        ("WILLOW", {(f"Willow {n.upper()} {i}", f"t~{n}") for n in "ab" for i in (1, 2)}),
        ("oak", set()),
        ("", set()),
    ],
)
def test_plan_networks(ask: Ask, plan: str, expected: set[tuple[str, str]]) -> None:
    """By name in any case, by EIN with or without hyphen."""
    found = ask("plan_networks", plan=plan)

    assert expected == {(it["plan_name"], it["network_id"]) for it in found}
    assert len(expected) == len(found)
    assert all(it["period"] == LATEST and it["rate_rows"] == 250 for it in found)


@pytest.mark.parametrize("top", [1, 3])
def test_network_extremes(ask: Ask, lake: Lake, top: int) -> None:
    """Networks at either end of the medians in dollars, by code, class and setting."""
    found = ask("network_extremes", top=str(top), min_prices="2")

    expected = {}
    prices = [it for it in lake.latest() if it.is_in_dollars and it.rate > 0]
    for key, of_code in _grouped(prices, "code", "billing_class", "setting").items():
        by_network = {
            name: median(it.rate for it in of_one)
            for (name,), of_one in _grouped(of_code, "network").items()
            if len(of_one) >= 2
        }
        values = list(by_network.values())
        for name, value in by_network.items():
            ranks = 1 + sum(it > value for it in values), 1 + sum(it < value for it in values)
            if len(values) > 1 and min(ranks) <= top:
                expected[*key, name] = (value, *ranks, len(values))
    assert expected == {
        ((it["billing_code_type"], it["billing_code"]), it["billing_class"], it["setting"], it["network_id"]): (
            it["median_dollars"], it["rank_from_top"], it["rank_from_bottom"], it["networks"],
        )
        for it in found
    }  # fmt: skip
    assert expected


def test_reference_ratio(ask: Ask, lake: Lake, tmp_path: Path) -> None:
    """Whole services in dollars against one amount per code; an ambiguous or zero amount compares nothing."""
    table = tmp_path / "it's reference.csv"
    table.write_text(
        "billing_code_type,billing_code,dollars\nCPT,99213,92.5\nCPT,99213,92.50\nHCPCS,A0001,0\nCPT,70450,1\n"
        "CPT,70450,2\nMS-DRG,470,10000\n"
    )
    found = ask("reference_ratio", reference=str(table))

    amounts = {("CPT", "99213"): Decimal("92.5"), ("MS-DRG", "470"): Decimal(10_000)}
    component = {"26", "TC", "50", "51", "52", "53"}
    prices = [
        it
        for it in lake.latest(unit="dollars")
        if it.code in amounts and it.rate > 0 and not component & set(it.modifiers)
    ]
    expected = {}
    for key, of_one in _grouped(prices, "network", "code", "billing_class", "setting").items():
        middle = median(it.rate for it in of_one)
        expected[key] = (len(of_one), middle, round(float(middle) / float(amounts[key[1]]), 4))
    assert expected == {
        (it["network_id"], (it["billing_code_type"], it["billing_code"]), it["billing_class"], it["setting"]): (
            it["prices"], it["median_dollars"], it["ratio"],
        )
        for it in found
    }  # fmt: skip


def test_whitelist_coverage(ask: Ask, lake: Lake, tmp_path: Path) -> None:
    """As the extraction reads the file: comments, case, any type, and the first zero of revenue codes."""
    whitelist = tmp_path / "codes.csv"
    whitelist.write_bytes(
        '\ufeff# wanted\r\n99213\r\ncpt,70450 # x\r\n\r\nRC,0510\r\nHCPCS,99213\r\n"00001"\r\n'.encode()
    )
    found = ask("whitelist_coverage", whitelist=str(whitelist))

    counts = Counter((it.network, it.code) for it in lake.latest())
    wanted = {
        (None, "99213"): ("CPT", "99213"), ("CPT", "70450"): ("CPT", "70450"), ("RC", "0510"): ("RC", "510"),
        ("HCPCS", "99213"): ("CPT", "99213"), (None, "00001"): None,
    }  # fmt: skip
    assert {(n, *w): counts[n, c] if c else 0 for n in NETWORKS for w, c in wanted.items()} == {
        (it["network_id"], it["billing_code_type"], it["billing_code"]): it["prices"] for it in found
    }


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("510", (None, "510")), ("0510", (None, "0510")), ("rc;510", ("RC", "0510")), ("RC\t0510", ("RC", "0510")),
        ("type,code\nRC,510", ("RC", "0510")), ("'510'", (None, "510")),
    ],
)  # fmt: skip
def test_whitelist_coverage_finds_what_the_whitelist_keeps(
    ask: Ask, lake: Lake, tmp_path: Path, text: str, entry: tuple[str | None, str]
) -> None:
    """Separators, quotes and lost zeros are those of `read_code_whitelist`; the payer writes 510."""
    whitelist = tmp_path / "codes.csv"
    whitelist.write_text(text, encoding="utf-8")
    codes = read_code_whitelist(whitelist)
    found = ask("whitelist_coverage", whitelist=str(whitelist))

    kept = Counter(it.network for it in lake.latest() if codes.wants(*it.code))
    assert kept == {it["network_id"]: it["prices"] for it in found}
    assert {entry} == {(it["billing_code_type"], it["billing_code"]) for it in found}


def test_whitelist_coverage_knows_the_widths_of_all_types() -> None:
    """The SQL has them once more."""
    sql = shipped("whitelist_coverage").sql
    listed = {kind: int(digits) for kind, digits in re.findall(r"\('([A-Z-]+)', ([0-9])\)", sql)}

    assert {kind: shape.width for kind, shape in CODE_SHAPES.items() if shape.width} == listed


def test_multi_tin_providers(ask: Ask, lake: Lake) -> None:
    """EINs of an NPI over all networks."""
    # Every group of a document stands in some price, or this would have to look at the groups themselves.
    held = {holder for it in lake.latest() for holder in it.holders}
    tins = defaultdict(set)
    for tin_type, tin, npi in held:
        if tin_type == "ein":
            tins[npi].add(tin)

    for least in (2, 3):
        found = ask("multi_tin_providers", min_tins=str(least))
        assert {npi: len(each) for npi, each in tins.items() if len(each) >= least} == {
            it["npi"]: it["tins"] for it in found
        }
        assert all(sorted(tins[it["npi"]])[:20] == it["first_tins"] for it in found)


@pytest.mark.parametrize("as_of", ["", "2027-01-01"])
def test_expired_contracts(ask: Ask, lake: Lake, as_of: str) -> None:
    """Prices whose date is before the period, or before a day."""
    found = ask("expired_contracts", **({"as_of": as_of} if as_of else {}))

    day = dt.date.fromisoformat(as_of or f"{LATEST}-01")
    expected = Counter((it.network, it.expiration) for it in lake.latest() if it.expiration < day)
    totals = Counter(it.network for it in lake.latest())
    assert expected
    assert {key: (count, totals[key[0]], round(count / totals[key[0]], 4)) for key, count in expected.items()} == {
        (it["network_id"], it["expiration_date"]): (it["prices"], it["prices_of_network"], it["share"]) for it in found
    }


def test_duplicate_networks(ask: Ask, lake: Lake) -> None:
    """The twin is found, byte for byte; the others are not."""
    found = ask("duplicate_networks")

    assert [("t~a", "t~twin", len(lake.latest(network="t~a")), True)] == [
        (it["network_id"], it["other_network_id"], it["prices"], it["same_bytes"]) for it in found
    ]
