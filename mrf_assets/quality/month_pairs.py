"""What each TIN has for a code under given conditions in one month, and in the next: the same, or what changed.

A TIN's prices are compared, not those of a set of TINs: sets change their members every month, and one that joins must
not make a whole schedule new. Where a TIN has one amount in each month they are one price. Of several, the one with the
same remark is, then the one for the same NPIs; what is left is not paired, for which became which would be a guess.

Tables of one connection, in the order in which they are made:

    month_sets      each provider set of both months: a number for its TINs, and one for its TINs with their NPIs
    month_prices    distinct amounts by conditions and set
    month_amounts   a number for each amount, unit, type and remark
    month_holders   by conditions the amounts of both months, and how many TINs have them
    month_found     what was paired, and what was not
    price_pairs     the outcome: what `compare_months` says
"""

from __future__ import annotations

import duckdb

_CONDITIONS = (
    "code_family", "code", "severity", "own_name", "negotiation_arrangement", "billing_class", "stated_setting", "site",
    "modifiers", "contents",
)  # fmt: skip
_ROWS_AT_ONCE = 4_000_000  # TINs times prices that are gathered at a time: 1 GB holds them
_NOBODY = "0"  # stands for the TIN of prices that name no provider


def compare_months(connection: duckdb.DuckDBPyConnection, before: str, now: str) -> None:
    """Make `price_pairs` of the only network that the connection shows.

    Columns: condition and its parts, change (`same`, too), paired_by, befores and nows (lists of rate, rate_unit and
    negotiated_type), tins (of prices without a provider, 1), first_tins (at most five; 0 stands for nobody).
    """
    months = {"before": before, "now": now}

    def make(*tables: str) -> None:
        for sql in tables:
            connection.execute(sql, {name: month for name, month in months.items() if f"${name}" in sql})

    make(_SETS, _SETTING_COUNTS, _STATED, _AMOUNTS, _PRICES, _CONDITIONS_TABLE, _UNCHANGED, _TINS)
    connection.execute("DROP TABLE month_stated")
    (rows,) = connection.execute(_FAN_OUT).fetchone() or (0,)
    parts = 1 + int(rows) // _ROWS_AT_ONCE
    make(_HOLDERS_TABLE, _SEVERAL_TABLE)
    for part in range(parts):
        connection.execute(_GATHER, {"part": part, "parts": parts})
        make(_HOLDERS, _SEVERAL)
        connection.execute("DROP TABLE month_gathered")
    make(_SEVERAL_STATED, _BY_REMARK, _LEFT, _MEMBERS, _FOUND_TABLE, _FOUND)
    for part in range(parts):
        connection.execute(_PANELS, {"part": part, "parts": parts})
        make(_BY_NPIS, _FOUND_BY_NPIS)
        connection.execute("DROP TABLE month_panels; DROP TABLE month_by_npis")
    connection.execute("DROP TABLE month_members; DROP TABLE month_several; DROP TABLE month_holders")
    make(_PLACED, _PAIRS)


# Sums of hashes do not depend on order; equal numbers of two sets mean the same members.
_SETS = """CREATE TEMP TABLE month_sets AS
SELECT period, file_id, provider_set_id, party, panel
FROM (
    SELECT period, file_id, provider_set_id, hash(sum(CAST(hash(tin_type, tin_value) AS HUGEINT))) AS party
    FROM set_tins_history
    WHERE period IN ($before, $now)
    GROUP BY period, file_id, provider_set_id
)
JOIN (
    SELECT period, file_id, provider_set_id, hash(sum(CAST(members AS HUGEINT))) AS panel
    FROM provider_sets_history
    JOIN (
        SELECT period, file_id, provider_group_id, sum(CAST(hash(tin_type, tin_value, npi) AS HUGEINT)) AS members
        FROM (
            SELECT DISTINCT period, file_id, provider_group_id, tin_type, tin_value, npi
            FROM providers_history
            WHERE period IN ($before, $now)
        )
        GROUP BY period, file_id, provider_group_id
    ) USING (period, file_id, provider_group_id)
    WHERE period IN ($before, $now)
    GROUP BY period, file_id, provider_set_id
) USING (period, file_id, provider_set_id)"""
# Schema 1 knows no setting: a condition that one month never states tells no two of its prices apart.
_SETTING_COUNTS = """CREATE TEMP TABLE month_settings AS
SELECT count(DISTINCT period) FILTER (setting IS NOT NULL) = 2 AS both_months_state_it,
    count(DISTINCT period) FILTER (setting IS NOT NULL) = 1 AS one_month_states_it
FROM rates_history
WHERE period IN ($before, $now)"""
_STATED = f"""CREATE TEMP TABLE month_stated AS
SELECT DISTINCT
    hash({", ".join(_CONDITIONS)}) AS condition, {", ".join(_CONDITIONS)}, is_now,
    coalesce(party, 0) AS party, coalesce(panel, 0) AS panel, rate, rate_unit, negotiated_type, remark
FROM (
    SELECT
        period = $now AS is_now, period, file_id, provider_set_id, code_family, code, severity,
        CASE WHEN code_scope = 'payer''s own' THEN upper(trim(coalesce(name, description))) END AS own_name,
        negotiation_arrangement, billing_class, CASE WHEN both_months_state_it THEN setting END AS stated_setting, site,
        list_sort(list_distinct(coalesce(billing_code_modifiers, []))) AS modifiers,
        CASE WHEN len(coalesce(bundled_codes, [])) > 0 OR len(coalesce(covered_services, [])) > 0
            THEN hash(list_sort(bundled_codes), list_sort(covered_services)) END AS contents,
        negotiated_rate AS rate, rate_unit, negotiated_type, lower(trim(coalesce(additional_information, ''))) AS remark
    FROM rates_history
    CROSS JOIN month_settings
    WHERE period IN ($before, $now)
)
LEFT JOIN month_sets USING (period, file_id, provider_set_id)"""  # noqa: S608 - names of this module
_AMOUNTS = """CREATE TEMP TABLE month_amounts AS
SELECT CAST(row_number() OVER () AS INTEGER) AS amount, *
FROM (SELECT DISTINCT rate, rate_unit, negotiated_type, remark FROM month_stated)"""
_PRICES = """CREATE TEMP TABLE month_prices AS
SELECT condition, is_now, party, panel, amount
FROM month_stated s
JOIN month_amounts a
    ON a.rate = s.rate AND a.rate_unit IS NOT DISTINCT FROM s.rate_unit
    AND a.negotiated_type IS NOT DISTINCT FROM s.negotiated_type AND a.remark = s.remark"""
_CONDITIONS_TABLE = f"""CREATE TEMP TABLE month_conditions AS
SELECT DISTINCT condition, {", ".join(_CONDITIONS)} FROM month_stated"""  # noqa: S608 - names of this module
# Where the same sets of NPIs have the same amounts, nothing changed for anybody.
_UNCHANGED = """CREATE TEMP TABLE month_unchanged AS
SELECT condition
FROM (SELECT DISTINCT condition, is_now, panel, amount FROM month_prices)
GROUP BY condition
HAVING sum(CASE WHEN is_now THEN -1 ELSE 1 END * CAST(hash(panel, amount) AS HUGEINT)) = 0"""
# One set stands for all that have its members.
_TINS = f"""CREATE TEMP TABLE month_tins AS
SELECT CAST(dense_rank() OVER (ORDER BY tin) AS INTEGER) AS number, tin, party
FROM (
    SELECT party, concat(tin_type, ':', tin_value) AS tin
    FROM set_tins_history
    JOIN (SELECT party, min({{'p': period, 'f': file_id, 's': provider_set_id}}) AS one FROM month_sets GROUP BY party)
        ON period = one.p AND file_id = one.f AND provider_set_id = one.s
    UNION ALL
    SELECT 0, '{_NOBODY}'
)"""  # noqa: S608 - a constant
_FAN_OUT = """SELECT coalesce(sum(tins), 0)
FROM month_prices
JOIN (SELECT party, count(*) AS tins FROM month_tins GROUP BY party) USING (party)"""
_GATHER = """CREATE TEMP TABLE month_gathered AS
SELECT condition, number,
    list_sort(list_distinct(coalesce(list(amount) FILTER (NOT is_now), []))) AS befores,
    list_sort(list_distinct(coalesce(list(amount) FILTER (is_now), []))) AS nows
FROM (
    SELECT DISTINCT condition, is_now, party, amount
    FROM month_prices
    WHERE CAST(condition % CAST($parts AS UBIGINT) AS INTEGER) = $part
)
JOIN month_tins USING (party)
GROUP BY condition, number"""
# A class: all TINs that have the same amounts in both months under the same conditions.
_HOLDERS_TABLE = """CREATE TEMP TABLE month_holders (
    class UBIGINT, condition UBIGINT, befores INTEGER[], nows INTEGER[], tins BIGINT, first_numbers INTEGER[],
    has_several BOOLEAN, is_unchanged BOOLEAN
)"""
_HOLDERS = """INSERT INTO month_holders
SELECT hash(condition, befores, nows), condition, befores, nows, tins, first_numbers,
    len(befores) > 0 AND len(nows) > 0 AND len(befores) + len(nows) > 2, u.condition IS NOT NULL
FROM (
    SELECT condition, befores, nows, count(*) AS tins, min(number, 5) AS first_numbers
    FROM month_gathered
    GROUP BY condition, befores, nows
) h
LEFT JOIN month_unchanged u USING (condition)"""
# Who has several amounts, where something changed.
_SEVERAL_TABLE = """CREATE TEMP TABLE month_several (class UBIGINT, condition UBIGINT, number INTEGER)"""
_SEVERAL = """INSERT INTO month_several
SELECT hash(condition, befores, nows), condition, number
FROM month_gathered
ANTI JOIN month_unchanged USING (condition)
WHERE len(befores) > 0 AND len(nows) > 0 AND len(befores) + len(nows) > 2"""
_SEVERAL_STATED = """CREATE TEMP TABLE month_several_stated AS
SELECT class, is_now, amount, remark
FROM (
    SELECT class, false AS is_now, unnest(befores) AS amount
    FROM month_holders WHERE has_several AND NOT is_unchanged
    UNION ALL
    SELECT class, true, unnest(nows) FROM month_holders WHERE has_several AND NOT is_unchanged
)
JOIN month_amounts USING (amount)"""
_BY_REMARK = """CREATE TEMP TABLE month_by_remark AS
SELECT class, remark, any_value(amount) FILTER (NOT is_now) AS before, any_value(amount) FILTER (is_now) AS now
FROM month_several_stated
GROUP BY class, remark
HAVING count(*) FILTER (NOT is_now) = 1 AND count(*) FILTER (is_now) = 1"""
_LEFT = """CREATE TEMP TABLE month_left AS
SELECT *, len(befores) > 0 AND len(nows) > 0 AND len(befores) + len(nows) > 2 AS has_several
FROM (
    SELECT class, coalesce(list(amount ORDER BY amount) FILTER (NOT is_now), []) AS befores,
        coalesce(list(amount ORDER BY amount) FILTER (is_now), []) AS nows
    FROM month_several_stated
    ANTI JOIN month_by_remark USING (class, remark)
    GROUP BY class
)"""
_MEMBERS = """CREATE TEMP TABLE month_members AS
SELECT DISTINCT panel, number, npi
FROM (
    SELECT panel, min({'p': period, 'f': file_id, 's': provider_set_id}) AS one FROM month_sets GROUP BY panel
)
JOIN provider_sets_history ON period = one.p AND file_id = one.f AND provider_set_id = one.s
JOIN (
    SELECT period, file_id, provider_group_id, npi, concat(
        CASE WHEN tin_value IS NULL THEN 'npi' ELSE coalesce(tin_type, 'ein') END, ':',
        coalesce(tin_value, CAST(npi AS VARCHAR))
    ) AS tin
    FROM providers_history
) USING (period, file_id, provider_group_id)
JOIN (SELECT DISTINCT number, tin FROM month_tins) USING (tin)"""
# By TIN, month and amount, a number for the NPIs that have it.
_PANELS = """CREATE TEMP TABLE month_panels AS
SELECT class, condition, number, is_now, amount, hash(sum(CAST(hash(npi) AS HUGEINT)), count(npi)) AS npis
FROM (
    SELECT DISTINCT class, condition, number, is_now, amount, npi
    FROM (
        SELECT class, condition, number, is_now, unnest(amounts) AS amount
        FROM month_several
        JOIN (
            SELECT class, false AS is_now, befores AS amounts FROM month_left WHERE has_several
            UNION ALL
            SELECT class, true, nows FROM month_left WHERE has_several
        ) USING (class)
        WHERE CAST(class % CAST($parts AS UBIGINT) AS INTEGER) = $part
    )
    JOIN (SELECT DISTINCT condition, is_now, panel, amount FROM month_prices) USING (condition, is_now, amount)
    JOIN month_members USING (panel, number)
)
GROUP BY class, condition, number, is_now, amount"""
_BY_NPIS = """CREATE TEMP TABLE month_by_npis AS
SELECT class, condition, number, npis,
    any_value(amount) FILTER (NOT is_now) AS before, any_value(amount) FILTER (is_now) AS now
FROM month_panels
GROUP BY class, condition, number, npis
HAVING count(*) FILTER (NOT is_now) = 1 AND count(*) FILTER (is_now) = 1"""
_FOUND_TABLE = """CREATE TEMP TABLE month_found (
    condition UBIGINT, befores INTEGER[], nows INTEGER[], tins BIGINT, first_numbers INTEGER[], paired_by VARCHAR,
    is_known_same BOOLEAN, is_further BOOLEAN
)"""
_FOUND = """INSERT INTO month_found
SELECT condition, befores, nows, tins, first_numbers,
    CASE WHEN len(befores) = 1 AND len(nows) = 1 THEN 'one amount' END, has_several, false
FROM month_holders
WHERE NOT has_several OR is_unchanged  -- several amounts under conditions where nothing changed are the same
UNION ALL
SELECT condition, [before], [now], tins, first_numbers, 'remark', false, false
FROM month_holders
JOIN month_by_remark USING (class)
UNION ALL  -- one is left in each month, or all in one of them
SELECT condition, l.befores, l.nows, tins, first_numbers,
    CASE WHEN len(l.befores) = 1 AND len(l.nows) = 1 THEN 'one amount' END, false, true
FROM month_holders
JOIN month_left l USING (class)
WHERE NOT l.has_several"""
_FOUND_BY_NPIS = """INSERT INTO month_found
SELECT condition, [before], [now], count(*), min(number, 5), 'NPIs', false, false
FROM month_by_npis
GROUP BY condition, before, now
UNION ALL
SELECT condition, befores, nows, count(*), min(number, 5), NULL, false, true
FROM (
    SELECT condition, number, coalesce(list(amount ORDER BY amount) FILTER (NOT is_now), []) AS befores,
        coalesce(list(amount ORDER BY amount) FILTER (is_now), []) AS nows
    FROM month_panels
    ANTI JOIN month_by_npis USING (class, number, npis)
    GROUP BY class, condition, number
)
GROUP BY condition, befores, nows"""
_PLACED = "CREATE TEMP TABLE month_placed AS SELECT row_number() OVER () AS place, * FROM month_found"


def _stated(side: str) -> str:
    """The amounts of one month, with what they are."""
    return f"""(
    SELECT place,
        list({{'rate': rate, 'rate_unit': rate_unit, 'negotiated_type': negotiated_type}} ORDER BY rate) AS {side}
    FROM (SELECT place, unnest({side}) AS amount FROM month_placed)
    JOIN month_amounts USING (amount)
    GROUP BY place
)"""  # noqa: S608 - names of this module


_SAME_UNIT = "befores[1].rate_unit IS NOT DISTINCT FROM nows[1].rate_unit"
_SAME_TYPE = "befores[1].negotiated_type IS NOT DISTINCT FROM nows[1].negotiated_type"
_CODE = "concat(code_family, ':', code, ':', own_name)"
_PAIRS = f"""CREATE TEMP TABLE price_pairs AS
WITH codes AS (
    SELECT {_CODE} AS name, bool_or(NOT is_now) AS is_old, bool_or(is_now) AS is_new
    FROM (SELECT DISTINCT condition, is_now FROM month_prices)
    JOIN month_conditions USING (condition)
    GROUP BY name
),
named AS (
    SELECT c.*, f.* EXCLUDE (condition, befores, nows, place), coalesce(b.befores, []) AS befores,
        coalesce(n.nows, []) AS nows, is_old, is_new
    FROM month_placed f
    JOIN month_conditions c USING (condition)
    JOIN codes ON codes.name = {_CODE}
    LEFT JOIN {_stated("befores")} b USING (place)
    LEFT JOIN {_stated("nows")} n USING (place)
),
firsts AS (
    SELECT first_numbers, list(tin ORDER BY tin) AS first_tins
    FROM (SELECT first_numbers, unnest(first_numbers) AS number FROM (SELECT DISTINCT first_numbers FROM month_placed))
    JOIN (SELECT DISTINCT number, tin FROM month_tins) USING (number)
    GROUP BY first_numbers
)
SELECT * EXCLUDE (first_numbers, is_known_same, is_further, is_old, is_new),
    CASE
        WHEN is_known_same THEN 'same'
        WHEN len(befores) = 0 AND NOT is_further THEN CASE WHEN is_old THEN 'tin added' ELSE 'code added' END
        WHEN len(nows) = 0 AND NOT is_further THEN CASE WHEN is_new THEN 'tin removed' ELSE 'code removed' END
        WHEN len(befores) = 1 AND len(nows) = 1 THEN CASE
            WHEN {_SAME_UNIT} AND befores[1].rate = nows[1].rate THEN 'same'
            WHEN {_SAME_UNIT} AND {_SAME_TYPE} THEN 'changed'
            ELSE 'method changed' END
        WHEN [(each.rate, each.rate_unit) for each in befores] = [(each.rate, each.rate_unit) for each in nows]
            THEN 'same'
        ELSE 'not paired' END AS change
FROM named
JOIN firsts USING (first_numbers)"""  # noqa: S608 - names of this module
