-- Question: How many published prices had expired?
-- Grain: One row per network and expiration date before `as_of`.
-- Caveats: CMS wants the day before the renewal for contracts that renew themselves: a past date says that the payer
--   did not update the file, not that the contract ended. 9999-12-31 stands for no end; prices without a date are not
--   here.
-- Parameter as_of []: A day, YYYY-MM-DD; the first of the network's period if it is not given.
SELECT
    network_id, period, expiration_date,
    count(*) AS prices,
    count(DISTINCT (billing_code_type, billing_code)) AS codes,
    CAST(any_value(total) AS BIGINT) AS prices_of_network,
    round(count(*) / any_value(total), 4) AS share
FROM rates
JOIN (SELECT network_id, count(*) AS total FROM rates GROUP BY ALL) USING (network_id)
WHERE expiration_date < coalesce(CAST(nullif($as_of, '') AS DATE), CAST(period || '-01' AS DATE))
GROUP BY ALL
ORDER BY network_id, expiration_date;
