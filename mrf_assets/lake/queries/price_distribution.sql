-- Question: What do networks pay for one code, under which conditions, and how sure is that?
-- Grain: One row per network and conditions: bill type, site, component, modifiers, arrangement and unit of the price.
-- Caveats: A contract (a TIN under these conditions) counts once, however many rows the payer writes for it. Nothing is
--   pooled over conditions. A median needs 6 contracts, quartiles 11, p10 and p90 29; `refused_because` says why there
--   is none, `gates` how many contracts were stopped and why. Prices for all codes (CSTM-00) that apply are there, too.
-- Parameter billing_code: The code, as in 99213.
-- Parameter billing_code_type [CPT]: Its type, as in MS-DRG; CPT and HCPCS are one family.
-- Parameter bill_type []: professional, outpatient or inpatient; all if it is not given.
-- Parameter site []: facility, nonfacility, any or not said; all if it is not given.
-- Parameter component []: base, 26, TC, alternatives or other; all if it is not given.
-- Parameter unit [tin]: tin or npi: who has one vote. npi counts organizations, as one EIN may have many hospitals.
SELECT
    network_id, period, bill_type, site, component, modifiers, negotiation_arrangement, severity, price_basis,
    is_conditional, code, contracts, published, lowest, p10, p25, median, p75, p90, highest,
    refused_because, cautions, gates, tins, npis, rows, not_judged, rule_version
FROM (
    SELECT 'tin' AS unit, * FROM price_statistics
    UNION ALL
    SELECT 'npi', * FROM facility_statistics
)
WHERE unit = $unit
    AND (
        (code_family = family_of($billing_code_type) AND code = code_of($billing_code_type, $billing_code))
        OR (code = 'CSTM-00' AND code_family IN (family_of($billing_code_type), 'CSTM-ALL'))
    )
    AND ($bill_type = '' OR bill_type = $bill_type)
    AND ($site = '' OR site = $site)
    AND ($component = '' OR component = $component)
ORDER BY code = 'CSTM-00', bill_type, site, component, price_basis, median DESC NULLS LAST, network_id, modifiers;
