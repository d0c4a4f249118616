-- Question: Which networks pay the most and the least for a code?
-- Grain: One row per code, class, setting and network among the highest or lowest `top`.
-- Caveats: Dollars for the code alone, above 0; each price counts once. Revenue codes, drugs and anesthesia have no
--   such price: the file does not say for how much of them it is. Networks with fewer than `min_prices` prices are
--   not compared, nor codes that one network alone has.
-- Parameter billing_code []: One code; all if it is not given.
-- Parameter billing_code_type []: One type; all if it is not given.
-- Parameter top [3]: How many networks at either end.
-- Parameter min_prices [5]: Of a network for the code.
WITH medians AS (
    SELECT
        billing_code_type, billing_code, billing_class, setting, network_id, period,
        count(*) AS prices, median(dollars) AS median_dollars
    FROM rates
    WHERE dollars > 0
        AND ($billing_code = '' OR billing_code = $billing_code)
        AND ($billing_code_type = '' OR billing_code_type = $billing_code_type)
    GROUP BY ALL
    HAVING count(*) >= CAST($min_prices AS BIGINT)
),
ranked AS (
    SELECT
        *,
        rank() OVER (code ORDER BY median_dollars DESC) AS rank_from_top,
        rank() OVER (code ORDER BY median_dollars) AS rank_from_bottom,
        count(*) OVER code AS networks,
        median(median_dollars) OVER code AS median_of_networks
    FROM medians
    WINDOW code AS (PARTITION BY billing_code_type, billing_code, billing_class, setting)
)
SELECT
    billing_code_type, billing_code, billing_class, setting, network_id, period, prices, median_dollars,
    rank_from_top, rank_from_bottom, networks, round(median_dollars / median_of_networks, 4) AS ratio_to_median_network
FROM ranked
WHERE networks > 1
    AND (rank_from_top <= CAST($top AS BIGINT) OR rank_from_bottom <= CAST($top AS BIGINT))
ORDER BY billing_code_type, billing_code, billing_class, setting, rank_from_top, network_id;
