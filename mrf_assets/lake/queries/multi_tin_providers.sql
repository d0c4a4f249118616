-- Question: Which providers are under contract by several TINs?
-- Grain: One row per NPI with at least `min_tins` EINs, over all networks or in one.
-- Caveats: EINs alone: an NPI that stands for a TIN is not counted. About a quarter of NPIs have several, as
--   providers work for several groups; very many point to placeholders. An organization (Type 2) with many EINs is
--   often a laboratory or urgent care center. entity_type, name and specialty are those of `provider_directory`, null
--   without it. A TIN that is likely a social security number is masked.
-- Parameter min_tins [2]: How many.
-- Parameter network_id []: One network; all together if it is not given.
-- Parameter entity_type []: individual or organization; both, and unknown ones, if it is not given.
WITH contracts AS (
    SELECT npi, tin_value, network_id
    FROM providers
    WHERE npi IS NOT NULL AND tin_type = 'ein' AND tin_value IS NOT NULL
        AND ($network_id = '' OR network_id = $network_id)
),
-- Most NPIs have one TIN and are skipped before sets are made (benchmarks/NOTES.md, "Look-ups").
candidates AS (
    SELECT npi
    FROM contracts
    GROUP BY npi
    HAVING min(tin_value) <> max(tin_value) OR CAST($min_tins AS BIGINT) < 2
),
counted AS (
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
)
SELECT
    npi, d.provider_name, d.entity_type, d.primary_taxonomy_code, tins, c.networks,
    [masked_tin('ein', tin) for tin in first_tins] AS first_tins, first_networks
FROM counted c
LEFT JOIN provider_directory d USING (npi)
WHERE $entity_type = '' OR d.entity_type = $entity_type
ORDER BY tins DESC, npi;
