"""What of the output folder is published now: the NPIs of its networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from mrf_assets.lake.store import Store
from mrf_assets.providers.npis import npi_batches


def published_npis(lake: Path) -> Iterator[pa.RecordBatch]:
    """`schema.NPIS` of the latest period of every network."""
    store = Store(lake.absolute())
    held = ((network, store.held_tables(network)) for network in store.networks())
    return npi_batches((network, periods[max(periods)]) for network, periods in held if periods)
