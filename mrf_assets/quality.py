"""All rules over what is published: those of every ingest, those that compare, and those of drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from mrf_assets.catalog import connect
from mrf_assets.catalog_checks import CATALOG_CHECKS, audit_catalog
from mrf_assets.changes import drift_checks
from mrf_assets.checks import CheckResult, audit
from mrf_assets.pipeline import Wanted
from mrf_assets.settings import Settings
from mrf_assets.store import Store


def check_networks(
    settings: Settings, networks: Sequence[str] = (), *, as_of: dt.date | None = None
) -> dict[str, list[CheckResult]]:
    """Apply them to the latest period of networks, by default of all; network -> a result for each rule.

    Raises:
        MrfError: As its class says; nothing is changed in any case.
    """
    store, codes = Store(settings.output_dir.absolute()), Wanted.of(settings).codes
    with connect(
        settings.output_dir, memory_mb=settings.query_memory_mb, taxonomy_codes=settings.taxonomy_codes
    ) as connection:
        checks = (*CATALOG_CHECKS, *drift_checks(settings))
        compared = audit_catalog(connection, networks, as_of=as_of, checks=checks)
    return {
        network: [*audit(store.tables(network, store.periods(network)[-1]), codes), *results]
        for network, results in compared.items()
    }
