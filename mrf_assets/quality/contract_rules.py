"""Rules on contracts, a TIN with its conditions each, over the views of the catalog; `lake_rules` applies them.

They run after publication alone. A network of many contracts is judged by every n-th of its TINs, so that a rule takes
seconds: a TIN is taken or left with all of its prices.
"""

from __future__ import annotations

from mrf_assets.lake.contract_rates import contracts_sql
from mrf_assets.quality.network_rules import Check
from mrf_assets.schema.tins import masked_tin_sql

_MAX_CONTRACTS = 1_000_000  # prices times TINs, of one network
_TINS_SQL = f"""(
    SELECT s.* FROM set_tins s
    JOIN (
        SELECT network_id, 1 + CAST(sum(prices * tins) AS BIGINT) // {_MAX_CONTRACTS} AS step
        FROM (SELECT network_id, file_id, provider_set_id, count(*) AS prices FROM rates GROUP BY ALL)
        JOIN (SELECT network_id, file_id, provider_set_id, count(*) AS tins FROM set_tins GROUP BY ALL)
            USING (network_id, file_id, provider_set_id)
        GROUP BY network_id
    ) USING (network_id)
    WHERE hash(s.tin_type, s.tin_value) % step = 0
)"""  # noqa: S608 - constants
_TIN = "network_id, tin_type, tin_value"
_SHOWN_TIN = f"network_id, {masked_tin_sql('tin_type', 'tin_value')} AS tin"
_CONTRACT = "code_family, code, own_name, bill_type, negotiation_arrangement, contents, is_conditional"
_SERVICE = f"{_TIN}, {_CONTRACT}"
_OF_SPLIT_CODES = """dollars > 0 AND component <> 'other' AND (network_id, code_family, code) IN (
    SELECT network_id, code_family, code FROM rates WHERE component IN ('26', 'TC')
    GROUP BY ALL HAVING count(DISTINCT component) = 2
)"""
_TRIPLES_SQL = f"""SELECT {_SERVICE}, site,
    max(typical) FILTER (component IN ('base', 'alternatives')) AS base,
    max(typical) FILTER (component = '26') AS professional, max(typical) FILTER (component = 'TC') AS technical
FROM ({contracts_sql(_TINS_SQL, _OF_SPLIT_CODES)})
WHERE negotiated_type <> 'derived'
GROUP BY {_SERVICE}, site
HAVING base > 0 AND professional > 0 AND technical > 0"""  # noqa: S608 - constants
_AT_ONE_SITE = """dollars > 0 AND billing_class IN ('professional', 'both') AND component = 'base'
    AND site IN ('facility', 'nonfacility')"""
_SITES_SQL = f"""SELECT {_SERVICE},
    max(typical) FILTER (site = 'facility') AS facility, max(typical) FILTER (site = 'nonfacility') AS nonfacility
FROM ({contracts_sql(_TINS_SQL, _AT_ONE_SITE)})
WHERE bill_type = 'professional' AND negotiated_type <> 'derived'
GROUP BY {_SERVICE}
HAVING facility > 0 AND nonfacility > 0"""  # noqa: S608 - constants
_DRGS_SQL = f"""SELECT DISTINCT {_TIN}, code, typical
FROM ({contracts_sql(_TINS_SQL, "dollars > 0 AND code_family = 'MS-DRG'")})"""  # noqa: S608 - constants
_SCOPES_SQL = f"""SELECT {_TIN}, bool_or(has_all_codes) AS has_all_codes, bool_or(has_a_code) AS has_a_code
FROM (
    SELECT network_id, file_id, provider_set_id, bool_or(code_scope = 'all codes') AS has_all_codes,
        bool_or(code_scope <> 'all codes') AS has_a_code
    FROM rates GROUP BY network_id, file_id, provider_set_id
)
JOIN set_tins USING (network_id, file_id, provider_set_id)
GROUP BY {_TIN}"""  # noqa: S608 - constants


def _count(rows: str) -> str:
    return f"SELECT network_id, count(*) AS rows FROM ({rows}) GROUP BY network_id"  # noqa: S608 - constants


CONTRACT_RULES: tuple[Check, ...] = (
    Check(
        name="component_order",
        table="rates",
        severity="warn",
        explanation="In at least 90 % of the contracts that have all three, the professional component (26) and the "
        "technical one (TC) are each less than the whole, and together within 10 % of it.",
        sql=f"""SELECT {_SHOWN_TIN}, {_CONTRACT}, base, professional, technical FROM ({_TRIPLES_SQL})
WHERE professional >= base OR technical >= base OR professional + technical NOT BETWEEN 0.9 * base AND 1.1 * base""",  # noqa: S608 - constants
        population_sql=_count(_TRIPLES_SQL),
        tolerated_share=0.1,
    ),
    Check(
        name="site_order",
        table="rates",
        severity="warn",
        explanation="In at least 80 % of the contracts that have both, the professional price in a facility is no more "
        "than the one in an office, which pays for the office, too.",
        sql=f"""SELECT {_SHOWN_TIN}, {_CONTRACT}, facility, nonfacility FROM ({_SITES_SQL})
WHERE facility > nonfacility""",  # noqa: S608 - constants
        population_sql=_count(_SITES_SQL),
        tolerated_share=0.2,
    ),
    Check(
        name="drg_flat_amount",
        table="rates",
        severity="warn",
        explanation="At most 1 % of the TINs with MS-DRGs have one amount for more than 100 of them: a base rate, to "
        "be multiplied by the weight of the DRG.",
        threshold=100,
        sql=f"""SELECT {_SHOWN_TIN}, typical AS amount, count(*) AS drgs FROM ({_DRGS_SQL})
GROUP BY {_TIN}, typical HAVING count(*) > $threshold""",  # noqa: S608 - constants
        population_sql=_count(f"SELECT DISTINCT {_TIN} FROM ({_DRGS_SQL})"),  # noqa: S608 - constants
        tolerated_share=0.01,
    ),
    Check(
        name="all_codes_share",
        table="rates",
        severity="warn",
        explanation="At most 20 % of TINs are priced for all codes (CSTM-00) alone; a statistic over codes leaves "
        "them out.",
        sql=f"SELECT {_SHOWN_TIN} FROM ({_SCOPES_SQL}) WHERE has_all_codes AND NOT has_a_code",  # noqa: S608 - constants
        population_sql=_count(_SCOPES_SQL),
        tolerated_share=0.2,
    ),
)
