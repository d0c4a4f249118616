-- Question: Which networks are the same under several names?
-- Grain: One row per relation and group of networks: same bytes; same prices and TINs; same prices, other TINs.
-- Caveats: The closest relation of a group is shown; a wider group that has further networks is a row of its own.
--   Sameness is that of `network_contents`: splitting, merging and repeating prices change nothing, and dates, NPIs and
--   the words of remarks are not compared. Same prices with other TINs are often one schedule of a state or a payer.
--   Networks without prices are compared by bytes alone. What whitelists leave out is not compared.
WITH bytes AS (
    SELECT network_id, CASE WHEN count(sha256) = count(*) THEN hash(list_sort(list(sha256))) END AS content
    FROM files
    GROUP BY network_id
),
known AS (
    SELECT
        network_id, coalesce(b.content, hash(network_id)) AS bytes,
        coalesce(content_party_id, network_id) AS content_party_id, coalesce(content_id, network_id) AS content_id,
        prices
    FROM bytes b
    LEFT JOIN network_contents USING (network_id)
),
related AS (
    SELECT 1 AS distance, 'same bytes' AS relation, list_sort(list(network_id)) AS networks, any_value(prices) AS prices
    FROM known
    GROUP BY bytes
    UNION ALL
    SELECT 2, 'same prices and TINs', list_sort(list(network_id)), any_value(prices)
    FROM known
    GROUP BY content_party_id
    UNION ALL
    SELECT 3, 'same prices, other TINs', list_sort(list(network_id)), any_value(prices)
    FROM known
    GROUP BY content_id
),
closest AS (
    SELECT networks, min(distance) AS distance
    FROM related
    WHERE len(networks) > 1
    GROUP BY networks
)
SELECT relation, len(networks) AS networks, networks[:20] AS first_networks, prices
FROM related
JOIN closest USING (networks, distance)
ORDER BY prices DESC NULLS LAST, first_networks, distance;
