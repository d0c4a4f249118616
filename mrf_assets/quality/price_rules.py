"""Rules on what a price says: amounts that are no prices, and words that contradict each other.

They look at one price, code or set at a time, over the views of the catalog; `lake_rules` applies them with its own.
What needs the Medicare price of a drug (ASP) or the weight of a DRG is not judged.
"""

from __future__ import annotations

from mrf_assets.lake.price_columns import (
    ALL_CODES_BASIS,
    ANESTHESIA_BASIS,
    DRUG_BASIS,
    PERFORMANCE_CODES,
)
from mrf_assets.quality.network_rules import Check

_PRICE = "network_id, file_id, billing_code_type, billing_code, negotiated_rate"
_VISIT = "code_family = 'HCPCS' AND code BETWEEN '99202' AND '99499'"  # evaluation and management
_STAY = "(code_family = 'RC' OR code_family LIKE '%DRG')"  # codes of the institutional claim form alone
_OFFICE_VISIT = f"{_VISIT} AND bill_type = 'professional' AND dollars > 0"  # a hospital's visit may cost more
_MIN_PERCENT_OF_MEDICARE, _MAX_PERCENT_OF_MEDICARE = 80, 400
_MIN_DRG, _MAX_DRG = 1_500, 500_000  # dollars; Turquoise Health's bounds
_FLAT_CODES, _FLAT_SECTIONS = 200, 3
_DRG_DOLLARS = "code_family = 'MS-DRG' AND dollars > 0"
_DRUG_DOLLARS = f"price_basis = '{DRUG_BASIS}' AND negotiated_rate > 0 AND NOT is_placeholder"
_DRUG = "network_id, code_family, code, negotiated_type, bill_type, site, component"
# CPT's sections by the first digit (anesthesia has no `dollars`): surgery 1 to 6, radiology, laboratory, medicine.
_SECTION = "CASE WHEN code[1] BETWEEN '0' AND '6' THEN '1' WHEN code[1] BETWEEN '7' AND '9' THEN code[1] ELSE 'A' END"
_PENNY = f"negotiated_rate > 0 AND negotiated_rate <= 0.01 AND NOT regexp_full_match(code, '{PERFORMANCE_CODES}')"
# Hospitals (21, 51), rehabilitation (61), and skilled nursing (31), whose stays Medicare pays as inpatient.
_INPATIENT_PLACES = "['21', '31', '51', '61', 'CSTM-00']"
_STATED_PLACES = "setting IN ('inpatient', 'outpatient') AND len(service_codes) > 0"
_TYPED = "rate_unit = 'dollars' AND negotiated_type IN ('negotiated', 'fee schedule', 'derived')"


def _count(where: str, what: str = "*") -> str:
    return f"SELECT network_id, count({what}) AS rows FROM rates WHERE {where} GROUP BY network_id"  # noqa: S608 - constants


PRICE_RULES: tuple[Check, ...] = (
    Check(
        name="dollar_price_of_all_codes",
        table="rates",
        severity="warn",
        explanation="No amount in dollars stands for all codes (CSTM-00). Whole numbers from "
        f"{_MIN_PERCENT_OF_MEDICARE} to {_MAX_PERCENT_OF_MEDICARE} look like percent of Medicare under a wrong type.",
        sql=f"""SELECT network_id, billing_code_type, count(*) AS prices, min(negotiated_rate) AS lowest,
    max(negotiated_rate) AS highest,
    bool_and(negotiated_rate = floor(negotiated_rate) AND negotiated_rate BETWEEN {_MIN_PERCENT_OF_MEDICARE}
        AND {_MAX_PERCENT_OF_MEDICARE}) AS looks_like_percent_of_medicare
FROM rates WHERE price_basis = '{ALL_CODES_BASIS}' GROUP BY network_id, billing_code_type""",  # noqa: S608 - constants
    ),
    Check(
        name="cpt_magnitude",
        table="rates",
        severity="warn",
        explanation="At most 1 % of professional prices of visits (99202 to 99499) are above $2,000.",
        threshold=2_000,
        sql=f"SELECT {_PRICE} FROM rates WHERE {_OFFICE_VISIT} AND dollars > $threshold",  # noqa: S608 - constants
        population_sql=_count(_OFFICE_VISIT),
        tolerated_share=0.01,
    ),
    Check(
        name="drg_magnitude",
        table="rates",
        severity="warn",
        explanation=f"At most 1 % of dollars of MS-DRGs are not from ${_MIN_DRG:,} to ${_MAX_DRG:,}: what is less is a "
        "base rate, a price per day or a percentage.",
        sql=f"""SELECT {_PRICE} FROM rates
WHERE {_DRG_DOLLARS} AND dollars NOT BETWEEN {_MIN_DRG} AND {_MAX_DRG}""",  # noqa: S608 - constants
        population_sql=_count(_DRG_DOLLARS),
        tolerated_share=0.01,
    ),
    Check(
        name="drug_unit",
        table="rates",
        severity="warn",
        explanation="For at most 1 % of drugs the highest price is more than 20 times the lowest of the same bill "
        "type, site, component and negotiated type; beyond that the units differ (vial, mg, package).",
        threshold=20,
        sql=f"""SELECT {_DRUG}, min(negotiated_rate) AS lowest, max(negotiated_rate) AS highest
FROM rates WHERE {_DRUG_DOLLARS}
GROUP BY {_DRUG}
HAVING max(negotiated_rate) > $threshold * min(negotiated_rate)""",  # noqa: S608 - constants
        population_sql=f"""SELECT network_id, count(*) AS rows
FROM (SELECT DISTINCT {_DRUG} FROM rates WHERE {_DRUG_DOLLARS}) GROUP BY network_id""",  # noqa: S608 - constants
        tolerated_share=0.01,
    ),
    Check(
        name="penny",
        table="rates",
        severity="warn",
        explanation="At most 0.5 % of dollars are a cent or less. Drugs are not judged, nor CPT II codes, which report "
        "quality.",
        sql=f"SELECT {_PRICE} FROM rates WHERE dollars IS NOT NULL AND {_PENNY}",  # noqa: S608 - constants
        population_sql=_count("dollars IS NOT NULL"),
        tolerated_share=0.005,
    ),
    Check(
        name="placeholder_amount",
        table="rates",
        severity="warn",
        explanation="At most 0.5 % of dollars are placeholders: cents, nines, or one amount that a set of providers "
        f"has for more than {_FLAT_CODES} codes of CPT and HCPCS of {_FLAT_SECTIONS} sections or more (surgery, "
        "radiology, laboratory, medicine, supplies).",
        sql=f"""SELECT {_PRICE} FROM rates
LEFT JOIN (
    SELECT network_id, file_id, provider_set_id, negotiated_rate, true AS is_flat
    FROM (
        SELECT DISTINCT network_id, file_id, provider_set_id, negotiated_rate, code, {_SECTION} AS section
        FROM rates WHERE code_family = 'HCPCS' AND dollars > 0
    )
    GROUP BY ALL HAVING count(DISTINCT code) > {_FLAT_CODES} AND count(DISTINCT section) >= {_FLAT_SECTIONS}
) USING (network_id, file_id, provider_set_id, negotiated_rate)
WHERE dollars > 0 AND (is_placeholder OR (is_flat AND code_family = 'HCPCS'))""",  # noqa: S608 - constants
        population_sql=_count("dollars > 0"),
        tolerated_share=0.005,
    ),
    Check(
        name="class_of_code",
        table="rates",
        severity="warn",
        explanation="At most 1 % of DRGs, revenue codes and visits (99202 to 99499) contradict their class: DRGs and "
        "revenue codes are on the institutional claim form alone, and visits have a professional price, too.",
        sql=f"""SELECT network_id, code_family, code, list_sort(list(DISTINCT billing_class)) AS billing_classes
FROM rates WHERE {_STAY} OR ({_VISIT}) GROUP BY network_id, code_family, code
HAVING CASE WHEN code_family = 'HCPCS' THEN bool_and(billing_class = 'institutional')
    ELSE bool_or(billing_class = 'professional') END""",  # noqa: S608 - constants
        population_sql=_count(f"{_STAY} OR ({_VISIT})", "DISTINCT (code_family, code)"),
        tolerated_share=0.01,
    ),
    Check(
        name="setting_contradicts_place",
        table="rates",
        severity="warn",
        explanation="At most 1 % of prices with a setting and places contradict themselves: inpatient outside "
        "hospitals and nursing facilities (21, 31, 51, 61), or outpatient in the inpatient hospital (21) alone.",
        sql=f"""SELECT {_PRICE}, setting, service_codes FROM rates
WHERE {_STATED_PLACES} AND CASE WHEN setting = 'inpatient' THEN NOT list_has_any(service_codes, {_INPATIENT_PLACES})
    ELSE list_has_all(['21'], service_codes) END""",  # noqa: S608 - constants
        population_sql=_count(_STATED_PLACES),
        tolerated_share=0.01,
    ),
    Check(
        name="type_share",
        table="rates",
        severity="info",
        explanation="More than 95 % of amounts in dollars have one negotiated type. The payer may not tell types "
        "apart: negotiated or fee schedule then says nothing.",
        threshold=0.95,
        sql=f"""SELECT network_id, negotiated_type, count(*) AS prices,
    prices / sum(prices) OVER (PARTITION BY network_id) AS share
FROM rates WHERE {_TYPED}
GROUP BY network_id, negotiated_type
QUALIFY prices >= 40 AND share > $threshold""",  # noqa: S608 - constants
    ),
    Check(
        name="remark_share",
        table="rates",
        severity="info",
        explanation="More than 10 % of prices depend on the payer's remark (lesser of, outlier, carve-out): read "
        "additional_information before you compare them.",
        threshold=0.1,
        sql="""SELECT network_id, count(*) FILTER (is_conditional) AS prices, prices / count(*) AS share
FROM rates GROUP BY network_id HAVING share > $threshold""",
    ),
    Check(
        name="anesthesia_convention",
        table="rates",
        severity="info",
        explanation="What the dollars of anesthesia (00100 to 01999) look like; the file does not say. A set of "
        "providers with at most 5 amounts, all from $15 to $250, has dollars per unit, to be multiplied.",
        sql=f"""SELECT network_id, CAST(sum(prices) AS BIGINT) AS prices,
    sum(prices) FILTER (amounts <= 5 AND lowest >= 15 AND highest <= 250) / sum(prices) AS share_per_unit,
    min(lowest) AS lowest, max(highest) AS highest
FROM (
    SELECT network_id, file_id, provider_set_id, count(*) AS prices, count(DISTINCT negotiated_rate) AS amounts,
        min(negotiated_rate) AS lowest, max(negotiated_rate) AS highest
    FROM rates WHERE price_basis = '{ANESTHESIA_BASIS}' AND negotiated_rate > 0
    GROUP BY network_id, file_id, provider_set_id
)
GROUP BY network_id""",  # noqa: S608 - constants
    ),
    Check(
        name="negotiated_and_fee_schedule_equal",
        table="rates",
        severity="info",
        explanation="Prices that are listed as negotiated and once more, alike, as a fee schedule; by the schema a fee "
        "schedule is listed where it differs.",
        sql="""SELECT network_id, file_id, provider_set_id, code_family, code, negotiated_rate
FROM rates
WHERE rate_unit = 'dollars' AND negotiated_type IN ('negotiated', 'fee schedule')
GROUP BY network_id, file_id, provider_set_id, code_family, code, severity, name, negotiation_arrangement, bill_type,
    site, component, billing_code_modifiers, additional_information, negotiated_rate
HAVING count(DISTINCT negotiated_type) = 2""",
    ),
)
