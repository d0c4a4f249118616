-- Question: What do networks pay for one code, and how many providers have those prices?
-- Grain: One row per network, rate unit, billing class and setting.
-- Caveats: A price counts once, whatever the number of providers that it holds for. Prices of 0 and below are
--   placeholders and left out (see `left_out`). Modifiers and places of service are not told apart: a price for a
--   component (26, TC) stands beside the whole. Quantiles are interpolated, to four decimals. Prices by bundle or
--   capitation have units of their own.
-- Parameter billing_code: The code, as in 99213.
-- Parameter billing_code_type [CPT]: Its type, as in MS-DRG.
WITH prices AS (
    SELECT network_id, period, file_id, provider_set_id, rate_unit, billing_class, setting, negotiated_rate
    FROM rates
    WHERE billing_code = $billing_code AND billing_code_type = $billing_code_type AND rate_unit IS NOT NULL
),
statistics AS (
    SELECT
        network_id, period, rate_unit, billing_class, setting,
        count(*) FILTER (negotiated_rate > 0) AS prices,
        count(*) FILTER (negotiated_rate <= 0) AS left_out,
        min(negotiated_rate) FILTER (negotiated_rate > 0) AS lowest,
        round(quantile_cont(negotiated_rate, 0.1) FILTER (negotiated_rate > 0), 4) AS p10,
        round(quantile_cont(negotiated_rate, 0.25) FILTER (negotiated_rate > 0), 4) AS p25,
        round(median(negotiated_rate) FILTER (negotiated_rate > 0), 4) AS median,
        round(quantile_cont(negotiated_rate, 0.75) FILTER (negotiated_rate > 0), 4) AS p75,
        round(quantile_cont(negotiated_rate, 0.9) FILTER (negotiated_rate > 0), 4) AS p90,
        max(negotiated_rate) FILTER (negotiated_rate > 0) AS highest
    FROM prices
    GROUP BY ALL
),
holders AS (
    SELECT
        network_id, rate_unit, billing_class, setting,
        count(DISTINCT (tin_type, tin_value)) FILTER (tin_value IS NOT NULL) AS tins,
        count(DISTINCT npi) AS npis
    FROM (
        SELECT DISTINCT network_id, period, file_id, rate_unit, billing_class, setting, provider_group_id
        FROM (SELECT DISTINCT * EXCLUDE (negotiated_rate) FROM prices WHERE negotiated_rate > 0)
        JOIN provider_sets USING (network_id, period, file_id, provider_set_id)
    )
    JOIN providers USING (network_id, period, file_id, provider_group_id)
    GROUP BY ALL
)
SELECT
    s.network_id, s.period, s.rate_unit, s.billing_class, s.setting,
    s.prices, s.left_out, s.lowest, s.p10, s.p25, s.median, s.p75, s.p90, s.highest,
    coalesce(h.tins, 0) AS tins, coalesce(h.npis, 0) AS npis
FROM statistics s
LEFT JOIN holders h
    ON h.network_id = s.network_id
    AND h.rate_unit = s.rate_unit
    AND h.billing_class IS NOT DISTINCT FROM s.billing_class
    AND h.setting IS NOT DISTINCT FROM s.setting
ORDER BY s.rate_unit, s.median DESC NULLS LAST, s.network_id, s.billing_class, s.setting;
