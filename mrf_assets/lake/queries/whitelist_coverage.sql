-- Question: Which of the wanted codes does each network have, and which are missing?
-- Grain: One row per network and wanted code.
-- Caveats: Codes are compared as --cpt-whitelist does: with the zeros that revenue codes (0450) and DRGs (039) lost,
--   CPT and HCPCS as one family. A code is priced where an amount above 0 stands in dollars for it; a percentage or a
--   0 is not a price. has_all_codes_price says whether the network has a price for all codes (CSTM-00) of the type, or
--   of any type if the entry has none; such a price does not cover a code by name.
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
    SELECT
        billing_code_type, code,
        CASE billing_code_type WHEN 'CPT' THEN 'HCPCS' WHEN 'DRG' THEN 'MS-DRG' ELSE billing_code_type END AS family,
        code AS matched_code
    FROM wanted
    UNION
    SELECT
        NULL, w.code,
        CASE t.billing_code_type WHEN 'DRG' THEN 'MS-DRG' ELSE t.billing_code_type END, lpad(w.code, t.digits, '0')
    FROM wanted w
    JOIN widths t ON t.digits > len(w.code)
    WHERE w.billing_code_type IS NULL AND w.code SIMILAR TO '[0-9]+'
),
published AS (
    SELECT
        network_id, code_family, code,
        count(*) AS prices,
        count(*) FILTER (dollars > 0) AS priced,
        count(*) FILTER (starts_with(rate_unit, 'percent') AND negotiated_rate > 0) AS percentages,
        count(*) FILTER (negotiated_rate > 0) AS positive
    FROM rates
    GROUP BY ALL
),
all_codes AS (
    SELECT network_id, list(DISTINCT code_family) AS families
    FROM rates
    WHERE code_scope = 'all codes'
    GROUP BY network_id
),
matched AS (
    SELECT
        n.network_id, n.period, w.billing_code_type, w.code,
        coalesce(sum(p.prices), 0) AS prices,
        coalesce(sum(p.priced), 0) AS priced,
        coalesce(sum(p.percentages), 0) AS percentages,
        coalesce(sum(p.positive), 0) AS positive,
        coalesce(bool_or(w.billing_code_type IS NULL AND len(a.families) > 0 OR list_has_any(a.families, ['CSTM-ALL', w.family])), false) AS has_all_codes_price
    FROM networks n
    CROSS JOIN spellings w
    LEFT JOIN published p
        ON p.network_id = n.network_id
        AND p.code = w.matched_code
        AND (w.family IS NULL OR w.family = p.code_family)
    LEFT JOIN all_codes a ON a.network_id = n.network_id
    WHERE n.is_latest
    GROUP BY ALL
)
SELECT
    network_id, period, billing_code_type, code AS billing_code, prices,
    priced > 0 AS is_priced,
    positive > 0 AND percentages = positive AS is_percent_only,
    prices > 0 AND positive = 0 AS is_zero_only,
    has_all_codes_price
FROM matched
ORDER BY network_id, is_priced, billing_code_type NULLS FIRST, billing_code;
