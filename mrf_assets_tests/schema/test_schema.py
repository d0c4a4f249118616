"""The tables as they are declared."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mrf_assets.schema import TABLES, Column, Table
from mrf_assets_tests.table_rows import batch, row

ALL_TABLES = pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{t.name}.{c.name}" for t, c in COLUMNS])
def test_a_column_has_a_doc(table: Table, column: Column) -> None:
    """The doc is a sentence: it begins like one and has an end."""
    assert column.doc.strip() == column.doc, table.name
    assert column.doc.endswith("."), table.name


@ALL_TABLES
def test_a_table_says_its_grain(table: Table) -> None:
    """What one row stands for is said."""
    assert table.grain.startswith("One row per ")


@ALL_TABLES
def test_a_table_is_found_by_its_name(table: Table) -> None:
    """The key of the mapping is the table's name."""
    assert table is TABLES[table.name]


@ALL_TABLES
def test_names_of_columns_are_unique(table: Table) -> None:
    """No column stands twice in a table."""
    names = [column.name for column in table.columns]

    assert sorted(set(names)) == sorted(names)


@ALL_TABLES
def test_every_row_carries_its_file(table: Table) -> None:
    """Ids are local to a file, so its id leads every table and is never null."""
    assert ("file_id", False) == (table.columns[0].name, table.columns[0].nullable)


@ALL_TABLES
def test_docs_survive_parquet(table: Table, tmp_path: Path) -> None:
    """A reader of the file alone finds types, nullability, grain and docs."""
    with pq.ParquetWriter(tmp_path / "t.parquet", table.arrow):
        pass

    found = pq.read_schema(tmp_path / "t.parquet")

    assert table.arrow.equals(found)
    assert {b"table": table.name.encode(), b"grain": table.grain.encode()} == found.metadata
    assert [(c.nullable, {b"doc": c.doc.encode()}) for c in table.columns] == [(f.nullable, f.metadata) for f in found]


@ALL_TABLES
def test_values_survive_parquet(table: Table, tmp_path: Path) -> None:
    """Decimals, dates, lists, structs and maps come back as they were written."""
    written = batch(table, row(table))
    with pq.ParquetWriter(tmp_path / "t.parquet", table.arrow) as writer:
        writer.write_batch(written)

    assert written.to_pylist() == pq.read_table(tmp_path / "t.parquet").to_pylist()
