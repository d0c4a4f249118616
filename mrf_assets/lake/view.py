"""What a view of the catalog is, and the columns that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrf_assets.lake.price_columns import PRICE_COLUMNS, Derived
from mrf_assets.schema import PROVIDERS, RATES, Table

Docs = Mapping[str, str]  # column -> what it means

PLACE: Docs = {
    "network_id": "The network, Dagster's partition key.",
    "period": "The month of publication, YYYY-MM.",
}
_PROVIDER_COLUMNS: Mapping[str, Derived] = {
    "npi_scope": Derived(
        sql="""CASE WHEN npi IS NOT NULL THEN 'listed' WHEN tin_value IS NOT NULL THEN 'whole TIN or not said'
        ELSE 'not said' END""",
        doc="Whom of the TIN the group is for: listed (the NPI of the row); whole TIN or not said (a TIN without NPIs: "
        "0 is a contract with all of it, no NPI at all is a defect, and both are null here; `repairs` of `files` "
        "counts npi_zero_as_null and group_without_npi); not said (neither TIN nor NPI).",
    )
}
DERIVED: Mapping[str, Mapping[str, Derived]] = {  # table -> column
    RATES.name: PRICE_COLUMNS,
    PROVIDERS.name: _PROVIDER_COLUMNS,
}


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
