"""`mrf catalog` and `mrf query`: answers in four forms, and clear words where there is none."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from mrf_assets.cli.app import main
from mrf_assets.lake.catalog import CATALOG_NAME
from mrf_assets.lake.queries import names, shipped
from mrf_assets.lake.store import Store
from mrf_assets_tests.table_rows import publish_generation


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line left on the console."""

    code: int
    out: str
    err: str


Mrf = Callable[..., Told]


@pytest.fixture
def mrf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mrf:
    """Run a command in this process, with one published network in `lake`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(tmp_path / "lake"))
    publish_generation(Store(tmp_path / "lake"))

    def call(*arguments: str) -> Told:
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        assert isinstance(code, int)
        captured = capsys.readouterr()
        return Told(code, captured.out, captured.err)

    return call


_VALUES = "SELECT 1 AS a, 0.10::DECIMAL(38, 10) AS amount, ['x', NULL] AS list, NULL AS none, DATE '2026-11-01' AS day"


# --- forms ----------------------------------------------------------------------------------


def test_a_table_is_the_form_of_the_console(mrf: Mrf) -> None:
    """With the names of the columns; null is empty."""
    told = mrf("query", "SELECT network_id, dollars, setting, NULL AS none FROM rates")

    assert (0, "") == (told.code, told.err)
    lines = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in told.out.splitlines()]
    assert ["network_id", "dollars", "setting", "none"] in lines
    assert ["acme", "12.50", "outpatient", ""] in lines


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("85::DECIMAL(38, 10)", "85.00"),
        ("0::DECIMAL(38, 10)", "0.00"),
        ("0.1234500000::DECIMAL(38, 10)", "0.12345"),
        ("-1200.5::DECIMAL(38, 10)", "-1200.50"),
        ("12345678901234567890.0000000001::DECIMAL(38, 10)", "12345678901234567890.0000000001"),
        ("100::DECIMAL(9, 0)", "100"),
        ("0.5::DECIMAL(9, 1)", "0.5"),
    ],
)
def test_an_amount_is_exact_in_every_form(mrf: Mrf, amount: str, told: str) -> None:
    """In a table without the zeros behind cents; elsewhere with all of its decimals, and never as 0E-10."""
    sql = f"SELECT {amount} AS amount"
    table, exact = mrf("query", sql).out, mrf("query", sql, "--format", "csv").out.splitlines()[1]

    assert told in [line.strip("│ ") for line in table.splitlines()]
    assert Decimal(told) == Decimal(exact)
    assert "E" not in exact
    assert {"amount": exact} == json.loads(mrf("query", sql, "--format", "json").out)


def test_a_long_table_says_that_there_is_more(mrf: Mrf) -> None:
    """And how to have all of it."""
    told = mrf("query", "SELECT * FROM range(1001)")

    assert "The first 1,000 rows; --format csv, json or parquet has all.\n" == told.err
    assert ("│ 999   │" in told.out, "1000" in told.out) == (True, False)
    assert "" == mrf("query", "SELECT * FROM range(1000)").err


def test_csv_has_lists_as_json(mrf: Mrf) -> None:
    """Amounts are exact, null is empty."""
    told = mrf("query", _VALUES, "--format", "csv")

    assert [
        ["a", "amount", "list", "none", "day"],
        ["1", "0.1000000000", '["x", null]', "", "2026-11-01"],
    ] == list(csv.reader(io.StringIO(told.out)))


def test_csv_turns_no_direction_of_writing(mrf: Mrf) -> None:
    """In texts and in lists; lines stay lines, and `--raw-text` has what the payer wrote."""
    sql = "SELECT chr(8238) || 'a' || chr(10) || 'b' AS text, [chr(8294)] AS list"

    assert [["text", "list"], ["�a\nb", '["�"]']] == list(
        csv.reader(io.StringIO(mrf("query", sql, "--format", "csv").out))
    )
    raw = mrf("query", sql, "--format", "csv", "--raw-text").out
    assert ["\u202ea\nb", '["\u2066"]'] == list(csv.reader(io.StringIO(raw)))[1]


def test_json_is_one_object_a_line(mrf: Mrf) -> None:
    """Amounts are exact, as text."""
    told = mrf("query", f"{_VALUES} UNION ALL {_VALUES}", "--format", "json")

    expected = {"a": 1, "amount": "0.1000000000", "list": ["x", None], "none": None, "day": "2026-11-01"}
    assert [expected, expected] == [json.loads(line) for line in told.out.splitlines()]


def test_parquet_keeps_the_types(mrf: Mrf) -> None:
    """And needs a file."""
    assert 0 == mrf("query", _VALUES, "--output", "answer.parquet").code

    (found,) = pq.read_table("answer.parquet").to_pylist()
    assert (Decimal("0.1"), ["x", None]) == (found["amount"], found["list"])
    told = mrf("query", _VALUES, "--format", "parquet")
    assert (2, "Error: --format: parquet needs a file; give --output\n") == (told.code, told.err)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_file_is_what_the_console_would_show(mrf: Mrf, tmp_path: Path, form: str) -> None:
    """Its end says the form; it appears when it is whole."""
    assert "" == mrf("query", _VALUES, "--output", f"answer.{form}").out

    assert mrf("query", _VALUES, "--format", form).out == Path(f"answer.{form}").read_text()
    assert [f"answer.{form}", "lake"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_query_that_fails_leaves_the_file_of_before(mrf: Mrf, tmp_path: Path) -> None:
    """Nothing half-written is visible."""
    (tmp_path / "answer.csv").write_text("before")
    told = mrf(
        "query", "SELECT CASE WHEN range > 50000 THEN error('now') END FROM range(60000)", "--output", "answer.csv"
    )

    assert (2, "before") == (told.code, (tmp_path / "answer.csv").read_text())
    assert ["answer.csv", "lake"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("form", ["table", "json"])
def test_an_answer_cannot_steer_the_terminal(mrf: Mrf, form: str) -> None:
    """Names come from payers."""
    assert "\x1b" not in mrf("query", "SELECT chr(27) || '[31m' AS name", "--format", form).out


# --- what is asked --------------------------------------------------------------------------


def test_values_are_bound_by_name(mrf: Mrf) -> None:
    """They are values and never SQL."""
    told = mrf(
        "query", "SELECT $a AS a, $b::INTEGER AS b", "--param", "a=' OR 1=1; --", "--param", "b=7", "--format", "json"
    )

    assert {"a": "' OR 1=1; --", "b": 7} == json.loads(told.out)


def test_a_file_is_asked(mrf: Mrf, tmp_path: Path) -> None:
    """With the defaults of its head."""
    (tmp_path / "mine.sql").write_text("-- Question: What?\n-- Parameter a [x]: A.\nSELECT $a AS a -- end")

    assert "a\nx\n" == mrf("query", "--file", "mine.sql", "--format", "csv").out
    assert "a\ny\n" == mrf("query", "--file", "mine.sql", "--param", "a=y", "--format", "csv").out


def test_a_shipped_query_is_asked(mrf: Mrf) -> None:
    """Of one contract there is no median, and the reason stands where people look."""
    told = mrf("query", "--name", "price_distribution", "--param", "billing_code=10001", "--format", "csv")

    (found,) = csv.DictReader(io.StringIO(told.out))
    assert ("acme", "", "1", "No median: 1 contract has a comparable price, 6 are needed.") == tuple(
        found[name] for name in ("network_id", "median", "contracts", "refused_because")
    )


def test_a_shipped_query_refuses_the_whitelist_that_a_run_refuses(mrf: Mrf, tmp_path: Path) -> None:
    """Codes that a spreadsheet has spoilt would count as missing."""
    (tmp_path / "codes.csv").write_text("99213.0\n", encoding="utf-8")
    told = mrf("query", "--name", "whitelist_coverage", "--param", "whitelist=codes.csv")

    assert (2, "") == (told.code, told.out)
    assert told.err.startswith("Error: codes.csv: line 1 is '99213.0' (a number; list 99213)")


def test_the_shipped_queries_are_listed(mrf: Mrf) -> None:
    """With question and parameters."""
    told = mrf("query", "--list")

    assert set(names()) <= {line.partition(":")[0] for line in told.out.splitlines()}
    line = "    --param billing_code_type= [CPT]  Its type, as in MS-DRG; CPT and HCPCS are one family."
    assert line in told.out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "query: give one of: SQL, --file and --name (--list shows the shipped queries)"),
        (("SELECT 1", "--name", "x"), "query: give one of: SQL, --file and --name (--list shows the shipped queries)"),
        (("SELECT 1", "--param", "a"), "--param: 'a' is not of the form name=value"),
        (("SELECT 1", "--param", "a=1"), "--param: the query has no parameter a; it has: none"),
        (("SELECT $a",), "--param: the query needs a; give each as --param name=value"),
        (("SELECT 1; SELECT 2",), "the query: holds 2 statement(s); ask with one SELECT"),
        (("CREATE TABLE x AS SELECT 1",), "the query: holds 1 statement(s); ask with one SELECT"),
        (("",), "the query: holds 0 statement(s); ask with one SELECT"),
        (
            ("SELECT 1", "--output", "a.txt"),
            "--output: ends with none of .csv, .json and .parquet: a.txt; give --format, too",
        ),
        (("SELECT 1", "--memory-mb", "0"), "--memory-mb: is 0; it must be 1 or more"),
        (
            ("--file", "none.sql"),
            "none.sql: cannot be read ([Errno 2] No such file or directory: 'none.sql'); check the path",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_clear_line(mrf: Mrf, arguments: tuple[str, ...], expected: str) -> None:
    """Exit code 2, and what to do."""
    told = mrf("query", *arguments)

    assert (2, f"Error: {expected}\n") == (told.code, told.err)


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nothing FROM rates", "FROM nowhere", "SELECT 'x'::INTEGER"])
def test_sql_that_duckdb_refuses_is_one_clear_line(mrf: Mrf, sql: str) -> None:
    """With its own words, and where the views are described."""
    told = mrf("query", sql)

    assert 2 == told.code
    assert told.err.startswith("Error: the query: ")
    assert told.err.endswith("; docs/data_dictionary.md has the views and columns\n")
    assert 1 == told.err.count("\n")


def test_a_broken_derived_file_keeps_no_query_from_its_answer(
    mrf: Mrf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out, and told."""
    broken = tmp_path / "lake" / "reference" / "rate_changes" / "network_id=acme" / "rate_changes.parquet"
    broken.parent.mkdir(parents=True)
    broken.touch()
    told = mrf("query", "SELECT 1 AS a", "--format", "csv")

    assert (0, "a\n1\n") == (told.code, told.out)
    assert "network_id=acme/rate_changes.parquet cannot be read and is left out" in caplog.text


def test_a_query_beyond_its_memory_is_told(mrf: Mrf) -> None:
    """With the flag that helps."""
    told = mrf("query", "SELECT list(range) FROM range(100000000)", "--memory-mb", "20")

    assert 2 == told.code
    assert "raise --memory-mb, or ask for less" in told.err


def test_an_empty_output_folder_answers_with_nothing(mrf: Mrf, tmp_path: Path) -> None:
    """And says why."""
    (tmp_path / "none").mkdir()
    told = mrf("query", "SELECT count(*) AS n FROM rates", "--output-dir", "none", "--format", "csv")

    assert (0, "n\n0\n", "Nothing is published in none.\n") == (told.code, told.out, told.err)


def test_an_output_folder_that_is_not_there_is_one_clear_line(mrf: Mrf, tmp_path: Path) -> None:
    """It is not made."""
    told = mrf("query", "SELECT 1", "--output-dir", "typo")

    assert (2, "", 1) == (told.code, told.out, told.err.count("\n"))
    assert told.err.startswith("Error: output_dir: nothing is published in typo, there is no such folder;")
    assert not (tmp_path / "typo").exists()


def test_a_file_of_a_shipped_query_is_read_alone(mrf: Mrf, tmp_path: Path) -> None:
    """Though its name is a pattern for others."""
    (tmp_path / "a*.csv").write_text("CPT,10001")
    (tmp_path / "ab.csv").write_text("CPT,20002")
    told = mrf("query", "--name", "whitelist_coverage", "--param", "whitelist=a*.csv", "--format", "csv")

    assert ["10001"] == [row["billing_code"] for row in csv.DictReader(io.StringIO(told.out))]


@pytest.mark.parametrize(
    "arguments",
    [
        ("whitelist_coverage", "--param", "whitelist=s3://b/a.csv"),
        ("reference_ratio", "--param", "reference=s3://b/a.csv"),
    ],
)
def test_a_file_of_a_shipped_query_is_on_this_machine(mrf: Mrf, arguments: tuple[str, ...]) -> None:
    """DuckDB would go and fetch it."""
    assert 2 == mrf("query", "--name", *arguments).code


@pytest.mark.parametrize("name", names())
def test_a_shipped_query_gives_no_hint_of_its_own_texts(mrf: Mrf, tmp_path: Path, name: str) -> None:
    """What is compared with a parameter is no code that somebody asked for."""
    (tmp_path / "codes.csv").write_text("billing_code_type,billing_code,dollars\nCPT,10001,1\n")
    files = {"reference": "codes.csv", "whitelist": "codes.csv", "billing_code": "10001"}
    given = {it.name: files.get(it.name, "x" if it.default is None else it.default) for it in shipped(name).parameters}
    if "whitelist" in given:
        (tmp_path / "codes.csv").write_text("CPT,10001\n")

    told = mrf("query", "--name", name, *(f"--param={key}={value}" for key, value in given.items()), "--format", "json")
    assert (0, "") == (told.code, told.err)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("SELECT * FROM rates WHERE network_id = 'acm'",), "network 'acm' is not published; there are: acme"),
        (
            ("SELECT 1 FROM rates WHERE network_id IN ('acme', 'x''y')",),
            'network "x\'y" is not published; there are: acme',
        ),
        (
            ("SELECT count(*) FROM rates WHERE billing_code='1001'",),
            "billing code '1001' is in no published price; there are: 10001",
        ),
        (
            ("--name", "price_distribution", "--param", "billing_code=99213"),
            "billing code '99213' is in no published price; there are: 10001",
        ),
        (
            ("SELECT 1 WHERE $network_id <> ''", "--param", "network_id=z"),
            "network 'z' is not published; there are: acme",
        ),
    ],
)
def test_what_nobody_published_gets_a_hint(mrf: Mrf, arguments: tuple[str, ...], hint: str) -> None:
    """The answer comes nevertheless."""
    told = mrf("query", *arguments, "--format", "json")

    assert (0, f"Hint: {hint}\n") == (told.code, told.err)


@pytest.mark.parametrize(
    "sql", ["FROM rates WHERE network_id = 'acme' AND billing_code = '10001'", "SELECT 'network_id'"]
)
def test_what_is_published_gets_none(mrf: Mrf, sql: str) -> None:
    """Nor does a text that is compared with nothing."""
    assert (0, "") == (mrf("query", sql, "--format", "json").code, mrf("query", sql, "--format", "json").err)


# --- the catalog ----------------------------------------------------------------------------


def test_the_catalog_is_written_and_told(mrf: Mrf, tmp_path: Path) -> None:
    """Any DuckDB can open it."""
    told = mrf("catalog")

    path = tmp_path / "lake" / CATALOG_NAME
    assert (0, f"{path}: 1 network(s), 1 period(s), 7 file(s)\n") == (told.code, told.out)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert [("acme",)] == connection.execute("SELECT network_id FROM rates").fetchall()


@pytest.mark.parametrize("exists", [True, False])
def test_a_catalog_of_nothing_is_refused(mrf: Mrf, tmp_path: Path, *, exists: bool) -> None:
    """A misspelt folder is the likely reason; nothing is written."""
    if exists:
        (tmp_path / "typo").mkdir()
    told = mrf("catalog", "--output-dir", "typo")

    expected = "Error: --output-dir: nothing is published in typo; run `mrf run` first\n"
    assert (2, "", expected) == (told.code, told.out, told.err)
    assert (exists, []) == ((tmp_path / "typo").exists(), list((tmp_path / "typo").glob("*")))


def test_a_catalog_for_another_place_is_written(mrf: Mrf, tmp_path: Path) -> None:
    """It can be read when the folder is there."""
    assert 0 == mrf("catalog", "--root", str(tmp_path / "moved")).code

    (tmp_path / "lake").rename(tmp_path / "moved")
    with duckdb.connect(str(tmp_path / "moved" / CATALOG_NAME), read_only=True) as connection:
        assert [("acme",)] == connection.execute("SELECT network_id FROM rates").fetchall()


def test_specialties_reach_a_query(mrf: Mrf, tmp_path: Path) -> None:
    """By its flag, or by what the catalog was given."""
    (tmp_path / "codes.csv").write_text("taxonomy,billing_code_type,billing_code\n207Q,CPT,10001\n")
    asked = ("query", "SELECT count(*) AS n FROM taxonomy_codes", "--format", "csv")
    flag = ("--taxonomy-codes", "codes.csv")

    assert ["n\n0\n", "n\n1\n", "n\n0\n"] == [mrf(*asked).out, mrf(*asked, *flag).out, mrf(*asked).out]
    assert 0 == mrf("catalog", *flag).code
    assert "n\n1\n" == mrf(*asked).out
