"""The second set of quality rules: what needs groups, months or other networks, over the views of the catalog.

The first set, `network_rules`, runs in every ingest and stays cheap. These run on demand, with `price_rules`,
`provider_rules` and `contract_rules`. A rule selects the rows that offend, each with its `network_id`, and every
network is judged on its own. Rules read the latest period of each network through the views. Each threshold
is next to its rule. The sources are Turquoise Health's published method and what others found in real files.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from mrf_assets.errors import QueryError, SettingError, StoreError
from mrf_assets.lake.fences import FENCED, FENCES_SQL, MIN_FENCED_CONTRACTS, OUTSIDE_FENCE
from mrf_assets.quality.contract_rules import CONTRACT_RULES
from mrf_assets.quality.network_rules import Check, CheckResult
from mrf_assets.quality.price_rules import PRICE_RULES
from mrf_assets.quality.provider_rules import PRICE_CONDITIONS, PROVIDER_RULES
from mrf_assets.schema.code_types import misshapen_sql

_SAMPLE_ROWS = 5
_PRICES_SQL = "SELECT network_id, count(*) AS rows FROM rates GROUP BY network_id"
_CODES_SQL = """SELECT network_id, count(*) AS rows
FROM (SELECT DISTINCT network_id, billing_code_type, billing_code FROM rates) GROUP BY network_id"""
# Prices that may be compared with each other.
_LIKE = "code_family, code, bill_type, site, component, negotiated_type"
_FIRST_DAY = "CAST(period || '-01' AS DATE)"

_RULES_OF_LAKES: tuple[Check, ...] = (
    Check(
        name="dollars_within_fence",
        table="rates",
        severity="warn",
        explanation="At most 1 % of dollars are far from the network's others for the code, bill type, site, component "
        f"and negotiated type, on a log scale (1.5 interquartile ranges, at least {MIN_FENCED_CONTRACTS} contracts).",
        sql=f"""SELECT network_id, code_family, code, bill_type, site, component, dollars, lower_fence, upper_fence
FROM rates JOIN ({FENCES_SQL}) ON {FENCED}
WHERE {OUTSIDE_FENCE}""",  # noqa: S608 - constants
        population_sql="SELECT network_id, count(*) AS rows FROM rates WHERE dollars > 0 GROUP BY network_id",
        tolerated_share=0.01,
    ),
    Check(
        name="spread_of_dollars",
        table="rates",
        severity="warn",
        explanation="95 % of a network's dollars are at most 5 times the code's median network: of the medians of all "
        "networks for the code, bill type, site, component and negotiated type, the one in the middle.",
        threshold=5,
        sql=f"""WITH medians AS (
    SELECT network_id, {_LIKE}, median(CAST(dollars AS DOUBLE)) AS of_network FROM rates
    WHERE dollars > 0 AND NOT is_placeholder
    GROUP BY ALL
),
middle AS (SELECT {_LIKE}, median(of_network) AS median_network FROM medians GROUP BY ALL)
SELECT network_id, count(*) AS prices,
    quantile_cont(CAST(dollars AS DOUBLE) / median_network, [0.5, 0.95]) AS ratios
FROM rates JOIN middle USING ({_LIKE})
WHERE dollars > 0 AND NOT is_placeholder
GROUP BY network_id
HAVING count(*) >= 40 AND ratios[2] > $threshold""",  # noqa: S608 - constants
    ),
    Check(
        name="percent_of_something_else",
        table="rates",
        severity="info",
        explanation="Percentages above 100: of Medicare, mostly, not of billed charges.",
        sql="""SELECT network_id, file_id, billing_code_type, billing_code, negotiated_rate FROM rates
WHERE percentage > 100""",
        population_sql=_PRICES_SQL,
    ),
    Check(
        name="no_repeated_price",
        table="rates",
        severity="warn",
        explanation="At most 1 % of prices are repetitions, alike in all columns; AmeriBen repeats whole items.",
        sql=f"""SELECT network_id, file_id, billing_code_type, billing_code, negotiated_rate, count(*) AS times
FROM rates
GROUP BY network_id, file_id, provider_set_id, negotiated_rate, {PRICE_CONDITIONS}
HAVING count(*) > 1""",  # noqa: S608 - constants
        population_sql=_PRICES_SQL,
        tolerated_share=0.01,
    ),
    Check(
        name="code_shape",
        table="rates",
        severity="warn",
        explanation="At most 1 % of codes have a shape that their family does not know (CPT and HCPCS are one family, "
        "MS-DRG and DRG another); CSTM-00 stands for all codes, and LOCAL and CSTM-ALL have codes of the payer's own.",
        sql=f"""SELECT network_id, billing_code_type, billing_code
FROM (SELECT DISTINCT network_id, billing_code_type, billing_code, code_family, code FROM rates)
WHERE {misshapen_sql("code_family", "code")}""",  # noqa: S608 - constants
        population_sql=_CODES_SQL,
        tolerated_share=0.01,
    ),
    Check(
        name="code_version_recent",
        table="rates",
        severity="info",
        explanation="Code sets whose version is a year more than 3 before the period; payers copy the years of CMS's "
        "sample.",
        threshold=3,
        sql="""SELECT DISTINCT network_id, billing_code_type, billing_code_type_version FROM rates
WHERE TRY_CAST(regexp_extract(billing_code_type_version, '(?:^|[^0-9])((?:19|20)[0-9]{2})(?:[^0-9]|$)', 1) AS INTEGER)
    < CAST(period[:4] AS INTEGER) - $threshold""",
    ),
    Check(
        name="prices_in_force",
        table="rates",
        severity="warn",
        explanation="At most 10 % of prices had expired when the period began.",
        sql=f"""SELECT network_id, billing_code_type, billing_code, expiration_date FROM rates
WHERE expiration_date < {_FIRST_DAY}""",  # noqa: S608 - constants
        population_sql=_PRICES_SQL,
        tolerated_share=0.1,
    ),
    Check(
        name="rates_are_numbers",
        table="rates",
        severity="warn",
        explanation="Rates are numbers; those given as text were read exactly (docs/repairs.md, rate_from_text).",
        sql="""SELECT network_id, file_id, repairs['rate_from_text'] AS times FROM files
WHERE repairs['rate_from_text'] > 0""",
    ),
    Check(
        name="header_date_fits",
        table="files",
        severity="warn",
        explanation="last_updated_on is within 3 months of the period; 2020 stood in a file of 2022.",
        threshold=3,
        sql=f"""SELECT network_id, period, file_id, last_updated_on FROM files
WHERE abs(date_diff('month', last_updated_on, {_FIRST_DAY})) > $threshold""",  # noqa: S608 - constants
    ),
    Check(
        name="published_lately",
        table="files",
        severity="warn",
        explanation="The latest period is at most 3 months old; payers were seen to serve files of two years ago.",
        threshold=3,
        sql=f"""SELECT network_id, period FROM networks
WHERE is_latest AND date_diff('month', {_FIRST_DAY}, CAST($as_of AS DATE)) > $threshold""",  # noqa: S608 - constants
    ),
    Check(
        name="keeps_up",
        table="files",
        severity="warn",
        explanation="A network's latest period is at most one month behind that of the newest network.",
        threshold=1,
        sql=f"""SELECT network_id, period, newest FROM networks,
    (SELECT max(period) AS newest FROM networks)
WHERE is_latest AND date_diff('month', {_FIRST_DAY}, CAST(newest || '-01' AS DATE)) > $threshold""",  # noqa: S608 - constants
    ),
    Check(
        name="parts_stay",
        table="files",
        severity="warn",
        explanation="A network has no fewer files than in the period before; also where names do not tell how many.",
        sql="""SELECT network_id, arg_max(period, period) AS period, counts[1] AS files, counts[2] AS files_before
FROM (
    SELECT network_id, max(period) AS period, list(files ORDER BY period DESC) AS counts
    FROM (SELECT network_id, period, count(*) AS files FROM files_history GROUP BY ALL) GROUP BY network_id
)
WHERE counts[1] < counts[2] GROUP BY ALL""",
    ),
    Check(
        name="same_file_once",
        table="files",
        severity="warn",
        explanation="No other network has the same file, byte for byte.",
        sql="""SELECT DISTINCT a.network_id, a.file_id, b.network_id AS other_network_id, a.sha256
FROM files a JOIN files b ON a.sha256 = b.sha256 AND a.network_id <> b.network_id""",
    ),
    Check(
        name="same_content_once",
        table="files",
        severity="info",
        explanation="Networks with the prices and TINs of another network in other bytes, by `network_contents`; "
        "copies for each employer are the norm at administrators.",
        sql="""SELECT unnest(networks) AS network_id, networks[:5] AS first_networks, prices
FROM (
    SELECT list_sort(list(network_id)) AS networks, any_value(prices) AS prices
    FROM network_contents
    JOIN (
        SELECT network_id, CASE WHEN count(sha256) = count(*) THEN hash(list_sort(list(sha256))) END AS bytes
        FROM files
        GROUP BY network_id
    ) USING (network_id)
    GROUP BY content_party_id
    HAVING count(DISTINCT coalesce(bytes, hash(network_id))) > 1
)""",
    ),
)
CATALOG_CHECKS: tuple[Check, ...] = (*_RULES_OF_LAKES, *PRICE_RULES, *PROVIDER_RULES, *CONTRACT_RULES)


def audit_catalog(
    connection: duckdb.DuckDBPyConnection,
    networks: Sequence[str] = (),
    *,
    as_of: dt.date | None = None,
    checks: Iterable[Check] = CATALOG_CHECKS,
) -> dict[str, list[CheckResult]]:
    """Apply the second set to networks of a catalog, by default to all; network -> a result for each rule.

    `as_of` is the day that `published_lately` judges by, by default today. Other networks than those
    asked for are looked at where a rule compares.

    Raises:
        SettingError: A network is not published.
        StoreError, QueryError: A file is gone, or DuckDB ran out of memory.
    """
    published_networks = [
        found for (found,) in connection.execute("SELECT DISTINCT network_id FROM networks").fetchall()
    ]
    if unknown := sorted(set(networks) - set(published_networks)):
        raise SettingError(
            "network", f"{', '.join(unknown)} is not published; there are: {', '.join(sorted(published_networks))}"
        )
    selection = sorted(networks or published_networks)
    results: dict[str, list[CheckResult]] = {network: [] for network in selection}
    parameters = {"as_of": (as_of or dt.datetime.now(tz=dt.UTC).date()).isoformat(), "wanted": selection}
    for check in checks:
        try:
            offending = _offending(connection, check, parameters)
            populations = _populations(connection, check, parameters)
        except duckdb.OutOfMemoryException as error:
            raise QueryError(check.name, f"needs more memory ({error}); raise MRF_QUERY_MEMORY_MB") from error
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise StoreError(
                check.name, f"a file cannot be read ({error}); ask again, or ingest its network again"
            ) from error
        for network in selection:
            rows, sample = offending.get(network, (0, []))
            population = populations.get(network, 0) if check.population_sql else None
            results[network].append(
                CheckResult(check=check, offending_rows=rows, population=population, sample="\n".join(sample))
            )
    return results


def _offending(
    connection: duckdb.DuckDBPyConnection, check: Check, parameters: Mapping[str, object]
) -> dict[str, tuple[int, list[str]]]:
    sql = f"""SELECT network_id, count(*), min(DISTINCT CAST(to_json(found) AS VARCHAR), {_SAMPLE_ROWS})
FROM ({check.sql}) found WHERE list_contains($wanted, network_id) GROUP BY network_id"""  # noqa: S608 - rules of this module
    values = {**parameters, "threshold": check.threshold}
    rows = connection.execute(sql, _named(sql, values)).fetchall()
    return {network: (count, sample) for network, count, sample in rows}


def _populations(
    connection: duckdb.DuckDBPyConnection, check: Check, parameters: Mapping[str, object]
) -> dict[str, int]:
    if not check.population_sql:
        return {}
    sql = f"SELECT network_id, rows FROM ({check.population_sql}) WHERE list_contains($wanted, network_id)"  # noqa: S608 - the same
    return dict(connection.execute(sql, _named(sql, parameters)).fetchall())


def _named(sql: str, values: Mapping[str, object]) -> dict[str, object]:
    """DuckDB refuses values that no $name asks for."""
    return {name: value for name, value in values.items() if re.search(rf"\${name}\b", sql)}
