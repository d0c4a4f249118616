-- Question: Which networks pay the most and the least for a code?
-- Grain: One row per code, bill type, site and network among the highest or lowest `top`; for a code that cannot be
--   compared, one row that says why.
-- Caveats: Medians of plain dollars over contracts, as in `code_statistics`: no modifiers, no remarks, one vote for a
--   TIN. Networks that are copies of one another for the code vote once (`copies`). Networks whose month is more than
--   three before the newest are left out (`left_out_networks`). A comparison needs three different contents.
-- Parameter billing_code []: One code; all if it is not given.
-- Parameter billing_code_type [CPT]: Its type; CPT and HCPCS are one family.
-- Parameter bill_type []: professional, outpatient or inpatient; all if it is not given.
-- Parameter site []: nonfacility, facility or any; all if it is not given.
-- Parameter top [3]: How many networks at either end.
WITH recent AS (
    SELECT network_id
    FROM networks
    WHERE is_latest AND CAST(period || '-01' AS DATE)
        >= (SELECT max(CAST(period || '-01' AS DATE)) FROM networks) - to_months(3)
),
medians AS (
    SELECT *
    FROM code_statistics
    SEMI JOIN recent USING (network_id)
    WHERE median IS NOT NULL
        AND ($billing_code = ''
            OR (code_family = family_of($billing_code_type) AND code = code_of($billing_code_type, $billing_code)))
        AND ($bill_type = '' OR bill_type = $bill_type)
        AND ($site = '' OR site = $site)
),
voters AS (
    SELECT
        code_family, code, severity, bill_type, site, min(network_id) AS network_id,
        list_sort(list(network_id))[2:] AS copies, any_value(period) AS period, any_value(median) AS median,
        any_value(contracts) AS contracts, any_value(npis) AS npis, any_value(rows) AS rows, content
    FROM medians
    GROUP BY code_family, code, severity, bill_type, site, content
),
ranked AS (
    SELECT
        *,
        rank() OVER (one_code ORDER BY median DESC) AS rank_from_top,
        rank() OVER (one_code ORDER BY median) AS rank_from_bottom,
        count(*) OVER one_code AS networks,
        median(median) OVER one_code AS median_of_networks
    FROM voters
    WINDOW one_code AS (PARTITION BY code_family, code, severity, bill_type, site)
),
refused AS (
    SELECT
        code_family, code, severity, bill_type, site,
        concat(
            'No comparison: ', sum(1 + len(copies)),
            CASE WHEN sum(1 + len(copies)) = 1 THEN ' network id holds' ELSE ' network ids hold' END,
            ' only ', count(*), CASE WHEN count(*) = 1 THEN ' content' ELSE ' different contents' END,
            coalesce('; ' || string_agg(
                CASE WHEN len(copies) > 0 THEN
                    concat(network_id, ', ', array_to_string(copies, ', '), ' are copies of one another')
                END,
                '; ' ORDER BY network_id
            ), ''),
            '.'
        ) AS refused_because
    FROM voters
    GROUP BY ALL
    HAVING count(*) < (SELECT min_networks FROM statistic_rules) AND $billing_code <> ''
)
SELECT
    code_family, code, severity, bill_type, site, network_id, period, median, contracts, npis, rows,
    rank_from_top, rank_from_bottom, networks, copies,
    (SELECT count(*) FROM networks WHERE is_latest AND network_id NOT IN (FROM recent)) AS left_out_networks,
    round(CAST(median AS DOUBLE) / CAST(median_of_networks AS DOUBLE), 4) AS ratio_to_median_network,
    refused_because
FROM (
    SELECT * EXCLUDE (content), CAST(NULL AS VARCHAR) AS refused_because
    FROM ranked
    WHERE networks >= (SELECT min_networks FROM statistic_rules)
        AND (rank_from_top <= CAST($top AS BIGINT) OR rank_from_bottom <= CAST($top AS BIGINT))
    UNION ALL BY NAME
    SELECT * FROM refused
)
ORDER BY code_family, code, severity, bill_type, site, rank_from_top, network_id;
