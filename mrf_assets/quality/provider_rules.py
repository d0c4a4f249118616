"""Rules on who prices are for, over the views of the catalog; `lake_rules` applies them with its own.

Sets of providers are large and overlap, so no rule multiplies prices by providers: sets are compared with each other,
and codes with specialties.
"""

from __future__ import annotations

from mrf_assets.quality.network_rules import Check
from mrf_assets.schema.tins import likely_ssn_sql, masked_tin_sql

# What two prices must share to be prices of the same thing; a code of the payer's own is nothing without its name.
PRICE_CONDITIONS = """negotiation_arrangement, billing_code_type, billing_code_type_version, billing_code,
    CASE WHEN code_scope <> 'standard' THEN upper(trim(coalesce(name, description))) END,
    severity_of_illness, bundled_codes, covered_services, negotiated_type, expiration_date, service_codes,
    billing_class, setting, billing_code_modifiers, additional_information"""
_MASKED = masked_tin_sql("tin_type", "tin_value") + " AS tin"
_MASKED_EIN = masked_tin_sql("'ein'", "tin_value") + " AS tin"
_TINS_SQL = """SELECT network_id, count(*) AS rows
FROM (SELECT DISTINCT network_id, tin_value FROM providers WHERE tin_type = 'ein') GROUP BY network_id"""
_GROUPS_SQL = """SELECT network_id, count(DISTINCT (file_id, provider_group_id)) AS rows FROM providers
GROUP BY network_id"""

# Of a file that has both, no group says which of the two it is (docs/repairs.md).
_TELLS_NOTHING_FROM_ZERO = "repairs['group_without_npi'] IS NULL OR repairs['npi_zero_as_null'] IS NULL"
_SILENT_GROUPS_SQL = f"""SELECT network_id, file_id, provider_group_id, any_value(tin) AS tin
FROM (SELECT *, {_MASKED} FROM providers)
SEMI JOIN (SELECT * FROM files WHERE repairs['group_without_npi'] > 0 AND ({_TELLS_NOTHING_FROM_ZERO}))
    USING (network_id, file_id)
GROUP BY network_id, file_id, provider_group_id HAVING count(npi) = 0"""  # noqa: S608 - constants
_TELLING_GROUPS_SQL = f"""SELECT network_id, count(DISTINCT (file_id, provider_group_id)) AS rows FROM providers
SEMI JOIN (SELECT * FROM files WHERE {_TELLS_NOTHING_FROM_ZERO}) USING (network_id, file_id)
GROUP BY network_id"""  # noqa: S608 - constants

# A pair is a code and an NPI that has a price for it: one specialty that fits is enough for an NPI, not for a set.
_PAIRS_SQL = """SELECT DISTINCT network_id, billing_code_type, billing_code, npi
FROM (
    SELECT DISTINCT network_id, period, file_id, provider_set_id, billing_code_type, billing_code
    FROM rates
    SEMI JOIN taxonomy_codes USING (billing_code_type, billing_code)
)
JOIN provider_sets USING (network_id, period, file_id, provider_set_id)
JOIN providers USING (network_id, period, file_id, provider_group_id)
SEMI JOIN provider_taxonomies USING (npi)"""
_FITTING_SQL = """SELECT npi, billing_code_type, billing_code
FROM provider_taxonomies
JOIN (
    SELECT n.taxonomy, t.billing_code_type, t.billing_code
    FROM (SELECT DISTINCT taxonomy FROM provider_taxonomies) n
    JOIN taxonomy_codes t ON starts_with(n.taxonomy, t.taxonomy)
) USING (taxonomy)"""

# Parties that are in the same groups are in the same sets: a few thousand lists stand for all providers. The prices of
# two sets contradict each other only where the sets share a party. Where nearly all sets share some, two million prices
# took 19 s; every n-th condition of a network tells the share as well.
_MAX_COMPARED_PRICES = 100_000
_COMPARED_SQL = f"""SELECT network_id, file_id, provider_set_id, billing_code_type, billing_code, negotiated_rate,
        conditions
    FROM (SELECT *, hash({PRICE_CONDITIONS}) AS conditions FROM rates WHERE provider_set_id IS NOT NULL)
    JOIN (SELECT network_id, 1 + count(*) // {_MAX_COMPARED_PRICES} AS step FROM rates GROUP BY network_id)
        USING (network_id)
    WHERE conditions % step = 0"""  # noqa: S608 - constants
_CONTRADICTIONS_SQL = f"""WITH compared AS MATERIALIZED (
    {_COMPARED_SQL}
),
disputed AS MATERIALIZED (
    SELECT * FROM compared SEMI JOIN (
        SELECT network_id, conditions FROM compared
        GROUP BY ALL HAVING min(negotiated_rate) < max(negotiated_rate)
    ) USING (network_id, conditions)
),
panels AS (
    SELECT row_number() OVER () AS panel, network_id, groups
    FROM (
        SELECT DISTINCT network_id, groups
        FROM (
            SELECT network_id, list_sort(list(DISTINCT {{'file_id': file_id, 'id': provider_group_id}})) AS groups
            FROM providers
            WHERE tin_value IS NOT NULL OR npi IS NOT NULL
            GROUP BY network_id, tin_type, tin_value, npi
        )
    )
),
sets_of_panels AS (
    SELECT DISTINCT p.network_id, list_sort(list(DISTINCT {{'file_id': s.file_id, 'id': s.provider_set_id}})) AS sets
    FROM (SELECT panel, network_id, unnest(groups) AS member FROM panels) p
    JOIN provider_sets s
        ON s.network_id = p.network_id AND s.file_id = p.member.file_id AND s.provider_group_id = p.member.id
    GROUP BY p.panel, p.network_id
),
sharing AS (
    SELECT DISTINCT network_id, one.file_id AS file_id, one.id AS provider_set_id, other.file_id AS other_file,
        other.id AS other_set
    FROM (SELECT network_id, sets, unnest(sets) AS one FROM sets_of_panels), unnest(sets) AS every(other)
),
held_otherwise AS (
    SELECT o.network_id, o.file_id, o.provider_set_id, d.conditions, d.negotiated_rate
    FROM disputed d
    JOIN sharing o
        ON o.network_id = d.network_id AND o.other_file = d.file_id AND o.other_set = d.provider_set_id
)
SELECT p.network_id, p.file_id, p.provider_set_id, p.billing_code_type, p.billing_code, p.negotiated_rate
FROM disputed p
SEMI JOIN held_otherwise h
    ON h.network_id = p.network_id AND h.file_id = p.file_id AND h.provider_set_id = p.provider_set_id
    AND h.conditions = p.conditions AND h.negotiated_rate <> p.negotiated_rate"""  # noqa: S608 - constants

# Individuals (Type 1) bill by the professional claim form. A set with an NPI that the directory does not know, or with
# a whole TIN, is not judged.
_INSTITUTIONAL_SQL = """SELECT network_id, file_id, provider_set_id, bool_and(is_of_individuals) AS is_misfit
FROM provider_sets
JOIN (
    SELECT network_id, file_id, provider_group_id, count(*) = count(d.entity_type) AS is_known,
        count(*) = count(*) FILTER (d.entity_type = 'individual') AS is_of_individuals
    FROM providers LEFT JOIN provider_directory d USING (npi)
    GROUP BY network_id, file_id, provider_group_id
) USING (network_id, file_id, provider_group_id)
GROUP BY network_id, file_id, provider_set_id HAVING bool_and(is_known)"""
_NAMES_SQL = """SELECT network_id, tin_value,
    count(DISTINCT nullif(regexp_replace(upper(business_name), '[^A-Z0-9]', '', 'g'), '')) AS names
FROM providers WHERE tin_type = 'ein' AND tin_value IS NOT NULL AND business_name IS NOT NULL
GROUP BY network_id, tin_value"""
_SHARES_OF_TINS_SQL = """SELECT network_id, tin_value, npis, npis / of_network AS share
FROM (
    SELECT network_id, tin_value, count(DISTINCT npi) AS npis
    FROM providers WHERE tin_type = 'ein' GROUP BY network_id, tin_value
)
JOIN (SELECT network_id, count(DISTINCT npi) AS of_network FROM providers GROUP BY network_id) USING (network_id)
WHERE share > $threshold"""

PROVIDER_RULES: tuple[Check, ...] = (
    Check(
        name="specialty_fits",
        table="rates",
        severity="info",
        explanation="How many pairs of a code and an NPI with a price for it are ghosts: no specialty of the NPI does "
        "this. Nothing is judged without MRF_TAXONOMY_CODES and provider_directory. 60 to 80 % of prices do not fit, "
        "say Turquoise and Serif Health.",
        sql=f"""SELECT network_id, billing_code_type, billing_code, npi FROM ({_PAIRS_SQL})
ANTI JOIN ({_FITTING_SQL}) USING (npi, billing_code_type, billing_code)""",  # noqa: S608 - constants
        population_sql=f"SELECT network_id, count(*) AS rows FROM ({_PAIRS_SQL}) GROUP BY network_id",  # noqa: S608 - the same
    ),
    Check(
        name="one_amount_per_price",
        table="rates",
        severity="warn",
        explanation="At most 5 % of prices contradict another one for a TIN and NPI of theirs, the same code and the "
        f"same conditions; of a network of more than {_MAX_COMPARED_PRICES:,} prices a sample is judged.",
        sql=_CONTRADICTIONS_SQL,
        population_sql=f"SELECT network_id, count(*) AS rows FROM ({_COMPARED_SQL}) GROUP BY network_id",  # noqa: S608 - the same
        tolerated_share=0.05,
    ),
    Check(
        name="npi_type_fits_class",
        table="rates",
        severity="warn",
        explanation="At most 5 % of institutional prices are for individuals alone (NPIs of type 1), who bill no "
        "institutional claim; judged where provider_directory knows all NPIs of a price.",
        sql=f"""SELECT network_id, file_id, billing_code_type, billing_code, provider_set_id
FROM rates JOIN ({_INSTITUTIONAL_SQL}) USING (network_id, file_id, provider_set_id)
WHERE billing_class = 'institutional' AND is_misfit""",  # noqa: S608 - constants
        population_sql=f"""SELECT network_id, count(*) AS rows
FROM rates SEMI JOIN ({_INSTITUTIONAL_SQL}) USING (network_id, file_id, provider_set_id)
WHERE billing_class = 'institutional' GROUP BY network_id""",  # noqa: S608 - constants
        tolerated_share=0.05,
    ),
    Check(
        name="tin_of_everyone",
        table="providers",
        severity="warn",
        explanation="No EIN has both more than 20 % of a network's NPIs and more than 30 specialties: it is an "
        "administrator or a rented network, not who is paid. Specialties are those of provider_directory.",
        threshold=0.2,
        sql=f"""SELECT network_id, {_MASKED_EIN}, any_value(share) AS share_of_npis,
    count(DISTINCT taxonomy) AS specialties
FROM ({_SHARES_OF_TINS_SQL})
JOIN providers USING (network_id, tin_value)
JOIN provider_taxonomies USING (npi)
WHERE tin_type = 'ein'
GROUP BY network_id, tin_value HAVING count(DISTINCT taxonomy) > 30""",  # noqa: S608 - constants
    ),
    Check(
        name="business_name_of_tin",
        table="providers",
        severity="warn",
        explanation="At most 1 % of EINs have more than 5 business names; capitals, spaces and punctuation do not "
        "count.",
        threshold=5,
        sql=f"SELECT network_id, {_MASKED_EIN}, names FROM ({_NAMES_SQL}) WHERE names > $threshold",  # noqa: S608 - constants
        population_sql=f"SELECT network_id, count(*) AS rows FROM ({_NAMES_SQL}) GROUP BY network_id",  # noqa: S608 - constants
        tolerated_share=0.01,
    ),
    Check(
        name="groups_have_npis",
        table="providers",
        severity="warn",
        explanation="At most 5 % of provider groups name no NPI. An NPI of 0 is none of these: it stands for the whole "
        "TIN. Files that have both are not judged, as the tables hold null for either.",
        sql=_SILENT_GROUPS_SQL,
        population_sql=_TELLING_GROUPS_SQL,
        tolerated_share=0.05,
    ),
    Check(
        name="groups_are_used",
        table="providers",
        severity="warn",
        explanation="At most 95 % of provider groups are named by no price (80 % by design at CareFirst); files that "
        "were read with a whitelist are not judged.",
        sql="""SELECT DISTINCT network_id, file_id, provider_group_id FROM providers
SEMI JOIN (SELECT * FROM files WHERE code_whitelist_sha256 IS NULL AND tin_whitelist_sha256 IS NULL)
    USING (network_id, file_id)
ANTI JOIN provider_sets USING (network_id, file_id, provider_group_id)""",
        population_sql=_GROUPS_SQL,
        tolerated_share=0.95,
    ),
    Check(
        name="ein_prefix",
        table="providers",
        severity="warn",
        explanation="At most 1 % of EINs begin with two digits that the IRS does not assign. These are likely social "
        "security numbers: do not republish them. Samples show the first two digits.",
        sql=f"""SELECT network_id, prefix, count(*) OVER (PARTITION BY network_id, prefix) AS tins
FROM (
    SELECT network_id, tin_value[:2] AS prefix
    FROM (SELECT DISTINCT network_id, tin_value FROM providers WHERE {likely_ssn_sql("tin_type", "tin_value")})
)""",  # noqa: S608 - constants
        population_sql=_TINS_SQL,
        tolerated_share=0.01,
    ),
    Check(
        name="npi_in_few_tins",
        table="providers",
        severity="warn",
        explanation="An NPI is under contract by at most 30 EINs of a network (28 was the most seen); beyond that it "
        "is a placeholder. Organizations are not judged where provider_directory knows them: laboratories and "
        "telehealth exceed it.",
        threshold=30,
        sql="""SELECT network_id, npi, count(DISTINCT tin_value) AS tins FROM providers
WHERE npi IS NOT NULL AND tin_type = 'ein'
GROUP BY network_id, npi HAVING count(DISTINCT tin_value) > $threshold
    AND npi NOT IN (SELECT d.npi FROM provider_directory d WHERE d.entity_type = 'organization')""",
    ),
)
