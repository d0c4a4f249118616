-- Question: How do a network's prices compare with a table of reference prices, such as Medicare's fee schedule?
-- Grain: One row per network, code, billing class and setting that the reference table has.
-- Caveats: Dollars for the code alone, above 0; each price counts once. The reference is one amount per code: bring
--   it to one locality and setting first. Prices with a modifier of a component (26, TC) and for half of a service
--   (50 to 53) are left out, as the reference is for the whole. No such table is shipped.
-- Parameter reference: A CSV with the columns billing_code_type, billing_code and dollars.
-- Parameter billing_code []: One code; all if it is not given.
WITH reference AS (
    SELECT upper(trim(billing_code_type)) AS billing_code_type, upper(trim(billing_code)) AS billing_code, dollars
    FROM read_csv(
        $reference,
        header = true,
        types = {'billing_code_type': 'VARCHAR', 'billing_code': 'VARCHAR', 'dollars': 'DECIMAL(18, 4)'}
    )
    WHERE dollars > 0
),
unambiguous AS (
    SELECT billing_code_type, billing_code, any_value(dollars) AS reference_dollars
    FROM reference
    GROUP BY ALL
    HAVING count(DISTINCT dollars) = 1
),
medians AS (
    SELECT
        network_id, period, billing_code_type, billing_code, billing_class, setting, reference_dollars,
        count(*) AS prices,
        median(dollars) AS median_dollars
    FROM rates
    JOIN unambiguous USING (billing_code_type, billing_code)
    WHERE dollars > 0
        AND ($billing_code = '' OR billing_code = $billing_code)
        AND NOT list_has_any(coalesce(billing_code_modifiers, []), ['26', 'TC', '50', '51', '52', '53'])
    GROUP BY ALL
)
SELECT
    network_id, period, billing_code_type, billing_code, billing_class, setting, prices, median_dollars,
    reference_dollars,
    round(CAST(median_dollars AS DOUBLE) / CAST(reference_dollars AS DOUBLE), 4) AS ratio
FROM medians
ORDER BY ratio DESC, network_id, billing_code_type, billing_code, billing_class, setting;
