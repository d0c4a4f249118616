"""Limits that hold in every instance, whoever made it: `dagster.yaml` cannot name a pool's."""

import dagster as dg

REGISTRY_POOL = "npi_registry"  # one process talks to the registry


def limit_registry(instance: dg.DagsterInstance) -> None:
    """One step of the pool at a time, unless somebody has set its limit; a default for all pools is no such thing."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    if not any(pool.name == REGISTRY_POOL and not pool.from_default for pool in storage.get_pool_limits()):
        storage.set_concurrency_slots(REGISTRY_POOL, 1)
