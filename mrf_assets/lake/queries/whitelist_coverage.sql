-- Question: Which of the wanted codes does each network have, and which are missing?
-- Grain: One row per network and wanted code.
-- Caveats: Codes are compared literally but for lost zeros of RC (0450) and DRGs (039), as --cpt-whitelist does: a
--   price for all codes of a type (CSTM-00) covers none of them by name.
-- Parameter whitelist: The file of --cpt-whitelist: `code` or `type,code` lines.
WITH lines AS (
    SELECT [
        upper(trim(cell, ' "''')) for cell in string_split_regex(rtrim(ltrim(string_split(line, '#')[1], ' '), chr(9) || ' '), '[,;\t]')
    ] AS cells
    FROM (
        SELECT unnest(string_split_regex(ltrim(content, chr(65279)), '\r\n|\r|\n')) AS line
        FROM read_text($whitelist)
    )
),
widths AS (
    SELECT billing_code_type, digits
    FROM (VALUES
        ('RC', 4), ('MS-DRG', 3), ('R-DRG', 3), ('S-DRG', 3), ('APS-DRG', 3), ('AP-DRG', 3), ('DRG', 3)
    ) t(billing_code_type, digits)
),
wanted AS (
    SELECT DISTINCT
        CASE WHEN len(cells) = 2 THEN cells[1] END AS billing_code_type,
        CASE
            WHEN len(cells) = 2 AND cells[-1] SIMILAR TO '[0-9]+' AND digits > len(cells[-1])
            THEN lpad(cells[-1], digits, '0')
            ELSE cells[-1]
        END AS code
    FROM lines
    LEFT JOIN widths ON len(cells) = 2 AND billing_code_type = cells[1]
    WHERE cells[1] <> '' AND cells NOT IN (
        ['CODE'], ['BILLING_CODE'], ['TYPE', 'CODE'], ['BILLING_CODE_TYPE', 'BILLING_CODE']
    )
),
-- what each of them matches: a bare code that is shorter than those of a type has lost its zeros
spellings AS (
    SELECT billing_code_type, code, billing_code_type AS matched_type, code AS matched_code FROM wanted
    UNION
    SELECT NULL, w.code, t.billing_code_type, lpad(w.code, t.digits, '0')
    FROM wanted w
    JOIN widths t ON t.digits > len(w.code)
    WHERE w.billing_code_type IS NULL AND w.code SIMILAR TO '[0-9]+'
),
found AS (
    SELECT
        network_id,
        upper(rates.billing_code_type) AS billing_code_type,
        CASE
            WHEN billing_code SIMILAR TO '[0-9]+' AND digits > len(billing_code) THEN lpad(billing_code, digits, '0')
            ELSE upper(billing_code)
        END AS code,
        count(*) AS prices
    FROM rates
    LEFT JOIN widths ON widths.billing_code_type = upper(rates.billing_code_type)
    GROUP BY ALL
),
matched AS (
    SELECT
        n.network_id, n.period, w.billing_code_type, w.code,
        coalesce(sum(f.prices), 0) AS prices
    FROM networks n
    CROSS JOIN spellings w
    LEFT JOIN found f
        ON f.network_id = n.network_id
        AND f.code = w.matched_code
        AND (w.matched_type IS NULL OR w.matched_type = f.billing_code_type)
    WHERE n.is_latest
    GROUP BY ALL
)
SELECT network_id, period, billing_code_type, code AS billing_code, prices, prices > 0 AS is_covered
FROM matched
ORDER BY network_id, is_covered, billing_code_type NULLS FIRST, billing_code;
