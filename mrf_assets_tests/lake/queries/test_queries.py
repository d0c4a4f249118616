"""The shipped queries: what they say of themselves, and their answers, worked out anew from the documents."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mrf_assets.errors import SettingError
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.queries import Query, names, parse, shipped
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, PLANS, PROVIDER_DIRECTORY, PROVIDER_SETS, PROVIDERS, RATES
from mrf_assets.schema.code_types import CODE_SHAPES
from mrf_assets.whitelist import read_code_whitelist
from mrf_assets_tests.made_contracts import ein, group, hospital_price, in_network_file, item, npi, price, publish, tins
from mrf_assets_tests.small_lake import CODES, LATEST, Lake, make_lake
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
    """Every contract of the code is in one row, and what is not counted is with its reason."""
    found = ask("price_distribution", billing_code=code[1], billing_code_type=code[0])

    holders: dict[tuple[str, str], set[Any]] = {(it.network, it.unit): set() for it in lake.latest(code=code)}
    for it in lake.latest(code=code):
        holders[it.network, it.unit] |= {holder[:2] for holder in it.holders}
    assert {it["network_id"] for it in found} == {network for network, _ in holders}
    assert all(it["published"] == it["contracts"] + sum(it["gates"].values()) for it in found)
    assert max(it["published"] for it in found) <= max(map(len, holders.values()))
    assert all((it["median"] is None) <= (it["refused_because"] is not None) for it in found)


def test_price_distribution_by_facility(tmp_path: Path) -> None:
    """One EIN has many hospitals: by npi each organization has a vote, and nobody has one without a directory."""
    hospitals = {1: [group(1, map(npi, range(1, 9)))], 2: [group(2, [npi(20)])]}
    rates = [([1], [hospital_price(20_000)]), ([2], [hospital_price(40_000)])]
    publish(tmp_path / "lake", "t~a", in_network_file(hospitals, [item("470", rates, "MS-DRG")]))

    def asked() -> list[tuple[Any, ...]]:
        with connect(tmp_path / "lake") as connection:
            given = {"billing_code": "470", "billing_code_type": "DRG", "unit": "npi"}
            return [(it["contracts"], it["lowest"]) for it in _answer(connection, "price_distribution", **given)]

    assert [] == asked()
    directory = Reference(tmp_path / "lake").directory
    people = [
        {"npi": npi(number), "rates": 1, "networks": 1, "entity_type": "organization" if number < 8 else "individual"}
        for number in (*range(1, 9), 20)
    ]
    write_table(directory, PROVIDER_DIRECTORY.arrow, [batch(PROVIDER_DIRECTORY, *people)])
    assert [(7, 20_000)] == asked()


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


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("12345NY001", {"12345NY001", "12345NY0010001", "12345NY0010002"}),
        ("12345ny001-0001", {"12345NY001", "12345NY0010001"}),
        ("12345", {"12345"}),
        ("-", set()),
    ],
)
def test_a_hios_product_finds_its_plans(plan: str, expected: set[str], tmp_path: Path) -> None:
    """A plan finds its product, and no other plan of it; an issuer finds what is filed under its digits alone."""
    ids = ("12345NY001", "12345NY0010001", "12345NY0010002", "12345NY002", "12345")
    with Store(tmp_path).stage("acme") as stage:
        with stage.part(LABEL) as writer:
            writer.write(FILES.name, batch(FILES, row(FILES)))
            rows = [row(PLANS, plan_name=None, plan_id_type="hios", plan_id=it) for it in ids]
            writer.write(PLANS.name, batch(PLANS, *rows))
        stage.settle(LABEL, LATEST)
        stage.publish(LATEST)

    with connect(tmp_path) as connection:
        assert expected == {it["plan_id"] for it in _answer(connection, "plan_networks", plan=plan)}


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """One content under four names, two others, an old one, and one code under the other type of its family."""
    root = tmp_path_factory.mktemp("visits") / "lake"
    levels = {"x1": 100, "x2": 100, "x3": 100, "x4": 100, "y": 150, "z": 80, "old": 500}
    for name, level in levels.items():
        rates = [([number], [price(level + number)]) for number in range(1, 11)]
        surgery = [([number], [price(900 + number, service_code=["21"])]) for number in range(1, 11)]
        kind = "HCPCS" if name == "z" else "CPT"
        items = [item("99213", rates, kind), item("27447", surgery), item("00840", rates)]
        publish(root, name, in_network_file(tins(10), items), "2026-03" if name == "old" else LATEST)
    with connect(root, memory_mb=256) as connection:
        yield partial(_answer, connection)


def test_copies_of_a_network_vote_once(visits: Ask) -> None:
    """Four names of one content are one rank; months that are far behind are left out."""
    found = visits("network_extremes", billing_code="99213", site="nonfacility")

    columns = ("network_id", "median", "rank_from_top", "rank_from_bottom", "networks", "ratio_to_median_network")
    assert [
        ("y", Decimal("155.5"), 1, 3, 3, 1.4739),
        ("x1", Decimal("105.5"), 2, 2, 3, 1.0),
        ("z", Decimal("85.5"), 3, 1, 3, 0.8104),
    ] == [tuple(it[column] for column in columns) for it in found]
    assert [[], ["x2", "x3", "x4"], []] == [it["copies"] for it in found]


@pytest.mark.parametrize("top", [1, 2])
def test_the_networks_at_either_end_are_shown(visits: Ask, top: int) -> None:
    """So many of them."""
    found = visits("network_extremes", billing_code="99213", site="nonfacility", top=str(top))

    assert (["y", "z"] if top == 1 else ["y", "x1", "z"]) == [it["network_id"] for it in found]


def test_fewer_than_three_contents_are_no_comparison(visits: Ask) -> None:
    """All networks hold the same surgery prices; anesthesia has no price at all."""
    (found,) = visits("network_extremes", billing_code="27447", site="facility")

    assert (
        "No comparison: 6 network ids hold only 1 content; x1, x2, x3, x4, y, z are copies of one another."
        == found["refused_because"]
    )
    assert [] == visits("network_extremes", billing_code="00840")


def test_reference_ratio(visits: Ask, tmp_path: Path) -> None:
    """Of the same bill type and site; an ambiguous or zero amount compares nothing, anesthesia says why it does not."""
    table = tmp_path / "it's reference.csv"
    table.write_text(
        "billing_code_type,billing_code,dollars,site\nCPT,99213,100,\nHCPCS,99213,100.00,nonfacility\n"
        "CPT,27447,1000,facility\nCPT,00840,20,\nCPT,27447,0,nonfacility\n"
    )
    found = visits("reference_ratio", reference=str(table))

    of_y = [
        (it["code"], it["site"], it["ratio"], it["refused_because"] is None) for it in found if it["network_id"] == "y"
    ]
    assert [
        ("99213", "nonfacility", 1.555, True),
        ("27447", "facility", 0.9055, True),
        ("00840", "nonfacility", None, False),
    ] == of_y
    assert {"99213"} == {it["code"] for it in visits("reference_ratio", reference=str(table), billing_code="99213")}


def test_an_ambiguous_reference_compares_nothing(visits: Ask, tmp_path: Path) -> None:
    """One code of a family has one amount."""
    table = tmp_path / "reference.csv"
    table.write_text("billing_code_type,billing_code,dollars\nCPT,99213,100\nHCPCS,99213,101\n")

    assert [] == visits("reference_ratio", reference=str(table))


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
    held_tins = defaultdict(set)
    for tin_type, tin, member in held:
        if tin_type == "ein":
            held_tins[member].add(tin)

    for least in (2, 3):
        found = ask("multi_tin_providers", min_tins=str(least))
        assert {member: len(each) for member, each in held_tins.items() if len(each) >= least} == {
            it["npi"]: it["tins"] for it in found
        }
        assert all(sorted(held_tins[it["npi"]])[:20] == it["first_tins"] for it in found)


def test_multi_tin_providers_say_what_they_are_and_show_no_likely_ssn(tmp_path: Path) -> None:
    """By the directory, where it is there; in one network fewer have several."""
    root = tmp_path / "lake"
    likely_ssn = {"npi": [npi(1)], "tin": {"type": "ein", "value": "078051120"}}
    both = [group(1, [npi(1), npi(2)]), group(2, [npi(2)]), likely_ssn]
    for network, groups in (("a", both), ("b", [group(3, [npi(1)])])):
        publish(root, network, in_network_file({1: groups}, [item("99213", [([1], [price(5)])])]))

    def asked(**given: str) -> list[tuple[Any, ...]]:
        columns = ("npi", "entity_type", "primary_taxonomy_code", "first_tins")
        with connect(root) as connection:
            return [tuple(it[name] for name in columns) for it in _answer(connection, "multi_tin_providers", **given)]

    of_one = (npi(1), None, None, ["07*******", ein(1), ein(3)])
    of_two = (npi(2), None, None, [ein(1), ein(2)])
    assert [of_one, of_two] == asked()
    assert [(npi(1), None, None, ["07*******", ein(1)]), of_two] == asked(network_id="a")
    assert [] == asked(entity_type="organization")

    lab = {"npi": npi(2), "rates": 1, "networks": 1, "entity_type": "organization"}
    rows = batch(PROVIDER_DIRECTORY, {**lab, "primary_taxonomy_code": "291U00000X"})
    write_table(Reference(root).directory, PROVIDER_DIRECTORY.arrow, [rows])
    assert [(npi(2), "organization", "291U00000X", [ein(1), ein(2)])] == asked(entity_type="organization")


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


def test_duplicate_networks(ask: Ask) -> None:
    """The twin is found, byte for byte; the others are not."""
    found = ask("duplicate_networks")

    assert [("same bytes", 2, ["t~a", "t~twin"])] == [
        (it["relation"], it["networks"], it["first_networks"]) for it in found
    ]


def test_networks_that_are_the_same_are_one_group(tmp_path: Path) -> None:
    """Two of the same bytes, two more of the same prices and TINs, and one with other TINs are three rows, no pairs."""
    both = in_network_file(tins(2), [item("99213", [([1, 2], [price(100)])])])
    apart = in_network_file(tins(2), [item("99213", [([1], [price(100)]), ([2], [price(100)])])])
    others = in_network_file(tins(4, 3), [item("99213", [([3, 4], [price(100)])])])
    dearer = in_network_file(tins(2), [item("99213", [([1, 2], [price(101)])])])
    for network, document in zip(
        "abcdef", (both, both, apart, {**apart, "version": "2.0.0"}, others, dearer), strict=True
    ):
        publish(tmp_path / "lake", network, document)

    with connect(tmp_path / "lake") as connection:
        found = _answer(connection, "duplicate_networks")
    assert [
        ("same bytes", ["a", "b"], 1),
        ("same prices and TINs", ["a", "b", "c", "d"], 1),
        ("same prices, other TINs", ["a", "b", "c", "d", "e"], 1),
    ] == [(it["relation"], it["first_networks"], it["prices"]) for it in found]
