"""Where the reference tables of an output folder stand, and how one is written.

<lake>/reference/npis.parquet                    `schema.NPIS`
<lake>/reference/npi_registry/part-*.parquet     `schema.NPI_REGISTRY`
<lake>/reference/provider_directory.parquet      `schema.PROVIDER_DIRECTORY`
<lake>/reference/taxonomy_codes.csv              what each specialty does, as the user said last
<lake>/.mrf/npi_registry.sqlite                  the ledger: what is looked up, what failed
<lake>/.mrf/nppes/                               the bulk files as parquet
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.files import as_store_error, atomic_write


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the reference tables of an output folder stand."""

    lake: Path

    @property
    def npis(self) -> Path:
        """One parquet file."""
        return self.lake / "reference" / "npis.parquet"

    @property
    def look_ups(self) -> Path:
        """A folder with a parquet file for each submitted list of NPIs."""
        return self.lake / "reference" / "npi_look_ups"

    @property
    def registry(self) -> Path:
        """A folder of parquet parts."""
        return self.lake / "reference" / "npi_registry"

    @property
    def directory(self) -> Path:
        """One parquet file."""
        return self.lake / "reference" / "provider_directory.parquet"

    @property
    def taxonomy_codes(self) -> Path:
        """A CSV of the columns of the view of that name."""
        return self.lake / "reference" / "taxonomy_codes.csv"

    @property
    def ledger(self) -> Path:
        """SQLite."""
        return self.lake / ".mrf" / "npi_registry.sqlite"

    @property
    def bulk(self) -> Path:
        """A folder with the bulk files as parquet."""
        return self.lake / ".mrf" / "nppes"


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write one parquet file, visible only when whole; returns how many rows.

    Raises:
        StoreError: It cannot be written.
    """
    rows = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
    except OSError as error:
        raise as_store_error(path, error) from error
    return rows
