"""The NPIs of what is published, with how many prices name each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa

from mrf_assets.schema import NPIS

_LIMITS = {"memory_limit": "512MB"}
_ROWS_AT_ONCE = 10_000
_NETWORK = "network_id="
_PERIOD = "period="

# Prices are counted through their sets: a join of rates and providers would make billions of rows.
_OF_ONE_NETWORK = """
INSERT INTO found
WITH priced_sets AS (
    SELECT file_id, provider_set_id, count(*) AS rates FROM read_parquet($rates)
    WHERE provider_set_id IS NOT NULL GROUP BY ALL
), priced_groups AS (
    SELECT file_id, provider_group_id, sum(rates) AS rates
    FROM priced_sets JOIN read_parquet($provider_sets) USING (file_id, provider_set_id) GROUP BY ALL
)
SELECT $network, npi, nullif(trim(business_name), ''), CAST(sum(coalesce(rates, 0)) AS BIGINT)
FROM read_parquet($providers) LEFT JOIN priced_groups USING (file_id, provider_group_id)
WHERE npi IS NOT NULL GROUP BY npi, nullif(trim(business_name), '')
"""
_ALL = """
SELECT npi, CAST(sum(rates) AS BIGINT) AS rates, CAST(count(DISTINCT network_id) AS INTEGER) AS networks,
    arg_max(business_name, rates) AS business_name
FROM found GROUP BY npi ORDER BY npi
"""


def latest_periods(lake: Path) -> dict[str, Path]:
    """Network -> the folder of its latest published period."""
    found: dict[str, Path] = {}
    for folder in sorted(lake.glob(f"{_NETWORK}*/{_PERIOD}*")):
        found[folder.parent.name.removeprefix(_NETWORK)] = folder
    return found


def npi_batches(lake: Path) -> Iterator[pa.RecordBatch]:
    """`schema.NPIS` of the latest period of every network; networks are counted one after the other."""
    with (
        TemporaryDirectory(prefix="mrf-npis-") as spill,
        duckdb.connect(f"{spill}/npis.duckdb", config={**_LIMITS, "temp_directory": spill}) as connection,
    ):
        connection.execute("CREATE TABLE found (network_id VARCHAR, npi BIGINT, business_name VARCHAR, rates BIGINT)")
        for network, folder in latest_periods(lake).items():
            files = {name: _files(folder, name) for name in ("rates", "provider_sets", "providers")}
            if all(files.values()):
                connection.execute(_OF_ONE_NETWORK, {"network": network, **files})
        reader = connection.sql(_ALL)
        for batch in () if reader is None else reader.to_arrow_reader(_ROWS_AT_ONCE):
            yield batch.cast(NPIS.arrow)


def published_npis(lake: Path) -> Iterator[dict[str, Any]]:
    """The same as rows."""
    for batch in npi_batches(lake):
        yield from batch.to_pylist()


def _files(folder: Path, table: str) -> Sequence[str]:
    return [str(path) for path in sorted(folder.glob(f"{table}-[0-9]*.parquet"))]
