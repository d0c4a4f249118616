"""The tables that are published: columns, types, units and meaning. The one truth.

Arrow schemas, Dagster's column docs and the data dictionary are all made from `TABLES`.
Names are the CMS schema's where it has one (github.com/CMSgov/price-transparency-guide).

columns     what a table and its columns are
published   the six tables of each network: `TABLES`; with what is made of them beside: `STORED_TABLES`
derived     tables made of them and of the registry of providers
code_types  what the codes of each billing code type look like
tins        TINs that are likely social security numbers
"""

from mrf_assets.schema.columns import (
    RATE_TYPE,
    Column,
    Required,
    Table,
)
from mrf_assets.schema.derived import (
    CHANGES_OF_PRICES,
    ENRICHED,
    MEMBERSHIP_CHANGES,
    NPI_REGISTRY,
    NPIS,
    PROVIDER_DIRECTORY,
    RATE_CHANGES,
)
from mrf_assets.schema.published import (
    FILES,
    LAYOUT,
    LAYOUT_VERSION,
    MODIFIER_SHAPE,
    PLACE_SHAPE,
    PLANS,
    PROVIDER_SETS,
    PROVIDERS,
    RATES,
    REJECTS,
    SET_TINS,
    STORED_TABLES,
    TABLES,
)

__all__ = [
    "CHANGES_OF_PRICES",
    "ENRICHED",
    "FILES",
    "LAYOUT",
    "LAYOUT_VERSION",
    "MEMBERSHIP_CHANGES",
    "MODIFIER_SHAPE",
    "NPIS",
    "NPI_REGISTRY",
    "PLACE_SHAPE",
    "PLANS",
    "PROVIDERS",
    "PROVIDER_DIRECTORY",
    "PROVIDER_SETS",
    "RATES",
    "RATE_CHANGES",
    "RATE_TYPE",
    "REJECTS",
    "SET_TINS",
    "STORED_TABLES",
    "TABLES",
    "Column",
    "Required",
    "Table",
]
