"""What prices hang on, one row each: TINs, names of networks, and the codes inside bundles and capitations.

Views of the latest periods, computed when they are asked. Whoever bills is named by vote, as payers spell one
practice in many ways.
"""

from __future__ import annotations

from mrf_assets.lake.view import PLACE, View, table_docs
from mrf_assets.schema import PROVIDERS, RATES
from mrf_assets.schema.tins import masked_tin_sql

_PROVIDER_DOCS = {column.name: column.doc for column in PROVIDERS.columns}
_MASKED = masked_tin_sql("tin_type", "tin_value")


def _folded(name: str) -> str:
    """A name without case, accents and signs; null where nothing is left of it."""
    return f"nullif(regexp_replace(upper(strip_accents({name})), '[^A-Z0-9]', '', 'g'), '')"


def _vote(spellings: str, voters: str) -> str:
    """The name that most voters give to a TIN; of equals the first by the alphabet."""
    return f"""SELECT tin_type, tin_value, CAST(sum(voters) AS BIGINT) AS votes,
        list({{'name': name, 'voters': voters}} ORDER BY voters DESC, name)[1] AS winner
    FROM (
        SELECT tin_type, tin_value, min(name) AS name, count(DISTINCT {voters}) AS voters
        FROM {spellings}
        WHERE {_folded("name")} IS NOT NULL
        GROUP BY tin_type, tin_value, {_folded("name")}
    )
    GROUP BY tin_type, tin_value"""  # noqa: S608 - names of this module


TINS = View(
    "tins",
    "One row per TIN of the latest periods: who it is, as most networks say. Ask for a tin_value where you can.",
    {
        "tin_type": _PROVIDER_DOCS["tin_type"],
        "tin_value": _PROVIDER_DOCS["tin_value"],
        "tin_masked": "The TIN as it may be shown: two digits and stars where it is likely a social security number or "
        "has no sound shape, else the TIN.",
        "is_masked": "True where tin_masked hides the TIN.",
        "name": "The business_name that most networks give, in one of its spellings; where no payer gives one, the "
        "name that NPPES gives to most organizations (Type 2) of the TIN. Null where neither knows.",
        "name_source": "payers or NPPES; null without a name.",
        "confidence": "Share of the votes that went to the name, above 0 to 1. Case, accents and signs make no other "
        "name. It compares names and proves none: one vote makes 1.",
        "votes": "Votes for any name: one for each network and name, or for each organization of NPPES.",
        "npis": "Distinct NPIs that the networks list for it.",
        "networks": "Networks that list it.",
        "states": "States of the practices of those NPIs, by `provider_directory`; empty before it is made.",
    },
    f"""WITH listed AS (
    SELECT tin_type, tin_value, count(DISTINCT npi) AS npis, count(DISTINCT network_id) AS networks
    FROM providers
    WHERE tin_value IS NOT NULL
    GROUP BY tin_type, tin_value
),
registered AS (
    SELECT DISTINCT tin_type, tin_value, npi, entity_type, provider_name AS name, practice_state
    FROM providers
    JOIN provider_directory USING (npi)
),
places AS (
    SELECT tin_type, tin_value, list_sort(list(DISTINCT practice_state)) AS states
    FROM registered
    WHERE practice_state IS NOT NULL
    GROUP BY tin_type, tin_value
),
of_payers AS (
    {_vote("(SELECT *, trim(business_name) AS name FROM providers)", "network_id")}
),
of_nppes AS (
    {_vote("(FROM registered WHERE entity_type = 'organization')", "npi")}
)
SELECT
    tin_type, tin_value, {_MASKED} AS tin_masked, tin_masked <> tin_value AS is_masked,
    coalesce(p.winner.name, n.winner.name) AS name,
    CASE WHEN p.winner IS NOT NULL THEN 'payers' WHEN n.winner IS NOT NULL THEN 'NPPES' END AS name_source,
    coalesce(p.winner.voters / p.votes, n.winner.voters / n.votes) AS confidence,
    coalesce(p.votes, n.votes, 0) AS votes,
    npis, networks, coalesce(states, []) AS states
FROM listed
LEFT JOIN of_payers p USING (tin_type, tin_value)
LEFT JOIN of_nppes n USING (tin_type, tin_value)
LEFT JOIN places USING (tin_type, tin_value)""",  # noqa: S608 - names of this module
)

NETWORK_NAMES = View(
    "network_names",
    "One row per network, period and name that its file gives to networks of provider groups (schema 2).",
    {
        **PLACE,
        "network_name": "As the payer writes it.",
        "groups": "Provider groups with this name. A group may have several names, so that sums over them count it "
        "several times.",
        "tins": "Distinct TINs of those groups.",
        "npis": "Distinct NPIs of those groups.",
    },
    """SELECT
    network_id, period, network_name,
    count(DISTINCT (file_id, provider_group_id)) AS groups,
    count(DISTINCT CASE WHEN tin_value IS NOT NULL THEN concat_ws(' ', tin_type, tin_value) END) AS tins,
    count(DISTINCT npi) AS npis
FROM (
    SELECT network_id, period, file_id, provider_group_id, tin_type, tin_value, npi,
        unnest(network_names) AS network_name
    FROM providers
)
WHERE network_name IS NOT NULL
GROUP BY network_id, period, network_name""",
)


def _inner_codes(name: str, column: str, what: str) -> View:
    """The codes in a list of each price, one row each."""
    outer = ("file_id", "price_number", "negotiation_arrangement", "code_family", "code")
    docs = table_docs(RATES)
    names = ", ".join((*PLACE, *outer))
    return View(
        name,
        f"One row per price and {what}. Prices without any have no row.",
        {
            **PLACE,
            **{it: docs[it] for it in outer[:3]},
            "code_family": f"Of the price, not of the {what}: {docs['code_family']}",
            "code": f"Of the price, not of the {what}: {docs['code']}",
            "position": "Place in the list of the price, from 1.",
            "inner_code_type": f"Type of the {what}, as the payer gives it.",
            "inner_code_type_version": "Version of that type.",
            "inner_code": f"The {what}.",
            "inner_description": "The payer's description of it.",
        },
        f"""SELECT
    {names}, position, inner_one.billing_code_type AS inner_code_type,
    inner_one.billing_code_type_version AS inner_code_type_version,
    inner_one.billing_code AS inner_code, inner_one.description AS inner_description
FROM (
    SELECT {names}, unnest({column}) AS inner_one, unnest(range(1, len({column}) + 1)) AS position
    FROM rates
    WHERE len({column}) > 0
)""",  # noqa: S608 - names of this module
    )


BUNDLED_CODES_FLAT = _inner_codes("bundled_codes_flat", "bundled_codes", "bundled code")
COVERED_SERVICES_FLAT = _inner_codes("covered_services_flat", "covered_services", "covered service")

DIMENSION_VIEWS = (TINS, NETWORK_NAMES, BUNDLED_CODES_FLAT, COVERED_SERVICES_FLAT)
