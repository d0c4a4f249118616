"""The bulk file's columns as those of `schema.NPI_REGISTRY`: one SQL expression for each.

Column names: the header of `npidata_pfile_*.csv`, version 2 (download.cms.gov/nppes). All cells are
text; an empty one is null by the time these expressions see it.
"""

from __future__ import annotations

from typing import Final

_TAXONOMIES: Final = 15
_PRACTICE, _MAILING = "Practice Location", "Mailing"


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _us_date(name: str) -> str:
    return f"CAST(try_strptime({_column(name)}, '%m/%d/%Y') AS DATE)"


def _iso_date(name: str) -> str:
    return f"CAST(try_strptime({_column(name)}, '%Y-%m-%d') AS DATE)"


def _date(name: str) -> str:
    return f"coalesce({_us_date(name)}, {_iso_date(name)})"


def _flag(name: str) -> str:
    return f"CASE {_column(name)} WHEN 'Y' THEN true WHEN 'N' THEN false END"


def _npi(name: str) -> str:
    # A cast alone would round 1234567893.5, which is another provider.
    text = f"trim({_column(name)})"
    return f"CASE WHEN regexp_full_match({text}, '[0-9]{{10}}') THEN TRY_CAST({text} AS BIGINT) END"


def _address(prefix: str, label: str) -> dict[str, str]:
    business = f"Provider Business {label} Address"
    return {
        f"{prefix}_address_1": _column(f"Provider First Line Business {label} Address"),
        f"{prefix}_address_2": _column(f"Provider Second Line Business {label} Address"),
        f"{prefix}_city": _column(f"{business} City Name"),
        f"{prefix}_state": _column(f"{business} State Name"),
        f"{prefix}_postal_code": f"regexp_replace({_column(f'{business} Postal Code')}, '[^0-9A-Za-z]', '', 'g')",
        f"{prefix}_country_code": _column(f"{business} Country Code (If outside U.S.)"),
        f"{prefix}_telephone_number": f"regexp_replace({_column(f'{business} Telephone Number')}, '[^0-9+]', '', 'g')",
        f"{prefix}_fax_number": f"regexp_replace({_column(f'{business} Fax Number')}, '[^0-9+]', '', 'g')",
    }


def _numbered(name: str) -> list[str]:
    return [_column(f"{name}_{place}") for place in range(1, _TAXONOMIES + 1)]


_CODES = _numbered("Healthcare Provider Taxonomy Code")
_SWITCHES = _numbered("Healthcare Provider Primary Taxonomy Switch")
_PRIMARY = "".join(
    f" WHEN {switch} = 'Y' AND {code} IS NOT NULL THEN {code}" for code, switch in zip(_CODES, _SWITCHES, strict=True)
)
# A date that cannot be read says that it happened all the same.
_DEACTIVATED, _REACTIVATED = _column("NPI Deactivation Date"), _column("NPI Reactivation Date")
_DATES: Final = {
    "enumeration_date": "Provider Enumeration Date",
    "last_updated": "Last Update Date",
    "certification_date": "Certification Date",
    "deactivation_date": "NPI Deactivation Date",
    "reactivation_date": "NPI Reactivation Date",
}

EXPRESSIONS: Final[dict[str, str]] = {
    "npi": _npi("NPI"),
    "status": f"CASE WHEN {_DEACTIVATED} IS NOT NULL AND {_REACTIVATED} IS NULL THEN 'deactivated' ELSE 'matched' END",
    "entity_type": f"CASE {_column('Entity Type Code')} WHEN '1' THEN 'individual' WHEN '2' THEN 'organization' END",
    "organization_name": _column("Provider Organization Name (Legal Business Name)"),
    "last_name": _column("Provider Last Name (Legal Name)"),
    "first_name": _column("Provider First Name"),
    "middle_name": _column("Provider Middle Name"),
    "name_prefix": _column("Provider Name Prefix Text"),
    "name_suffix": _column("Provider Name Suffix Text"),
    "credential": _column("Provider Credential Text"),
    "is_sole_proprietor": _flag("Is Sole Proprietor"),
    "is_subpart": _flag("Is Organization Subpart"),
    **_address("practice", _PRACTICE),
    **_address("mailing", _MAILING),
    "primary_taxonomy_code": f"CASE{_PRIMARY} ELSE {_CODES[0]} END",
    "taxonomy_codes": f"list_filter([{', '.join(_CODES)}], lambda code: code IS NOT NULL)",
    **{column: _date(name) for column, name in _DATES.items()},
    "replacement_npi": _npi("Replacement NPI"),
}


def _count(conditions: list[str]) -> str:
    return " + ".join(f"CAST({condition} AS UTINYINT)" for condition in conditions)


# How often each repair was needed in a line; the kinds stand in docs/repairs.md.
REPAIRS: Final[dict[str, str]] = {
    "bulk_date_form": _count(
        [f"({_us_date(name)} IS NULL AND {_iso_date(name)} IS NOT NULL)" for name in _DATES.values()]
    ),
    "bulk_date_unreadable": _count(
        [f"({_column(name)} IS NOT NULL AND {_date(name)} IS NULL)" for name in _DATES.values()]
    ),
    "bulk_replacement_npi_unreadable": _count(
        [f"({_column('Replacement NPI')} IS NOT NULL AND {_npi('Replacement NPI')} IS NULL)"]
    ),
}

COLUMNS: Final = tuple(
    dict.fromkeys(
        name
        for expression in EXPRESSIONS.values()
        for name in expression.split('"')[1::2]  # what stands in double quotes
    )
)
