"""When two networks are the same: the one definition, as a view.

A network is the set of its distinct facts: a code, its conditions, the negotiated type, an amount, and the TINs that
have it. The hashes of the facts are added up, so their order does not matter: a payer may split, merge, repeat or
reorder prices, or renumber sets, and the network stays the same. The comparison ignores dates, NPIs and most text. Of
remarks it uses `is_conditional`, and of names those that tell the payer's own codes apart.

The facts are never multiplied by their TINs. A set stands for its TINs by one number; only where a fact has several
sets are these united, once for all facts that have the same ones (benchmarks/NOTES.md, "Contents of networks").
"""

from __future__ import annotations

from mrf_assets.lake.contract_rates import prices_sql
from mrf_assets.lake.view import PLACE, View

_PLACED = ", ".join(PLACE)
_HASH_OF_TINS = "hash(sum(CAST(hash(tin_type, tin_value) AS HUGEINT)))"
_ID = "CAST(hash(sum(CAST({fact} AS HUGEINT))) AS VARCHAR)"

NETWORK_CONTENTS = View(
    "network_contents",
    "One row per network that has prices: what it holds, as numbers to compare. They hold for all networks of one "
    "query; do not store them, as another version of DuckDB may make others.",
    {
        **PLACE,
        "prices": "Distinct prices: code, conditions, negotiated type and amount, whoever has them.",
        "content_id": "Equal for networks with the same prices, whatever TINs have them. Splitting, merging, repeating "
        "and reordering do not change it; remarks, dates and NPIs are not in it.",
        "content_party_id": "Equal for networks whose prices are the same and held by the same TINs.",
        "networks": "Networks with this content_party_id, this one included.",
        "same_as": "The first of them by the alphabet; null where that is this network, so that `same_as IS NULL` "
        "keeps one of each content.",
    },
    f"""WITH of_sets AS (
    SELECT {_PLACED}, file_id, provider_set_id, {_HASH_OF_TINS} AS tins
    FROM set_tins
    GROUP BY {_PLACED}, file_id, provider_set_id
),
facts AS (
    SELECT DISTINCT {_PLACED}, fact, tins
    FROM (
        SELECT DISTINCT {_PLACED}, file_id, provider_set_id,
            hash(code_family, code, condition, rank, negotiated_rate) AS fact
        FROM ({prices_sql()})
    )
    LEFT JOIN of_sets USING ({_PLACED}, file_id, provider_set_id)
),
distinct_facts AS (
    SELECT {_PLACED}, fact, min(tins) AS tins, min(tins) < max(tins) AS has_several_sets
    FROM facts
    GROUP BY {_PLACED}, fact
),
several AS (
    SELECT {_PLACED}, fact, list_sort(list(tins)) AS sets
    FROM facts
    SEMI JOIN (FROM distinct_facts WHERE has_several_sets) USING ({_PLACED}, fact)
    WHERE tins IS NOT NULL
    GROUP BY {_PLACED}, fact
),
united AS (
    SELECT {_PLACED}, sets, {_HASH_OF_TINS} AS united_tins
    FROM (
        SELECT DISTINCT {_PLACED}, sets, tin_type, tin_value
        FROM (SELECT {_PLACED}, sets, unnest(sets) AS tins FROM (SELECT DISTINCT {_PLACED}, sets FROM several))
        JOIN (
            SELECT {_PLACED}, tins, one.file_id AS file_id, one.provider_set_id AS provider_set_id
            FROM (
                SELECT {_PLACED}, tins, any_value({{'file_id': file_id, 'provider_set_id': provider_set_id}}) AS one
                FROM of_sets
                GROUP BY {_PLACED}, tins
            )
        ) USING ({_PLACED}, tins)
        JOIN set_tins USING ({_PLACED}, file_id, provider_set_id)
    )
    GROUP BY {_PLACED}, sets
),
contents AS (
    SELECT {_PLACED}, count(*) AS prices, {_ID.format(fact="fact")} AS content_id,
        {_ID.format(fact="hash(fact, coalesce(united_tins, tins))")} AS content_party_id
    FROM distinct_facts
    LEFT JOIN (SELECT {_PLACED}, fact, united_tins FROM several JOIN united USING ({_PLACED}, sets))
        USING ({_PLACED}, fact)
    GROUP BY {_PLACED}
)
SELECT *, count(*) OVER one AS networks,
    nullif(min(network_id) OVER one, network_id) AS same_as
FROM contents
WINDOW one AS (PARTITION BY content_party_id)""",  # noqa: S608 - names of this package
)
