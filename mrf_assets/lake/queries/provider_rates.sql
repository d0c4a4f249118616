-- Question: What does one provider get for its codes, in each network?
-- Grain: One row per network, file, TIN and distinct price that the provider has by it.
-- Caveats: With an NPI, prices that hold for a whole TIN without naming NPIs are not found: ask for the TIN, too. With
--   a code, prices for all codes that apply to it are there, too (`applies_as`): a payer that names the code means its
--   own price first. A price is negotiated for the group: that a provider has one for a code does not say that it
--   performs it.
-- Parameter npi []: National Provider Identifier; npi, tin or both.
-- Parameter tin []: EIN with or without hyphen, or the NPI that stands for a TIN.
-- Parameter billing_code []: One code; all if it is not given.
-- Parameter billing_code_type []: Its type, for prices of all codes of the type; without it, those of all types alone.
SELECT
    network_id, period, tin_type, tin_value,
    billing_code_type, billing_code, name,
    CASE
        WHEN code_scope <> 'all codes' THEN 'named'
        WHEN code_family = 'CSTM-ALL' THEN 'all codes'
        ELSE 'all codes of the type'
    END AS applies_as,
    rate_unit, price_basis, negotiated_type, negotiated_rate,
    billing_class, setting, service_codes, billing_code_modifiers, additional_information, expiration_date,
    file_id, count(DISTINCT price_number) AS times
FROM rates_by_npi
WHERE ($npi <> '' OR $tin <> '')
    AND ($npi = '' OR npi = TRY_CAST($npi AS BIGINT))
    AND ($tin = '' OR tin_value = replace($tin, '-', ''))
    AND (
        $billing_code = ''
        OR code = upper(trim($billing_code))
        OR (code_family = 'RC' AND len($billing_code) < 4 AND code = lpad($billing_code, 4, '0'))
        OR (code_family = 'MS-DRG' AND len($billing_code) < 3 AND code = lpad($billing_code, 3, '0'))
        OR billing_code = $billing_code
        OR (
            code_scope = 'all codes'
            AND code_family IN (
                'CSTM-ALL',
                CASE upper($billing_code_type)
                    WHEN 'CPT' THEN 'HCPCS' WHEN 'DRG' THEN 'MS-DRG' ELSE upper($billing_code_type)
                END
            )
        )
    )
GROUP BY ALL
ORDER BY billing_code_type, billing_code, network_id, file_id, tin_type, tin_value, negotiated_rate;
