"""The NPIs of what is published now, with how many prices name each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.store import Store
from mrf_assets.schema import NPIS

_LIMITS = {"memory_limit": "512MB"}
_ROWS_AT_ONCE = 10_000
_TABLES = ("rates", "provider_sets", "providers")

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


def npi_batches(networks: Iterable[tuple[str, Mapping[str, Sequence[Path]]]]) -> Iterator[pa.RecordBatch]:
    """`schema.NPIS` of networks, given by their key and the files of their tables; counted one after the other."""
    with (
        TemporaryDirectory(prefix="mrf-npis-") as spill,
        duckdb.connect(f"{spill}/npis.duckdb", config={**_LIMITS, "temp_directory": spill}) as connection,
    ):
        connection.execute("CREATE TABLE found (network_id VARCHAR, npi BIGINT, business_name VARCHAR, rates BIGINT)")
        for network, tables in networks:
            files = {name: [pattern_of(path) for path in tables[name]] for name in _TABLES}
            if all(files.values()):
                connection.execute(_OF_ONE_NETWORK, {"network": network, **files})
        relation = connection.sql(_ALL)
        for batch in () if relation is None else relation.to_arrow_reader(_ROWS_AT_ONCE):
            yield batch.cast(NPIS.arrow)


def published_npis(lake: Path) -> Iterator[pa.RecordBatch]:
    """`schema.NPIS` of the latest period of every network."""
    store = Store(lake.absolute())
    network_tables = ((network, store.retained_tables(network)) for network in store.networks())
    return npi_batches((network, periods[max(periods)]) for network, periods in network_tables if periods)
