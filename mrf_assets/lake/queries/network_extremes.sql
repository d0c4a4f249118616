-- Question: Which networks pay the most and the least for a code?
-- Grain: One row per code, bill type, site and network among the highest or lowest `top`; for a code that cannot be
--   compared, one row that says why.
-- Caveats: Medians of plain dollars over contracts, as in `code_statistics`: no modifiers, no remarks, one vote for a
--   TIN. Networks that are copies of one another for the code vote once (`copies`). Networks whose month is four or
--   more before the newest are left out. A comparison needs three different contents.
-- Parameter billing_code []: One code; all if it is not given.
-- Parameter billing_code_type [CPT]: Its type; CPT and HCPCS are one family.
-- Parameter bill_type []: professional, outpatient or inpatient; all if it is not given.
-- Parameter site []: nonfacility, facility or any; all if it is not given.
-- Parameter top [3]: How many networks at either end.
WITH asked AS (
    SELECT *
    FROM code_comparisons
    WHERE ($billing_code = ''
            OR (code_family = family_of($billing_code_type) AND code = code_of($billing_code_type, $billing_code)))
        AND ($bill_type = '' OR bill_type = $bill_type)
        AND ($site = '' OR site = $site)
),
voters AS (
    SELECT
        code_family, code, coalesce(severity, '') AS severity, bill_type, site,
        unnest(voters) AS network_id, unnest(copies) AS copies
    FROM asked
    WHERE refused_because IS NULL
),
ranked AS (
    SELECT
        *,
        rank() OVER (one_code ORDER BY median DESC) AS rank_from_top,
        rank() OVER (one_code ORDER BY median) AS rank_from_bottom,
        count(*) OVER one_code AS networks,
        median(median) OVER one_code AS median_of_networks
    FROM (
        SELECT
            network_id, period, code_family, code, coalesce(severity, '') AS severity, bill_type, site, median,
            contracts, npis, rows
        FROM code_statistics
        WHERE $billing_code = ''
            OR (code_family = family_of($billing_code_type) AND code = code_of($billing_code_type, $billing_code))
    )
    JOIN voters USING (network_id, code_family, code, severity, bill_type, site)
    WINDOW one_code AS (PARTITION BY code_family, code, severity, bill_type, site)
)
SELECT
    code_family, code, nullif(severity, '') AS severity, bill_type, site, network_id, period, median, contracts, npis,
    rows, rank_from_top, rank_from_bottom, networks, copies,
    round(CAST(median AS DOUBLE) / CAST(median_of_networks AS DOUBLE), 4) AS ratio_to_median_network,
    refused_because
FROM (
    SELECT *, CAST(NULL AS VARCHAR) AS refused_because
    FROM ranked
    WHERE rank_from_top <= CAST($top AS BIGINT) OR rank_from_bottom <= CAST($top AS BIGINT)
    UNION ALL BY NAME
    SELECT code_family, code, severity, bill_type, site, networks, refused_because
    FROM asked
    WHERE refused_because IS NOT NULL AND $billing_code <> ''
)
ORDER BY code_family, code, severity, bill_type, site, rank_from_top, network_id;
