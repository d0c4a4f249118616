"""All rules over what is published: those of every ingest, those that compare, and those of drift.

network_rules   SQL over the tables of one network and period
network_audit   applies them
price_rules     what a price says         ┐
provider_rules  who prices are for        ├ over the views of the catalog
contract_rules  what a contract says      ┘
lake_rules      what compares networks and months, over the same views; applies these, too
changes         month over month: what changed, and whether it drifted
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from mrf_assets.lake.catalog import connect
from mrf_assets.lake.store import Store
from mrf_assets.quality.drift import drift_checks, measure_medians
from mrf_assets.quality.lake_rules import CATALOG_CHECKS, audit_catalog
from mrf_assets.quality.network_audit import audit
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.settings import Settings
from mrf_assets.whitelist import CodeWhitelist, Whitelists


def check_networks(
    settings: Settings, networks: Sequence[str] = (), *, as_of: dt.date | None = None
) -> dict[str, list[CheckResult]]:
    """Apply them to the latest period of networks, by default of all; network -> a result for each rule.

    Networks may be published anew meanwhile: each rule judges one whole publication, the one before or the new one.

    Raises:
        MrfError: As its class says; nothing is changed in any case.
    """
    store, codes = Store(settings.output_dir.absolute()), Whitelists.of(settings).codes
    with connect(
        settings.output_dir,
        memory_mb=settings.query_memory_mb,
        taxonomy_codes=settings.taxonomy_codes,
        rules=settings.statistic_rules,
    ) as connection:
        measure_medians(connection)
        checks = (*CATALOG_CHECKS, *drift_checks(settings))
        catalog_results = audit_catalog(connection, networks, as_of=as_of, checks=checks)
    return {
        network: [*_audited(store, network, codes, settings.query_memory_mb), *results]
        for network, results in catalog_results.items()
    }


def _audited(store: Store, network: str, codes: CodeWhitelist | None, memory_mb: int) -> list[CheckResult]:
    periods = store.retained_tables(network)
    if not periods:  # removed since it was compared
        return []
    return audit(periods[max(periods)], codes, memory_mb=memory_mb)
