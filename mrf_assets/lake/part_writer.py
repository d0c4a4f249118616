"""Record batches -> the parquet files of one part, and how their columns are encoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.schema import TABLES, Table

# High-cardinality integers: a dictionary only costs time and space (benchmarks/RESULTS.md).
_WITHOUT_DICTIONARY = {"npi"}
# Queries ask for one of these; a row group that does not have it is not read (benchmarks/NOTES.md, "Look-ups").
# By column, the share of row groups that are read in vain: of codes a row group has few, and exactness costs little.
_LOOKED_UP = {"billing_code": 0.001, "npi": 0.05, "tin_value": 0.05}
# Nobody asks for the least and the greatest of these, and to find them is a tenth of writing `rates`; nor of lists'.
_WITHOUT_STATISTICS = {"name", "description", "additional_information"}
_MAX_VALUES: Final = 50_000  # that a row group has by default; filters fold down to fewer
_COMPRESSION: Final = "zstd"


def _dictionary_columns(table: Table) -> list[str]:
    return [leaf for c in table.columns if c.name not in _WITHOUT_DICTIONARY for leaf in _leaves(c.name, c.type)]


def _statistics_columns(table: Table) -> list[str]:
    return [c.name for c in table.columns if c.name not in _WITHOUT_STATISTICS and not pa.types.is_nested(c.type)]


def _bloom_filters(table: Table) -> dict[str, dict[str, float]]:
    return {
        column.name: {"ndv": _MAX_VALUES, "fpp": _LOOKED_UP[column.name]}
        for column in table.columns
        if column.name in _LOOKED_UP
    }


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Parquet's paths of the values below a column."""
    if isinstance(kind, pa.MapType):
        yield from (f"{path}.key_value.key", f"{path}.key_value.value")
    elif isinstance(kind, pa.ListType):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif isinstance(kind, pa.StructType):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path


class PartWriter:
    """The tables of one source file, written as their batches come."""

    def __init__(self, directory: Path, label: str) -> None:
        self._directory, self._label = directory, label
        self._open = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.rows = dict.fromkeys(TABLES, 0)

    def __enter__(self) -> Self:
        for table in TABLES.values():
            writer = pq.ParquetWriter(
                self._directory / f"{table.name}-{self._label}.parquet",
                table.arrow,
                compression=_COMPRESSION,
                use_dictionary=_dictionary_columns(table),  # type: ignore[arg-type]  # the stubs know bool alone
                write_statistics=_statistics_columns(table),
                bloom_filter_options=_bloom_filters(table),
            )
            self._writers[table.name] = self._open.enter_context(writer)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        """Append a batch as one row group."""
        if not batch.num_rows:
            return
        self._writers[table].write_batch(batch, row_group_size=batch.num_rows)
        self.rows[table] += batch.num_rows
