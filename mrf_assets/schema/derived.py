"""Tables that are made of the published ones, and of the registry of providers."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from mrf_assets.schema.columns import RATE_TYPE, TEXT, TEXTS, Column, Table

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
        Column("business_name", TEXT, "The name that payers give with its TIN; that of most prices."),
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

_MATCH = (
    Column("business_name", TEXT, "The payer's name of the provider, where the input has one."),
    Column("matched_name", TEXT, "The registry's name that is most like it."),
    Column("name_confidence", pa.float64(), "How alike they are, 0 to 1; null where one of them is missing."),
)

CHANGES_OF_PRICES = (
    "changed", "method changed", "not paired", "tin added", "tin removed", "code added", "code removed",
)  # fmt: skip
_MONTHS = (
    Column("network_id", TEXT, "The network, Dagster's partition key.", nullable=False),
    Column("period", TEXT, "The latest period, YYYY-MM.", nullable=False),
    Column("previous_period", TEXT, "The one before it.", nullable=False),
)
RATE_CHANGES = Table(
    "rate_changes",
    "One row per code, conditions and change of amount between the two latest periods of a network, with the number of "
    "TINs that it happened to. What is the same in both is counted, not stored.",
    (
        *_MONTHS,
        Column(
            "change",
            TEXT,
            "changed: another amount in the same unit; method changed: another unit, or another type and amount; not "
            "paired: the TIN has several amounts, and nothing says which became which; tin added, tin removed: the TIN "
            "has a price for this now, or no more; code added, code removed: nobody in the network had one before, or "
            "has one now.",
            nullable=False,
            words=CHANGES_OF_PRICES,
        ),
        Column(
            "paired_by",
            TEXT,
            "How the two amounts were found to be one price: one amount (the TIN has one in each month), remark (of "
            "several, the one with the same remark), NPIs (of several, the one for the same NPIs). Null where no two "
            "amounts are paired.",
            words=("one amount", "remark", "NPIs"),
        ),
        Column("code_family", TEXT, "The type of the code, CPT as HCPCS and DRG as MS-DRG."),
        Column("code", TEXT, "The code."),
        Column("severity", TEXT, "Severity of illness of an APR-DRG."),
        Column("own_name", TEXT, "Name of the payer's own code, upper case; null for all others."),
        Column("negotiation_arrangement", TEXT, "ffs, bundle or capitation."),
        Column("billing_class", TEXT, "professional, institutional or both."),
        Column("setting", TEXT, "inpatient, outpatient or both; null where one of the months never states it."),
        Column("site", TEXT, "facility, nonfacility, any or not said, by the places of service."),
        Column("modifiers", TEXTS, "Modifiers, sorted; empty where there are none."),
        Column("previous_rate_unit", TEXT, "What previous_rate is."),
        Column("rate_unit", TEXT, "What rate is; never mix two units in one statistic."),
        Column("previous_negotiated_type", TEXT, "The type in the previous period."),
        Column("negotiated_type", TEXT, "The type in the latest period."),
        Column("previous_rate", RATE_TYPE, "The amount in the previous period; null where there is none, or several."),
        Column("rate", RATE_TYPE, "The amount in the latest period; null where there is none, or several."),
        Column("difference", RATE_TYPE, "rate less previous_rate; null unless changed."),
        Column("ratio", pa.float64(), "rate to previous_rate; null unless changed from more than 0."),
        Column("previous_amounts", pa.list_(RATE_TYPE), "All amounts that were not paired, previous period."),
        Column("amounts", pa.list_(RATE_TYPE), "All amounts that were not paired, latest period."),
        Column("tins", pa.int64(), "TINs that it happened to; 0 for prices that name no provider.", nullable=False),
        Column("first_tins", TEXTS, "Up to five of them, as type:value."),
    ),
)
MEMBERSHIP_CHANGES = Table(
    "membership_changes",
    "One row per TIN and NPI that is in one of the two latest periods of a network, and not in the other.",
    (
        *_MONTHS,
        Column("change", TEXT, "joined or left.", nullable=False, words=("joined", "left")),
        Column("tin_type", TEXT, "ein or npi."),
        Column("tin_value", TEXT, "As in `providers`."),
        Column("npi", pa.int64(), "National Provider Identifier; null for a contract with a TIN alone."),
    ),
)


def _address(purpose: str) -> tuple[Column, ...]:
    return tuple(Column(f"{purpose}_{name}", TEXT, f"Address for {purpose}: {doc}") for name, doc in _ADDRESS_PARTS)


NPI_REGISTRY = Table(
    "npi_registry",
    "One row per NPI that was looked up in NPPES, the public registry.",
    (
        Column("npi", pa.int64(), "National Provider Identifier.", nullable=False),
        Column(
            "status",
            TEXT,
            "matched: in service; deactivated: was withdrawn, most fields are null; not_found: never issued; "
            "null in the directory: not looked up yet.",
            nullable=False,
            words=_STATUSES,
        ),
        Column(
            "entity_type", TEXT, "individual (NPI-1) or organization (NPI-2).", words=("individual", "organization")
        ),
        Column("organization_name", TEXT, "Legal business name."),
        Column("last_name", TEXT, "Of an individual."),
        Column("first_name", TEXT, "Of an individual."),
        Column("middle_name", TEXT, "Of an individual."),
        Column("name_prefix", TEXT, "Dr. and so on."),
        Column("name_suffix", TEXT, "Jr. and so on."),
        Column("credential", TEXT, "M.D. and so on, as the provider writes it."),
        Column("other_names", TEXTS, "Trade names and former names."),
        Column("is_sole_proprietor", pa.bool_(), "Of an individual; null where not answered."),
        Column("is_subpart", pa.bool_(), "Of an organization: part of another one."),
        *_address("practice"),
        *_address("mailing"),
        Column(
            "practice_locations",
            pa.int32(),
            "Further practice locations; null in the bulk file, which lists them apart.",
        ),
        Column("primary_taxonomy_code", TEXT, "NUCC code of the specialty marked primary, else of the first."),
        Column("primary_taxonomy", TEXT, "Its description; null in the bulk file, which has codes alone."),
        Column("taxonomy_codes", TEXTS, "All specialties, in the registry's order."),
        Column("enumeration_date", pa.date32(), "When the NPI was issued."),
        Column("last_updated", pa.date32(), "When the provider last changed the entry."),
        Column("certification_date", pa.date32(), "When the provider last certified it."),
        Column("deactivation_date", pa.date32(), "When the NPI was withdrawn; in the bulk file alone."),
        Column("reactivation_date", pa.date32(), "When it was given back."),
        Column("replacement_npi", pa.int64(), "The NPI that stands in its place."),
        Column("source", TEXT, "api or bulk.", nullable=False, words=("api", "bulk")),
        Column("source_file", TEXT, "The bulk file's name."),
        Column("fetched_at", pa.timestamp("us", tz="UTC"), "When it was looked up or downloaded.", nullable=False),
        Column("raw_json", TEXT, "The registry's answer, whole; null from the bulk file."),
    ),
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
        Column("provider_name", TEXT, "The legal name of an organization, first and last name of an individual."),
        *(replace(column, nullable=True) for column in NPI_REGISTRY.columns[1:-1]),
        *_MATCH,
    ),
)
