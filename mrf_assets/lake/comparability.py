"""The funnel: which contracts of a code are comparable, what they say, and why a statistic is refused.

A contract passes the gates in the order of `refusal.GATES`; the first that stops it is its reason. Two views
come of it:
`code_statistics` asks for the plain price of a code in each bill type, as a person means it, and `price_statistics`
gives each set of conditions its own statistic. Contracts vote, price rows do not. What the rules are stands in
`statistic_rules`; the gates that need Medicare's prices, or know who performs a code, are not judged yet.
"""

from __future__ import annotations

from collections.abc import Iterator

from mrf_assets.lake.contract_rates import CONTRACT_COLUMNS, prices_sql
from mrf_assets.lake.layouts import literal
from mrf_assets.lake.price_columns import (
    ALL_CODES_BASIS,
    ANESTHESIA_BASIS,
    DRUG_BASIS,
    PRICE_COLUMNS,
    REVENUE_CODE_BASIS,
)
from mrf_assets.lake.refusal import GATES, REFUSAL, STOP_WORDS, money_sql, number_sql
from mrf_assets.lake.view import PLACE, Docs, View
from mrf_assets.schema.code_types import FAMILIES, padded_sql
from mrf_assets.schema.tins import masked_tin_sql
from mrf_assets.settings import StatisticRules

_NUMBERS = {reason: number for number, reason in enumerate(GATES, 1)}
_FAILED = 1_000  # ranks from here on say at which gate a price was stopped: the later, the lower
_NOT_JUDGED = "['Medicare', 'performed']"
_SITES = "['nonfacility', 'facility']"
_PLACED = "network_id, code_family, code, severity, bill_type, site"
QUANTILES = {"p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9}


def _unit_gate() -> str:
    """The gate of a price's basis."""
    return f"""CASE
            WHEN price_basis = 'dollars' THEN NULL
            WHEN price_basis IS NULL THEN 'unit not known'
            WHEN price_basis LIKE '%bundle' THEN 'bundle'
            WHEN price_basis LIKE '%capitation' THEN 'capitation'
            WHEN price_basis = 'percent' THEN 'percent'
            WHEN price_basis = 'dollars per day' THEN 'per day'
            WHEN price_basis = '{ANESTHESIA_BASIS}' THEN 'anesthesia'
            WHEN price_basis = '{DRUG_BASIS}' THEN 'drug'
            WHEN price_basis = '{REVENUE_CODE_BASIS}' THEN 'revenue code'
            ELSE 'names all codes' END"""


# In the order of the funnel; one gate that stops a price is enough.
_PRICE_GATE = f"""coalesce(
        CASE code_scope WHEN 'payer''s own' THEN 'payer''s own code' WHEN 'all codes' THEN
            CASE WHEN price_basis = 'percent' THEN 'names all codes, in percent' ELSE 'names all codes' END END,
        CASE WHEN bill_type = 'mixed' THEN 'bill type not known' END,
        {_unit_gate()},
        CASE rank // 10 WHEN 1 THEN 'zero' WHEN 2 THEN 'placeholder' WHEN 3 THEN 'above the cap' END,
        CASE WHEN bill_type = 'inpatient' AND code_family LIKE '%DRG'
            AND negotiated_rate NOT BETWEEN min_drg_dollars AND max_drg_dollars THEN 'outside the bounds of a DRG' END,
        CASE WHEN expiration_date < CAST(period || '-01' AS DATE) - to_months(expired_months) THEN 'expired' END,
        CASE WHEN rank % 10 = 3 THEN 'derived' END,
        CASE WHEN component NOT IN ('base', 'alternatives')
            OR (component = 'alternatives' AND bill_type <> 'professional') THEN 'modifier' END,
        CASE WHEN asked_site <> 'any' AND stated_site NOT IN (asked_site, 'any', 'not said') THEN 'other site' END,
        CASE WHEN is_conditional THEN 'conditional' END
    )"""
# Of a TIN's prices that pass: what was negotiated, then the site asked for, then the plain code.
_PREFERENCE = """CAST(rank AS INTEGER) % 10 * 100
            + CASE stated_site WHEN asked_site THEN 0 WHEN 'any' THEN 10 ELSE 20 END
            + CASE component WHEN 'base' THEN 0 ELSE 1 END"""


_GATE_NUMBERS = " ".join(f"WHEN {literal(reason)} THEN {_FAILED - number}" for reason, number in _NUMBERS.items())
_GATE_NAMES = " ".join(f"WHEN {_FAILED - number} THEN {literal(reason)}" for reason, number in _NUMBERS.items())


def _quantile(share: float, amounts: str) -> str:
    """Between the nearest two of sorted amounts, as DuckDB's quantile_cont does."""
    place = f"(len({amounts}) - 1) * {share}"
    low, high = (f"{amounts}[1 + CAST({it}({place}) AS INTEGER)]" for it in ("floor", "ceil"))
    return f"CAST({low} + ({high} - {low}) * ({place} - floor({place})) AS DECIMAL(38, 4))"


_QUARTILES = {name: _quantile(QUANTILES[name], "usable") for name in ("p25", "p75")}
_LOGS = {name: f"ln(CAST({sql} AS DOUBLE))" for name, sql in _QUARTILES.items()}
# Turquoise Health's fence (tq-cld.pages.dev), over contracts of one kind.
_REACH = f"1.5 * greatest({_LOGS['p75']} - {_LOGS['p25']}, 1.0)"
_SHOWN_QUANTILES = ", ".join(
    f"CASE WHEN has_median AND NOT is_one_schedule THEN {name} END AS {name}" for name in ("p10", "p25", "p75", "p90")
)


def _statistics_sql(contracts: str, group: str, by_site: str = "CAST(NULL AS VARCHAR)") -> str:
    """One statistic for each group of contracts.

    `contracts` has the columns of `group`, and period, gate (null: comparable), typical, lowest, highest, npis, drgs,
    rows (the same for all of a group) and is_percent. `by_site` words the medians of a group's sites.
    """
    return f"""WITH contracts AS ({contracts}),
by_gate AS (
    SELECT {group}, gate, any_value(period) AS period, count(*) AS contracts, max(rows) AS rows,
        sum(npis) AS npis, max(npis) AS most_npis, min(lowest) AS lowest_stated, max(highest) AS highest_stated,
        max(drgs) AS most_drgs, bool_and(is_percent) AS is_percent, sum(CAST(fact AS HUGEINT)) AS facts,
        list(typical) FILTER (gate IS NULL) AS amounts
    FROM contracts
    GROUP BY {group}, gate
),
gated AS (
    SELECT {group}, any_value(period) AS period, max(rows) AS rows, CAST(sum(contracts) AS BIGINT) AS published,
        list({{'gate': gate, 'contracts': contracts, 'words': CASE gate {STOP_WORDS} END, 'lowest': lowest_stated,
            'highest': highest_stated}} ORDER BY contracts DESC, gate) FILTER (gate IS NOT NULL) AS stopped_at,
        max(most_drgs) FILTER (gate = 'base rate') AS most_drgs, bool_and(is_percent) AS is_percent,
        hash(sum(facts)) AS content,
        CAST(sum(npis) FILTER (gate IS NULL) AS BIGINT) AS npis, max(most_npis) FILTER (gate IS NULL) AS most_npis,
        list_sort(any_value(amounts) FILTER (gate IS NULL)) AS usable
    FROM by_gate
    GROUP BY {group}
),
fenced AS (
    SELECT *, stopped_at[1].gate AS stopped, stopped_at[1].lowest AS lowest_stated,
        stopped_at[1].highest AS highest_stated,
        CASE WHEN len(usable) >= fence_contracts THEN exp({_LOGS["p25"]} - {_REACH}) END AS lower_fence,
        CASE WHEN len(usable) >= fence_contracts THEN exp({_LOGS["p75"]} + {_REACH}) END AS upper_fence
    FROM gated
    CROSS JOIN statistic_rules
),
kept AS (
    SELECT *, coalesce([each for each in usable if lower_fence IS NULL OR each BETWEEN lower_fence AND upper_fence], [])
        AS kept
    FROM fenced
),
measured AS (
    SELECT *, len(kept) AS contracts, {_quantile(0.5, "kept")} AS median_of_kept,
        CASE WHEN len(kept) >= min_contracts_of_quartiles THEN {_quantile(0.25, "kept")} END AS p25,
        CASE WHEN len(kept) >= min_contracts_of_quartiles THEN {_quantile(0.75, "kept")} END AS p75,
        CASE WHEN len(kept) >= min_contracts_of_tails THEN {_quantile(0.1, "kept")} END AS p10,
        CASE WHEN len(kept) >= min_contracts_of_tails THEN {_quantile(0.9, "kept")} END AS p90,
        len([each for each in kept if each = median_of_kept]) >= one_schedule_share * len(kept) AS is_one_schedule,
        list_concat(coalesce(stopped_at, []), CASE WHEN len(usable) > len(kept) THEN [{{'gate': 'far from the others',
            'contracts': CAST(len(usable) - len(kept) AS BIGINT), 'words': CASE WHEN len(usable) - len(kept) = 1
            THEN 'is far from all others' ELSE 'are far from all others' END, 'lowest': NULL, 'highest': NULL}}]
            ELSE [] END)
            AS all_stops
    FROM kept
),
worded AS (
    SELECT *, [concat({number_sql("each.contracts")}, ' ', each.words) for each in all_stops] AS stops,
        {by_site} AS by_site
    FROM measured
    WINDOW of_code AS (PARTITION BY network_id, code_family, code, severity, bill_type)
),
refused AS (
    SELECT *, {REFUSAL} AS refused_because FROM worded
)
SELECT
    {group}, period,
    CASE WHEN has_median THEN median_of_kept END AS median,
    contracts, contracts AS tins, CASE WHEN contracts > 0 THEN npis ELSE 0 END AS npis, published, rows,
    CASE WHEN has_median THEN kept[1] END AS lowest,
    {_SHOWN_QUANTILES},
    CASE WHEN has_median THEN kept[-1] END AS highest,
    map([each.gate for each in all_stops], [each.contracts for each in all_stops]) AS gates,
    refused_because,
    CASE WHEN has_median THEN [each for each in [
        CASE WHEN p75 >= wide_spread * p25 AND NOT is_one_schedule
            THEN concat('the middle half spans ', {number_sql("p75 / p25")}, '-fold') END,
        CASE WHEN contracts > 1 AND most_npis > dominant_share * npis
            THEN concat('one contract has ', {number_sql("100 * most_npis / npis")}, ' % of the NPIs') END
    ] if each IS NOT NULL] ELSE [] END AS cautions,
    {_NOT_JUDGED} AS not_judged, content, rule_version
FROM (SELECT *, refused_because IS NULL OR is_one_schedule AND starts_with(refused_because, 'No distribution')
    AS has_median FROM refused)"""  # noqa: S608 - names of this package


# One amount for many DRGs of a TIN. Joined by the family of the code, so that no other code pays for it.
_BASE_RATES = """(
    SELECT network_id, code_family, tin_type, tin_value, typical, count(DISTINCT (code, severity)) AS drgs
    FROM contract_rates
    WHERE code_family LIKE '%DRG' AND bill_type = 'inpatient' AND price_basis = 'dollars' AND typical IS NOT NULL
    GROUP BY network_id, code_family, tin_type, tin_value, typical
)"""
_ONE_AMOUNT = """CASE WHEN bill_type = 'outpatient' THEN same_facility_amount_ratio ELSE same_amount_ratio END"""


def _code_contracts_sql() -> str:
    """Each TIN once for a code, bill type and site: its best price, or the gate that it came farthest to."""
    placed = _PLACED.replace(", site", ", asked_site")  # severity is no null here: it is joined by
    return f"""WITH of_sets AS (
    SELECT {placed}, file_id, provider_set_id, period, negotiated_rate,
        CASE WHEN gate IS NULL THEN preference ELSE CASE gate {_GATE_NUMBERS} END END AS best, count(*) AS rows
    FROM (
        SELECT *, {_PRICE_GATE} AS gate, {_PREFERENCE} AS preference
        FROM (
            SELECT * REPLACE (coalesce(severity, '') AS severity), site AS stated_site,
                unnest(CASE WHEN bill_type = 'professional' THEN {_SITES} ELSE ['any'] END) AS asked_site
            FROM ({prices_sql()})
        )
        CROSS JOIN statistic_rules
    )
    GROUP BY ALL
),
totals AS (
    SELECT {placed}, any_value(period) AS period, CAST(sum(rows) AS BIGINT) AS rows
    FROM of_sets
    GROUP BY {placed}
),
gathered AS (
    SELECT {placed}, tin_type = 'npi' AS is_npi, tin_value, list({{'best': best, 'rate': negotiated_rate}}) AS stated,
        max(npis_of_tin) AS npis
    FROM of_sets
    JOIN set_tins USING (network_id, period, file_id, provider_set_id)
    GROUP BY {placed}, is_npi, tin_value
),
ranked AS (
    SELECT * EXCLUDE (stated, is_npi), CASE WHEN is_npi THEN 'npi' ELSE 'ein' END AS tin_type,
        list_min([each.best for each in stated]) AS best,
        list_sort(list_distinct([each.rate for each in stated if each.best = best])) AS amounts,
        CASE WHEN len(amounts) = 1 THEN amounts[1] ELSE CAST(list_aggregate(amounts, 'median') AS DECIMAL(38, 10)) END
            AS typical
    FROM gathered
)
SELECT network_id, code_family, code, nullif(severity, '') AS severity, bill_type, asked_site AS site, period,
    rows, npis, drgs, typical, hash(tin_type, tin_value, best, amounts) AS fact,
    amounts[1] AS lowest, amounts[-1] AS highest, false AS is_percent,
    coalesce(
        CASE best {_GATE_NAMES} END,
        CASE WHEN amounts[-1] > {_ONE_AMOUNT} * amounts[1] THEN 'several amounts' END,
        CASE WHEN drgs > base_rate_codes THEN 'base rate' END
    ) AS gate
FROM ranked
JOIN totals USING ({placed})
LEFT JOIN {_BASE_RATES} flat USING (network_id, code_family, tin_type, tin_value, typical)
CROSS JOIN statistic_rules"""  # noqa: S608 - names of this package


_CONDITIONED = (
    "network_id, code_family, code, severity, own_name, bill_type, site, component, modifiers, "
    "negotiation_arrangement, price_basis, contents, is_conditional"
)


def _condition_contracts_sql(source: str) -> str:
    """Each contract under its own conditions, whatever they are."""
    return f"""SELECT {_CONDITIONED}, period, rows, npis, drgs, typical, lowest, highest,
    hash(tin_type, tin_value, lowest, typical, highest, unusable) AS fact,
    coalesce(starts_with(price_basis, 'percent'), false) AS is_percent,
    coalesce(
        CASE price_basis WHEN '{ALL_CODES_BASIS}' THEN 'names all codes' WHEN '{ANESTHESIA_BASIS}' THEN 'anesthesia'
            WHEN '{DRUG_BASIS}' THEN 'drug' WHEN '{REVENUE_CODE_BASIS}' THEN 'revenue code' END,
        CASE WHEN price_basis IS NULL THEN 'unit not known' END,
        unusable,
        CASE WHEN price_basis = 'dollars' AND bill_type = 'inpatient' AND code_family LIKE '%DRG'
            AND typical NOT BETWEEN min_drg_dollars AND max_drg_dollars THEN 'outside the bounds of a DRG' END,
        CASE WHEN expiration_date < CAST(period || '-01' AS DATE) - to_months(expired_months) THEN 'expired' END,
        CASE WHEN negotiated_type = 'derived' THEN 'derived' END,
        CASE WHEN highest > {_ONE_AMOUNT} * lowest THEN 'several amounts' END,
        CASE WHEN price_basis = 'dollars' AND drgs > base_rate_codes THEN 'base rate' END
    ) AS gate
FROM {source}
LEFT JOIN {_BASE_RATES} flat USING (network_id, code_family, tin_type, tin_value, typical)
CROSS JOIN statistic_rules"""  # noqa: S608 - names of this package


_FACILITY, _NONFACILITY = (
    f"max(median_of_kept) FILTER (site = '{site}' AND contracts >= min_contracts) OVER of_code"
    for site in ("facility", "nonfacility")
)
# Null where one of them is missing, and where the site makes no difference.
_BY_SITE = f"""CASE WHEN bill_type = 'professional' AND {_FACILITY} <> {_NONFACILITY}
            THEN {money_sql(_FACILITY)} || ' facility, ' || {money_sql(_NONFACILITY)} || ' nonfacility' END"""
_RATE_DOCS: Docs = {name: it.doc for name, it in PRICE_COLUMNS.items()}
_STATISTIC_DOCS: Docs = {
    "period": PLACE["period"],
    "median": "The median of the contracts that pass all gates, each counted once; null where it is refused.",
    "contracts": "How many they are.",
    "tins": "Distinct TINs behind them.",
    "npis": "NPIs that the files name for these TINs; one under several of them counts for each.",
    "published": "All contracts of the group, those included that a gate stopped.",
    "rows": "Price rows of the group in the file: how the payer writes, no weight.",
    "lowest": "The lowest amount that passes.",
    "p10": "A tenth of the contracts are at or below it; null below min_contracts_of_tails.",
    "p25": "The same of a quarter; null below min_contracts_of_quartiles.",
    "p75": "The same of three quarters; null below min_contracts_of_quartiles.",
    "p90": "The same of nine tenths; null below min_contracts_of_tails.",
    "highest": "The highest amount that passes.",
    "gates": f"Reason -> contracts that were stopped for it: {', '.join(GATES)}.",
    "refused_because": "Why there is no median, or no distribution around it; null where both are sound.",
    "cautions": "What a reader should know before using the median.",
    "not_judged": "Gates that need data that is not there: Medicare's price of the place, and who was seen to do it.",
    "content": "A number for all contracts of the group, TINs included: two networks with equal numbers are copies.",
    "rule_version": "Version of the rules of `statistic_rules`, and what of them is not the default.",
}
_WHICH: Docs = {"network_id": PLACE["network_id"], **{it: _RATE_DOCS[it] for it in ("code_family", "code", "severity")}}
_CONDITION_DOCS: Docs = {name: CONTRACT_COLUMNS[name] for name in _CONDITIONED.split(", ")}

STATISTIC_RULES = View(
    "statistic_rules",
    "One row per version of the rules: the numbers by which statistics are made and refused, as the settings say.",
    {
        "rule_version": _STATISTIC_DOCS["rule_version"],
        **{name: str(field.description) for name, field in StatisticRules.model_fields.items()},
    },
    "",  # a table, made from the settings
)
STATISTIC_VIEWS = (
    View(
        "price_statistics",
        "One row per network, code and conditions: what the contracts under exactly these conditions say. A modifier, "
        "a site or a unit has its own statistic here. Ask for a code_family and code, or for a network_id.",
        {**_CONDITION_DOCS, **_STATISTIC_DOCS},
        _statistics_sql(_condition_contracts_sql("contract_rates"), _CONDITIONED),
    ),
    View(
        "facility_statistics",
        "One row per network, code and conditions, as price_statistics, with an organization's NPI (Type 2) as the "
        "party in place of a TIN. Empty before provider_directory was made.",
        {**_CONDITION_DOCS, **_STATISTIC_DOCS},
        _statistics_sql(_condition_contracts_sql("facility_rates"), _CONDITIONED),
    ),
    View(
        "code_statistics",
        "One row per network, code, bill type and site: what the code costs there in plain dollars, as a person asks. "
        "Each TIN counts once, by its best price, or for the gate that its prices came farthest to. Ask for a "
        "code_family and code, or for a network_id.",
        {
            **_WHICH,
            "bill_type": CONTRACT_COLUMNS["bill_type"],
            "site": "The site that is asked for: nonfacility or facility, with prices for any site in both; any for "
            "institutional prices, whose sites are not told apart.",
            **_STATISTIC_DOCS,
        },
        _statistics_sql(_code_contracts_sql(), _PLACED, _BY_SITE),
    ),
)

_QUESTION: Docs = {name: STATISTIC_VIEWS[-1].columns[name] for name in _PLACED.split(", ") if name != "network_id"}
_ASKED = ", ".join(_QUESTION)
COMPARISONS = View(
    "code_comparisons",
    "One row per code, bill type and site that any network has a median for: whether networks can be compared. Copies "
    "of one another for the code count once, networks whose month is far behind the newest not at all. Ask for a "
    "code_family and code.",
    {
        **_QUESTION,
        "networks": "Networks with a median.",
        "contents": "How many different contents they have.",
        "voters": "The networks that are compared: of copies, the first by name.",
        "copies": "The other names of each of them, in the same order.",
        "refused_because": "Why nothing is compared; null where it is.",
    },
    f"""WITH recent AS (
    SELECT network_id
    FROM networks
    CROSS JOIN statistic_rules
    WHERE is_latest AND CAST(period || '-01' AS DATE)
        > (SELECT max(CAST(period || '-01' AS DATE)) FROM networks) - to_months(max_months_apart)
),
contents AS (
    SELECT {_ASKED}, content, list_sort(list(network_id)) AS names
    FROM code_statistics
    SEMI JOIN recent USING (network_id)
    WHERE median IS NOT NULL
    GROUP BY {_ASKED}, content
),
counted AS (
    SELECT {_ASKED}, CAST(sum(len(names)) AS BIGINT) AS networks, count(*) AS contents,
        list(names[1] ORDER BY names[1]) AS voters, list(names[2:] ORDER BY names[1]) AS copies,
        string_agg(CASE WHEN len(names) > 1 THEN array_to_string(names, ', ') || ' are copies of one another' END, '; '
            ORDER BY names[1]) AS copied
    FROM contents
    GROUP BY {_ASKED}
)
SELECT * EXCLUDE (copied, min_networks), CASE WHEN contents < min_networks THEN concat(
        'No comparison: ', networks, CASE WHEN networks = 1 THEN ' network id holds' ELSE ' network ids hold' END,
        ' only ', contents, CASE WHEN contents = 1 THEN ' content' ELSE ' different contents' END,
        coalesce('; ' || copied, ''), '.') END AS refused_because
FROM counted
CROSS JOIN (SELECT min_networks FROM statistic_rules)""",  # noqa: S608 - names of this module
)


def rules_sql(rules: StatisticRules) -> str:
    """One row with the rules."""
    columns = ", ".join(f"{getattr(rules, name)!r} AS {name}" for name in StatisticRules.model_fields)
    return f"SELECT {literal(rules.version)} AS rule_version, {columns}"


def question_macros_sql() -> Iterator[str]:
    """Functions for questions: the family of a code, its spelling in the column `code`, and a TIN as it is shown."""
    kind, code = "upper(trim(billing_code_type))", "upper(trim(billing_code))"
    families = " ".join(f"WHEN {literal(name)} THEN {literal(family)}" for name, family in FAMILIES.items())
    yield f"CREATE MACRO family_of(billing_code_type) AS CASE {kind} {families} ELSE {kind} END"
    yield f"CREATE MACRO code_of(billing_code_type, billing_code) AS {padded_sql(kind, code)}"
    yield f"CREATE MACRO masked_tin(tin_type, tin_value) AS {masked_tin_sql('tin_type', 'tin_value')}"
