"""Rows of the published tables, made up: what a test does not say is something no rule objects to."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.lake.publish import Stage, TableFile
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, PLANS, PROVIDER_SETS, PROVIDERS, RATES, REJECTS, TABLES, Table

Row = dict[str, Any]
LABEL = "00001-of-00001"

_SOUND: dict[str, Row] = {
    PROVIDERS.name: {
        "file_id": "f",
        "provider_group_id": "1",
        "npi": 1234567893,
        "tin_type": "ein",
        "tin_value": "123456789",
        "business_name": "Made-up Clinic",
        "network_names": ["Aspen"],
        "is_inline": False,
    },
    PROVIDER_SETS.name: {"file_id": "f", "provider_set_id": 7, "provider_group_id": "1"},
    RATES.name: {
        "file_id": "f",
        "provider_set_id": 7,
        "negotiation_arrangement": "ffs",
        "billing_code_type": "CPT",
        "billing_code_type_version": "current",
        "billing_code": "10001",
        "name": "Made-up visit",
        "description": "A made-up visit",
        "negotiated_type": "negotiated",
        "negotiated_rate": Decimal("12.5"),
        "expiration_date": dt.date(9999, 12, 31),
        "service_codes": ["11", "22"],
        "billing_class": "professional",
        "setting": "outpatient",
        "billing_code_modifiers": ["26"],
    },
    PLANS.name: {"file_id": "f", "plan_name": "Willow Choice", "plan_id_type": "ein", "plan_id": "12-3456789"},
    FILES.name: {
        "file_id": "f",
        "source_url": "https://mrf.example/a.json",
        "part": 1,
        "parts": 1,
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": dt.date(2026, 11, 5),
        "version": "2.1.0",
        "items_read": 1,
        "items_kept": 1,
        "prices_read": 1,
        "rate_rows": 1,
        "prices_rejected": 0,
        "prices_filtered": 0,
        "repairs": {"empty_text": 2},
    },
    REJECTS.name: {
        "file_id": "f",
        "byte_offset": 81,
        "dropped": "value",
        "path": "negotiated_prices.expiration_date",
        "reason": "not_a_date",
        "excerpt": '"soon"',
    },
}


def plain_name(path: Path) -> str:
    """The name of a published file without its generation, which no two publications share."""
    return re.sub(r"-g[0-9a-f]{12}\.parquet\Z", ".parquet", path.name)


def without_generations(exported: Row) -> Row:
    """JSON that names published files, with their plain names."""
    plain: Row = json.loads(re.sub(r"-g[0-9a-f]{12}\.parquet", ".parquet", json.dumps(exported)))
    return plain


def row(table: Table, **values: Any) -> Row:  # noqa: ANN401 - values of the columns
    """One row that no rule objects to, but for what is said."""
    return _SOUND[table.name] | values


def batch(table: Table, *rows: Row) -> pa.RecordBatch:
    """Rows of one table as a batch."""
    return pa.RecordBatch.from_pylist(list(rows), schema=table.arrow)


def write_tables(folder: Path, tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Path]]:
    """All six tables as parquet files; those that are not given are empty."""
    paths: dict[str, list[Path]] = {}
    for table in TABLES.values():
        path = folder / f"{table.name}-{LABEL}.parquet"
        pq.write_table(pa.Table.from_batches([batch(table, *tables.get(table.name, ()))]), path)
        paths[table.name] = [path]
    return paths


def stage_generation(stage: Stage, generation: int = 1, period: str = "2026-11", label: str = LABEL) -> None:
    """Stage one part whose six tables all carry the generation as `file_id`."""
    with stage.part(label) as writer:
        for table in TABLES.values():
            writer.write(table.name, batch(table, row(table, file_id=f"{generation}")))
    stage.settle(label, period)


def publish_generation(
    store: Store, generation: int = 1, *, network_id: str = "acme", period: str = "2026-11"
) -> list[TableFile]:
    """Stage and publish one part whose six tables all carry the generation as `file_id`."""
    with store.stage(network_id) as stage:
        stage_generation(stage, generation, period)
        return stage.publish(period)
