-- Question: What does one provider get for its codes, in each network?
-- Grain: One row per network, file, price and TIN that the provider has it by.
-- Caveats: With an NPI, prices that hold for a whole TIN without naming NPIs are not found: ask for the TIN, too.
--   A price is negotiated for the group: that a provider has one for a code does not say that it performs it.
-- Parameter npi []: National Provider Identifier; npi, tin or both.
-- Parameter tin []: EIN with or without hyphen, or the NPI that stands for a TIN.
-- Parameter billing_code []: One code; all if it is not given.
SELECT DISTINCT
    network_id, period, tin_type, tin_value,
    billing_code_type, billing_code, rate_unit, negotiated_type, negotiated_rate,
    billing_class, setting, service_codes, billing_code_modifiers, expiration_date, file_id, price_number
FROM rates_by_npi
WHERE ($npi <> '' OR $tin <> '')
    AND ($npi = '' OR npi = TRY_CAST($npi AS BIGINT))
    AND ($tin = '' OR tin_value = replace($tin, '-', ''))
    AND ($billing_code = '' OR billing_code = $billing_code)
ORDER BY billing_code_type, billing_code, network_id, file_id, price_number, tin_type, tin_value;
