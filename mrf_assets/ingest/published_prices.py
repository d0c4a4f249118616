"""What whitelists would keep of the prices that are published: asked before a run, as nothing else tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from mrf_assets.errors import SettingError, StoreError
from mrf_assets.ingest.pipeline import settings_of
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.store import Store
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATES
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask
from mrf_assets.whitelist import Whitelists

_PRICES = """SELECT filename, billing_code_type, billing_code, count(*) AS prices,
    count(*) FILTER ({is_wanted}) AS wanted
FROM read_parquet($rates, filename = true) rates {join} GROUP BY ALL"""
_SETS = """LEFT JOIN (
    SELECT DISTINCT file_id, provider_set_id, true AS is_wanted FROM read_parquet($provider_sets)
    SEMI JOIN (SELECT file_id, provider_group_id FROM read_parquet($providers) SEMI JOIN wanted_tins USING (tin_value))
    USING (file_id, provider_group_id)
) USING (file_id, provider_set_id)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPrices:
    """The prices of a network in its latest period."""

    network_id: str
    prices: int
    kept_prices: int  # of them


def networks_by_whitelists(
    tasks: Iterable[FileTask], settings: Settings, warn: Callable[[str], None]
) -> dict[Settings, list[str]]:
    """The networks that are read with a whitelist, by the settings with it: files may name one for their network.

    `warn` is called for a network whose files do not agree: it is left out here, and its run fails.
    """
    by_network: dict[str, list[FileTask]] = {}
    for task in tasks:
        by_network.setdefault(task.network_id, []).append(task)
    networks: dict[Settings, list[str]] = {}
    for network_id, its_tasks in by_network.items():
        try:
            own = settings_of(its_tasks, settings)
        except SettingError as error:
            warn(f"{network_id} will fail: {error}")
            continue
        if own.cpt_whitelist is not None or own.tin_whitelist is not None:
            lists = settings.changed(cpt_whitelist=own.cpt_whitelist, tin_whitelist=own.tin_whitelist)
            networks.setdefault(lists, []).append(network_id)
    return networks


def published_prices(settings: Settings, networks: Iterable[str], whitelists: Whitelists) -> list[PublishedPrices]:
    """What the whitelists would keep of networks, those that are published.

    Raises:
        StoreError: The tables cannot be read, or not within `query_memory_mb`.
    """
    store = Store(settings.output_dir.absolute())
    tables: dict[str, list[str]] = {RATES.name: [], PROVIDER_SETS.name: [], PROVIDERS.name: []}
    network_of: dict[tuple[str, ...], str] = {}  # by network, period and name: DuckDB resolves `..` where it globs
    for network_id in networks:
        if periods := store.retained_tables(network_id):
            latest = periods[max(periods)]
            for name in tables:
                tables[name] += map(pattern_of, latest[name])
            network_of |= dict.fromkeys((path.parts[-3:] for path in latest[RATES.name]), network_id)
    counts = dict.fromkeys(network_of.values(), (0, 0))
    for path, kind, code, prices, of_tins in _counts(tables, whitelists, settings) if network_of else ():
        network_id = network_of[Path(path).parts[-3:]]
        before, kept_before = counts[network_id]
        kept_prices = of_tins if whitelists.codes is None or whitelists.codes.wants(kind, code) else 0
        counts[network_id] = before + prices, kept_before + kept_prices
    return [
        PublishedPrices(network_id=network_id, prices=prices, kept_prices=kept_prices)
        for network_id, (prices, kept_prices) in counts.items()
    ]


def _counts(
    tables: dict[str, list[str]], whitelists: Whitelists, settings: Settings
) -> list[tuple[str, str | None, str | None, int, int]]:
    """File, code and type of it, its prices, and those of a wanted TIN."""
    parameters = tables if whitelists.tins else {RATES.name: tables[RATES.name]}
    query = (
        _PRICES.format(is_wanted="is_wanted", join=_SETS)
        if whitelists.tins
        else _PRICES.format(is_wanted="true", join="")
    )
    try:
        with duckdb.connect(config={"memory_limit": f"{settings.query_memory_mb}MB"}) as connection:
            if whitelists.tins is not None:
                values = pa.array(sorted(whitelists.tins.values), pa.string())
                connection.register("wanted_tins", pa.table({"tin_value": values}))
            return connection.execute(query, parameters).fetchall()
    except (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(str(settings.output_dir), f"cannot be read ({error}); run `mrf check`") from error
