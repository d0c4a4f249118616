"""What a view of the catalog is, and the columns that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrf_assets.lake.price_columns import PRICE_COLUMNS, Derived
from mrf_assets.schema import RATES, Table

Docs = Mapping[str, str]  # column -> what it means

PLACE: Docs = {
    "network_id": "The network, Dagster's partition key.",
    "period": "The month of publication, YYYY-MM.",
}
DERIVED: Mapping[str, Mapping[str, Derived]] = {RATES.name: PRICE_COLUMNS}  # table -> column


@dataclass(frozen=True, slots=True)
class View:
    """One view over other views."""

    name: str
    grain: str
    columns: Docs
    sql: str


def table_docs(table: Table) -> Docs:
    """The columns of a table's views."""
    derived_docs = {name: it.doc for name, it in DERIVED.get(table.name, {}).items()}
    return {**PLACE, **{column.name: column.doc for column in table.columns}, **derived_docs}
