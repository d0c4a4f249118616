-- Question: Which networks hold the same prices under two names?
-- Grain: One row per pair of files of different networks that are the same, byte for byte or in all their prices.
-- Caveats: Same prices are judged by the number and a hash of all of them with their codes and conditions, without
--   providers; names, descriptions and remarks are not compared. Files without prices are not compared.
WITH contents AS (
    SELECT
        network_id, period, file_id,
        count(*) AS prices,
        sum(CAST(hash(
            negotiation_arrangement, billing_code_type, billing_code, severity_of_illness, negotiated_type,
            negotiated_rate, expiration_date, service_codes, billing_class, setting, billing_code_modifiers
        ) AS HUGEINT)) AS fingerprint
    FROM rates
    GROUP BY ALL
),
known AS (
    SELECT network_id, period, file_id, filename, sha256, prices, fingerprint
    FROM contents
    JOIN files USING (network_id, period, file_id)
)
SELECT
    a.network_id, a.period, a.filename,
    b.network_id AS other_network_id, b.period AS other_period, b.filename AS other_filename,
    a.prices,
    coalesce(a.sha256 = b.sha256, false) AS same_bytes
FROM known a
JOIN known b
    ON a.network_id < b.network_id
    AND a.prices = b.prices
    AND a.fingerprint = b.fingerprint
ORDER BY a.prices DESC, a.network_id, b.network_id, a.filename, b.filename;
