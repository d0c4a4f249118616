"""Eight published files of a third-party administrator (March 2026), by the main job, from index to parquet.

What stands in them is counted once more by the standard library alone. The tests are skipped where
the files are absent; they are no part of the project.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mrf_assets.lake.catalog import connect
from mrf_assets.schema import TABLES
from mrf_assets_tests.dagster_fixtures import Place
from mrf_assets_tests.factory import Document, index, plans, render
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.table_rows import without_generations

_OF_THE_RUN = {"extraction_timestamp", "duration_seconds", "log_file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a run left behind."""

    place: Place
    exit_code: int
    manifest: dict[str, Any]

    def by_file(self, sql: str) -> dict[str, Any]:
        """File name -> a value out of the published tables, which `sql` sees as views."""
        with duckdb.connect() as connection:
            for table in TABLES:
                files = f"{self.place.output}/network_id=*/*/{table}-*.parquet"
                connection.execute(
                    f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)"
                )
            return dict(connection.execute(sql).fetchall())


@pytest.fixture(scope="module")
def archives(samples: Path) -> list[Path]:
    """The files as they were published."""
    return sorted((samples / "ameriben-2026-03").glob("*.zip"))


@pytest.fixture(scope="module")
def index_url(archives: list[Path]) -> Iterator[str]:
    """An index over them, on a server that serves both."""
    with MrfServer(archives[0].parent) as server:
        listed = [(server.url(path.name), plans(1, seed=number)) for number, path in enumerate(archives)]
        yield server.put("/2026-03-01_index.json", render(index(listed, schema="v2")))


def _run(index_url: str, place: Place, workers: int) -> Batch:
    done = place.run(index_url, workers)
    return Batch(
        place=place, exit_code=done.returncode, manifest=json.loads((place.output / "manifest.json").read_text())
    )


@pytest.fixture(scope="module")
def one(index_url: str, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """One network at a time."""
    return _run(index_url, Place(tmp_path_factory.mktemp("one")), 1)


@pytest.fixture(scope="module")
def four(index_url: str, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Four at a time."""
    return _run(index_url, Place(tmp_path_factory.mktemp("four")), 4)


def _document(archive: Path) -> Document:
    with zipfile.ZipFile(archive) as opened:
        (name,) = opened.namelist()
        document: Document = json.loads(opened.read(name))
    return document


def _prices(document: Document) -> list[Document]:
    return [
        price
        for item in document["in_network"]
        for rate in item["negotiated_rates"]
        for price in rate["negotiated_prices"]
    ]


def _deviations(document: Document) -> dict[str, int]:
    """What is written otherwise than the schema wants, by the name of its repair, counted anew."""
    prices = _prices(document)
    references = document["provider_references"]
    groups = [group for reference in references for group in reference["provider_groups"]]
    lists = [price[key] for price in prices for key in ("service_code", "billing_code_modifier") if key in price]
    lists += [reference["network_name"] for reference in references]
    counts = Counter(
        {
            "empty_entry_in_list": sum(entry in ("", None) for each in lists for entry in each),
            "duplicate_npi": sum(len(group["npi"]) - len(set(group["npi"])) for group in groups),
            "npi_zero_as_null": sum(npi == 0 for group in groups for npi in group["npi"]),
            "npi_from_text": sum(isinstance(npi, str) for group in groups for npi in group["npi"]),
            "rate_from_text": sum(isinstance(price["negotiated_rate"], str) for price in prices),
            "word_case_or_space": sum(not price["negotiated_type"].islower() for price in prices),
            "empty_text": sum(price.get("additional_information") == "" for price in prices),
        }
    )
    return dict(+counts)


def _without_times(manifest: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in manifest.items() if name not in ("extraction_run", "batch_id")}
    kept["extractions"] = [
        {name: value for name, value in entry.items() if name not in _OF_THE_RUN} for entry in kept["extractions"]
    ]
    return without_generations(kept)


@pytest.mark.parametrize("workers", ["one", "four"])
def test_all_published_files_are_ingested(request: pytest.FixtureRequest, archives: list[Path], workers: str) -> None:
    """Eight of eight, whatever they do to the schema."""
    batch: Batch = request.getfixturevalue(workers)

    assert (0, {path.name: "success" for path in archives}) == (
        batch.exit_code,
        {entry["filename"]: entry["status"] for entry in batch.manifest["extractions"]},
    )
    assert len(archives) == len(batch.place.networks())


@pytest.mark.parametrize("table", TABLES)
def test_one_worker_and_four_publish_the_same_rows(one: Batch, four: Batch, table: str) -> None:
    """Row for row."""
    assert one.place.rows(table) == four.place.rows(table)


def test_one_worker_and_four_leave_the_same_manifest(one: Batch, four: Batch) -> None:
    """But for times, batch and log files."""
    assert _without_times(one.manifest) == _without_times(four.manifest)


def test_every_price_is_a_rate(archives: list[Path], four: Batch) -> None:
    """Counted by json and zipfile, and by DuckDB over what is published."""
    expected = {path.name: len(_prices(_document(path))) for path in archives}

    assert expected == four.by_file("SELECT filename, count(*) FROM rates JOIN files USING (file_id) GROUP BY ALL")


def test_every_percentage_is_told_from_dollars(archives: list[Path], four: Batch) -> None:
    """A percentage in a median of dollars would be a wrong number."""
    expected = {
        path.name: sum(price["negotiated_type"] == "percentage" for price in _prices(_document(path)))
        for path in archives
    }

    assert expected == four.by_file(
        "SELECT filename, count(*) FILTER (negotiated_type = 'percentage')"
        " FROM rates JOIN files USING (file_id) GROUP BY ALL"
    )


def test_every_amount_is_exact(archives: list[Path], four: Batch) -> None:
    """The sum of a file's amounts, as decimals from end to end."""
    expected = {}
    for path in archives:
        with zipfile.ZipFile(path) as opened:
            text = opened.read(opened.namelist()[0])
        exact = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        expected[path.name] = sum(price["negotiated_rate"] for price in _prices(exact))

    assert expected == four.by_file(
        "SELECT filename, sum(negotiated_rate) FROM rates JOIN files USING (file_id) GROUP BY ALL"
    )


def test_every_repair_is_counted(archives: list[Path], four: Batch) -> None:
    """By kind, and no other kind is found."""
    expected = {path.name: _deviations(_document(path)) for path in archives}

    assert expected == {
        name: dict(found) for name, found in four.by_file("SELECT filename, repairs FROM files").items()
    }


def test_nothing_is_rejected(archives: list[Path], four: Batch) -> None:
    """Every value can be kept."""
    assert dict.fromkeys((path.name for path in archives), 0) == four.by_file(
        "SELECT filename, count(rejects.file_id) FROM files LEFT JOIN rejects USING (file_id) GROUP BY ALL"
    )


def test_no_file_has_a_dollar_price_and_each_says_why(one: Batch) -> None:
    """Every amount in dollars is for all codes, exactly 155 or 225: what a percentage of Medicare looks like."""
    with connect(one.place.output) as connection:
        dollars = connection.execute("SELECT count(*), count(dollars) FROM rates").fetchone()
        medians = connection.execute("SELECT count(median) FROM code_statistics").fetchone()
        reasons = connection.execute(
            "SELECT DISTINCT refused_because FROM code_statistics WHERE map_contains(gates, 'names all codes')"
        ).fetchall()

    assert ((910, 0), (0,)) == (dollars, medians)
    assert reasons
    assert all("for all codes" in reason for (reason,) in reasons)
    assert any("it is most likely percent of Medicare" in reason for (reason,) in reasons)
