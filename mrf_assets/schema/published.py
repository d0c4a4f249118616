"""The tables that are published for each network."""

from __future__ import annotations

from hashlib import sha256

import pyarrow as pa

from mrf_assets.schema.columns import RATE_TYPE, TEXT, TEXTS, Column, Required, Table

# Patterns of the codes in lists: two digits are a place of service of CMS's list, CSTM-00 is all of them.
PLACE_SHAPE, MODIFIER_SHAPE = "[0-9]{2}|CSTM-00", "[0-9A-Z]{2}"

LAYOUT_VERSION = "3"  # of the tables and what stands in them; raise it when either changes

_COUNTS = pa.map_(pa.string(), pa.int64())
_CODE = pa.struct(
    [
        ("billing_code_type", TEXT),
        ("billing_code_type_version", TEXT),
        ("billing_code", TEXT),
        ("description", TEXT),
    ]
)

_ALWAYS = Required()
# `network_name` and `setting` came with schema 2; `version` is not reliable.
_OF_V2_FILE = """file_id IN (
    SELECT DISTINCT file_id FROM providers WHERE network_names IS NOT NULL
    UNION SELECT DISTINCT file_id FROM rates WHERE setting IS NOT NULL)"""

_FILE_ID = Column(
    "file_id", TEXT, "The source file, as in `files`; ids of groups and sets are local to it.", nullable=False
)

PROVIDERS = Table(
    "providers",
    "One row per file, provider group, TIN and NPI.",
    (
        _FILE_ID,
        Column(
            "provider_group_id",
            TEXT,
            "The payer's id as exact decimal text (690.64470 and 690.6447 are one number); "
            "`inline-<16 hex>` for a group that was written inside a rate and has no id of its own.",
            nullable=False,
        ),
        Column(
            "npi",
            pa.int64(),
            "National Provider Identifier; null where the payer says 0 or none (a TIN-level contract).",
        ),
        Column(
            "tin_type",
            TEXT,
            "ein or npi; an npi-type value must not be joined to EINs.",
            words=("ein", "npi"),
            required=_ALWAYS,
        ),
        Column(
            "tin_value",
            TEXT,
            "EIN as nine digits without hyphen, or an NPI, by `tin_type`. An EIN that the IRS cannot have assigned "
            "(rule ein_prefix) is likely a social security number: do not republish it.",
            required=_ALWAYS,
        ),
        Column(
            "business_name",
            TEXT,
            "Name that belongs to the TIN (schema v2).",
            required=Required("tin_type = 'ein' AND network_names IS NOT NULL", "Each EIN of a file of schema 2"),
        ),
        Column("network_names", TEXTS, "The payer's names of the networks of this group (schema v2 `network_name`)."),
        Column("is_inline", pa.bool_(), "True where the group id was made by us from NPIs and TIN.", nullable=False),
    ),
)

PROVIDER_SETS = Table(
    "provider_sets",
    "One row per file, provider set and provider group: the distinct sets of groups that prices refer to.",
    (
        _FILE_ID,
        Column(
            "provider_set_id",
            pa.int64(),
            "Made from the sorted group ids: equal sets of one file have equal ids, whatever their order.",
            nullable=False,
        ),
        Column("provider_group_id", TEXT, "A group of `providers`.", nullable=False),
    ),
)

SET_TINS = Table(
    "set_tins",
    "One row per file, provider set and TIN: who has the prices of a set under contract. Made of `provider_sets` and "
    "`providers` when they are published; a group that names neither TIN nor NPI has no row.",
    (
        _FILE_ID,
        Column("provider_set_id", pa.int64(), "A set of `provider_sets`.", nullable=False),
        Column("tin_type", TEXT, "ein or npi; also npi where the group names an NPI and no TIN.", nullable=False),
        Column(
            "tin_value", TEXT, "As in `providers`; where that gives no TIN, the NPI stands for itself.", nullable=False
        ),
        Column(
            "npis", pa.int32(), "Distinct NPIs that the set names for the TIN; 0 where it names none.", nullable=False
        ),
        Column(
            "npis_of_tin",
            pa.int32(),
            "Distinct NPIs that the file names for the TIN.",
            nullable=False,
        ),
        Column(
            "is_whole_tin",
            pa.bool_(),
            "True where a group of the set names the TIN without an NPI: the price holds for whoever bills by it.",
            nullable=False,
        ),
    ),
)

RATES = Table(
    "rates",
    "One row per negotiated price. Providers are not multiplied in: join through `provider_sets`.",
    (
        _FILE_ID,
        Column("provider_set_id", pa.int64(), "A set of `provider_sets`; null where the payer names no provider."),
        Column(
            "negotiation_arrangement",
            TEXT,
            "ffs, bundle or capitation.",
            words=("ffs", "bundle", "capitation"),
            required=_ALWAYS,
        ),
        Column(
            "billing_code_type",
            TEXT,
            "CPT, HCPCS, MS-DRG, RC, CSTM-ALL and so on, upper case.",
            words=(
                "CPT",
                "HCPCS",
                "ICD",
                "MS-DRG",
                "R-DRG",
                "S-DRG",
                "APS-DRG",
                "AP-DRG",
                "APR-DRG",
                "APC",
                "NDC",
                "HIPPS",
                "LOCAL",
                "EAPG",
                "CDT",
                "RC",
                "CSTM-ALL",
            ),
            required=_ALWAYS,
        ),
        Column(
            "billing_code_type_version",
            TEXT,
            "As the payer gives it; formats vary even inside one payer.",
            required=_ALWAYS,
        ),
        Column("billing_code", TEXT, "The code; CSTM-00 stands for all codes of the type.", required=_ALWAYS),
        Column("name", TEXT, "The payer's name of the item or service.", required=_ALWAYS),
        Column("description", TEXT, "The payer's description.", required=_ALWAYS),
        Column("severity_of_illness", TEXT, "DRG severity of illness (schema v2)."),
        Column("bundled_codes", pa.list_(_CODE), "The codes inside a bundle."),
        Column("covered_services", pa.list_(_CODE), "The codes covered by a capitation."),
        Column(
            "negotiated_type",
            TEXT,
            "negotiated, derived, fee schedule, percentage or per diem.",
            words=("negotiated", "derived", "fee schedule", "percentage", "per diem"),
            required=_ALWAYS,
        ),
        Column(
            "negotiated_rate",
            RATE_TYPE,
            "US dollars; percent of billed charges where `negotiated_type` is percentage (40.5 means 40.5 %); "
            "dollars per day where it is per diem. Never mix them in one statistic.",
            nullable=False,
        ),
        Column("expiration_date", pa.date32(), "Last day of the agreement; 9999-12-31 for none.", required=_ALWAYS),
        Column(
            "service_codes",
            TEXTS,
            "CMS place of service codes, two digits; CSTM-00 for all; empty list where the payer wrote one.",
            required=Required("billing_class = 'professional'", "Each professional price"),
        ),
        Column(
            "billing_class",
            TEXT,
            "professional, institutional or both.",
            words=("professional", "institutional", "both"),
            required=_ALWAYS,
        ),
        Column(
            "setting",
            TEXT,
            "inpatient, outpatient or both (schema v2).",
            words=("inpatient", "outpatient", "both"),
            required=Required(_OF_V2_FILE, "Each price of a file of schema 2"),
        ),
        Column("billing_code_modifiers", TEXTS, "Modifiers that the price is for."),
        Column("additional_information", TEXT, "The payer's remarks."),
    ),
)

PLANS = Table(
    "plans",
    "One row per file and plan that uses it, as the index says.",
    (
        _FILE_ID,
        Column("plan_name", TEXT, "As the index gives it."),
        Column("plan_id_type", TEXT, "ein or hios."),
        Column("plan_id", TEXT, "EIN or HIOS id as the index gives it; EINs come with and without hyphen."),
        Column("plan_market_type", TEXT, "group or individual."),
        Column("issuer_name", TEXT, "Schema v2."),
        Column("plan_sponsor_name", TEXT, "Schema v2, EIN plans."),
    ),
)

FILES = Table(
    "files",
    "One row per source file.",
    (
        Column("file_id", TEXT, "First 16 hex digits of the SHA-256 of `source_url`.", nullable=False),
        Column("source_url", TEXT, "Where it was read, without signature or userinfo.", nullable=False),
        Column("mirror_urls", TEXTS, "Other addresses of the same file, not read."),
        Column("filename", TEXT, "The published name."),
        Column("part", pa.int32(), "Which part of the network this file is, from 1.", nullable=False),
        Column("parts", pa.int32(), "How many parts the network has.", nullable=False),
        Column("period_source", TEXT, "What the period was taken from: name, index, last_updated_on or download."),
        Column("network_scope", TEXT, "Payer, entity or host of the network id, as published."),
        Column("raw_network_id", TEXT, "The network id as published, before it was made a safe key."),
        Column("variant", TEXT, "Content hash in the name, where the payer puts one."),
        Column("network_id_rule", TEXT, "The naming family that matched."),
        Column("network_id_rule_version", pa.int32(), "Version of the rule set."),
        Column("container", TEXT, "gzip, zip, zlib or plain."),
        Column("size_bytes", pa.int64(), "Bytes read, compressed."),
        Column("json_size_bytes", pa.int64(), "Bytes of JSON."),
        Column("sha256", TEXT, "Of the bytes read, compressed."),
        Column("etag", TEXT, "HTTP ETag; of a local file, its size and time of change."),
        Column("last_modified", TEXT, "HTTP Last-Modified; of a local file, its time of change."),
        Column("reporting_entity_name", TEXT, "Header of the file.", required=_ALWAYS),
        Column("reporting_entity_type", TEXT, "Header of the file.", required=_ALWAYS),
        Column(
            "last_updated_on",
            pa.date32(),
            "Header of the file; often wrong, so not the period unless nothing else says.",
            required=_ALWAYS,
        ),
        Column("version", TEXT, "Schema version the payer claims; unreliable.", required=_ALWAYS),
        Column("plan_name", TEXT, "Header of a single-plan file."),
        Column("plan_id_type", TEXT, "Header of a single-plan file."),
        Column("plan_id", TEXT, "Header of a single-plan file."),
        Column("plan_market_type", TEXT, "Header of a single-plan file."),
        Column("issuer_name", TEXT, "Header of a single-plan file (schema v2)."),
        Column("plan_sponsor_name", TEXT, "Header of a single-plan file (schema v2)."),
        Column("items_read", pa.int64(), "in_network items."),
        Column("items_kept", pa.int64(), "Those whose code is wanted."),
        Column("prices_read", pa.int64(), "Negotiated prices of the items kept: rate rows + rejected + filtered."),
        Column("rate_rows", pa.int64(), "Rows in `rates`."),
        Column("prices_rejected", pa.int64(), "Prices that could not be kept; each is in `rejects`."),
        Column("prices_filtered", pa.int64(), "Prices left out because none of their groups has a wanted TIN."),
        Column("providers_filtered", pa.int64(), "Rows of providers left out by whitelists."),
        Column("provider_groups_read", pa.int64(), "Groups defined by the file, inline ones included."),
        Column("repairs", _COUNTS, "How often each kind of repair was made."),
        Column("ignored_keys", _COUNTS, "Keys that the schema does not know, and how often they came."),
        Column("code_whitelist_sha256", TEXT, "Of the sorted entries; null where everything was kept."),
        Column("tin_whitelist_sha256", TEXT, "Of the sorted entries; null where everything was kept."),
        Column("referenced_groups_only", pa.bool_(), "Whether groups that no kept price names were left out."),
        Column("layout_version", TEXT, "Version of these tables and of what stands in them."),
        Column("reader", TEXT, "Which reader read it."),
    ),
)

REJECTS = Table(
    "rejects",
    "One row per value that could not be kept.",
    (
        _FILE_ID,
        Column(
            "byte_offset",
            pa.int64(),
            "Where the JSON object that held the value begins, in bytes of the decompressed file.",
            nullable=False,
        ),
        Column(
            "dropped",
            TEXT,
            "What is missing because of it: price, rate, item, provider_group or value.",
            nullable=False,
        ),
        Column("path", TEXT, "The key of the value, as in negotiated_prices.negotiated_rate.", nullable=False),
        Column("reason", TEXT, "Why, as a fixed word; see docs/repairs.md.", nullable=False),
        Column("excerpt", TEXT, "The value, at most 200 characters; addresses without their queries.", nullable=False),
    ),
)

TABLES = {table.name: table for table in (PROVIDERS, PROVIDER_SETS, RATES, PLANS, FILES, REJECTS)}
STORED_TABLES = {**TABLES, SET_TINS.name: SET_TINS}

# In the names of published files: a reader that meets another layout looks into the file.
_COLUMNS = [(table.name, column.name, str(column.type)) for table in STORED_TABLES.values() for column in table.columns]
LAYOUT = sha256(repr(_COLUMNS).encode()).hexdigest()[:4]
