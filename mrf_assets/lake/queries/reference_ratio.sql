-- Question: How do a network's prices compare with a table of reference prices, such as Medicare's fee schedule?
-- Grain: One row per network, code, bill type and site that the reference table has.
-- Caveats: Medians of plain dollars over contracts, as in `code_statistics`, each compared with the reference of the
--   same bill type and site; where there is no median, `refused_because` says why. Anesthesia and drugs have no price
--   without a unit. Bring the reference to one locality first; a key with two amounts is left out. Without a
--   bill type it is professional, without a site nonfacility, and any for outpatient and inpatient. No such table is
--   shipped.
-- Parameter reference: A CSV of billing_code_type, billing_code, dollars and, unless professional, bill_type and site.
-- Parameter billing_code []: One code; all if it is not given.
WITH given AS (
    SELECT * FROM (SELECT CAST(NULL AS VARCHAR) AS bill_type, CAST(NULL AS VARCHAR) AS site) WHERE false
    UNION ALL BY NAME
    SELECT *
    FROM read_csv(
        $reference,
        header = true,
        types = {'billing_code_type': 'VARCHAR', 'billing_code': 'VARCHAR', 'dollars': 'DECIMAL(18, 4)'}
    )
),
unambiguous AS (
    SELECT
        family_of(billing_code_type) AS code_family, code_of(billing_code_type, billing_code) AS code,
        coalesce(lower(trim(bill_type)), 'professional') AS bill_type,
        coalesce(
            lower(trim(site)),
            CASE WHEN coalesce(lower(trim(bill_type)), 'professional') = 'professional' THEN 'nonfacility' ELSE 'any' END
        ) AS site,
        any_value(dollars) AS reference_dollars
    FROM given
    WHERE dollars > 0
    GROUP BY ALL
    HAVING count(DISTINCT dollars) = 1
)
SELECT
    network_id, period, code_family, code, severity, bill_type, site, median, reference_dollars,
    round(CAST(median AS DOUBLE) / CAST(reference_dollars AS DOUBLE), 4) AS ratio,
    contracts, published, npis, rows, refused_because, cautions, gates, rule_version
FROM code_statistics
JOIN unambiguous USING (code_family, code, bill_type, site)
WHERE $billing_code = '' OR code = upper(trim($billing_code))
ORDER BY ratio DESC NULLS LAST, network_id, code_family, code, severity, bill_type, site;
