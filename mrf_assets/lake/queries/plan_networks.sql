-- Question: Which networks does a plan use, and what is in them?
-- Grain: One row per plan, network and file.
-- Caveats: Plans come from the index, else from the header of a single-plan file; a file that was ingested without
--   its index has none. Ids are compared without hyphens; the ten characters of a HIOS product find its plans, and a
--   plan finds its product where the index lists no more. Names and sponsors are compared by a part of them, in any
--   case. Which files an index lists together (medical, behavioral, pharmacy) is not kept.
-- Parameter plan: A plan id, or part of the name of a plan or of its sponsor.
WITH asked AS (
    SELECT regexp_replace(upper($plan), '[^0-9A-Z]', '', 'g') AS asked_id
),
listed AS (
    SELECT *, regexp_replace(upper(plan_id), '[^0-9A-Z]', '', 'g') AS bare_id
    FROM (
        SELECT * FROM plans
        UNION ALL BY NAME
        SELECT
            network_id, period, file_id,
            plan_name, plan_id_type, plan_id, plan_key, plan_market_type, issuer_name, plan_sponsor_name
        FROM files
        ANTI JOIN plans USING (network_id, period, file_id)
        WHERE plan_name IS NOT NULL OR plan_id IS NOT NULL
    )
)
SELECT DISTINCT
    l.plan_name, l.plan_id_type, l.plan_id, l.plan_key, l.plan_market_type, l.plan_sponsor_name,
    l.network_id, l.period, f.reporting_entity_name, f.filename, f.part, f.parts, f.rate_rows
FROM listed l
CROSS JOIN asked
JOIN files f USING (network_id, period, file_id)
WHERE $plan <> ''
    AND (
        (asked_id <> '' AND bare_id = asked_id)
        OR (l.plan_key = asked_id[:10] AND (starts_with(bare_id, asked_id) OR starts_with(asked_id, bare_id)))
        OR contains(lower(l.plan_name), lower($plan))
        OR contains(lower(l.plan_sponsor_name), lower($plan))
    )
ORDER BY l.plan_name, l.plan_id, l.network_id, f.part, f.filename;
