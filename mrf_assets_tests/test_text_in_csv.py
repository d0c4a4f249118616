"""CSV files that people open: what strangers wrote is no formula there."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest

from mrf_assets.cli.app import main
from mrf_assets.lake.store import Store
from mrf_assets.providers.lookup.cells import from_text, to_text
from mrf_assets.text import armed, disarmed
from mrf_assets_tests.table_rows import publish_generation

FORMULAS = [
    "=1+1",
    "-x\r=1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
]
TEXTS = ["", "a=1", " =1", "99213", "ñ", "a\n=1"]


@pytest.mark.parametrize("text", [*FORMULAS, "'=1", "''"])
def test_a_formula_is_behind_an_apostrophe(text: str) -> None:
    """Which can be taken off again; a text that begins with one gets another."""
    assert ("'" + text, text) == (disarmed(text), armed(disarmed(text)))


@pytest.mark.parametrize("text", TEXTS)
def test_another_text_stays_as_it_is(text: str) -> None:
    """Blanks in front make no formula."""
    assert (text, text) == (disarmed(text), armed(text))


@pytest.mark.parametrize("text", [*FORMULAS, *TEXTS[1:], "'x"])
def test_a_cell_of_an_enrichment_is_the_same_text_again(text: str) -> None:
    """The batch reads its own CSV when it goes on."""
    assert (disarmed(text), text) == (to_text(text), from_text(to_text(text), pa.string()))


def _query(capsys: pytest.CaptureFixture[str], lake: Path, *arguments: str) -> str:
    publish_generation(Store(lake))
    main(["query", "--output-dir", str(lake), *arguments])
    return capsys.readouterr().out


_SQL = "SELECT unnest([{}]) AS text, -1 AS number, -0.5::DECIMAL(9, 2) AS amount, NULL AS none".format(
    ", ".join(" || ".join(f"chr({ord(char)})" for char in text) for text in FORMULAS)
)


@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("raw", [True, False])
def test_the_csv_of_a_query_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, raw: bool, to_file: bool
) -> None:
    """Numbers stay numbers; --raw-text leaves texts as payers have them."""
    path = tmp_path / "x.csv"
    where = ["--output", str(path)] if to_file else ["--format", "csv"]
    told = _query(capsys, tmp_path / "lake", _SQL, *where, *(["--raw-text"] if raw else []))

    with io.StringIO(path.read_bytes().decode() if to_file else told, newline="") as file:
        rows = list(csv.reader(file))
    texts = FORMULAS if raw else [f"'{text}" for text in FORMULAS]
    assert [["text", "number", "amount", "none"], *([text, "-1", "-0.50", ""] for text in texts)] == rows


def test_a_heading_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pivot makes names of columns out of what payers wrote."""
    assert "'=1+1\n0\n" == _query(capsys, tmp_path / "lake", 'SELECT 0 AS "=1+1"', "--format", "csv")


def test_other_forms_have_the_raw_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No spreadsheet opens them."""
    assert '{"a": "=1+1"}\n' == _query(capsys, tmp_path / "lake", "SELECT '=1+1' AS a", "--format", "json")
