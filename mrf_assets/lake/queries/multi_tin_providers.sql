-- Question: Which providers are under contract by several TINs?
-- Grain: One row per NPI with at least `min_tins` EINs, over all networks.
-- Caveats: EINs alone: an NPI that stands for a TIN is not counted. About a quarter of NPIs have several, as
--   providers work for several groups; very many point to placeholders.
-- Parameter min_tins [2]: How many.
WITH contracts AS (
    SELECT npi, tin_value, network_id
    FROM providers
    WHERE npi IS NOT NULL AND tin_type = 'ein' AND tin_value IS NOT NULL
),
-- Most NPIs have one TIN and are passed over before sets are made (benchmarks/NOTES.md, "Look-ups").
candidates AS (
    SELECT npi
    FROM contracts
    GROUP BY npi
    HAVING min(tin_value) <> max(tin_value) OR CAST($min_tins AS BIGINT) < 2
)
SELECT
    npi,
    count(DISTINCT tin_value) AS tins,
    count(DISTINCT network_id) AS networks,
    list_sort(list(DISTINCT tin_value))[:20] AS first_tins,
    list_sort(list(DISTINCT network_id))[:20] AS first_networks
FROM contracts
SEMI JOIN candidates USING (npi)
GROUP BY npi
HAVING count(DISTINCT tin_value) >= CAST($min_tins AS BIGINT)
ORDER BY tins DESC, npi;
