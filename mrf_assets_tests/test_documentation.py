"""What the documents promise is what the code does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.data_dictionary import data_dictionary
from mrf_assets.providers.directory import write_directory
from mrf_assets.providers.nppes.bulk_columns import REPAIRS
from mrf_assets.providers.registry import write_npis
from mrf_assets.settings import ALL_SETTINGS, Settings, dagster_home
from mrf_assets.settings.reference_page import settings_page
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import document, render

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUERIES = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two published networks that price CPT 99213."""
    root = tmp_path_factory.mktemp("lake")
    for name in ("a", "b"):
        source = root / f"{name}.json"
        source.write_bytes(render(document(seed=ord(name), codes=[("CPT", "99213"), ("CPT", "70450")])))
        identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=name, period="2026-11")
        task = FileTask(address=Address(str(source)), network_id=f"t~{name}", identity=identity)
        ingest(task.network_id, [task], Settings(output_dir=root / "lake")).require_published()
    write_npis(root / "lake")
    write_directory(root / "lake")
    return root / "lake"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.partition("\n")[0].strip("- "))
def test_each_query_of_the_readme_answers(query: str, lake: Path) -> None:
    """The README's SQL runs on what is published, and finds rows of both networks: over views, or over plain globs."""
    with connect(lake) if "(catalog" in query else duckdb.connect() as connection:
        rows = connection.execute(query.replace("'lake/", f"'{lake}/")).fetchall()
    assert {"t~a", "t~b"} == {row[0] for row in rows}


def test_the_readme_has_queries() -> None:
    """There is something for the test above to run."""
    assert 3 == sum("(catalog" in query for query in QUERIES)
    assert len(QUERIES) == 4


def test_every_repair_and_reject_is_documented() -> None:
    """A kind that the readers count stands in docs/repairs.md."""
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "repairs.md").read_text()))
    code = "".join(path.read_text() for path in (ROOT / "mrf_assets" / "extract").glob("*.py"))
    repairs = set(re.findall(r'(?:_repaired\(|repair\()"([a-z_]+)"', code)) | set(
        re.findall(r'"(date_[a-z_]+|[a-z]+_business_name)"', code)
    )
    reasons = set(re.findall(r'reject\([^)]*?, "([a-z_]+)", [a-z_.]+\s*\)', code))
    assert len(repairs) > 15
    assert len(reasons) > 4
    assert set() == (repairs | reasons) - documented
    assert set() == {*REPAIRS, "bulk_byte_not_unicode", "bulk_line_without_npi"} - documented


@pytest.mark.parametrize("number", ["S0.10", "S0.21", "S3.14", "S3.32", "S3.36", "S3.37", "S3.39", "S4.26"])
def test_what_is_done_in_another_way_is_explained(number: str) -> None:
    """By the number of what was asked for."""
    left_out = (ROOT / "README.md").read_text().partition("Left out of what was asked for")[2].partition("\n## ")[0]

    assert re.search(rf"{re.escape(number)}\b", left_out)


def test_the_data_dictionary_is_of_today() -> None:
    """`make docs` writes it anew."""
    assert data_dictionary() == (ROOT / "docs" / "data_dictionary.md").read_text()


def test_the_page_of_settings_is_of_today() -> None:
    """`make docs` writes it anew."""
    assert settings_page() == (ROOT / "docs" / "settings.md").read_text()


def test_no_page_names_a_setting_that_is_none() -> None:
    """A reader sets what stands there."""
    known = {f"MRF_{name.upper()}" for kind in ALL_SETTINGS for name in kind.model_fields}
    named = {name for page in PAGES for name in re.findall(r"MRF_[A-Z0-9_]*[A-Z0-9]\b(?!_)(?!\*)", page.read_text())}
    assert set() == {name for name in named if name not in known}


def test_the_default_storage_is_the_one_the_readme_names() -> None:
    """Without DAGSTER_HOME, Dagster's storage is `.dagster_home` in the current folder."""
    assert Path.cwd() / ".dagster_home" == dagster_home({})


def test_the_examples_of_the_batch_engine_run() -> None:
    """examples/batch_examples.py ends well, and does what it says."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "batch_examples.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "capitation has 10 letters" in done.stdout
    assert "of 200 done" in done.stdout


def test_the_example_answers_three_questions() -> None:
    """examples/three_questions.py: three of its four networks got dearer by 4 %, the fourth did not."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "three_questions.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=True,
    )

    _, first, second, third = re.split(r"^(?=[123]\. )", done.stdout, flags=re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in third.splitlines() if line[:1] == "│"]
    assert [(f"demo~{name}", "0", "1.040") for name in ("amber", "birch", "cedar")] == [
        (cell[0], cell[2], cell[4]) for cell in cells
    ]
    assert {"demo~amber", "demo~birch", "demo~cedar", "demo~dune"} == set(re.findall(r"demo~[a-z]+", first))
    assert 3 == second.count("demo~")
