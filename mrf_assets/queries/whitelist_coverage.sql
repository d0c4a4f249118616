-- Question: Which of the wanted codes does each network have, and which are missing?
-- Grain: One row per network and wanted code.
-- Caveats: Codes are compared literally: a price for all codes of a type (CSTM-00) covers none of them by name.
-- Parameter whitelist: The file of --cpt-whitelist: `code` or `type,code` lines.
WITH lines AS (
    SELECT string_split(trim(string_split(line, '#')[1]), ',') AS cells
    FROM (
        SELECT unnest(string_split(ltrim(replace(content, chr(13), ''), chr(65279)), chr(10))) AS line
        FROM read_text($whitelist)
    )
),
entries AS (
    SELECT
        CASE WHEN len(cells) = 2 THEN upper(trim(cells[1], ' "')) END AS billing_code_type,
        upper(trim(cells[-1], ' "')) AS code
    FROM lines
    WHERE cells[1] <> ''
),
wanted AS (
    SELECT DISTINCT
        billing_code_type,
        -- a revenue code has four digits, of which payers leave out the first zero
        CASE WHEN billing_code_type = 'RC' AND code SIMILAR TO '[0-9]{1,3}' THEN lpad(code, 4, '0') ELSE code END AS code
    FROM entries
),
found AS (
    SELECT
        network_id,
        upper(billing_code_type) AS billing_code_type,
        CASE
            WHEN upper(billing_code_type) = 'RC' AND billing_code SIMILAR TO '[0-9]{1,3}' THEN lpad(billing_code, 4, '0')
            ELSE upper(billing_code)
        END AS code,
        count(*) AS prices
    FROM rates
    GROUP BY ALL
),
matched AS (
    SELECT
        n.network_id, n.period, w.billing_code_type, w.code,
        coalesce(sum(f.prices), 0) AS prices
    FROM networks n
    CROSS JOIN wanted w
    LEFT JOIN found f
        ON f.network_id = n.network_id
        AND f.code = w.code
        AND (w.billing_code_type IS NULL OR w.billing_code_type = f.billing_code_type)
    WHERE n.is_latest
    GROUP BY ALL
)
SELECT network_id, period, billing_code_type, code AS billing_code, prices, prices > 0 AS is_covered
FROM matched
ORDER BY network_id, is_covered, billing_code_type NULLS FIRST, billing_code;
