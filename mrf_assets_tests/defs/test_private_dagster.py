"""What we change of Dagster where it has no public way."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

import mrf_assets.defs.run_launcher  # noqa: F401 - it keeps the engines


@pytest.fixture
def engines() -> Iterator[dict[str, list[Engine]]]:
    """File -> the engines that connected to it."""
    seen: dict[str, list[Engine]] = defaultdict(list)

    def note(connection: Connection) -> None:
        seen[str(connection.engine.url)].append(connection.engine)

    event.listen(Engine, "engine_connect", note)
    yield seen
    event.remove(Engine, "engine_connect", note)


def test_storages_in_sqlite_keep_one_engine_for_each_file(engines: dict[str, list[Engine]], tmp_path: Path) -> None:
    """One that is made for a statement compiles it again: a third of the CPU time of a network's run."""

    @dg.op
    def ten_notes(context: dg.OpExecutionContext) -> None:
        for number in range(10):
            context.log_event(dg.AssetMaterialization("notes", partition=str(number)))

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = dg.GraphDefinition("note", node_defs=[ten_notes]).to_job().execute_in_process(instance=instance)
        materialized = instance.get_materialized_partitions(dg.AssetKey("notes"))

    assert result.success
    assert {str(number) for number in range(10)} == materialized
    busy = {url: found for url, found in engines.items() if len(found) > 10}
    assert {"index.db", f"{result.run_id}.db", "runs.db", "schedules.db"} == {url.rpartition("/")[2] for url in busy}
    assert {1} == {len(set(map(id, found))) for found in busy.values()}
