"""Whose the networks are: payers, and what is known of each network.

`payers.csv` says to which payer a legal entity belongs, by how its name begins: facts that everyone can look up, of
the payers that most people are insured with. An entity that it does not know is a payer of its own.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from mrf_assets.lake.view import PLACE, View

_SHARE_OF_STATE = 0.1  # of the NPIs whose state is known: telehealth and moved practices are in all states


def _words(name: str) -> str:
    """A name as words, in SQL: without case, accents, signs and the word AND."""
    letters = f"regexp_replace(replace(upper(strip_accents({name})), '''', ''), '[^A-Z0-9]+', ' ', 'g')"
    return f"trim(regexp_replace(' ' || {letters} || ' ', '( AND)+ ', ' ', 'g'))"


def _known_payers() -> str:
    """The rows of `payers.csv` as SQL: the words that a name begins with, the id, the name."""
    with Path(__file__).with_name("payers.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (re.sub("[^A-Z0-9]+", " ", row["name_begins"].upper()), row["payer_id"], row["payer_name"])
            for row in csv.DictReader(file)
        ]
    return ", ".join(str(row) for row in rows)  # without quotes in them, which a test holds


_ENTITIES = f"""SELECT network_id, period, reporting_entity_name, reporting_entity_type, files,
        coalesce(payer_id, nullif(replace(lower(words), ' ', '-'), '')) AS payer_id, payer_name
    FROM (
        SELECT network_id, period, reporting_entity_name, any_value(reporting_entity_type) AS reporting_entity_type,
            count(*) AS files, {_words("reporting_entity_name")} AS words
        FROM files
        WHERE reporting_entity_name IS NOT NULL
        GROUP BY network_id, period, reporting_entity_name
    )
    LEFT JOIN (
        SELECT words, arg_max(payer_id, len(begins)) AS payer_id, arg_max(payer_name, len(begins)) AS payer_name
        FROM (SELECT DISTINCT {_words("reporting_entity_name")} AS words FROM files)
        JOIN (VALUES {_known_payers()}) AS known(begins, payer_id, payer_name)
            ON starts_with(words || ' ', begins || ' ')
        GROUP BY words
    ) USING (words)"""  # noqa: S608 - names of this module, and of the shipped table

PAYERS = View(
    "payers",
    "One row per payer of the latest periods: legal entities that `payers.csv` of this package knows as one, or one "
    "that it does not know.",
    {
        "payer_id": "Of payers.csv; of an entity that is not there, its name in lower case with hyphens.",
        "payer_name": "Of payers.csv; null for an entity that is not there.",
        "legal_entities": "Their names, as the headers of files have them.",
        "entity_types": "What they say they are, as in health insurance issuer or third party administrator.",
        "networks": "Networks with a file of theirs.",
    },
    f"""SELECT payer_id, any_value(payer_name) AS payer_name,
    list_sort(list(DISTINCT reporting_entity_name)) AS legal_entities,
    list_sort(coalesce(list(DISTINCT reporting_entity_type) FILTER (reporting_entity_type IS NOT NULL), []))
        AS entity_types,
    count(DISTINCT network_id) AS networks
FROM ({_ENTITIES})
WHERE payer_id IS NOT NULL
GROUP BY payer_id""",  # noqa: S608 - the same
)

NETWORK_DETAILS = View(
    "network_details",
    "One row per network: its name, its payer and its size, of its latest period. The table `networks` lists every "
    "period, and costs nothing; this view reads all providers, so ask for a network_id where you can.",
    {
        **PLACE,
        "first_period": "The first period that is published here.",
        "periods": "Periods that are published here.",
        "display_name": "A name for people, by display_name_source.",
        "display_name_source": "network_name: the name that most provider groups have (schema 2), and how many more "
        "names there are; rule: what the address of its files says, the scope and the payer's own id.",
        "reporting_entity_name": "Header of most of its files.",
        "payer_id": "Of `payers`, by reporting_entity_name.",
        "files": "Files of the period.",
        "plans": "Plans that use it, by plan_key, else by id or name.",
        "market_types": "group, individual: of those plans.",
        "tins": "Distinct TINs that its files list.",
        "npis": "Distinct NPIs that its files list.",
        "states": f"States in which at least {_SHARE_OF_STATE:.0%} of those NPIs practice, by `provider_directory`; "
        "empty before it is made.",
    },
    f"""WITH published AS (
    SELECT network_id, min(period) AS first_period, count(*) AS periods
    FROM networks
    GROUP BY network_id
),
of_files AS (
    SELECT network_id, period, count(*) AS files, min(concat_ws(' ', network_scope, raw_network_id)) AS published_id
    FROM files
    GROUP BY network_id, period
),
of_entities AS (
    SELECT network_id,
        list(reporting_entity_name ORDER BY files DESC, reporting_entity_name)[1] AS reporting_entity_name,
        list(payer_id ORDER BY files DESC, reporting_entity_name)[1] AS payer_id
    FROM ({_ENTITIES})
    GROUP BY network_id
),
of_names AS (
    SELECT network_id, list(network_name ORDER BY groups DESC, network_name)[1] AS network_name, count(*) - 1 AS others
    FROM network_names
    GROUP BY network_id
),
of_plans AS (
    SELECT network_id, count(DISTINCT coalesce(plan_key, plan_id, plan_name)) AS plans,
        list_sort(list(DISTINCT plan_market_type) FILTER (plan_market_type IS NOT NULL)) AS market_types
    FROM (
        SELECT network_id, plan_key, plan_id, plan_name, plan_market_type FROM plans
        UNION ALL
        SELECT network_id, plan_key, plan_id, plan_name, plan_market_type
        FROM files
        ANTI JOIN plans USING (network_id, period, file_id)
    )
    GROUP BY network_id
),
of_providers AS (
    SELECT network_id, count(DISTINCT (tin_type, tin_value)) FILTER (tin_value IS NOT NULL) AS tins,
        count(DISTINCT npi) AS npis
    FROM providers
    GROUP BY network_id
),
practices AS (
    SELECT network_id, practice_state, count(*) AS npis
    FROM (SELECT DISTINCT network_id, npi FROM providers)
    JOIN provider_directory USING (npi)
    WHERE practice_state IS NOT NULL
    GROUP BY network_id, practice_state
),
of_states AS (
    SELECT network_id, list_sort(list(practice_state)) AS states
    FROM (SELECT *, sum(npis) OVER (PARTITION BY network_id) AS placed FROM practices)
    WHERE npis >= {_SHARE_OF_STATE} * placed
    GROUP BY network_id
)
SELECT
    network_id, period, first_period, periods,
    CASE WHEN network_name IS NULL THEN published_id
        WHEN others = 0 THEN network_name ELSE concat(network_name, ' and ', others, ' more') END AS display_name,
    CASE WHEN network_name IS NOT NULL THEN 'network_name' WHEN published_id <> '' THEN 'rule' END
        AS display_name_source,
    reporting_entity_name, payer_id, files,
    coalesce(plans, 0) AS plans, coalesce(market_types, []) AS market_types,
    coalesce(tins, 0) AS tins, coalesce(of_providers.npis, 0) AS npis, coalesce(states, []) AS states
FROM of_files
JOIN published USING (network_id)
LEFT JOIN of_entities USING (network_id)
LEFT JOIN of_names USING (network_id)
LEFT JOIN of_plans USING (network_id)
LEFT JOIN of_providers USING (network_id)
LEFT JOIN of_states USING (network_id)""",  # noqa: S608 - names of this package
)
