"""What a price is and what it is for: the columns that the views of `rates` derive from those of its files.

They follow from the text of a price alone. No column says more than the file: what cannot be known (the unit of an
anesthesia price, of a drug) is said to be unknown, and stays out of `dollars`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrf_assets.schema.code_types import ALL_CODES, FAMILIES, padded_sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A column that the views of a table have and its files have not."""

    sql: str
    doc: str


# Places of service that Medicare pays at the facility rate (Claims Processing Manual, chapters 12 and 26).
_FACILITIES = ("02", "19", "21", "22", "23", "24", "26", "31", "34", "41", "42", "51", "52", "53", "56", "61")
_FACILITY_LIST = str(list(_FACILITIES))  # the same in Python and SQL
# HCPCS codes whose price is for a unit of a drug, biological, contrast agent or skin substitute: levels J and the
# parts of A, C and Q that are drugs. Q3014 (telehealth), Q0091 (a smear) and C9600 (a stent) are services.
_DRUGS = (
    "J[0-9]{4}|Q0(13[89]|144|1[67][0-9]|18[01]|2[2-4][0-9]|515)|Q20(0[49]|1[0-9]|[2-9][0-9])|Q302[78]"
    "|Q40(74|8[12])|Q4[1-9][0-9]{2}|Q51[0-9]{2}|Q99[5-9][0-9]|C9[0-4][0-9]{2}|A9[5-7][0-9]{2}"
)
_ANESTHESIA = "0(0[1-9]|1[0-9])[0-9]{2}"  # CPT 00100 to 01999
PERFORMANCE_CODES = "[0-9]{4}F"  # CPT II codes report quality, and cost a cent in truth
_CONDITIONS = (
    "lesser|greater of|outlier|stop.?loss|threshold|not otherwise|carve|per unit|case rate|first dollar|%|percent"
)
_PLACEHOLDERS = (0.01, 0.1, 1, 9_999.99, 99_999, 99_999.99, 999_999, 999_999.99, 9_999_999.99)
_CASE_RATE_TYPES = "billing_code_type LIKE '%DRG' OR billing_code_type IN ('APC', 'EAPG')"

_TYPE_UNITS = {
    "percentage": "percent",
    "per diem": "dollars per day",
    "negotiated": "dollars",
    "derived": "dollars",
    "fee schedule": "dollars",
}
_ARRANGEMENT_UNITS = {
    "bundle": {
        "dollars": "dollars per bundle",
        "dollars per day": "dollars per day of a bundle",
        "percent": "percent of a bundle",
    },
    "capitation": {
        "dollars": "dollars by capitation",
        "dollars per day": "dollars per day by capitation",
        "percent": "percent by capitation",
    },
}
PLAIN_UNITS = ("dollars", "dollars per day", "percent")
RATE_UNITS = (*PLAIN_UNITS, *(unit for units in _ARRANGEMENT_UNITS.values() for unit in units.values()))


def _cases(column: str, values: Mapping[str, str], otherwise: str = "NULL") -> str:
    cases = " ".join(f"WHEN '{value}' THEN '{it}'" for value, it in values.items())
    return f"CASE {column} {cases} ELSE {otherwise} END"


def _rate_unit() -> str:
    """The arrangement first: a bundle's or a capitation's amount is of something else, whatever its type."""
    by_type = {
        arrangement: _cases("negotiated_type", {kind: units[plain] for kind, plain in _TYPE_UNITS.items()})
        for arrangement, units in _ARRANGEMENT_UNITS.items()
    }
    cases = "".join(
        f" WHEN negotiation_arrangement = '{arrangement}' AND NOT is_case_rate THEN {sql}"
        for arrangement, sql in by_type.items()
    )
    return f"CASE{cases} ELSE {_cases('negotiated_type', _TYPE_UNITS)} END"


ALL_CODES_BASIS = "dollars for any code"
ANESTHESIA_BASIS = "dollars, anesthesia convention unknown"
DRUG_BASIS = "dollars, drug unit unknown"
REVENUE_CODE_BASIS = "dollars, revenue code unit unknown"
_APR_DRG = "^([0-9]{3})-?([1-4])$"

# In the order in which each may use those before it.
PRICE_COLUMNS: Mapping[str, Derived] = {
    "price_number": Derived(
        sql="file_row_number",
        doc="Number of the price in its file, from 0; with network_id, period and file_id it names one price of this "
        "publication: a file that is read again has other numbers. Counting it distinct undoes a fan-out.",
    ),
    "code_family": Derived(
        sql=_cases("billing_code_type", FAMILIES, otherwise="billing_code_type"),
        doc="The type of the code, CPT as HCPCS and DRG as MS-DRG: payers file one code under either.",
    ),
    "code": Derived(
        sql=f"""CASE
        WHEN billing_code_type = 'APR-DRG' AND regexp_matches(trim(billing_code), '{_APR_DRG}')
        THEN regexp_extract(trim(billing_code), '{_APR_DRG}', 1)
        ELSE {padded_sql("billing_code_type", "upper(trim(billing_code))")} END""",
        doc="The code, upper case, with the zeros that revenue codes and DRGs lost (0450, 039), and of an APR-DRG "
        "without its severity.",
    ),
    "severity": Derived(
        sql=f"""coalesce(severity_of_illness, CASE WHEN billing_code_type = 'APR-DRG'
        THEN nullif(regexp_extract(trim(billing_code), '{_APR_DRG}', 2), '') END)""",
        doc="Severity of illness of an APR-DRG, 1 to 4: as schema 2 says it, or as schema 1 hides it in the code "
        "(470-1, 4701).",
    ),
    "code_scope": Derived(
        sql=f"""CASE WHEN code = '{ALL_CODES}' THEN 'all codes'
        WHEN billing_code_type IN ('CSTM-ALL', 'LOCAL') THEN 'payer''s own' ELSE 'standard' END""",
        doc="Whose code it is: standard; all codes (CSTM-00: of the type, of CSTM-ALL of all types; some payers mean "
        "all that are not otherwise listed); payer's own (LOCAL, CSTM-ALL: only name and description say what it is).",
    ),
    "bill_type": Derived(
        sql="""CASE WHEN billing_class = 'professional' THEN 'professional'
        WHEN billing_code_type LIKE '%DRG' OR (billing_class = 'institutional' AND setting = 'inpatient')
        THEN 'inpatient'
        WHEN billing_class = 'institutional'
        AND (setting = 'outpatient' OR billing_code_type IN ('CPT', 'HCPCS', 'APC', 'EAPG')) THEN 'outpatient'
        ELSE 'mixed' END""",
        doc="The claim that the price is for: professional (CMS-1500), inpatient or outpatient (UB-04); mixed where "
        "the file does not tell, and where billing_class is both, unless the code is a DRG.",
    ),
    "site": Derived(
        sql=f"""CASE WHEN len(coalesce(service_codes, [])) = 0 THEN 'not said'
        WHEN list_contains(service_codes, '{ALL_CODES}') THEN 'any'
        WHEN NOT list_has_any(service_codes, {_FACILITY_LIST}) THEN 'nonfacility'
        WHEN list_has_all({_FACILITY_LIST}, service_codes) THEN 'facility' ELSE 'any' END""",
        doc="Where the service is done, as Medicare tells places apart: facility, nonfacility, any (places of both, "
        "or CSTM-00), or not said.",
    ),
    "component": Derived(
        sql="""CASE WHEN len(coalesce(billing_code_modifiers, [])) = 0 THEN 'base'
        WHEN list_has_all(billing_code_modifiers, ['26', 'TC']) THEN 'alternatives'
        WHEN list_contains(billing_code_modifiers, '26') THEN '26'
        WHEN list_contains(billing_code_modifiers, 'TC') THEN 'TC' ELSE 'other' END""",
        doc="What of the service the price is for: base (no modifier), 26 (professional component), TC (technical), "
        "alternatives (a list with both: the price of the whole, with any of them), other (another modifier).",
    ),
    "is_case_rate": Derived(
        sql=f"coalesce(negotiation_arrangement = 'bundle' AND ({_CASE_RATE_TYPES}) "
        "AND len(coalesce(bundled_codes, [])) = 0, false)",
        doc="True for a DRG, APC or EAPG that the payer calls a bundle without listing its codes: it is a price for "
        "the case, as any DRG's is.",
    ),
    "rate_unit": Derived(
        sql=_rate_unit(),
        doc=f"What `negotiated_rate` is: {', '.join(RATE_UNITS)}; null where the type is none of the schema's. The "
        "arrangement is judged before the type. Never mix two of them in one statistic.",
    ),
    "price_basis": Derived(
        sql=f"""CASE WHEN rate_unit IS DISTINCT FROM 'dollars' THEN rate_unit
        WHEN code = '{ALL_CODES}' THEN '{ALL_CODES_BASIS}'
        WHEN code_family = 'HCPCS' AND regexp_full_match(code, '{_ANESTHESIA}') THEN '{ANESTHESIA_BASIS}'
        WHEN billing_code_type = 'NDC' OR (code_family = 'HCPCS' AND regexp_full_match(code, '{_DRUGS}'))
        THEN '{DRUG_BASIS}'
        WHEN billing_code_type = 'RC' THEN '{REVENUE_CODE_BASIS}' ELSE 'dollars' END""",
        doc="rate_unit, and of dollars what they are for: dollars for the code; for any code (CSTM-00, where values "
        "such as 155 are most likely percent of Medicare); anesthesia, which payers price by unit, minute or case; a "
        "drug, by HCPCS unit, vial, mg or package; a revenue code, which stands for very different services.",
    ),
    "dollars": Derived(
        sql="CASE WHEN price_basis = 'dollars' THEN negotiated_rate END",
        doc="`negotiated_rate` where price_basis is dollars, so that it is a price of the code; null for all else. "
        "A statistic still has to tell apart bill_type, site, component and negotiated_type, and to count each "
        "contract once: `contract_rates` does. Payers write 0 for what they do not pay or do not know.",
    ),
    "dollars_per_day": Derived(
        sql="CASE WHEN rate_unit = 'dollars per day' THEN negotiated_rate END",
        doc="`negotiated_rate` where it is dollars per day of stay; null for all else.",
    ),
    "percentage": Derived(
        sql="CASE WHEN rate_unit = 'percent' THEN negotiated_rate END",
        doc="`negotiated_rate` where it is percent (40.5 means 40.5 %): of billed charges by the schema, of what else "
        "only additional_information says; above 100 usually of Medicare. Null for all else.",
    ),
    "is_conditional": Derived(
        sql=f"regexp_matches(lower(coalesce(additional_information, '')), '{_CONDITIONS}')",
        doc="True where the payer's remark makes the price depend on something: lesser of, outlier, stop-loss, "
        "threshold, carve-out, percent.",
    ),
    "is_placeholder": Derived(
        sql=f"coalesce(rate_unit = 'dollars' AND negotiated_rate IN ({', '.join(map(str, _PLACEHOLDERS))}) "
        f"AND NOT regexp_full_match(code, '{PERFORMANCE_CODES}'), false)",
        doc="True for an amount in dollars that stands for none: 0.01, 0.10, 1.00, or nines from 9,999.99 on; but not "
        "for CPT II codes, which report quality and cost a cent in truth.",
    ),
}
