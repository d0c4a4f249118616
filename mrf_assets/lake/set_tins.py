"""Which TINs have the prices of a provider set: `schema.SET_TINS`, made once for each part when it is published.

Prices joined to NPIs fan out by thousands; a contract is one with a TIN. Joined to this relation, the prices of a code
become contracts in tenths of a second.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

import duckdb

from mrf_assets.errors import StoreError
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.generations import FileName
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, SET_TINS

_MEMORY_MB = 256  # as the audit, which ends before
_THREADS = 2
_FEW_BYTES = 4 << 20  # of both tables: one thread is as soon done
_ROWS_IN_GROUP = 122_880


def _parties_sql(providers: str, place: str) -> str:
    """Groups and NPIs by who bills: the TIN, or an NPI that has none."""
    return f"""SELECT {place}, provider_group_id, npi,
        CASE WHEN tin_value IS NULL THEN 'npi' ELSE coalesce(tin_type, 'ein') END AS tin_type,
        coalesce(tin_value, CAST(npi AS VARCHAR)) AS tin_value
    FROM {providers}
    WHERE tin_value IS NOT NULL OR npi IS NOT NULL"""  # noqa: S608 - names of this package


def set_tins_sql(providers: str, provider_sets: str, place: str = "file_id") -> str:
    """The relation out of two tables that have the columns `place` in common; what the file calls a TIN stays so.

    A TIN that one group of a set names has the NPIs of that group; only where several name it, NPIs are compared.
    """
    of_group = f"{place}, provider_group_id, tin_type, tin_value"
    of_set = f"{place}, provider_set_id, tin_type, tin_value"
    return f"""WITH parties AS (
    {_parties_sql(providers, place)}
),
of_groups AS (
    SELECT {of_group}, count(DISTINCT npi) AS npis, bool_or(npi IS NULL) AS is_whole_tin
    FROM parties
    GROUP BY {of_group}
),
of_files AS (
    SELECT {place}, tin_type, tin_value, count(DISTINCT npi) AS npis_of_tin
    FROM parties
    GROUP BY {place}, tin_type, tin_value
),
of_sets AS (
    SELECT {of_set}, count(*) AS groups, max(npis) AS npis, bool_or(is_whole_tin) AS is_whole_tin
    FROM {provider_sets}
    JOIN of_groups USING ({place}, provider_group_id)
    GROUP BY {of_set}
),
compared AS (
    SELECT {of_set}, count(DISTINCT npi) AS distinct_npis
    FROM (SELECT {of_set} FROM of_sets WHERE groups > 1)
    JOIN {provider_sets} USING ({place}, provider_set_id)
    JOIN parties USING ({place}, provider_group_id, tin_type, tin_value)
    GROUP BY {of_set}
)
SELECT {of_set}, CAST(coalesce(distinct_npis, npis) AS INTEGER) AS npis,
    CAST(npis_of_tin AS INTEGER) AS npis_of_tin, is_whole_tin
FROM of_sets
JOIN of_files USING ({place}, tin_type, tin_value)
LEFT JOIN compared USING ({of_set})"""  # noqa: S608 - names of this package


def complete_set_tins(directory: Path) -> None:
    """Make the relation of each staged part that has none.

    Raises:
        StoreError: DuckDB ran out of memory or disk, or a table cannot be read.
    """
    tables: dict[str, dict[str, Path]] = {}
    for path in directory.iterdir():
        if name := FileName.of(path.name):
            tables.setdefault(name.label, {})[name.table] = path
    for label, paths in sorted(tables.items()):
        if SET_TINS.name not in paths:
            _write(paths[PROVIDERS.name], paths[PROVIDER_SETS.name], directory / f"{SET_TINS.name}-{label}.parquet")


def _write(providers: Path, provider_sets: Path, target: Path) -> None:
    is_small = providers.stat().st_size + provider_sets.stat().st_size < _FEW_BYTES
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{_MEMORY_MB}MB",
        "threads": 1 if is_small else _THREADS,
        "temp_directory": str(target.parent.parent if target.parent.parent.is_dir() else gettempdir()),
        "preserve_insertion_order": False,
    }
    try:
        with duckdb.connect(config=config) as connection:
            connection.read_parquet(pattern_of(providers)).create_view("providers")
            connection.read_parquet(pattern_of(provider_sets)).create_view("provider_sets")
            connection.sql(
                f"{set_tins_sql('providers', 'provider_sets')} ORDER BY file_id, provider_set_id, tin_value"
            ).write_parquet(str(target), compression="zstd", row_group_size=_ROWS_IN_GROUP)
    except (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(
            str(target.parent), f"the TINs of its sets cannot be written ({error}); free disk space and run it again"
        ) from error
