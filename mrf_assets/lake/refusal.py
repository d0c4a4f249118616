"""What a statistic says when it is refused: the reasons, and sentences with their numbers, as SQL.

A reason says which contracts a gate stopped; the sentences go over the columns of one statistic, as
`comparability` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mrf_assets.lake.layouts import literal

GATES: Mapping[str, tuple[str, str]] = {  # reason -> what a sentence says of several contracts, and of one
    "names all codes, in percent": ("are a percentage for all codes", "is a percentage for all codes"),
    "names all codes": ("are an amount for all codes", "is an amount for all codes"),
    "payer's own code": ("are for a code of the payer's own", "is for a code of the payer's own"),
    "bill type not known": ("do not say for which claim form", "does not say for which claim form"),
    "percent": ("are percentages", "is a percentage"),
    "per day": ("are per day", "is per day"),
    "bundle": ("are for a bundle", "is for a bundle"),
    "capitation": ("are by capitation", "is by capitation"),
    "anesthesia": ("are for anesthesia", "is for anesthesia"),
    "drug": ("are for a drug", "is for a drug"),
    "revenue code": ("are for a revenue code", "is for a revenue code"),
    "unit not known": ("have no known unit", "has no known unit"),
    "zero": ("are zero", "is zero"),
    "placeholder": ("are placeholders", "is a placeholder"),
    "above the cap": ("are above the cap", "is above the cap"),
    "outside the bounds of a DRG": ("are no amount for a DRG", "is no amount for a DRG"),
    "expired": ("expired long ago", "expired long ago"),
    "derived": ("are derived", "is derived"),
    "modifier": ("have a modifier", "has a modifier"),
    "other site": ("are for another site", "is for another site"),
    "conditional": ("depend on a remark", "depends on a remark"),
    "several amounts": ("have several amounts", "has several amounts"),
    "base rate": ("are a base rate", "is a base rate"),
    "far from the others": ("are far from all others", "is far from all others"),
}

STOP_WORDS = " ".join(
    f"WHEN {literal(reason)} THEN CASE WHEN contracts = 1 THEN {literal(one)} ELSE {literal(several)} END"
    for reason, (several, one) in GATES.items()
)


def money_sql(amount: str) -> str:
    """Dollars for a sentence, without cents where there are none. DuckDB 1.0 puts no separators into floats."""
    cents = f"CAST(round({amount} * 100) AS BIGINT)"
    return (
        f"concat('$', format('{{:,}}', {cents} // 100), "
        f"CASE WHEN {cents} % 100 = 0 THEN '' ELSE concat('.', lpad(CAST({cents} % 100 AS VARCHAR), 2, '0')) END)"
    )


def number_sql(amount: str) -> str:
    """Another number for a sentence: one decimal, and that only below 10."""
    rounded = f"CAST(CAST({amount} AS DECIMAL(38, 1)) AS VARCHAR)"
    whole = f"format('{{:,}}', CAST(round({amount}) AS BIGINT))"
    return f"CASE WHEN {amount} >= 10 OR {rounded} LIKE '%.0' THEN {whole} ELSE {rounded} END"


def _amount(amount: str) -> str:
    """Dollars or percent, as the contracts are."""
    return f"CASE WHEN is_percent THEN concat({number_sql(amount)}, ' %') ELSE {money_sql(amount)} END"


def _span(low: str, high: str, amount: Callable[[str], str] = _amount) -> str:
    return f"CASE WHEN {low} = {high} THEN {amount(low)} ELSE concat({amount(low)}, ' to ', {amount(high)}) END"


_OTHERS = "[each for each in kept if each <> median_of_kept]"
_SEVERAL = (
    f"""CASE WHEN contracts = 1 THEN '1 contract has' ELSE concat({number_sql("contracts")}, ' contracts have') END"""
)

REFUSAL = f"""CASE
        WHEN contracts > 0 AND contracts >= min_contracts THEN CASE
            WHEN contracts < min_comparable_share * published THEN concat(
                'No median: only ', {number_sql("contracts")}, ' of ', {number_sql("published")}, ' contracts have a '
                'comparable price; ', {number_sql("100 * min_comparable_share")}, ' % of them are needed.')
            WHEN p75 > max_spread * p25 THEN concat(
                'Not one thing: the middle half spans ', {number_sql("p75 / p25")}, '-fold', CASE
                    WHEN by_site IS NOT NULL THEN concat('; ask by site (', by_site, ') or modifier.')
                    ELSE '; the site does not explain it.' END)
            WHEN is_one_schedule AND len({_OTHERS}) = 0 THEN concat(
                'No distribution: one schedule of ', {_amount("median_of_kept")}, ' holds for all ',
                {number_sql("contracts")}, ' contracts.')
            WHEN is_one_schedule THEN concat(
                'No distribution: one schedule of ', {_amount("median_of_kept")}, ' holds for ',
                {number_sql(f"contracts - len({_OTHERS})")}, ' of ', {number_sql("contracts")},
                ' contracts; the other ',
                {number_sql(f"len({_OTHERS})")}, ': ', {_span(f"list_min({_OTHERS})", f"list_max({_OTHERS})")}, '.')
            END
        WHEN stopped = 'names all codes, in percent' THEN concat(
            'No dollar price: this network pays ', {_span("lowest_stated", "highest_stated", number_sql)},
            ' % of charges for all codes; ask for `percentage`.')
        WHEN stopped = 'names all codes' THEN concat(
            'No dollar price: ', {_span("lowest_stated", "highest_stated", money_sql)},
            ' stands for all codes, not for one; ', CASE WHEN lowest_stated >= 80 AND highest_stated <= 400
                THEN 'it is most likely percent of Medicare.'
                ELSE 'what it is a price of, the file does not say.' END)
        WHEN stopped = 'payer''s own code' THEN 'No price: the code is the payer''s own; only its name says for what.'
        WHEN stopped = 'anesthesia' THEN concat('No price of anesthesia: the file does not say per unit or per case (',
            {_span("lowest_stated", "highest_stated", money_sql)}, ').')
        WHEN stopped = 'drug' THEN CASE
            WHEN lowest_stated > 0 AND highest_stated > lowest_stated THEN concat(
                'No price of a drug without its unit: the amounts differ ',
                {number_sql("highest_stated / lowest_stated")}, '-fold.')
            ELSE concat('No price of a drug without its unit (', {money_sql("highest_stated")}, ').') END
        WHEN stopped = 'revenue code' THEN concat(
            'No price of a revenue code: the file does not say for how much of the service (',
            {_span("lowest_stated", "highest_stated", money_sql)}, ').')
        WHEN stopped = 'base rate' THEN concat('No DRG price: one amount of ', {money_sql("lowest_stated")},
            ' stands for ', {number_sql("most_drgs")}, ' DRGs; it is a base rate to be multiplied by weights.')
        ELSE concat('No median: ', CASE WHEN contracts = 0 THEN 'no contract has' ELSE {_SEVERAL} END,
            ' a comparable price, ', {number_sql("min_contracts")}, ' are needed.', CASE
                WHEN len(stops) > 0 THEN concat(' Of ', {number_sql("published")}, CASE WHEN published = 1
                    THEN ' contract ' ELSE ' contracts ' END, array_to_string(stops, ', '), '.') ELSE '' END)
    END"""
