"""One dynamic partition per network, and the pool of the registry.

The limit of the pool holds in every instance, whoever made it: `dagster.yaml` cannot name a pool's.
"""

import dagster as dg

from mrf_assets.defs.private_dagster import limit_pool

# Names of dynamic partitions are global to a Dagster instance.
NETWORK_PARTITIONS = dg.DynamicPartitionsDefinition(name="mrf_networks")

_KEYS_AT_ONCE = 1_000  # SQLite allows 32,766 variables in one statement
REGISTRY_POOL = "npi_registry"  # one process talks to the registry


def add_networks(instance: dg.DagsterInstance, network_ids: list[str]) -> int:
    """Register partition keys that are new; returns how many were."""
    if not network_ids:
        return 0
    partitions = set(instance.get_dynamic_partitions(NETWORK_PARTITIONS.name or ""))
    new = [key for key in dict.fromkeys(network_ids) if key not in partitions]
    for start in range(0, len(new), _KEYS_AT_ONCE):
        instance.add_dynamic_partitions(NETWORK_PARTITIONS.name or "", new[start : start + _KEYS_AT_ONCE])
    return len(new)


def limit_registry(instance: dg.DagsterInstance) -> None:
    """One step of the pool at a time, unless somebody has set its limit; a default for all pools is no such thing."""
    limit_pool(instance, REGISTRY_POOL, 1)
