"""Keep the providers of wanted TINs, and the prices that name at least one of them.

Which TIN a price belongs to is known only when all groups are (they may come last in the
file), so the tables of a part are filtered after they are written, by DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATES, TABLES
from mrf_assets.whitelist import TinWhitelist

_QUERIES = {
    PROVIDERS.name: """SELECT * FROM providers
SEMI JOIN wanted_tins USING (tin_value)""",
    PROVIDER_SETS.name: """SELECT * FROM provider_sets
SEMI JOIN (SELECT file_id, provider_group_id FROM providers SEMI JOIN wanted_tins USING (tin_value))
USING (file_id, provider_group_id)""",
    RATES.name: """SELECT * FROM rates
SEMI JOIN (
    SELECT file_id, provider_set_id FROM provider_sets
    SEMI JOIN (SELECT file_id, provider_group_id FROM providers SEMI JOIN wanted_tins USING (tin_value))
    USING (file_id, provider_group_id))
USING (file_id, provider_set_id)""",
}


def keep_wanted_tins(
    paths: Mapping[str, Path], tins: TinWhitelist, batch_rows: Callable[[str], int]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield `(table, batch)` of every table in `paths`, filtered; order and schema are kept."""
    with duckdb.connect() as connection:
        for name, path in paths.items():
            connection.read_parquet(str(path)).create_view(name)
        connection.register("wanted_tins", pa.table({"tin_value": pa.array(sorted(tins.values), pa.string())}))
        for name in paths:
            sql = _QUERIES.get(name, f"SELECT * FROM {name}")  # noqa: S608 - a table of `schema`
            reader = connection.sql(sql).to_arrow_reader(batch_rows(name))
            for batch in reader:
                yield (
                    name,
                    pa.RecordBatch.from_arrays(
                        [
                            column.cast(field.type)
                            for column, field in zip(batch.columns, TABLES[name].arrow, strict=True)
                        ],
                        schema=TABLES[name].arrow,
                    ),
                )
