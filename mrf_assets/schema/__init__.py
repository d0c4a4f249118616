"""The tables that are published: columns, types, units and meaning. The one truth.

Arrow schemas, Dagster's column docs and the data dictionary are all made from `TABLES`.
Names are the CMS schema's where it has one (github.com/CMSgov/price-transparency-guide).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

import pyarrow as pa

# Payers print floats with noise (163.43999999999997); ten decimals and 28 digits before
# them hold every amount seen. What needs more is rounded half-even and counted.
RATE_TYPE = pa.decimal128(38, 10)

# Patterns of the codes in lists: two digits are a place of service of CMS's list, CSTM-00 is all of them.
PLACE_SHAPE, MODIFIER_SHAPE = "[0-9]{2}|CSTM-00", "[0-9A-Z]{2}"

LAYOUT_VERSION = "3"  # of the tables and what stands in them; raise it when either changes

_TEXT = pa.string()
_TEXTS = pa.list_(pa.string())
_COUNTS = pa.map_(pa.string(), pa.int64())
_CODE = pa.struct(
    [
        ("billing_code_type", _TEXT),
        ("billing_code_type_version", _TEXT),
        ("billing_code", _TEXT),
        ("description", _TEXT),
    ]
)


@dataclass(frozen=True, slots=True)
class Required:
    """Where the CMS schema demands a value: a condition on the row in SQL, and the same in words."""

    where: str | None = None  # None where each row has to have one
    in_words: str = "Each row"


_ALWAYS = Required()
# `network_name` and `setting` came with schema 2; `version` is not reliable.
_OF_V2_FILE = """file_id IN (
    SELECT DISTINCT file_id FROM providers WHERE network_names IS NOT NULL
    UNION SELECT DISTINCT file_id FROM rates WHERE setting IS NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type and what a reader must know of it."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = True
    words: tuple[str, ...] = ()  # the values that the CMS schema knows, where it lists them
    required: Required | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its grain and its columns."""

    name: str
    grain: str
    columns: tuple[Column, ...]

    @property
    def words(self) -> dict[str, frozenset[str]]:
        """The values that the CMS schema knows, of the columns where it lists them."""
        return {column.name: frozenset(column.words) for column in self.columns if column.words}

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, each field with its doc as metadata."""
        return pa.schema(
            [pa.field(c.name, c.type, nullable=c.nullable, metadata={"doc": c.doc}) for c in self.columns],
            metadata={"table": self.name, "grain": self.grain},
        )


_FILE_ID = Column(
    "file_id", _TEXT, "The source file, as in `files`; ids of groups and sets are local to it.", nullable=False
)

PROVIDERS = Table(
    "providers",
    "One row per file, provider group, TIN and NPI.",
    (
        _FILE_ID,
        Column(
            "provider_group_id",
            _TEXT,
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
            _TEXT,
            "ein or npi; an npi-type value must not be joined to EINs.",
            words=("ein", "npi"),
            required=_ALWAYS,
        ),
        Column("tin_value", _TEXT, "EIN as nine digits without hyphen, or an NPI, by `tin_type`.", required=_ALWAYS),
        Column(
            "business_name",
            _TEXT,
            "Name that belongs to the TIN (schema v2).",
            required=Required("tin_type = 'ein' AND network_names IS NOT NULL", "Each EIN of a file of schema 2"),
        ),
        Column("network_names", _TEXTS, "The payer's names of the networks of this group (schema v2 `network_name`)."),
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
        Column("provider_group_id", _TEXT, "A group of `providers`.", nullable=False),
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
            _TEXT,
            "ffs, bundle or capitation.",
            words=("ffs", "bundle", "capitation"),
            required=_ALWAYS,
        ),
        Column(
            "billing_code_type",
            _TEXT,
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
            _TEXT,
            "As the payer gives it; formats vary even inside one payer.",
            required=_ALWAYS,
        ),
        Column("billing_code", _TEXT, "The code; CSTM-00 stands for all codes of the type.", required=_ALWAYS),
        Column("name", _TEXT, "The payer's name of the item or service.", required=_ALWAYS),
        Column("description", _TEXT, "The payer's description.", required=_ALWAYS),
        Column("severity_of_illness", _TEXT, "DRG severity of illness (schema v2)."),
        Column("bundled_codes", pa.list_(_CODE), "The codes inside a bundle."),
        Column("covered_services", pa.list_(_CODE), "The codes covered by a capitation."),
        Column(
            "negotiated_type",
            _TEXT,
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
            _TEXTS,
            "CMS place of service codes, two digits; CSTM-00 for all; empty list where the payer wrote one.",
            required=Required("billing_class = 'professional'", "Each professional price"),
        ),
        Column(
            "billing_class",
            _TEXT,
            "professional, institutional or both.",
            words=("professional", "institutional", "both"),
            required=_ALWAYS,
        ),
        Column(
            "setting",
            _TEXT,
            "inpatient, outpatient or both (schema v2).",
            words=("inpatient", "outpatient", "both"),
            required=Required(_OF_V2_FILE, "Each price of a file of schema 2"),
        ),
        Column("billing_code_modifiers", _TEXTS, "Modifiers that the price is for."),
        Column("additional_information", _TEXT, "The payer's remarks."),
    ),
)

PLANS = Table(
    "plans",
    "One row per file and plan that uses it, as the index says.",
    (
        _FILE_ID,
        Column("plan_name", _TEXT, "As the index gives it."),
        Column("plan_id_type", _TEXT, "ein or hios."),
        Column("plan_id", _TEXT, "EIN or HIOS id as the index gives it; EINs come with and without hyphen."),
        Column("plan_market_type", _TEXT, "group or individual."),
        Column("issuer_name", _TEXT, "Schema v2."),
        Column("plan_sponsor_name", _TEXT, "Schema v2, EIN plans."),
    ),
)

FILES = Table(
    "files",
    "One row per source file.",
    (
        Column("file_id", _TEXT, "First 16 hex digits of the SHA-256 of `source_url`.", nullable=False),
        Column("source_url", _TEXT, "Where it was read, without signature or userinfo.", nullable=False),
        Column("mirror_urls", _TEXTS, "Other addresses of the same file, not read."),
        Column("filename", _TEXT, "The published name."),
        Column("part", pa.int32(), "Which part of the network this file is, from 1.", nullable=False),
        Column("parts", pa.int32(), "How many parts the network has.", nullable=False),
        Column("period_source", _TEXT, "What the period was taken from: name, index, last_updated_on or download."),
        Column("network_scope", _TEXT, "Payer, entity or host of the network id, as published."),
        Column("raw_network_id", _TEXT, "The network id as published, before it was made a safe key."),
        Column("variant", _TEXT, "Content hash in the name, where the payer puts one."),
        Column("network_id_rule", _TEXT, "The naming family that matched."),
        Column("network_id_rule_version", pa.int32(), "Version of the rule set."),
        Column("container", _TEXT, "gzip, zip, zlib or plain."),
        Column("size_bytes", pa.int64(), "Bytes read, compressed."),
        Column("json_size_bytes", pa.int64(), "Bytes of JSON."),
        Column("sha256", _TEXT, "Of the bytes read, compressed."),
        Column("etag", _TEXT, "HTTP ETag; of a local file, its size and time of change."),
        Column("last_modified", _TEXT, "HTTP Last-Modified; of a local file, its time of change."),
        Column("reporting_entity_name", _TEXT, "Header of the file.", required=_ALWAYS),
        Column("reporting_entity_type", _TEXT, "Header of the file.", required=_ALWAYS),
        Column(
            "last_updated_on",
            pa.date32(),
            "Header of the file; often wrong, so not the period unless nothing else says.",
            required=_ALWAYS,
        ),
        Column("version", _TEXT, "Schema version the payer claims; unreliable.", required=_ALWAYS),
        Column("plan_name", _TEXT, "Header of a single-plan file."),
        Column("plan_id_type", _TEXT, "Header of a single-plan file."),
        Column("plan_id", _TEXT, "Header of a single-plan file."),
        Column("plan_market_type", _TEXT, "Header of a single-plan file."),
        Column("issuer_name", _TEXT, "Header of a single-plan file (schema v2)."),
        Column("plan_sponsor_name", _TEXT, "Header of a single-plan file (schema v2)."),
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
        Column("code_whitelist_sha256", _TEXT, "Of the sorted entries; null where everything was kept."),
        Column("tin_whitelist_sha256", _TEXT, "Of the sorted entries; null where everything was kept."),
        Column("referenced_groups_only", pa.bool_(), "Whether groups that no kept price names were left out."),
        Column("layout_version", _TEXT, "Version of these tables and of what stands in them."),
        Column("reader", _TEXT, "Which reader read it."),
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
            _TEXT,
            "What is missing because of it: price, rate, item, provider_group or value.",
            nullable=False,
        ),
        Column("path", _TEXT, "The key of the value, as in negotiated_prices.negotiated_rate.", nullable=False),
        Column("reason", _TEXT, "Why, as a fixed word; see docs/repairs.md.", nullable=False),
        Column("excerpt", _TEXT, "The value, at most 200 characters; addresses without their queries.", nullable=False),
    ),
)

TABLES = {table.name: table for table in (PROVIDERS, PROVIDER_SETS, RATES, PLANS, FILES, REJECTS)}

NPIS = Table(
    "npis",
    "One row per NPI of what is published, in the latest period of each network.",
    (
        Column("npi", pa.int64(), "National Provider Identifier, as the payers give it.", nullable=False),
        Column(
            "rates",
            pa.int64(),
            "Prices that name it; one that names it through two groups counts twice.",
            nullable=False,
        ),
        Column("networks", pa.int32(), "Networks that list it.", nullable=False),
        Column("business_name", _TEXT, "The name that payers give with its TIN; that of most prices."),
    ),
)

_STATUSES = ("matched", "deactivated", "not_found")
_ADDRESS_PARTS = (
    ("address_1", "First line."),
    ("address_2", "Second line."),
    ("city", "City."),
    ("state", "Two letters in the US."),
    ("postal_code", "Digits alone, five or nine."),
    ("country_code", "Two letters."),
    ("telephone_number", "Digits alone."),
    ("fax_number", "Digits alone."),
)


def _address(purpose: str) -> tuple[Column, ...]:
    return tuple(Column(f"{purpose}_{name}", _TEXT, f"Address for {purpose}: {doc}") for name, doc in _ADDRESS_PARTS)


NPI_REGISTRY = Table(
    "npi_registry",
    "One row per NPI that was looked up in NPPES, the public registry.",
    (
        Column("npi", pa.int64(), "National Provider Identifier.", nullable=False),
        Column(
            "status",
            _TEXT,
            "matched: in service; deactivated: was withdrawn, most fields are null; not_found: never issued; "
            "null in the directory: not looked up yet.",
            nullable=False,
            words=_STATUSES,
        ),
        Column(
            "entity_type", _TEXT, "individual (NPI-1) or organization (NPI-2).", words=("individual", "organization")
        ),
        Column("organization_name", _TEXT, "Legal business name."),
        Column("last_name", _TEXT, "Of an individual."),
        Column("first_name", _TEXT, "Of an individual."),
        Column("middle_name", _TEXT, "Of an individual."),
        Column("name_prefix", _TEXT, "Dr. and so on."),
        Column("name_suffix", _TEXT, "Jr. and so on."),
        Column("credential", _TEXT, "M.D. and so on, as the provider writes it."),
        Column("other_names", _TEXTS, "Trade names and former names."),
        Column("is_sole_proprietor", pa.bool_(), "Of an individual; null where not answered."),
        Column("is_subpart", pa.bool_(), "Of an organization: part of another one."),
        *_address("practice"),
        *_address("mailing"),
        Column(
            "practice_locations",
            pa.int32(),
            "Further practice locations; null in the bulk file, which lists them apart.",
        ),
        Column("primary_taxonomy_code", _TEXT, "NUCC code of the specialty marked primary, else of the first."),
        Column("primary_taxonomy", _TEXT, "Its description; null in the bulk file, which has codes alone."),
        Column("taxonomy_codes", _TEXTS, "All specialties, in the registry's order."),
        Column("enumeration_date", pa.date32(), "When the NPI was issued."),
        Column("last_updated", pa.date32(), "When the provider last changed the entry."),
        Column("certification_date", pa.date32(), "When the provider last certified it."),
        Column("deactivation_date", pa.date32(), "When the NPI was withdrawn; in the bulk file alone."),
        Column("reactivation_date", pa.date32(), "When it was given back."),
        Column("replacement_npi", pa.int64(), "The NPI that stands in its place."),
        Column("source", _TEXT, "api or bulk.", nullable=False, words=("api", "bulk")),
        Column("source_file", _TEXT, "The bulk file's name."),
        Column("fetched_at", pa.timestamp("us", tz="UTC"), "When it was looked up or downloaded.", nullable=False),
        Column("raw_json", _TEXT, "The registry's answer, whole; null from the bulk file."),
    ),
)

_MATCH = (
    Column("business_name", _TEXT, "The payer's name of the provider, where the input has one."),
    Column("matched_name", _TEXT, "The registry's name that is most like it."),
    Column("name_confidence", pa.float64(), "How alike they are, 0 to 1; null where one of them is missing."),
)

ENRICHED = Table(
    "enriched",
    "One row per NPI of the input of `mrf enrich`.",
    (*NPI_REGISTRY.columns, *_MATCH),
)

PROVIDER_DIRECTORY = Table(
    "provider_directory",
    "One row per NPI of what is published, with what the public registry says of it.",
    (
        *NPIS.columns[:3],
        Column("provider_name", _TEXT, "The legal name of an organization, first and last name of an individual."),
        *(replace(column, nullable=True) for column in NPI_REGISTRY.columns[1:-1]),
        *_MATCH,
    ),
)

RATE_CHANGES = Table(
    "rate_changes",
    "One row per price that was added, removed or changed between the two latest periods of a network.",
    (
        Column("network_id", _TEXT, "The network, Dagster's partition key.", nullable=False),
        Column("period", _TEXT, "The latest period, YYYY-MM.", nullable=False),
        Column("previous_period", _TEXT, "The one before it.", nullable=False),
        Column("change", _TEXT, "added, removed or changed.", nullable=False, words=("added", "removed", "changed")),
        Column("negotiation_arrangement", _TEXT, "ffs, bundle or capitation."),
        Column("billing_code_type", _TEXT, "CPT, HCPCS, MS-DRG and so on."),
        Column("billing_code", _TEXT, "The code."),
        Column("severity_of_illness", _TEXT, "DRG severity of illness (schema v2)."),
        Column("negotiated_type", _TEXT, "negotiated, derived, fee schedule, percentage or per diem."),
        Column("rate_unit", _TEXT, "What the rates are; never mix two units in one statistic."),
        Column("billing_class", _TEXT, "professional, institutional or both."),
        Column("setting", _TEXT, "inpatient, outpatient or both (schema v2)."),
        Column("service_codes", _TEXTS, "Places of service, sorted; empty where there are none."),
        Column("billing_code_modifiers", _TEXTS, "Modifiers, sorted; empty where there are none."),
        Column("previous_rate", RATE_TYPE, "The rate in the previous period; null where it was added."),
        Column("rate", RATE_TYPE, "The rate in the latest period; null where it was removed."),
        Column("difference", RATE_TYPE, "rate less previous_rate; null unless changed."),
        Column("ratio", pa.float64(), "rate to previous_rate; null unless changed from more than 0."),
        Column("tins", pa.int32(), "TINs that it holds for.", nullable=False),
        Column("first_tins", _TEXTS, "Up to five of them, as type:value."),
        Column("previous_file_id", _TEXT, "A file that has the previous price; with the next column, who it is for."),
        Column("previous_provider_set_id", pa.int64(), "The set in that file."),
        Column("file_id", _TEXT, "A file that has the latest price; with the next column, who it is for."),
        Column("provider_set_id", pa.int64(), "The set in that file."),
    ),
)

# In the names of published files: a reader that meets another layout looks into the file.
_COLUMNS = [(table.name, column.name, str(column.type)) for table in TABLES.values() for column in table.columns]
LAYOUT = sha256(repr(_COLUMNS).encode()).hexdigest()[:4]
