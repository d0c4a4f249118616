-- Question: Which providers are under contract by several TINs?
-- Grain: One row per NPI with at least `min_tins` EINs, over all networks.
-- Caveats: EINs alone: an NPI that stands for a TIN is not counted. About a quarter of NPIs have several, as
--   providers work for several groups; very many point to placeholders.
-- Parameter min_tins [2]: How many.
SELECT
    npi,
    count(DISTINCT tin_value) AS tins,
    count(DISTINCT network_id) AS networks,
    list_sort(list(DISTINCT tin_value))[:20] AS first_tins,
    list_sort(list(DISTINCT network_id))[:20] AS first_networks
FROM providers
WHERE npi IS NOT NULL AND tin_type = 'ein' AND tin_value IS NOT NULL
GROUP BY npi
HAVING count(DISTINCT tin_value) >= CAST($min_tins AS BIGINT)
ORDER BY tins DESC, npi;
