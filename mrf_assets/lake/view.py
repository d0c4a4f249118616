"""What a view of the catalog is, and the columns that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrf_assets.lake.price_columns import PRICE_COLUMNS, Derived
from mrf_assets.schema import FILES, PLANS, PROVIDERS, RATES, Table

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
_BARE_PLAN_ID = "regexp_replace(upper(plan_id), '[^0-9A-Z]', '', 'g')"
_PLAN_COLUMNS: Mapping[str, Derived] = {
    "plan_key": Derived(
        sql=f"""CASE lower(trim(plan_id_type))
        WHEN 'ein' THEN nullif(regexp_extract({_BARE_PLAN_ID}, '^[0-9]{{9}}$'), '')
        WHEN 'hios' THEN nullif(regexp_extract({_BARE_PLAN_ID}, '^([0-9]{{5}}[0-9A-Z]{{5}})([0-9A-Z]{{4,}})?$', 1), '')
        END""",
        doc="plan_id in one form: the nine digits of an EIN, or the first ten characters of a HIOS id, which are the "
        "product; null for any other shape, such as the five digits of an issuer or an EIN that lost a digit.",
    )
}
DERIVED: Mapping[str, Mapping[str, Derived]] = {  # table -> column
    RATES.name: PRICE_COLUMNS,
    PROVIDERS.name: _PROVIDER_COLUMNS,
    PLANS.name: _PLAN_COLUMNS,
    FILES.name: _PLAN_COLUMNS,
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
