"""The views of the catalog, as data: what one row is, what each column means, and the SQL.

    <table>             each table of `schema`, of the latest period of every network
    <table>_history     the same over all published periods
    rates_by_group      ┐
    rates_by_npi        ├ flat shapes of `rates`, latest periods
    rates_by_plan       ┘
    networks            what is published

Whoever adds a question that many ask (changes since last month, implausible rates) adds a `View` here:
`catalog` makes it, documents it in the database, and the data dictionary lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrf_assets.schema import PLANS, PROVIDER_SETS, PROVIDERS, RATES, TABLES, Table

Docs = Mapping[str, str]  # column -> what it means


@dataclass(frozen=True, slots=True)
class View:
    """One view over other views."""

    name: str
    grain: str
    columns: Docs
    sql: str


PLACE: Docs = {
    "network_id": "The network, Dagster's partition key.",
    "period": "The month of publication, YYYY-MM.",
}
NETWORKS = View(
    "networks",
    "One row per network and period that is published.",
    {**PLACE, "is_latest": "True for the period that the views without `_history` show."},
    "",  # a table, made from the output folder
)

_DOLLARS = "negotiated_type IN ('negotiated', 'derived', 'fee schedule')"
_RATE_UNIT = f"""CASE
    WHEN negotiated_type = 'percentage' THEN 'percent'
    WHEN negotiated_type = 'per diem' THEN 'dollars per day'
    WHEN NOT {_DOLLARS} OR negotiated_type IS NULL THEN NULL
    WHEN negotiation_arrangement = 'bundle' THEN 'dollars per bundle'
    WHEN negotiation_arrangement = 'capitation' THEN 'dollars by capitation'
    ELSE 'dollars' END"""
RATE_UNITS = ("dollars", "dollars per day", "dollars per bundle", "dollars by capitation", "percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A column that the views of a table have and its files have not."""

    sql: str
    doc: str


DERIVED: Mapping[str, Mapping[str, Derived]] = {  # table -> column
    RATES.name: {
        "price_number": Derived(
            sql="file_row_number",
            doc="Number of the price in its file, from 0; with network_id, period and file_id it names one price. "
            "Counting it distinct undoes a fan-out.",
        ),
        "rate_unit": Derived(
            sql=_RATE_UNIT,
            doc=f"What `negotiated_rate` is: {', '.join(RATE_UNITS)}; null where the type is none of the schema's. "
            "Never mix two of them in one statistic.",
        ),
        "dollars": Derived(
            sql=f"CASE WHEN {_DOLLARS} AND coalesce(negotiation_arrangement, '') NOT IN ('bundle', 'capitation') "
            "THEN negotiated_rate END",
            doc="`negotiated_rate` where it is dollars for the code alone; null for all else, so that a median over "
            "it mixes nothing. Payers write 0 for what they do not pay or do not know: ask for more than 0.",
        ),
        "dollars_per_day": Derived(
            sql="CASE WHEN negotiated_type = 'per diem' THEN negotiated_rate END",
            doc="`negotiated_rate` where it is dollars per day of stay; null for all else.",
        ),
        "percentage": Derived(
            sql="CASE WHEN negotiated_type = 'percentage' THEN negotiated_rate END",
            doc="`negotiated_rate` where it is percent of billed charges (40.5 means 40.5 %); null for all else.",
        ),
    }
}


def table_docs(table: Table) -> Docs:
    """The columns of a table's views."""
    derived = {name: it.doc for name, it in DERIVED.get(table.name, {}).items()}
    return {**PLACE, **{column.name: column.doc for column in table.columns}, **derived}


_FLAT = (
    "network_id",
    "period",
    "file_id",
    "price_number",
    "provider_set_id",
    "negotiation_arrangement",
    "billing_code_type",
    "billing_code_type_version",
    "billing_code",
    "severity_of_illness",
    "negotiated_type",
    "negotiated_rate",
    "rate_unit",
    "dollars",
    "dollars_per_day",
    "percentage",
    "expiration_date",
    "service_codes",
    "billing_class",
    "setting",
    "billing_code_modifiers",
)
_RATES = table_docs(RATES)
_FAN_OUT = (
    "A price stands here several times: count and take medians over `rates`, or over "
    "`DISTINCT network_id, file_id, price_number`."
)


def _flat(*more: tuple[Table, str]) -> Docs:
    return {name: _RATES[name] for name in _FLAT} | {name: table_docs(table)[name] for table, name in more}


_BY_GROUP = _flat((PROVIDER_SETS, "provider_group_id"))
_BY_NPI = _flat((PROVIDERS, "npi"), (PROVIDERS, "tin_type"), (PROVIDERS, "tin_value"))
_PLAN_COLUMNS = (
    "plan_name", "plan_id_type", "plan_id", "plan_market_type", "issuer_name", "plan_sponsor_name",
)  # fmt: skip
_BY_PLAN = _flat(*((PLANS, name) for name in _PLAN_COLUMNS))

VIEWS = (
    View(
        "rates_by_group",
        f"One row per price and provider group that it holds for; prices without providers are not here. {_FAN_OUT}",
        _BY_GROUP,
        f"""SELECT {", ".join(_BY_GROUP)}
FROM rates
JOIN provider_sets USING (network_id, period, file_id, provider_set_id)""",  # noqa: S608 - names of this module
    ),
    View(
        "rates_by_npi",
        "One row per price, TIN and NPI that it holds for, once even where an NPI is in several groups; npi is null "
        f"for a contract with a TIN alone. Prices without providers are not here. {_FAN_OUT}",
        _BY_NPI,
        f"""SELECT DISTINCT {", ".join(_BY_NPI)}
FROM rates
JOIN provider_sets USING (network_id, period, file_id, provider_set_id)
JOIN providers USING (network_id, period, file_id, provider_group_id)""",  # noqa: S608 - names of this module
    ),
    View(
        "rates_by_plan",
        "One row per price and plan that uses its file, by the index, or by the file's own header where no index "
        f"says. Prices of files without a plan are not here. {_FAN_OUT}",
        _BY_PLAN,
        f"""SELECT {", ".join(_BY_PLAN)}
FROM rates
JOIN (
    SELECT DISTINCT network_id, period, file_id, {", ".join(_PLAN_COLUMNS)} FROM plans
    UNION ALL
    SELECT network_id, period, file_id, {", ".join(_PLAN_COLUMNS)} FROM files
    ANTI JOIN plans USING (network_id, period, file_id)
    WHERE plan_name IS NOT NULL OR plan_id IS NOT NULL
) USING (network_id, period, file_id)""",  # noqa: S608 - names of this module
    ),
)


def view_names() -> tuple[str, ...]:
    """Every view of the catalog."""
    tables = [name for table in TABLES for name in (table, f"{table}_history")]
    return (*tables, *(view.name for view in VIEWS), NETWORKS.name)
