"""The price to quote: for each provider of a contract one amount, or the reason why there is none.

What is chosen is never the lowest of several amounts because it is the lowest: where amounts contradict one another,
nothing is quoted.
"""

from __future__ import annotations

from mrf_assets.lake.contract_rates import CONTRACT_COLUMNS, prices_sql
from mrf_assets.lake.view import PLACE, Docs, View, table_docs
from mrf_assets.schema import PROVIDERS, RATES

_QUOTED = (
    "network_id, code_family, code, severity, own_name, bill_type, asked_site, negotiation_arrangement, price_basis"
)
_SAME_AMOUNT = 1.1  # amounts within 10 % of each other count as one (Turquoise Health)
# The order of the choice: type, site, component, remark; a digit each.
_CHOICE = """rank % 10 * 1000
                + CASE stated_site WHEN asked_site THEN 0 WHEN 'any' THEN 100 ELSE 200 END
                + CASE component WHEN 'base' THEN 0 ELSE 10 END
                + CASE WHEN is_conditional THEN 1 ELSE 0 END"""
_RULE = """concat(
        CASE choice // 1000 WHEN 1 THEN 'negotiated' WHEN 2 THEN 'fee schedule' WHEN 3 THEN 'derived'
            ELSE price_basis END,
        CASE choice // 100 % 10 WHEN 0 THEN ', for the site' WHEN 1 THEN ', for any site' ELSE ', site not said' END,
        CASE choice // 10 % 10 WHEN 0 THEN '' ELSE ', with or without modifiers' END,
        CASE choice % 10 WHEN 0 THEN '' ELSE ', conditional' END
    )"""

_BEST_SQL = f"""WITH of_sets AS (
    SELECT {_QUOTED}, file_id, provider_set_id, negotiated_rate, any_value(period) AS period,
        CAST({_CHOICE} AS INTEGER) AS choice
    FROM (
        SELECT * EXCLUDE (site, rank), CAST(rank AS INTEGER) AS rank, site AS stated_site,
            unnest(CASE WHEN bill_type = 'professional' THEN ['nonfacility', 'facility'] ELSE ['any'] END) AS asked_site
        FROM ({prices_sql()})
        WHERE rank < 10 AND component IN ('base', 'alternatives')
    )
    WHERE asked_site = 'any' OR stated_site IN (asked_site, 'any', 'not said')
    GROUP BY ALL
),
gathered AS (
    SELECT {_QUOTED}, period, tin_type, tin_value, npi, list({{'choice': choice, 'rate': negotiated_rate}}) AS stated
    FROM of_sets
    JOIN provider_sets USING (network_id, period, file_id, provider_set_id)
    JOIN providers USING (network_id, period, file_id, provider_group_id)
    GROUP BY {_QUOTED}, period, tin_type, tin_value, npi
),
chosen AS (
    SELECT * EXCLUDE (stated), list_min([each.choice for each in stated]) AS choice,
        list_sort(list_distinct([each.rate for each in stated if each.choice = choice])) AS amounts
    FROM gathered
)
SELECT
    network_id, period, code_family, code, severity, own_name, bill_type, asked_site AS site, negotiation_arrangement,
    price_basis, tin_type, tin_value, npi,
    CASE WHEN amounts[-1] <= {_SAME_AMOUNT} * amounts[1]
        THEN CAST(list_aggregate(amounts, 'median') AS DECIMAL(38, 10)) END AS amount,
    {_RULE} AS rule,
    CASE WHEN amounts[-1] > {_SAME_AMOUNT} * amounts[1] THEN
        concat('several amounts (', len(amounts), '), ', CAST(amounts[1] AS DECIMAL(38, 2)), ' to ',
            CAST(amounts[-1] AS DECIMAL(38, 2))) END AS reason,
    len(amounts) AS amounts, amounts[1] AS lowest, amounts[-1] AS highest
FROM chosen"""  # noqa: S608 - names of this package

_RATE_DOCS, _PROVIDER_DOCS = table_docs(RATES), table_docs(PROVIDERS)
_WHO: Docs = {name: _PROVIDER_DOCS[name] for name in ("tin_type", "tin_value", "npi")}
_CODE: Docs = {
    **PLACE,
    **{
        name: CONTRACT_COLUMNS[name]
        for name in ("code_family", "code", "severity", "own_name", "bill_type")
    },
}  # fmt: skip
BEST_RATES = View(
    "best_rates",
    "One row per network, code, bill type, site, arrangement, unit, TIN and NPI: the price to quote for the service "
    "without a modifier. Ask for a code, an npi or a tin_value; a code that is not named has its price in "
    "all_codes_rates.",
    {
        **_CODE,
        "site": "nonfacility or facility, with prices for any site and without one in both; any for institutional "
        "prices.",
        "negotiation_arrangement": _RATE_DOCS["negotiation_arrangement"],
        "price_basis": _RATE_DOCS["price_basis"],
        **_WHO,
        "amount": "The amount, in the unit of price_basis: the only one, or the median of several within 10 %; null "
        "where they contradict one another.",
        "rule": "What decided, in this order: negotiated before fee schedule before derived; for the site before any "
        "site before none; without modifiers before a list of alternatives; unconditional before conditional.",
        "reason": "Why there is no amount: how many there are, and from what to what.",
        "amounts": "Distinct amounts that stand first in that order.",
        "lowest": "The lowest of them.",
        "highest": "The highest of them.",
    },
    _BEST_SQL,
)
ALL_CODES_RATES = View(
    "all_codes_rates",
    "One row per network, TIN and price for all codes (CSTM-00): what applies where no code is named.",
    {
        **PLACE,
        "code_family": "The type whose codes it is for; CSTM-ALL for all types.",
        **{name: CONTRACT_COLUMNS[name] for name in ("tin_type", "tin_value")},
        **{
            name: _RATE_DOCS[name]
            for name in (
                "bill_type", "negotiated_type", "negotiated_rate", "rate_unit", "price_basis", "percentage", "setting",
                "billing_class", "name", "additional_information", "expiration_date",
            )
        },
        "rows": "Price rows that say so.",
    },
    """SELECT
    network_id, period, code_family, tin_type, tin_value, bill_type, negotiated_type, negotiated_rate, rate_unit,
    price_basis, percentage, setting, billing_class, name, additional_information, expiration_date, count(*) AS rows
FROM rates
JOIN set_tins USING (network_id, period, file_id, provider_set_id)
WHERE code_scope = 'all codes'
GROUP BY ALL""",
)  # fmt: skip
