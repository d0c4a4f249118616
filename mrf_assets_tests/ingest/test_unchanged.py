"""What is published of the very files that are there now is left alone; whatever differs is read again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import NotFoundAtSource
from mrf_assets.fetch import Validators, probe
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.results import NetworkResult
from mrf_assets.ingest.unchanged import unchanged_parts
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import Document, document, gzipped, remote_document, render
from mrf_assets_tests.mrf_server import Answer, MrfServer

_PLAN = Plan(plan_name="Willow", plan_id_type="ein", plan_id="12-3456789", plan_market_type="group")
_TEXTS: dict[str, str] = {"codes.csv": "99213\n70450\n", "other.csv": "99213\n", "tins.csv": "12-3456789\n"}


@dataclass(slots=True)
class Bench:
    """A payer with one network of one file, an output folder, and what is to be done with them."""

    server: MrfServer
    folder: Path
    settings: Settings
    tasks: list[FileTask]

    def ingest(self) -> NetworkResult:
        """Ingest the network, unless it is unchanged."""
        return ingest("acme", self.tasks, self.settings)

    def publish(self, number: int = 1, content: Document | None = None) -> str:
        """Serve a file; gives its address."""
        made = content or document(seed=number, codes=[("CPT", "99213"), ("CPT", "70450")])
        return self.server.put(f"/{number}.json.gz", gzipped(render(made)))

    def gets(self) -> int:
        """How many files were downloaded."""
        return self.server.counts("GET").total()

    def file(self, name: str) -> Path:
        """A whitelist."""
        path = self.folder / name
        path.write_text(_TEXTS[name])
        return path

    def change_tasks(self, **changes: Any) -> None:  # noqa: ANN401 - fields of FileTask
        """The same files, planned otherwise."""
        self.tasks = [replace(task, **changes) for task in self.tasks]

    def change_identity(self, **changes: Any) -> None:  # noqa: ANN401 - fields of NetworkIdentity
        """The same files, named otherwise."""
        self.tasks = [replace(task, identity=replace(task.identity, **changes)) for task in self.tasks]

    def published(self, table: str = FILES.name, period: str = "2026-11") -> Path:
        """The first published file of a table."""
        return Store(self.settings.output_dir).tables("acme", period)[table][0]


def _task(url: str, part: int = 1, parts: int = 1, period: str | None = "2026-11") -> FileTask:
    identity = NetworkIdentity(
        rule="explicit", rule_version=1, scope="Acme", raw_id="Acme 1", period=period, part=part, parts=parts
    )
    return FileTask(address=Address(url), network_id="acme", identity=identity, plans=(_PLAN,))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """One file that is served, and nothing published yet."""
    with MrfServer() as server:
        bench = Bench(server, tmp_path, Settings(output_dir=tmp_path / "out", skip_unchanged=True), [])
        bench.tasks = [_task(bench.publish())]
        yield bench


# --- left alone -----------------------------------------------------------------------------


def test_an_unchanged_network_is_not_downloaded_again(bench: Bench) -> None:
    """One HEAD is all that it costs."""
    first = bench.ingest()
    before = bench.published().stat()

    second = bench.ingest()

    assert (None, 1, 1) == (first.unchanged_since, bench.gets(), bench.server.count("/1.json.gz", "HEAD"))
    assert second.unchanged_since is not None
    assert before == bench.published().stat()


def test_an_unchanged_network_tells_what_is_published(bench: Bench) -> None:
    """Its files, rows and counts, as when they were made."""
    first, second = bench.ingest(), bench.ingest()

    assert first.published == second.published
    assert (first.repairs, first.periods) == (second.repairs, second.periods)
    assert [(it.task, it.period, it.rejects) for it in first.files] == [
        (it.task, it.period, it.rejects) for it in second.files
    ]
    assert {name: second.files[0].row[name] for name in first.files[0].row} == first.files[0].row


_HARMLESS: dict[str, Callable[[Bench], None]] = {
    "another signature": lambda bench: bench.change_tasks(
        address=Address(f"{bench.tasks[0].address.real}?Expires=2&Signature=b")
    ),
    "another reader": lambda bench: setattr(bench, "settings", bench.settings.changed(reader="ijson")),
    "other row groups": lambda bench: setattr(bench, "settings", bench.settings.changed(rate_batch_size=7)),
    "another place in the index": lambda bench: bench.change_tasks(position=7),
    "a switch without a whitelist": lambda bench: setattr(
        bench, "settings", bench.settings.changed(referenced_groups_only=True)
    ),
}


@pytest.mark.parametrize("change", _HARMLESS.values(), ids=_HARMLESS.keys())
def test_what_changes_no_row_is_no_reason_to_read_again(bench: Bench, change: Callable[[Bench], None]) -> None:
    """Signatures expire with every index, and readers give the same rows."""
    bench.ingest()
    change(bench)

    assert bench.ingest().unchanged_since is not None
    assert 1 == bench.gets()


def test_equal_whitelists_keep_a_network_unchanged(bench: Bench) -> None:
    """Order and comments of a whitelist do not matter."""
    bench.settings = bench.settings.changed(
        cpt_whitelist=bench.file("codes.csv"),
        tin_whitelist=bench.file("tins.csv"),
        referenced_groups_only=True,
    )
    bench.ingest()
    (bench.folder / "codes.csv").write_text("# the same\n70450\n99213\n")

    assert bench.ingest().unchanged_since is not None


def test_a_file_that_tells_its_own_period_is_found_in_it(bench: Bench) -> None:
    """The period stands inside of the file, which is not read: the latest that has it counts."""
    bench.change_identity(period=None)
    first = bench.ingest()

    assert first.periods == bench.ingest().periods
    assert 1 == bench.gets()


def test_a_local_file_is_unchanged_until_it_is_written(bench: Bench) -> None:
    """Size and time of change stand for an ETag."""
    path = bench.folder / "local.json"
    path.write_bytes(render(document(seed=1)))
    bench.tasks = [_task(str(path))]
    bench.ingest()
    unchanged = bench.ingest()
    os.utime(path, ns=(1, 1))

    assert unchanged.unchanged_since is not None
    assert bench.ingest().unchanged_since is None


def test_carried_parts_are_told(bench: Bench) -> None:
    """Parts that stand beside the unchanged one belong to what is published."""
    bench.tasks = [_task(bench.publish(1), 1, 2), _task(bench.publish(2), 2, 2)]
    bench.ingest()
    bench.tasks = bench.tasks[:1]

    second = bench.ingest()

    assert second.unchanged_since is not None
    assert (["00002-of-00002"], 2) == (
        second.carried_parts,
        sum(file.table == FILES.name for file in second.published),
    )


def test_retention_holds_for_unchanged_networks(bench: Bench) -> None:
    """A smaller `keep_periods` removes old periods at the next run, whether something is read or not."""
    bench.change_identity(period="2026-10")
    bench.ingest()
    bench.change_identity(period="2026-11")
    bench.ingest()
    bench.settings = bench.settings.changed(keep_periods=1)

    second = bench.ingest()

    assert second.unchanged_since is not None
    assert (["2026-10"], ["2026-11"]) == (second.pruned_periods, Store(bench.settings.output_dir).periods("acme"))


# --- read again -----------------------------------------------------------------------------


def _setting(**changes: Any) -> Callable[[Bench], None]:  # noqa: ANN401 - fields of Settings
    return lambda bench: setattr(bench, "settings", bench.settings.changed(**changes))


def _whitelisted(bench: Bench) -> None:
    bench.settings = bench.settings.changed(cpt_whitelist=bench.file("codes.csv"))


def _nothing(_bench: Bench) -> None:
    pass


def _republish(bench: Bench) -> None:
    bench.publish(1, document(seed=9))


def _damage(bench: Bench) -> None:
    bench.published().write_bytes(b"PAR1 and then nothing")


def _older_layout(bench: Bench) -> None:
    """As a version that knew fewer columns wrote it; the hard link of a carried part is not touched."""
    path = bench.published()
    older = pq.read_table(path).drop_columns(["layout_version"])
    path.unlink()
    pq.write_table(older, path)


_REASONS: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], None]]] = {
    "another content": (_nothing, _republish),
    "--force": (_nothing, _setting(skip_unchanged=False)),
    "a setting that is not set": (_nothing, _setting(skip_unchanged=None)),
    "a whitelist of codes": (_nothing, _whitelisted),
    "another whitelist of codes": (
        _whitelisted,
        lambda bench: _setting(cpt_whitelist=bench.file("other.csv"))(bench),
    ),
    "no whitelist any more": (_whitelisted, _setting(cpt_whitelist=None)),
    "a whitelist of TINs": (
        _nothing,
        lambda bench: _setting(tin_whitelist=bench.file("tins.csv"), allow_empty=True)(bench),
    ),
    "referenced groups only": (_whitelisted, _setting(referenced_groups_only=True)),
    "a plan more": (_nothing, lambda bench: bench.change_tasks(plans=(_PLAN, replace(_PLAN, plan_id="1")))),
    "no plan any more": (_nothing, lambda bench: bench.change_tasks(plans=())),
    "a mirror": (_nothing, lambda bench: bench.change_tasks(mirror_urls=("https://mrf.example/1.json.gz",))),
    "another rule set": (_nothing, lambda bench: bench.change_identity(rule_version=2)),
    "another period": (_nothing, lambda bench: bench.change_identity(period="2026-12")),
    "a period from elsewhere": (
        lambda bench: bench.change_identity(period=None),
        lambda bench: bench.change_tasks(index_period="2026-11"),
    ),
    "another cut into parts": (_nothing, lambda bench: bench.change_identity(parts=2)),
    "another address": (_nothing, lambda bench: bench.change_tasks(address=Address(bench.publish(2)))),
    "a table that is gone": (_nothing, lambda bench: bench.published("rejects").unlink()),
    "a table that is damaged": (_nothing, _damage),
    "tables of another layout": (_nothing, _older_layout),
    "a server that says nothing": (
        _nothing,
        lambda bench: bench.server.always("/1.json.gz", Answer(headers={"ETag": "", "Last-Modified": ""})),
    ),
}


@pytest.mark.parametrize(("before", "change"), _REASONS.values(), ids=_REASONS.keys())
def test_what_may_change_a_row_is_a_reason_to_read_again(
    bench: Bench, before: Callable[[Bench], None], change: Callable[[Bench], None]
) -> None:
    """Every one of them, and the next run finds the new state unchanged."""
    before(bench)
    bench.ingest()
    downloads = bench.gets()
    change(bench)

    assert bench.ingest().unchanged_since is None
    assert downloads < bench.gets()


def test_a_remote_reference_that_failed_is_tried_again(bench: Bench) -> None:
    """Its providers are missing in what is published, and may be there by now."""
    bench.settings = bench.settings.changed(remote_reference_failure_share=1.0)
    bench.publish(1, document(groups=1, remote_references=bench.server.url("refs")))
    failed = bench.ingest()
    bench.server.put("/refs/1.json", render(remote_document("x")))

    second, third = bench.ingest(), bench.ingest()

    assert [1, 0, 0] == [result.repairs["remote_reference_failed"] for result in (failed, second, third)]
    assert (None, True) == (second.unchanged_since, third.unchanged_since is not None)


def test_one_changed_part_is_enough_to_read_the_network(bench: Bench) -> None:
    """All parts, so that they are audited together."""
    bench.tasks = [_task(bench.publish(number), number, 3) for number in (1, 2, 3)]
    bench.ingest()
    bench.publish(2, document(seed=9))

    assert bench.ingest().unchanged_since is None
    assert {"/1.json.gz": 2, "/2.json.gz": 2, "/3.json.gz": 2} == bench.server.counts("GET")


def test_servers_are_asked_only_where_all_else_is_equal(bench: Bench) -> None:
    """A part that has to be read anyway needs no question."""
    bench.tasks = [_task(bench.publish(number), number, 2) for number in (1, 2)]
    bench.ingest()
    bench.tasks[1] = replace(bench.tasks[1], plans=())
    bench.ingest()

    assert 0 == bench.server.counts("HEAD").total()


def test_the_parts_of_a_network_are_asked_for_side_by_side(bench: Bench) -> None:
    """None of four answers comes before all four are asked for."""
    bench.tasks = [_task(bench.publish(number), number, 4) for number in (1, 2, 3, 4)]
    result = bench.ingest()
    together = threading.Barrier(4, timeout=60)

    def ask(task: FileTask) -> Validators | None:
        together.wait()
        return probe(task.address)

    parts = [(file.task, f"{file.task.identity.part:05d}-of-00004") for file in result.files]
    standing = unchanged_parts(Store(bench.settings.output_dir), parts, lambda _task: {}, ask)

    assert bench.tasks == [part.task for part in standing]


# --- validators -----------------------------------------------------------------------------

_MONDAY, _TUESDAY = "Mon, 02 Nov 2026 06:00:00 GMT", "Tue, 03 Nov 2026 06:00:00 GMT"


@pytest.mark.parametrize(
    ("same", "read", "now"),
    [
        (True, ('"a"', _MONDAY, 10), ('"a"', _TUESDAY, 10)),
        (True, ('"a"', None, 10), ('"a"', None, None)),
        (True, ('W/"a"', None, 10), ('"a"', None, 10)),
        (True, (None, _MONDAY, 10), (None, _MONDAY, 10)),
        (False, ('"a"', _MONDAY, 10), ('"b"', _MONDAY, 10)),
        (False, ('"a"', _MONDAY, 10), ('"a"', _MONDAY, 11)),
        (True, ('"a"', _MONDAY, 10), (None, _MONDAY, 10)),
        (False, ('"a"', _MONDAY, 10), (None, _TUESDAY, 10)),
        (False, (None, None, 10), ('"a"', None, 10)),
        (False, (None, _MONDAY, 10), (None, _TUESDAY, 10)),
        (False, (None, _MONDAY, 10), (None, _MONDAY, None)),
        (False, (None, None, 10), (None, None, 10)),
    ],
)
def test_content_is_the_same_if_the_server_says_so(
    same: bool,
    read: tuple[str | None, str | None, int | None],
    now: tuple[str | None, str | None, int | None],
) -> None:
    """By its ETag, or without one by date and size together; never by size alone."""
    names = ("etag", "last_modified", "size_bytes")
    before, after = (Validators(**dict(zip(names, values, strict=True))) for values in (read, now))  # type: ignore[arg-type]  # in this order

    assert (same, same) == (before.same_as(after), after.same_as(before))


def test_no_answer_is_no_proof(bench: Bench) -> None:
    """Whoever then reads the file learns why."""
    bench.ingest()
    bench.server.remove("/1.json.gz")

    with pytest.raises(NotFoundAtSource):
        bench.ingest()


def test_the_version_of_the_layout_is_published(bench: Bench) -> None:
    """With the switch that has no digest of its own."""
    bench.ingest()
    columns = pq.read_table(bench.published()).select(["referenced_groups_only", "layout_version"])

    assert pa.types.is_boolean(columns.schema.field(0).type)
    assert [False] == columns.column(0).to_pylist()
    assert columns.column(1).to_pylist() != [None]
