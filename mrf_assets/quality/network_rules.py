"""The quality rules, as SQL over the tables of one network and period.

A rule selects the rows that offend. The same rules audit what is staged, before it is
published, and what is published, at any time: `network_audit` applies them. Rules on words come out of `schema`.
Shares that are tolerated are those that complete files of national payers show without anything being wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from mrf_assets.schema import FILES, MODIFIER_SHAPE, PLACE_SHAPE, PROVIDERS, RATES, TABLES
from mrf_assets.schema.code_types import padded_sql
from mrf_assets.schema.tins import masked_tin_sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule: `sql` selects the offending rows."""

    name: str
    table: str
    severity: Literal["error", "warn", "info"]  # info: no rule to keep, but a number to know
    explanation: str
    sql: str
    population_sql: str = ""  # how many rows could offend; needed where some may
    tolerated_share: float = 0.0  # of the population
    threshold: float | None = None  # the $threshold of the SQL

    @property
    def blocking(self) -> bool:
        """Errors block the publication; warnings do not."""
        return self.severity == "error"

    @property
    def rank(self) -> int:
        """0 for errors, 1 for warnings, 2 for information: the order in reports."""
        return ("error", "warn", "info").index(self.severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a rule found."""

    check: Check
    offending_rows: int
    population: int | None
    sample: str  # JSON lines of at most five offending rows

    @property
    def passed(self) -> bool:
        """True if no more rows offend than the rule tolerates, and of information always."""
        if self.check.severity == "info":
            return True
        return self.offending_rows <= self.check.tolerated_share * (self.population or 0)

    @property
    def is_notable(self) -> bool:
        """True if it belongs in a report: a rule that failed, or information about rows that are there."""
        return not self.passed or (self.check.severity == "info" and self.offending_rows > 0)


def _luhn() -> str:
    """Check digit of a ten-digit NPI: Luhn over 80840 and the NPI; the prefix adds 24.

    With n cut behind each place, a digit is n - 10 * (n before), and its double's digit sum is, modulo 10,
    2 * n + [digit > 4]. What is divided and not reduced modulo 10 each time costs half (benchmarks/NOTES.md, "Audit").
    """
    doubled = (
        f"2 * (npi // {10**place}) + npi // {5 * 10**place} - 2 * (npi // {10 ** (place + 1)})"
        for place in range(9, 0, -2)
    )
    plain = (f"npi // {10**place}" for place in range(8, -1, -2))
    return f"(24 + {' + '.join((*doubled, *plain))}) % 10"


# Distinct hashes are cheaper to find than distinct keys; keys whose hash is the same are compared.
_PROVIDER_KEY = "file_id, provider_group_id, tin_type, tin_value, npi"
_MASKED = f"{masked_tin_sql('tin_type', 'tin_value')} AS tin"
_NPI_SHAPE = "npi BETWEEN 1000000000 AND 2999999999"
MAX_DOLLARS = 100_000_000  # no price is more; Turquoise Health's cap
# Rows are counted by the heads of the files; conditions on them would cost the audit another pass.
_PRICES, _PROVIDER_ROWS = "SELECT count(*) FROM rates", "SELECT count(*) FROM providers"

_RULES = (
    Check(
        name="reconciliation",
        table="rates",
        severity="error",
        explanation="Every price read is a rate row, a rejected price or a filtered one, in counts and tables.",
        sql="""SELECT file_id, prices_read, rate_rows, r.rows AS rows_in_rates, prices_rejected, prices_filtered
FROM files f
FULL JOIN (SELECT file_id, count(*) AS rows FROM rates GROUP BY ALL) r USING (file_id)
FULL JOIN (SELECT file_id, count(*) AS rows FROM rejects WHERE dropped = 'price' GROUP BY ALL) j USING (file_id)
WHERE prices_read IS DISTINCT FROM rate_rows + prices_rejected + prices_filtered
   OR rate_rows IS DISTINCT FROM coalesce(r.rows, 0) OR prices_rejected IS DISTINCT FROM coalesce(j.rows, 0)""",
    ),
    Check(
        name="not_empty",
        table="rates",
        severity="error",
        explanation="A file that has wanted items yields rates.",
        sql="""SELECT file_id, items_read, items_kept, prices_read FROM files
WHERE rate_rows = 0 AND prices_filtered = 0
  AND (prices_read > 0 OR items_kept > 0 OR (items_read > 0 AND code_whitelist_sha256 IS NULL))""",
    ),
    Check(
        name="wanted_tins_found",
        table="rates",
        severity="warn",
        explanation="A TIN whitelist left prices over; passes where none is set.",
        sql="SELECT file_id, prices_read, prices_filtered FROM files WHERE rate_rows = 0 AND prices_filtered > 0",
    ),
    Check(
        name="no_orphan_set",
        table="rates",
        severity="error",
        explanation="Every provider set that a price names is in provider_sets.",
        sql="""SELECT DISTINCT file_id, provider_set_id FROM rates
ANTI JOIN provider_sets USING (file_id, provider_set_id) WHERE provider_set_id IS NOT NULL""",
    ),
    Check(
        name="unique_key",
        table="provider_sets",
        severity="error",
        explanation="A group stands in a set once.",
        sql="""SELECT file_id, provider_set_id, provider_group_id, count(*) AS rows FROM provider_sets
GROUP BY ALL HAVING count(*) > 1""",
    ),
    Check(
        name="no_orphan_group",
        table="provider_sets",
        severity="warn",
        explanation="Every group that a price names is defined by its file.",
        sql="""SELECT DISTINCT file_id, provider_group_id FROM provider_sets
ANTI JOIN providers USING (file_id, provider_group_id)""",
    ),
    Check(
        name="unique_key",
        table="providers",
        severity="warn",
        explanation="Group, TIN and NPI stand together once; they stand twice where a file defines one id in two ways.",
        sql=f"""SELECT file_id, provider_group_id, npi, {_MASKED}, count(*) AS rows FROM providers
WHERE hash({_PROVIDER_KEY}) IN (
    SELECT hash FROM (SELECT hash({_PROVIDER_KEY}) AS hash FROM providers) GROUP BY hash HAVING count(*) > 1)
GROUP BY {_PROVIDER_KEY} HAVING count(*) > 1""",  # noqa: S608 - constants
    ),
    Check(
        name="unique_key",
        table="files",
        severity="error",
        explanation="A file is listed once.",
        sql="SELECT file_id, count(*) AS rows FROM files GROUP BY ALL HAVING count(*) > 1",
    ),
    Check(
        name="all_parts",
        table="files",
        severity="warn",
        explanation="Of a network in n parts, parts 1 to n are there; not judged where names do not tell n for sure.",
        sql="""SELECT parts, count(DISTINCT part) AS found FROM files
WHERE coalesce(network_id_rule, '') NOT IN ('anthem_s3', 'shard')
GROUP BY parts HAVING count(DISTINCT part) < parts""",
    ),
    Check(
        name="same_whitelists",
        table="files",
        severity="warn",
        explanation="All parts were read with the same whitelists; ingest the whole network again where they were not.",
        sql="""SELECT file_id, code_whitelist_sha256, tin_whitelist_sha256 FROM files
WHERE (SELECT count(*) FROM (SELECT DISTINCT code_whitelist_sha256, tin_whitelist_sha256 FROM files)) > 1""",
    ),
    Check(
        name="has_items",
        table="files",
        severity="warn",
        explanation="A file has in_network items at all; schema 1 allows none.",
        sql="SELECT file_id, source_url FROM files WHERE items_read = 0",
    ),
    Check(
        name="dollars_are_positive",
        table="rates",
        severity="warn",
        explanation="At most 2.5 % of prices are amounts in dollars that are not more than 0; payers write 0 for what "
        "they do not pay or do not know (2 to 8.5 % zeros were seen).",
        sql="""SELECT file_id, billing_code_type, billing_code, negotiated_type, negotiated_rate FROM rates
WHERE negotiated_type IS DISTINCT FROM 'percentage' AND negotiated_rate <= 0""",
        population_sql=_PRICES,
        tolerated_share=0.025,
    ),
    Check(
        name="dollars_below_cap",
        table="rates",
        severity="warn",
        explanation=f"No amount in dollars is more than ${MAX_DOLLARS:,}; revenue codes of millions were seen.",
        threshold=MAX_DOLLARS,
        sql="""SELECT file_id, billing_code_type, billing_code, negotiated_type, negotiated_rate FROM rates
WHERE negotiated_type IS DISTINCT FROM 'percentage' AND negotiated_rate > $threshold""",
    ),
    Check(
        name="percentage_in_range",
        table="rates",
        severity="warn",
        explanation="A percentage is a whole-number percent, at least 1; below 1 it is likely a fraction (.405). Those "
        "above 100 are counted by percent_of_something_else.",
        sql="""SELECT file_id, billing_code_type, billing_code, negotiated_rate FROM rates
WHERE negotiated_type = 'percentage' AND negotiated_rate < 1""",
    ),
    Check(
        name="providers_named",
        table="rates",
        severity="warn",
        explanation="At most 1 % of prices name no provider.",
        sql="SELECT file_id, billing_code_type, billing_code FROM rates WHERE provider_set_id IS NULL",
        population_sql=_PRICES,
        tolerated_share=0.01,
    ),
    Check(
        name="whitelist_coverage",
        table="rates",
        severity="warn",
        explanation="At least half of the wanted codes have a rate; passes where no whitelist is set.",
        sql=f"""WITH published AS (
    SELECT type, {padded_sql("type", "code")} AS code
    FROM (SELECT DISTINCT upper(billing_code_type) AS type, upper(billing_code) AS code FROM rates)
)
SELECT billing_code_type, billing_code FROM code_whitelist
EXCEPT
SELECT w.billing_code_type, w.billing_code FROM code_whitelist w
JOIN published r ON r.code = w.matched_code AND (w.matched_type IS NULL OR w.matched_type = r.type)
ORDER BY billing_code, billing_code_type NULLS FIRST""",  # noqa: S608 - constants
        population_sql="SELECT count(*) FROM (SELECT DISTINCT billing_code_type, billing_code FROM code_whitelist)",
        tolerated_share=0.5,
    ),
    Check(
        name="npi_shape",
        table="providers",
        severity="warn",
        explanation="An NPI has ten digits and begins with 1 or 2.",
        sql=f"SELECT file_id, provider_group_id, npi FROM providers WHERE npi IS NOT NULL AND NOT {_NPI_SHAPE}",  # noqa: S608 - constants
    ),
    Check(
        name="npi_check_digit",
        table="providers",
        severity="warn",
        explanation="At most 0.1 % of rows of providers have an NPI whose last digit is not its check digit (Luhn over "
        "80840 and the NPI).",
        sql=f"SELECT file_id, provider_group_id, npi FROM providers WHERE {_NPI_SHAPE} AND {_luhn()} <> 0",  # noqa: S608 - constants
        population_sql=_PROVIDER_ROWS,
        tolerated_share=0.001,
    ),
    Check(
        name="ein_shape",
        table="providers",
        severity="warn",
        explanation="An EIN has nine digits; at most 0.5 % of rows of providers have another.",
        sql=f"""SELECT file_id, provider_group_id, {_MASKED} FROM providers
WHERE tin_type = 'ein' AND NOT (strlen(tin_value) = 9 AND tin_value NOT GLOB '*[!0-9]*')""",  # noqa: S608 - constants
        population_sql=_PROVIDER_ROWS,
        tolerated_share=0.005,
    ),
    Check(
        name="npi_tin_shape",
        table="providers",
        severity="warn",
        explanation="A TIN of the type npi is an NPI: ten digits that begin with 1 or 2.",
        sql=f"""SELECT DISTINCT file_id, provider_group_id, {_MASKED} FROM providers
WHERE tin_type = 'npi'
  AND NOT (strlen(tin_value) = 10 AND tin_value NOT GLOB '*[!0-9]*' AND tin_value[1] IN ('1', '2'))""",  # noqa: S608 - constants
    ),
    Check(
        name="nothing_rejected",
        table="rejects",
        severity="warn",
        explanation="Values that could not be kept are at most 0.01 % of the prices read; each is listed here, with "
        "its place in the file.",
        sql="""SELECT * REPLACE (
    CASE WHEN dropped = 'provider_group' OR regexp_matches(path, '(^|\\.)tin(\\.|$)') THEN 'not shown' ELSE excerpt END
    AS excerpt)
FROM rejects""",
        population_sql="SELECT coalesce(sum(prices_read), 0) FROM files",
        tolerated_share=0.0001,
    ),
)


def _word_rules() -> Iterable[Check]:
    for table in TABLES.values():
        for column in table.columns:
            if column.words:
                words = ", ".join(f"'{word}'" for word in column.words)
                yield Check(
                    name=f"known_{column.name}",
                    table=table.name,
                    severity="warn",
                    explanation=f"{column.name} is one of: {', '.join(column.words)}.",
                    sql=f"SELECT file_id, {column.name} FROM {table.name} WHERE {column.name} NOT IN ({words})",  # noqa: S608 - names of `schema`
                )


def _required_rules() -> Iterable[Check]:
    """One for each column that the CMS schema requires; the rows are kept without it."""
    for table, columns in _SAMPLE_COLUMNS.items():
        for column in table.columns:
            if column.required is None:
                continue
            is_list = pa.types.is_list(column.type)
            missing = f"({column.name} IS NULL OR len({column.name}) = 0)" if is_list else f"{column.name} IS NULL"
            where = " AND ".join(filter(None, [missing, column.required.where]))
            share = _MISSING_SHARES.get((table.name, column.name), 0.0)
            tolerated = f" At most {share:.0%} may lack it." if share else ""
            yield Check(
                name=f"{column.name}_present",
                table=table.name,
                severity="warn",
                explanation=f"{column.required.in_words} has {column.name}, which the CMS schema requires.{tolerated}",
                sql=f"SELECT {columns} FROM {table.name} WHERE {where}",  # noqa: S608 - names and conditions of `schema`
                population_sql=_PRICES if share else "",
                tolerated_share=share,
            )


_MISSING_SHARES = {(RATES.name, "expiration_date"): 0.01}  # table and column -> of the rows
# What tells a person which row is meant.
_SAMPLE_COLUMNS = {
    PROVIDERS: "DISTINCT file_id, provider_group_id",
    RATES: "file_id, billing_code_type, billing_code",
    FILES: "file_id, source_url",
}


def _list_rules() -> Iterable[Check]:
    shapes = (
        ("service_codes", PLACE_SHAPE, "A place of service is two digits, or CSTM-00 for all."),
        ("billing_code_modifiers", MODIFIER_SHAPE, "A modifier is two characters, digits or capitals."),
    )
    for column, shape, explanation in shapes:
        yield Check(
            name=f"{column}_shape",
            table=RATES.name,
            severity="warn",
            explanation=explanation,
            # Lists repeat: those that differ are looked at, not those of each price.
            sql=f"""WITH odd AS (
    SELECT codes, unnest(list_filter(codes, lambda code: NOT regexp_full_match(code, '{shape}'))) AS code
    FROM (SELECT DISTINCT {column} AS codes FROM rates)
)
SELECT DISTINCT file_id, billing_code_type, billing_code, code AS {column}
FROM rates JOIN odd ON rates.{column} = odd.codes""",  # noqa: S608 - names and patterns of `schema`
        )


CHECKS: tuple[Check, ...] = (*_RULES, *_required_rules(), *_word_rules(), *_list_rules())
