"""TINs that are likely social security numbers, and how a TIN is shown.

Individuals may bill under their SSN, and the CMS schema asks payers to give an NPI in its place. Not all do: an ein
whose first two digits the IRS never assigned is an SSN, in all likelihood. No sample, page or report shows one.
"""

from __future__ import annotations

# irs.gov, "How EINs are assigned and valid EIN prefixes": all but these.
UNUSED_EIN_PREFIXES = (
    "00", "07", "08", "09", "17", "18", "19", "28", "29", "49", "69", "70", "78", "79", "89", "96", "97",
)  # fmt: skip
_UNUSED = ", ".join(f"'{prefix}'" for prefix in UNUSED_EIN_PREFIXES)


def likely_ssn_sql(tin_type: str, tin_value: str) -> str:
    """Whether a TIN is likely an SSN, in DuckDB's SQL, of two expressions; null where a value is missing."""
    return f"({tin_type} = 'ein' AND {tin_value}[:2] IN ({_UNUSED}))"


def masked_tin_sql(tin_type: str, tin_value: str) -> str:
    """A TIN as it may be shown, in DuckDB's SQL, of two expressions: 07******* for all that is no sound EIN or NPI.

    A value of another shape or type may be an SSN as well.
    """
    is_ein = f"{tin_type} = 'ein' AND strlen({tin_value}) = 9 AND {tin_value} NOT GLOB '*[!0-9]*'"
    is_npi = f"{tin_type} = 'npi' AND strlen({tin_value}) = 10 AND {tin_value} NOT GLOB '*[!0-9]*'"
    is_sound = f"({is_ein} AND NOT {likely_ssn_sql(tin_type, tin_value)}) OR ({is_npi})"
    return f"CASE WHEN {is_sound} THEN {tin_value} ELSE {tin_value}[:2] || '*******' END"
