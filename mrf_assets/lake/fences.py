"""Which dollars are far from their kind: the fences of `rates_flagged` and of the rule `dollars_within_fence`.

The log-scale fence of Turquoise Health: 1.5 interquartile ranges beyond the quartiles, and a range counts as 1.0 at
least, so that a code with one common price makes no outlier of all others (tq-cld.pages.dev). A price is judged among
those of its kind: a professional component and a facility's price are far from the rest of their code, and right.

Each contract (a TIN) has one vote, which it shares among its amounts, so that the fence is the same however the payer
writes its rows. Votes are counted by sets: a TIN in two sets that have the code counts twice.
"""

from __future__ import annotations

MIN_FENCED_CONTRACTS = 40
_FENCED_BY = ("network_id", "code_family", "code", "bill_type", "site", "component", "negotiated_type")
_KEYS = ", ".join(_FENCED_BY)
FENCES_SQL = f"""SELECT
    {", ".join(f"{name} AS fenced_{name}" for name in _FENCED_BY)},
    [ln(min(amount) FILTER (reached >= 0.25 * contracts)), ln(min(amount) FILTER (reached >= 0.75 * contracts))]
        AS quartiles,
    1.5 * greatest(quartiles[2] - quartiles[1], 1.0) AS reach,
    exp(quartiles[1] - reach) AS lower_fence,
    exp(quartiles[2] + reach) AS upper_fence
FROM (
    SELECT {_KEYS}, amount, contracts, sum(votes) OVER (PARTITION BY {_KEYS} ORDER BY amount) AS reached
    FROM (
        SELECT {_KEYS}, unnest(amounts) AS amount, tins / len(amounts) AS votes,
            sum(tins) OVER (PARTITION BY {_KEYS}) AS contracts
        FROM (
            SELECT {_KEYS}, file_id, provider_set_id, list(DISTINCT CAST(dollars AS DOUBLE)) AS amounts
            FROM rates
            WHERE dollars > 0
            GROUP BY {_KEYS}, file_id, provider_set_id
        )
        JOIN (
            SELECT network_id, file_id, provider_set_id, count(*) AS tins FROM set_tins GROUP BY ALL
        ) USING (network_id, file_id, provider_set_id)
    )
    WHERE contracts >= {MIN_FENCED_CONTRACTS}
)
GROUP BY {_KEYS}"""  # noqa: S608 - names of this module
# With `=` DuckDB makes only the fences of the networks and codes that a query asks for; dollars have a type and a code.
FENCED = " AND ".join(f"fenced_{name} = {name}" for name in _FENCED_BY)
OUTSIDE_FENCE = "dollars > 0 AND NOT CAST(dollars AS DOUBLE) BETWEEN lower_fence AND upper_fence"
