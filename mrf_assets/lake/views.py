"""The views of the catalog, as data: what one row is, what each column means, and the SQL.

    <table>             each table of `schema`, of the latest period of every network
    <table>_history     the same over all published periods
    rates_by_group      ┐
    rates_by_npi        ├ flat shapes of `rates`, latest periods
    rates_by_plan       ┘
    rates_flagged       `rates` with what is implausible about a price, latest periods
    rate_changes        what changed since the period before, where the asset of that name is materialized
    membership_changes  who joined and left meanwhile, likewise
    provider_directory  who the NPIs are; empty before it was made
    rates_by_provider   rates_by_npi with names, specialties and places
    networks            what is published
    tins                who the TINs are, and the other views of `dimensions`
    taxonomy_codes      what each specialty does, as the user says
    provider_taxonomies the specialties of providers, out of `provider_directory`

Whoever adds a question that many ask adds a `View` here:
`catalog` makes it, documents it in the database, and the data dictionary lists it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mrf_assets.lake.best_rates import ALL_CODES_RATES, BEST_RATES
from mrf_assets.lake.comparability import COMPARISONS, STATISTIC_RULES, STATISTIC_VIEWS
from mrf_assets.lake.contract_rates import CONTRACT_VIEWS
from mrf_assets.lake.dimensions import DIMENSION_VIEWS
from mrf_assets.lake.fences import FENCED, FENCES_SQL, MIN_FENCED_CONTRACTS, OUTSIDE_FENCE
from mrf_assets.lake.network_contents import NETWORK_CONTENTS
from mrf_assets.lake.network_details import NETWORK_DETAILS, PAYERS
from mrf_assets.lake.view import PLACE, Docs, View, table_docs
from mrf_assets.schema import (
    MEMBERSHIP_CHANGES,
    PLANS,
    PROVIDER_DIRECTORY,
    PROVIDER_SETS,
    PROVIDERS,
    RATE_CHANGES,
    RATES,
    STORED_TABLES,
    Table,
)

NETWORKS = View(
    "networks",
    "One row per network and period that is published.",
    {**PLACE, "is_latest": "True for the period that the views without `_history` show."},
    "",  # a table, made from the output folder
)

TAXONOMY_CODES = View(
    "taxonomy_codes",
    "One row per specialty and code that it performs, from the file that `MRF_TAXONOMY_CODES` or `--taxonomy-codes` "
    "names, else from the one that `mrf catalog` was given last; else empty.",
    {
        "taxonomy": "NUCC taxonomy code, or its beginning: 207R stands for all of internal medicine.",
        "billing_code_type": "The type of the code, upper case.",
        "billing_code": "The code, literally.",
    },
    "",  # a table, made from the user's file
)
OF_COMPARED = "Of the networks whose asset rate_changes is materialized, or `mrf changes` was run for."
PROVIDER_TAXONOMIES = View(
    "provider_taxonomies",
    "One row per NPI and specialty, out of the asset provider_directory; empty where that is not materialized.",
    {"npi": "National Provider Identifier.", "taxonomy": "NUCC taxonomy code."},
    "",  # over a file that may not be there
)

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
    "name",
    "description",
    "code_family",
    "code",
    "severity",
    "code_scope",
    "bill_type",
    "site",
    "component",
    "negotiated_type",
    "negotiated_rate",
    "rate_unit",
    "price_basis",
    "dollars",
    "dollars_per_day",
    "percentage",
    "expiration_date",
    "service_codes",
    "billing_class",
    "setting",
    "billing_code_modifiers",
    "additional_information",
    "is_case_rate",
    "is_conditional",
    "is_placeholder",
)
_RATES = table_docs(RATES)
_FAN_OUT = (
    "A price stands here several times: count and take medians over `rates`, or over "
    "`DISTINCT network_id, file_id, price_number`."
)
# DuckDB 2 stops a DISTINCT when LIMIT is reached; 1.1.3 and 1.4.4 took more than 90 s for a row of 1.5 million prices.
# DISTINCT providers of each set would cost every question about one code ten times as much, in all versions.
_SLOW = (
    "Before DuckDB 2.0 ask for an npi, a tin_value or a billing_code: LIMIT alone makes all rows before it shows one."
)


def _flat(*more: tuple[Table, str]) -> Docs:
    return {name: _RATES[name] for name in _FLAT} | {name: table_docs(table)[name] for table, name in more}


_BY_GROUP = _flat((PROVIDER_SETS, "provider_group_id"))
_PROVIDER_COLUMNS = ("npi", "tin_type", "tin_value", "business_name", "network_names")
_BY_NPI = _flat(*((PROVIDERS, name) for name in _PROVIDER_COLUMNS))
_PLAN_COLUMNS = (
    "plan_name", "plan_id_type", "plan_id", "plan_key", "plan_market_type", "issuer_name", "plan_sponsor_name",
)  # fmt: skip
_BY_PLAN = _flat(*((PLANS, name) for name in _PLAN_COLUMNS))

# A set is judged by those of its providers whose specialty is known; one that fits is enough.
_JUDGED_SQL = """SELECT
    network_id AS misfit_network, file_id AS misfit_file, provider_set_id AS misfit_set,
    s.billing_code_type AS misfit_type, s.billing_code AS misfit_code, count(t.taxonomy) = 0 AS is_misfit
FROM (
    SELECT DISTINCT network_id, period, file_id, provider_set_id, billing_code_type, billing_code
    FROM rates
    SEMI JOIN taxonomy_codes USING (billing_code_type, billing_code)
) s
JOIN provider_sets USING (network_id, period, file_id, provider_set_id)
JOIN providers USING (network_id, period, file_id, provider_group_id)
JOIN provider_taxonomies n USING (npi)
LEFT JOIN taxonomy_codes t
    ON t.billing_code_type = s.billing_code_type AND t.billing_code = s.billing_code
    AND starts_with(n.taxonomy, t.taxonomy)
GROUP BY ALL"""
_MISFIT = """misfit_network = network_id AND misfit_file = file_id AND misfit_set = provider_set_id
    AND misfit_type = billing_code_type AND misfit_code = billing_code"""
FLAGS: Mapping[str, str] = {  # why a price is implausible -> SQL
    "not_positive": "rate_unit IS NOT NULL AND negotiated_rate <= 0",
    "above_cap": "rate_unit <> 'percent' AND negotiated_rate > 100000000",
    "outside_fence": OUTSIDE_FENCE,
    "no_fitting_specialty": "is_misfit",
}
_FLAGGED = {name: _RATES[name] for name in _FLAT} | {
    "is_implausible": "True where one of the rules of implausible_by holds; false says nothing about rules that could "
    "not be judged.",
    "implausible_by": f"The rules: {', '.join(FLAGS)}; empty for a price without objection. outside_fence: dollars "
    "far from those of the network for the same code, bill type, site, component and negotiated type, on a log scale, "
    f"judged from {MIN_FENCED_CONTRACTS} contracts on. "
    "no_fitting_specialty: none of the price's providers has a specialty that does this (a ghost rate), judged where "
    "`taxonomy_codes` has the code and `provider_taxonomies` a provider.",
    "is_percent_of_something_else": "True for a percentage above 100: mostly of Medicare. It is not implausible, "
    "but it is not of billed charges.",
    "is_outside_fence": "Whether outside_fence holds; null where it was not judged.",
    "is_ghost_rate": "Whether no_fitting_specialty holds; null where it was not judged, so that a share over it is "
    "null, not 0, without taxonomy codes.",
}
_WHO = (
    "provider_name", "entity_type", "credential", "primary_taxonomy_code",
    "practice_city", "practice_state", "practice_postal_code",
)  # fmt: skip
_DIRECTORY = {column.name: column.doc for column in PROVIDER_DIRECTORY.columns}
_BY_PROVIDER = {**_BY_NPI, **{name: _DIRECTORY[name] for name in _WHO}, "npi_status": _DIRECTORY["status"]}

FLAGGED = "rates_flagged"
VIEWS = (
    View(
        FLAGGED,
        "One row per negotiated price, with what is implausible about it. Ask for a network_id or a code (not a "
        "billing_code) where you can: the fences of all others are not made then. Nothing is left out: filter by "
        "`NOT is_implausible`. Null in is_outside_fence or is_ghost_rate: not judged.",
        _FLAGGED,
        f"""SELECT {", ".join(_FLAT)}, len(implausible_by) > 0 AS is_implausible, implausible_by,
    coalesce(percentage > 100, false) AS is_percent_of_something_else,
    CASE WHEN dollars > 0 AND lower_fence IS NOT NULL THEN {OUTSIDE_FENCE} END AS is_outside_fence,
    is_misfit AS is_ghost_rate
FROM (
    SELECT *, list_filter(
        [{", ".join(f"CASE WHEN {sql} THEN '{flag}' END" for flag, sql in FLAGS.items())}],
        lambda flag: flag IS NOT NULL
    ) AS implausible_by
    FROM rates
    LEFT JOIN ({FENCES_SQL}) ON {FENCED}
    LEFT JOIN ({_JUDGED_SQL}) ON {_MISFIT}
)""",  # noqa: S608 - names of this module
    ),
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
        "One row per price, TIN and NPI that it holds for, once even where an NPI is in several groups, unless these "
        "name the TIN or their networks otherwise; npi is null for a contract with a TIN alone. "
        f"Prices without providers are not here. {_FAN_OUT} {_SLOW}",
        _BY_NPI,
        f"""SELECT DISTINCT {", ".join(_BY_NPI)}
FROM rates
JOIN provider_sets USING (network_id, period, file_id, provider_set_id)
JOIN providers USING (network_id, period, file_id, provider_group_id)""",  # noqa: S608 - names of this module
    ),
    View(
        "rates_by_provider",
        "One row per row of rates_by_npi, with what `provider_directory` says of the NPI; null where it says nothing. "
        f"{_FAN_OUT} {_SLOW}",
        _BY_PROVIDER,
        f"""SELECT {", ".join(f"r.{name}" for name in _BY_NPI)}, {", ".join(f"d.{name}" for name in _WHO)},
    d.status AS npi_status
FROM rates_by_npi r LEFT JOIN provider_directory d USING (npi)""",  # noqa: S608 - names of this module
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
    *CONTRACT_VIEWS,
    BEST_RATES,
    ALL_CODES_RATES,
    *STATISTIC_VIEWS,
    COMPARISONS,
    *DIMENSION_VIEWS,
    NETWORK_CONTENTS,
    PAYERS,
    NETWORK_DETAILS,
)


def view_names() -> tuple[str, ...]:
    """Every view of the catalog."""
    tables = [name for table in STORED_TABLES for name in (table, f"{table}_history")]
    others = (*VIEWS, RATE_CHANGES, MEMBERSHIP_CHANGES, NETWORKS, TAXONOMY_CODES, PROVIDER_TAXONOMIES, STATISTIC_RULES)
    return (*tables, PROVIDER_DIRECTORY.name, *(view.name for view in others))
