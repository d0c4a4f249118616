"""One dynamic partition per network."""

import dagster as dg

# Names of dynamic partitions are global to a Dagster instance.
NETWORKS = dg.DynamicPartitionsDefinition(name="mrf_networks")

_KEYS_AT_ONCE = 1_000  # SQLite allows 32,766 variables in one statement


def add_networks(instance: dg.DagsterInstance, network_ids: list[str]) -> int:
    """Register partition keys that are new; returns how many were."""
    if not network_ids:
        return 0
    known = set(instance.get_dynamic_partitions(NETWORKS.name or ""))
    new = [key for key in dict.fromkeys(network_ids) if key not in known]
    for start in range(0, len(new), _KEYS_AT_ONCE):
        instance.add_dynamic_partitions(NETWORKS.name or "", new[start : start + _KEYS_AT_ONCE])
    return len(new)
