"""The catalog as an asset: one DuckDB file of views over all networks."""

from pathlib import Path

import dagster as dg

from mrf_assets.catalog import write_catalog
from mrf_assets.defs.assets import OWNERS
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError
from mrf_assets.schema import TABLES


@dg.asset(
    deps=list(TABLES),
    group_name="answers",
    kinds={"duckdb"},
    owners=OWNERS,
    automation_condition=dg.AutomationCondition.any_deps_updated() & ~dg.AutomationCondition.in_progress(),
)
def catalog(ingestor: Ingestor) -> dg.MaterializeResult:  # type: ignore[type-arg]  # a file, no value
    """`catalog.duckdb`: documented views over all networks, the latest period and all of them."""
    try:
        made = write_catalog(Path(ingestor.output_dir))
    except MrfError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    return dg.MaterializeResult(
        metadata={
            "networks": made.networks,
            "periods": made.periods,
            "files": made.files,
            "path": dg.MetadataValue.path(str(made.path)),
        }
    )
