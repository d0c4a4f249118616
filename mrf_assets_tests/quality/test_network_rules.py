"""Each rule over small tables: what passes, what fails, and that nothing else does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from mrf_assets.quality.network_audit import audit
from mrf_assets.quality.network_rules import CHECKS, Check, CheckResult
from mrf_assets.schema import FILES, PLANS, PROVIDER_SETS, PROVIDERS, RATES, REJECTS, TABLES
from mrf_assets.whitelist import CodeWhitelist
from mrf_assets_tests.factory import luhn_valid, make_npi, seeded
from mrf_assets_tests.table_rows import Row, row, write_tables

Tables = dict[str, list[Row]]
THREE_CODES = CodeWhitelist(frozenset({"10001", "10002"}), frozenset({("HCPCS", "A0003")}))


def _key(check: Check) -> str:
    return f"{check.table}.{check.name}"


def _clean() -> Tables:
    """One file with two groups in one set, two prices, and a plan."""
    return {
        PROVIDERS.name: [row(PROVIDERS), row(PROVIDERS, npi=None), row(PROVIDERS, provider_group_id="2")],
        PROVIDER_SETS.name: [row(PROVIDER_SETS), row(PROVIDER_SETS, provider_group_id="2")],
        RATES.name: [row(RATES), row(RATES, negotiated_type="percentage", negotiated_rate=Decimal("40.5"))],
        PLANS.name: [row(PLANS)],
        FILES.name: [row(FILES, prices_read=2, rate_rows=2)],
        REJECTS.name: [],
    }


def _failed(results: list[CheckResult]) -> dict[str, int]:
    return {_key(result.check): result.offending_rows for result in results if not result.passed}


@dataclass(frozen=True)
class Defect:
    """One thing wrong with clean tables, the rule that must find it, and how often."""

    rule: str
    what: str
    change: Callable[[Tables], object]
    offending: int = 1
    codes: CodeWhitelist | None = None

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def _set(table: str, **values: object) -> Callable[[Tables], object]:
    """Change the first row of a table."""
    return lambda tables: tables[table][0].update(values)


def _set_all(table: str, **values: object) -> Callable[[Tables], object]:
    return lambda tables: [each.update(values) for each in tables[table]]


def _add(table: str, *rows: Row) -> Callable[[Tables], object]:
    return lambda tables: tables[table].extend(rows)


def _without_rates(**counts: int | str) -> Callable[[Tables], object]:
    def change(tables: Tables) -> None:
        tables[RATES.name].clear()
        tables[FILES.name][0].update({"prices_read": 0, "rate_rows": 0} | counts)

    return change


def _all_rejected(tables: Tables) -> None:
    _without_rates(prices_read=1, prices_rejected=1)(tables)
    tables[REJECTS.name].append(row(REJECTS, dropped="price"))


_NOTHING_WANTED: Row = {"code_whitelist_sha256": "ab", "items_kept": 0, "prices_read": 0, "rate_rows": 0}

DEFECTS = [
    Defect("rates.reconciliation", "a price read that is nowhere", _set("files", prices_read=3)),
    Defect("rates.reconciliation", "a rate row that is not there", _set("files", prices_read=3, rate_rows=3)),
    Defect("rates.reconciliation", "a reject that is not listed", _set("files", prices_read=3, prices_rejected=1)),
    Defect("rates.reconciliation", "counts that are missing", _set("files", prices_read=None)),
    Defect("rates.not_empty", "items of a file without whitelist, and no rate", _without_rates()),
    Defect("rates.no_orphan_set", "a set that is not there", _set("rates", provider_set_id=8)),
    Defect("rates.no_orphan_set", "one orphan of many rates is one", _set_all("rates", provider_set_id=8), offending=1),
    Defect("provider_sets.unique_key", "a group twice in a set", _add("provider_sets", row(PROVIDER_SETS))),
    Defect("provider_sets.no_orphan_group", "a group nobody defines", _set("provider_sets", provider_group_id="3")),
    Defect("providers.unique_key", "an NPI twice in a group", _add("providers", row(PROVIDERS))),
    Defect("providers.unique_key", "a TIN without NPI twice", _add("providers", row(PROVIDERS, npi=None))),
    Defect("files.unique_key", "a file listed twice", _add("files", row(FILES, prices_read=2, rate_rows=2))),
    Defect("files.all_parts", "one part of three", _set("files", parts=3)),
    Defect(
        "files.same_whitelists",
        "one part of two with a whitelist",
        _add("files", row(FILES, file_id="g", **_NOTHING_WANTED)),
        offending=2,
    ),
    Defect(
        "rates.wanted_tins_found", "a TIN whitelist that fits nothing", _without_rates(prices_read=2, prices_filtered=2)
    ),
    Defect("rates.not_empty", "wanted items without any price", _without_rates(code_whitelist_sha256="ab")),
    Defect("files.has_items", "a file without items", _set("files", items_read=0)),
    Defect(
        "rates.dollars_are_positive",
        "a zero and a credit",
        _add(
            "rates",
            row(RATES, file_id="g", negotiated_rate=Decimal(0)),
            row(RATES, file_id="g", negotiated_rate=Decimal(-1), negotiated_type="per diem"),
        ),
        offending=2,
    ),
    Defect("rates.dollars_below_cap", "more than a price", _set("rates", negotiated_rate=Decimal(100_000_001))),
    Defect(
        "rates.percentage_in_range",
        "a fraction",
        _add("rates", row(RATES, file_id="g", negotiated_type="percentage", negotiated_rate=Decimal("0.405"))),
    ),
    *(
        Defect(f"{table.name}.{column.name}_present", "none", _set(table.name, **{column.name: None}))
        for table in (PROVIDERS, RATES, FILES)
        for column in table.columns
        if column.required
    ),
    Defect("rates.service_codes_present", "an empty list", _set("rates", service_codes=[])),
    Defect("rates.providers_named", "a price of nobody", _set("rates", provider_set_id=None)),
    Defect("rates.whitelist_coverage", "two codes of three without a rate", _add("plans"), 2, THREE_CODES),
    Defect(
        "rates.service_codes_shape", "three digits, and a word", _set("rates", service_codes=["11", "011", "Office"]), 2
    ),
    Defect("rates.billing_code_modifiers_shape", "one digit", _set("rates", billing_code_modifiers=["5", "26", "TC"])),
    Defect("providers.npi_shape", "an NPI that begins with 3", _set("providers", npi=3_000_000_000)),
    Defect("providers.npi_shape", "an NPI of nine digits", _set("providers", npi=123_456_789)),
    Defect("providers.npi_check_digit", "a wrong last digit", _set("providers", npi=1_234_567_894)),
    Defect("providers.ein_shape", "an EIN of eight digits", _set("providers", tin_value="12345678")),
    Defect("providers.npi_tin_shape", "an EIN as NPI", _set("providers", tin_type="npi")),
    Defect("rejects.nothing_rejected", "a reject", _add("rejects", row(REJECTS))),
    Defect("providers.known_tin_type", "a word of its own", _set("providers", tin_type="ssn")),
    Defect("rates.known_negotiation_arrangement", "a word of its own", _set("rates", negotiation_arrangement="x")),
    Defect("rates.known_billing_code_type", "DRG is no type", _set("rates", billing_code_type="DRG")),
    Defect("rates.known_negotiated_type", "a word of its own", _set("rates", negotiated_type="x")),
    Defect("rates.known_billing_class", "a word of its own", _set("rates", billing_class="x")),
    Defect("rates.known_setting", "a word of its own", _set("rates", setting="x")),
]


def _complete(tables: Tables) -> None:
    """Give the rates of file g, where a defect adds some, all that belongs to them."""
    count = sum(each["file_id"] == "g" for each in tables[RATES.name])
    if count:
        tables[PROVIDERS.name].append(row(PROVIDERS, file_id="g"))
        tables[PROVIDER_SETS.name].append(row(PROVIDER_SETS, file_id="g"))
        tables[FILES.name].append(row(FILES, file_id="g", part=1, prices_read=count, rate_rows=count))


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_defect_fails_its_rule_alone(defect: Defect, tmp_path: Path) -> None:
    """Exactly one rule fails, with the number of rows that offend."""
    tables = _clean()
    defect.change(tables)
    _complete(tables)

    assert {defect.rule: defect.offending} == _failed(audit(write_tables(tmp_path, tables), defect.codes))


@dataclass(frozen=True)
class Tolerance:
    """How many rows may be wrong, and how these look."""

    rule: str
    table: str
    rows: int  # of which one may be wrong
    wrong: Row

    def __str__(self) -> str:
        return self.rule


TOLERANCES = [
    Tolerance("rates.dollars_are_positive", "rates", 40, {"negotiated_rate": Decimal(0)}),
    Tolerance("rates.providers_named", "rates", 100, {"provider_set_id": None}),
    Tolerance("rates.expiration_date_present", "rates", 100, {"expiration_date": None}),
    Tolerance("providers.ein_shape", "providers", 200, {"tin_value": "12345678"}),
    Tolerance("providers.npi_check_digit", "providers", 1_000, {"npi": 1_234_567_894}),
]


@pytest.mark.parametrize("tolerance", TOLERANCES, ids=str)
@pytest.mark.parametrize("wrong", [1, 2])
def test_a_rule_warns_above_the_share_that_it_tolerates(tolerance: Tolerance, wrong: int, tmp_path: Path) -> None:
    """Complete files have some of each; one row in so many passes, two do not."""
    tables = _clean()
    table = TABLES[tolerance.table]
    tables[table.name] = [row(table, **(tolerance.wrong if number < wrong else {})) for number in range(tolerance.rows)]
    checks = [check for check in CHECKS if _key(check) == tolerance.rule]

    (result,) = audit(write_tables(tmp_path, tables), None, checks)
    assert (wrong, tolerance.rows, wrong == 1) == (result.offending_rows, result.population, result.passed)


@pytest.mark.parametrize(("prices", "passes"), [(10_000, True), (9_999, False)])
def test_one_reject_in_ten_thousand_prices_is_tolerated(prices: int, passes: bool, tmp_path: Path) -> None:
    """The prices that were read count, not those that were kept."""
    tables = _clean()
    tables[FILES.name][0]["prices_read"] = prices
    tables[REJECTS.name].append(row(REJECTS))

    assert passes == ("rejects.nothing_rejected" not in _failed(audit(write_tables(tmp_path, tables), None)))


def test_a_percentage_above_100_is_no_warning(tmp_path: Path) -> None:
    """It is of Medicare, mostly: `mrf check` counts it for information."""
    tables = _clean()
    tables[RATES.name][1]["negotiated_rate"] = Decimal(155)

    assert {} == _failed(audit(write_tables(tmp_path, tables), None))


def test_every_rule_has_a_defect() -> None:
    """A new rule needs a test."""
    assert {_key(check) for check in CHECKS} == {defect.rule for defect in DEFECTS}


def test_clean_tables_pass(tmp_path: Path) -> None:
    """Every rule is asked, and none objects."""
    results = audit(write_tables(tmp_path, _clean()), None)

    assert list(CHECKS) == [result.check for result in results]
    assert {} == _failed(results)


def test_empty_tables_pass(tmp_path: Path) -> None:
    """Every rule's SQL runs where there is nothing."""
    results = audit(write_tables(tmp_path, {}), None)

    assert [0] * len(CHECKS) == [result.offending_rows for result in results]


def test_rows_that_say_little_offend_only_where_something_must_be_said(tmp_path: Path) -> None:
    """Null is no unknown word; what the schema requires is missed, once."""
    tables = _clean()
    nulls = {column.name: None for column in RATES.columns if column.nullable and column.name != "provider_set_id"}
    tables[RATES.name] = [row(RATES, **nulls), row(RATES, **nulls)]

    required = [column.name for column in RATES.columns if column.required and column.name != "service_codes"]
    assert {f"rates.{name}_present": 2 for name in required} == _failed(audit(write_tables(tmp_path, tables), None))


def test_what_is_required_of_some_rows_is_missed_there_alone(tmp_path: Path) -> None:
    """An institutional price has no places of service; a file of schema 1 has no setting and no business names."""
    tables = _clean()
    for each in tables[RATES.name]:
        each.update(billing_class="institutional", service_codes=None, setting=None)
    for each in tables[PROVIDERS.name]:
        each.update(network_names=None, business_name=None)

    assert {} == _failed(audit(write_tables(tmp_path, tables), None))


@pytest.mark.parametrize(
    ("table", "sign"), [("providers", {"network_names": ["Aspen"]}), ("rates", {"setting": "outpatient"})]
)
def test_the_shape_of_a_file_says_whether_its_prices_need_a_setting(table: str, sign: Row, tmp_path: Path) -> None:
    """Not its version: names of networks, or the setting of another price."""
    tables = _clean()
    for each in tables[PROVIDERS.name]:
        each.update(network_names=None)
    for each in tables[RATES.name]:
        each.update(setting=None)
    tables[FILES.name][0]["version"] = "1.0.0"
    tables[table][1].update(sign)

    missing = {"providers": 2, "rates": 1}[table]
    assert {"rates.setting_present": missing} == _failed(audit(write_tables(tmp_path, tables), None))


def test_rates_of_a_file_that_is_not_listed_do_not_reconcile(tmp_path: Path) -> None:
    """A row whose file is unknown cannot have been counted."""
    tables = _clean()
    tables[RATES.name].append(row(RATES, file_id="g"))

    assert "rates.reconciliation" in _failed(audit(write_tables(tmp_path, tables), None))


def test_prices_that_were_all_rejected_are_an_empty_file(tmp_path: Path) -> None:
    """The rejects are listed, and the file is not published."""
    tables = _clean()
    _all_rejected(tables)

    assert {"rates.not_empty": 1, "rejects.nothing_rejected": 1} == _failed(audit(write_tables(tmp_path, tables), None))


@pytest.mark.parametrize("counts", [_NOTHING_WANTED, {"items_read": 0, "items_kept": 0}])
def test_no_rates_of_a_file_without_wanted_prices_are_sound(tmp_path: Path, counts: Row) -> None:
    """A whitelist may fit nothing in a file, and schema 1 allows a file without items."""
    tables = _clean()
    _without_rates(**counts)(tables)

    assert "rates.not_empty" not in _failed(audit(write_tables(tmp_path, tables), None))


def test_prices_that_were_filtered_out_are_no_empty_file(tmp_path: Path) -> None:
    """Where no price names a wanted TIN, no rates are the right answer, with a warning."""
    tables = _clean()
    _without_rates(prices_read=2, prices_filtered=2)(tables)

    assert {"rates.wanted_tins_found": 1} == _failed(audit(write_tables(tmp_path, tables), None))


def test_sets_and_groups_are_local_to_their_file(tmp_path: Path) -> None:
    """The same ids in another file do not help an orphan."""
    tables = _clean()
    for table in (PROVIDERS, PROVIDER_SETS):
        for each in tables[table.name]:
            each["file_id"] = "other"

    assert {"rates.no_orphan_set": 1} == _failed(audit(write_tables(tmp_path, tables), None))


def test_all_parts_of_a_network_are_there(tmp_path: Path) -> None:
    """Two of two."""
    tables = _clean()
    tables[FILES.name] = [
        row(FILES, parts=2, prices_read=2, rate_rows=2, code_whitelist_sha256="ab"),
        row(FILES, file_id="g", part=2, parts=2, **_NOTHING_WANTED),
    ]

    assert {} == _failed(audit(write_tables(tmp_path, tables), None))


@pytest.mark.parametrize(
    ("any_type", "typed", "passes"),
    [
        (["10001"], [], True),
        (["10001", "X"], [], True),  # half
        (["10001", "X", "Y"], [], False),
        ([], [("CPT", "10001")], True),
        ([], [("HCPCS", "10001")], True),  # one family
        ([], [("CDT", "10001")], False),
    ],
)
def test_half_of_the_wanted_codes_need_a_rate(
    tmp_path: Path, any_type: list[str], typed: list[tuple[str, str]], passes: bool
) -> None:
    """A whitelist is made for many payers; none has all codes."""
    codes = CodeWhitelist(frozenset(any_type), frozenset(typed))

    assert passes == ("rates.whitelist_coverage" not in _failed(audit(write_tables(tmp_path, _clean()), codes)))


def test_a_code_without_a_type_covers_a_wish_of_any_type(tmp_path: Path) -> None:
    """A payer may leave the type out; the code was wanted and is there."""
    tables = _clean()
    for each in tables[RATES.name]:
        each["billing_code_type"] = None
    codes = CodeWhitelist(frozenset({"10001"}), frozenset())

    assert "rates.whitelist_coverage" not in _failed(audit(write_tables(tmp_path, tables), codes))


@pytest.mark.parametrize("published", ["450", "0450"])
@pytest.mark.parametrize("entry", [(None, "450"), (None, "0450"), ("RC", "0450")])
def test_a_code_covers_a_wish_with_and_without_its_first_zero(
    tmp_path: Path, published: str, entry: tuple[str | None, str]
) -> None:
    """As the whitelist keeps it."""
    tables = _clean()
    for each in tables[RATES.name]:
        each |= {"billing_code_type": "RC", "billing_code": published}
    kind, code = entry
    codes = CodeWhitelist(frozenset(() if kind else {code}), frozenset({(kind, code)} if kind else ()))

    assert {} == _failed(audit(write_tables(tmp_path, tables), codes))


def test_coverage_tells_how_many_codes_are_wanted(tmp_path: Path) -> None:
    """The share can be told from the result."""
    results = audit(write_tables(tmp_path, _clean()), THREE_CODES)

    assert [3] == [result.population for result in results if _key(result.check) == "rates.whitelist_coverage"]


def test_the_sample_holds_the_rows_that_offend(tmp_path: Path) -> None:
    """As JSON lines, to be read by a person."""
    tables = _clean()
    tables[PROVIDERS.name][0]["npi"] = 3_000_000_000
    (result,) = audit(write_tables(tmp_path, tables), None, [check for check in CHECKS if check.name == "npi_shape"])

    assert {"file_id": "f", "provider_group_id": "1", "npi": 3_000_000_000} == json.loads(result.sample)


@pytest.mark.parametrize(
    ("tin_type", "tin_value"),
    [("ein", "071234567"), ("ein", "123-45-6789"), ("ein", "12345678"), ("npi", "071234567"), ("ssn", "123456789")],
)
def test_no_sample_shows_what_may_be_a_social_security_number(tin_type: str, tin_value: str, tmp_path: Path) -> None:
    """Its first two digits at most; whatever else is wrong with its row."""
    tables = _clean()
    odd = {"tin_type": tin_type, "tin_value": tin_value, "business_name": None, "npi": 123}
    tables[PROVIDERS.name] = [row(PROVIDERS, **odd)] * 2
    tables[REJECTS.name] = [
        row(REJECTS, dropped="value", path="provider_groups.tin", excerpt=f'["{tin_value}"]'),
        row(REJECTS, dropped="provider_group", path="provider_groups", excerpt=f'"{tin_value}"'),
    ]
    results = [result for result in audit(write_tables(tmp_path, tables), None) if result.offending_rows]

    assert {"providers.unique_key", "rejects.nothing_rejected"} <= set(map(_key, (it.check for it in results)))
    assert [] == [_key(result.check) for result in results if tin_value in result.sample]


def test_the_sample_is_empty_where_nothing_offends(tmp_path: Path) -> None:
    """There is nothing to show."""
    assert {""} == {result.sample for result in audit(write_tables(tmp_path, _clean()), None)}


def test_the_sample_is_short(tmp_path: Path) -> None:
    """Five of many, while all are counted; decimals and dates are written out."""
    tables = _clean()
    tables[RATES.name] = [row(RATES, negotiated_rate=Decimal(-amount)) for amount in range(1, 9)]
    (result,) = audit(
        write_tables(tmp_path, tables), None, [check for check in CHECKS if check.name == "dollars_are_positive"]
    )

    lines = [json.loads(line) for line in result.sample.splitlines()]
    assert (8, 5) == (result.offending_rows, len(lines))
    assert {"-1.0000000000"} <= {line["negotiated_rate"] for line in lines}


def test_a_rule_reads_all_files_of_a_table(tmp_path: Path) -> None:
    """The parts of a network are audited together."""
    paths: dict[str, list[Path]] = {name: [] for name in TABLES}
    for folder in (tmp_path / "1", tmp_path / "2"):
        folder.mkdir()
        for name, found in write_tables(folder, _clean()).items():
            paths[name] += found

    assert 1 == _failed(audit(paths, None))["files.unique_key"]


def test_an_audit_takes_the_memory_and_threads_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of 64 cores, too: each thread takes its share of the memory, and 64 shares were too small."""
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "64")  # DuckDB takes it for the machine's cores
    asks = Check(
        name="asks",
        table=RATES.name,
        severity="warn",
        explanation="Tells the limits.",
        sql="SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory",
    )
    tables = write_tables(tmp_path, _clean())

    (told,), (told_more,) = audit(tables, None, [asks]), audit(tables, None, [asks], memory_mb=512)
    assert json.loads(told.sample)["threads"] <= 4
    assert ("244.1 MiB", "488.2 MiB") == tuple(json.loads(it.sample)["memory"] for it in (told, told_more))


def test_names_of_rules_are_unique_in_their_table() -> None:
    """Dagster knows a check by its table and name."""
    assert [] == [key for key, times in Counter(map(_key, CHECKS)).items() if times > 1]


def test_a_rule_belongs_to_a_table_and_says_what_it_wants() -> None:
    """The explanation is shown beside the result."""
    for check in CHECKS:
        assert check.table in TABLES
        assert check.explanation.endswith(".")


def test_what_would_mislead_readers_blocks() -> None:
    """Lost prices, dangling keys and doubled files are never published; oddities of payers are."""
    assert {
        "rates.reconciliation",
        "rates.not_empty",
        "rates.no_orphan_set",
        "provider_sets.unique_key",
        "files.unique_key",
    } == {_key(check) for check in CHECKS if check.blocking}


def test_the_check_digit_agrees_with_luhn(tmp_path: Path) -> None:
    """SQL and Python find the same wrong digits among many."""
    rng = seeded("npis")
    npis = [make_npi(rng) // 10 * 10 + rng.randrange(10) for _ in range(300)]
    tables = _clean() | {PROVIDERS.name: [row(PROVIDERS, npi=npi) for npi in dict.fromkeys(npis)]}
    (result,) = audit(
        write_tables(tmp_path, tables), None, [check for check in CHECKS if check.name == "npi_check_digit"]
    )

    assert sum(not luhn_valid(str(npi)) for npi in dict.fromkeys(npis)) == result.offending_rows
