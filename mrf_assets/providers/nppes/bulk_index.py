"""One NPI at a time out of the bulk files, to complete what the API says."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from mrf_assets.providers.lookup import Answer, Item, LookUp
from mrf_assets.providers.nppes.bulk import BulkRegistry
from mrf_assets.schema import NPI_REGISTRY

_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "512MB", "threads": 2}


class BulkIndex:
    """The bulk rows of some NPIs, on disk, found by number; use as a context manager."""

    def __init__(self, registry: BulkRegistry, npis: pa.Table) -> None:
        self._registry, self._npis = registry, npis

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="mrf-nppes-")
        self._connection = duckdb.connect(str(Path(self._folder.name) / "index.duckdb"), config=_LIMITS)
        self._connection.register("schema", NPI_REGISTRY.arrow.empty_table())
        self._connection.execute("CREATE TABLE registry AS FROM schema")
        for batch in self._registry.rows(self._npis):
            self._connection.register("batch", pa.Table.from_batches([batch]))
            self._connection.execute("INSERT INTO registry FROM batch")
            self._connection.unregister("batch")
        self._connection.execute("CREATE UNIQUE INDEX by_npi ON registry (npi)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._folder.cleanup()

    def find(self, npi: int) -> dict[str, Any] | None:
        """The row of one NPI, if the bulk files have it."""
        row = self._connection.execute("FROM registry WHERE npi = ?", [npi]).fetchone()
        return None if row is None else dict(zip(NPI_REGISTRY.arrow.names, row, strict=True))

    def completing(self, look_up: LookUp) -> LookUp:
        """The look-up, and where the registry tells nothing of an NPI, what the bulk files told.

        Of a withdrawn NPI the API says nothing more; one that it does not know yet or any more may be there.
        """

        async def call(item: Item) -> Answer:
            answer = await look_up(item)
            if answer.row["status"] == "matched" or (bulk := self.find(int(item.key))) is None:
                return answer
            status = "deactivated" if answer.row["status"] == "deactivated" else bulk["status"]
            row = {**bulk, "status": status, "raw_json": answer.row["raw_json"]}
            return Answer(row=row, size_bytes=answer.size_bytes)

        return call
