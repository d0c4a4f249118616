"""Prices by contract: what each TIN has for a code under given conditions, once, however the payer writes it.

A median over price rows measures how a file is laid out: one row for 80 TINs or 80 rows for one each are the same
contracts. Here each has one vote. Views filter by network and code before anything is multiplied, so that a question
about one code costs tenths of a second. What one contract needs is gathered in one list: grouping twice took ten
times the memory (benchmarks/NOTES.md, "Contracts").
"""

from __future__ import annotations

from mrf_assets.lake.price_columns import PRICE_COLUMNS
from mrf_assets.lake.view import PLACE, Docs, View
from mrf_assets.schema import RATES, SET_TINS

MAX_AMOUNT = 100_000_000  # in dollars; no price is more (Turquoise Health's cap)

_CONDITIONS = (
    "severity", "own_name", "bill_type", "site", "component", "modifiers", "negotiation_arrangement", "price_basis",
    "contents", "is_conditional",
)  # fmt: skip
_CODED = "network_id, code_family, code"  # what views filter by before they fan out
_ALL_CONDITIONS = ", ".join(_CONDITIONS)
_UNUSABLE = {1: "zero", 2: "placeholder", 3: "above the cap"}
_INSTITUTIONAL = """CASE WHEN setting = 'inpatient' THEN 'inpatient'
            WHEN setting = 'outpatient' OR billing_code_type IN ('CPT', 'HCPCS', 'APC', 'EAPG') THEN 'outpatient'
            ELSE 'mixed' END"""
# Usable amounts before others, then the type: a schedule counts where nothing is negotiated, `derived` is accounting.
_RANK = f"""CAST(
            CASE WHEN negotiated_rate <= 0 THEN 10 WHEN is_placeholder THEN 20
            WHEN rate_unit NOT LIKE 'percent%' AND negotiated_rate > {MAX_AMOUNT} THEN 30 ELSE 0 END
            + CASE negotiated_type WHEN 'negotiated' THEN 1 WHEN 'fee schedule' THEN 2 WHEN 'derived' THEN 3 ELSE 4 END
            AS TINYINT)"""
_FACILITIES = """(
    SELECT network_id, period, file_id, provider_set_id, 'npi' AS tin_type, CAST(npi AS VARCHAR) AS tin_value,
        1 AS npis_of_tin, false AS is_whole_tin
    FROM provider_sets
    JOIN providers USING (network_id, period, file_id, provider_group_id)
    JOIN provider_directory USING (npi)
    WHERE entity_type = 'organization'
)"""


def prices_sql(where: str = "true", rates: str = "rates") -> str:
    """Those prices of `rates`, a relation of that view's columns, with the conditions that statistics tell apart."""
    return f"""SELECT *, hash({_ALL_CONDITIONS}) AS condition
FROM (
    SELECT
        network_id, period, file_id, provider_set_id, code_family, code, code_scope, severity,
        CASE WHEN code_scope = 'payer''s own' THEN upper(trim(coalesce(name, description))) END AS own_name,
        unnest(CASE WHEN billing_class = 'both' AND bill_type = 'mixed' THEN ['professional', {_INSTITUTIONAL}]
            ELSE [bill_type] END) AS bill_type,
        site, component,
        CASE WHEN component = 'other' THEN list_sort(list_distinct(billing_code_modifiers)) END AS modifiers,
        negotiation_arrangement, price_basis,
        CASE WHEN len(coalesce(bundled_codes, [])) > 0 OR len(coalesce(covered_services, [])) > 0
            THEN hash(list_sort(bundled_codes), list_sort(covered_services)) END AS contents,
        is_conditional, {_RANK} AS rank, negotiated_rate, expiration_date
    FROM {rates}
    WHERE {where}
)"""  # noqa: S608 - names of this package


def contracts_sql(parties: str, where: str = "true", rates: str = "rates") -> str:
    """`contract_rates` of prices that fulfil a condition, of these parties: a relation of the columns of `set_tins`."""
    any_values = ", ".join(f"any_value({name}) AS {name}" for name in _CONDITIONS)
    words = " ".join(f"WHEN {number} THEN '{word}'" for number, word in _UNUSABLE.items())
    return f"""WITH of_sets AS (
    SELECT {_CODED}, condition, period, file_id, provider_set_id, rank, negotiated_rate,
        any_value(code_scope) AS code_scope, {any_values},
        max(expiration_date) AS expiration_date, count(*) AS rows
    FROM ({prices_sql(where, rates)})
    GROUP BY {_CODED}, condition, period, file_id, provider_set_id, rank, negotiated_rate
),
conditions AS (
    SELECT {_CODED}, condition, any_value(period) AS period, any_value(code_scope) AS code_scope, {any_values},
        CAST(sum(rows) AS BIGINT) AS rows
    FROM of_sets
    GROUP BY {_CODED}, condition
),
gathered AS (
    SELECT {_CODED}, condition, tin_type = 'npi' AS is_npi, tin_value,
        list({{'rank': rank, 'rate': negotiated_rate}}) AS stated, max(expiration_date) AS expiration_date,
        max(npis_of_tin) AS npis, bool_or(is_whole_tin) AS is_whole_tin
    FROM of_sets
    JOIN {parties} USING (network_id, period, file_id, provider_set_id)
    GROUP BY {_CODED}, condition, is_npi, tin_value
),
ranked AS (
    SELECT * EXCLUDE (stated, is_npi), CASE WHEN is_npi THEN 'npi' ELSE 'ein' END AS tin_type,
        list_min([each.rank for each in stated]) AS best_rank,
        list_sort(list_distinct([each.rate for each in stated if each.rank = best_rank])) AS amounts
    FROM gathered
)
SELECT
    network_id, period, code_family, code, code_scope, {_ALL_CONDITIONS},
    tin_type, tin_value,
    CASE best_rank % 10 WHEN 1 THEN 'negotiated' WHEN 2 THEN 'fee schedule' WHEN 3 THEN 'derived' ELSE
        CASE WHEN price_basis LIKE 'percent%' THEN 'percentage' WHEN price_basis LIKE 'dollars per day%' THEN 'per diem'
        END END AS negotiated_type,
    len(amounts) AS amounts, amounts[1] AS lowest,
    CASE WHEN best_rank >= 10 THEN NULL WHEN len(amounts) = 1 THEN amounts[1]
        ELSE CAST(list_aggregate(amounts, 'median') AS DECIMAL(38, 10)) END AS typical,
    amounts[-1] AS highest,
    CASE best_rank // 10 {words} END AS unusable,
    npis, is_whole_tin, expiration_date, rows
FROM ranked
JOIN conditions USING ({_CODED}, condition)"""  # noqa: S608 - names of this package


_RATE_COLUMNS = {column.name: column.doc for column in RATES.columns} | {
    name: it.doc for name, it in PRICE_COLUMNS.items()
}
CONTRACT_COLUMNS: Docs = {
    **PLACE,
    **{name: _RATE_COLUMNS[name] for name in ("code_family", "code", "code_scope", "severity")},
    "own_name": "Name of the payer's own code, upper case: what tells two of them apart. Null for all others.",
    "bill_type": "As in `rates`; a price of the class both counts under professional and under its institutional type.",
    "site": _RATE_COLUMNS["site"],
    "component": _RATE_COLUMNS["component"],
    "modifiers": "Modifiers, sorted, where component is other (rental and purchase are two prices); else null.",
    "negotiation_arrangement": _RATE_COLUMNS["negotiation_arrangement"],
    "price_basis": _RATE_COLUMNS["price_basis"],
    "contents": "A number for the bundled codes and covered services, so that two bundles stay apart; null for none.",
    "is_conditional": _RATE_COLUMNS["is_conditional"],
    **{name: {column.name: column.doc for column in SET_TINS.columns}[name] for name in ("tin_type", "tin_value")},
    "negotiated_type": "Of the amounts here: negotiated where there is one, else fee schedule, else derived (internal "
    "accounting, which no statistic counts); percentage and per diem have bases of their own.",
    "amounts": "How many distinct amounts of that type the contract has; more than one is a contradiction, or prices "
    "of different providers of the TIN.",
    "lowest": "The lowest of them.",
    "typical": "The median of the distinct amounts; null where none can be used.",
    "highest": "The highest of them.",
    "unusable": f"Why there is no typical amount: {', '.join(_UNUSABLE.values())} (of ${MAX_AMOUNT:,}); else null.",
    "npis": "Distinct NPIs that the file names for the TIN, whatever the price; of several files, the most.",
    "is_whole_tin": "True where a price names the TIN without NPIs.",
    "expiration_date": "The latest of its prices; for a contract that renews itself, the day before it does.",
    "rows": "Price rows of the network with these conditions, whoever has them: how the payer writes, no weight.",
}

CONTRACT_VIEWS = (
    View(
        "contract_rates",
        "One row per network, code, conditions and TIN: one contract, one vote, as the base of every statistic. Ask "
        "for a code_family and code, or for a network_id.",
        CONTRACT_COLUMNS,
        contracts_sql("set_tins"),
    ),
    View(
        "facility_rates",
        "One row per network, code, conditions and NPI of an organization (Type 2, by `provider_directory`): as "
        "contract_rates, where one EIN may have many hospitals. Empty before that directory was made.",
        {**CONTRACT_COLUMNS, "tin_type": "Always npi.", "tin_value": "NPI of an organization.", "npis": "Always 1."},
        contracts_sql(_FACILITIES),
    ),
)
