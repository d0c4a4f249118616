"""The directory: our NPIs, what the registry says of them, and how sure the names are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import duckdb
import pyarrow as pa

from mrf_assets.errors import SettingError
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.providers.names import best_match, registry_names
from mrf_assets.schema import NPI_REGISTRY, PROVIDER_DIRECTORY

_ROWS_AT_ONCE = 10_000
_OF_REGISTRY = [column.name for column in NPI_REGISTRY.columns[1:-1]]  # without the NPI and the raw answer
_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "1GB"}


def write_directory(lake: Path) -> int:
    """Join `npis` with the registry; returns how many rows.

    Raises:
        SettingError: There are no NPIs yet.
        StoreError: It cannot be written.
    """
    reference = Reference(lake)
    if not reference.npis.exists():
        raise SettingError("npis", f"{reference.npis} is not there; materialize the asset npis first")
    return write_table(reference.directory, PROVIDER_DIRECTORY.arrow, _batches(reference))


def _batches(reference: Reference) -> Iterator[pa.RecordBatch]:
    parts = [pattern_of(path) for path in sorted(reference.registry.glob("part-*.parquet"))]
    with duckdb.connect(config={**_LIMITS, "temp_directory": str(Path(gettempdir(), "mrf_duckdb"))}) as connection:
        connection.read_parquet(pattern_of(reference.npis)).create_view("npis")
        if parts:
            connection.read_parquet(parts, filename=True).create_view("parts")
            # An NPI that is looked up anew has two rows until the update ends: the later part counts.
            connection.execute(
                "CREATE TEMP VIEW registry AS FROM parts SEMI JOIN "
                "(SELECT npi, max(filename) AS filename FROM parts GROUP BY npi) USING (npi, filename)"
            )
        else:
            connection.register("registry", NPI_REGISTRY.arrow.empty_table())
        columns = ", ".join(f"r.{name}" for name in _OF_REGISTRY)
        relation = connection.sql(
            f"SELECT n.npi, n.rates, n.networks, n.business_name, {columns} "  # noqa: S608 - names of `schema`
            "FROM npis n LEFT JOIN registry r USING (npi) ORDER BY n.npi"
        )
        for batch in () if relation is None else relation.to_arrow_reader(_ROWS_AT_ONCE):
            yield _with_names(batch)


def _with_names(batch: pa.RecordBatch) -> pa.RecordBatch:
    rows = batch.to_pylist()
    for row in rows:
        names = registry_names(row)
        individual = " ".join(filter(None, (row["first_name"], row["last_name"])))
        row["provider_name"] = row["organization_name"] or individual or None
        row["matched_name"], row["name_confidence"] = best_match(row["business_name"], names)
    return pa.RecordBatch.from_pylist(rows, schema=PROVIDER_DIRECTORY.arrow)
