"""The plan on disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.errors import SettingError, StoreError
from mrf_assets.ingest.plan import PlannedBatch, TaskStore
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls.address import Address

PLAN = Plan(
    plan_name="Wïllow “Choice”",
    plan_id_type="ein",
    plan_id="12-3456789",
    plan_market_type="group",
    issuer_name="Issuer",
    plan_sponsor_name=None,
)
FULL = FileTask(
    address=Address("https://mrf.example/2026-11-01_a.json.gz?Signature=S3cr3t"),
    network_id="acme",
    identity=NetworkIdentity(
        rule="bcbsa", rule_version=3, scope="Acme", raw_id="302_39B0", variant="ab12", period="2026-11", part=2, parts=7
    ),
    position=4,
    output_prefix="east_",
    description="the 'quoted' network",
    index_address=Address("https://mrf.example/index.json?Signature=S3cr3t"),
    index_period="2026-10",
    plans=(PLAN, replace(PLAN, plan_id=None)),
    mirror_urls=("https://other.example/a.json.gz",),
    extra_args={"note": "naïve"},
)


def _task(network_id: str = "acme", position: int = 1, **changes: Any) -> FileTask:  # noqa: ANN401 - fields of FileTask
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id=network_id)
    url = f"https://mrf.example/{network_id}/{position}.json"
    return FileTask(address=Address(url), network_id=network_id, identity=identity, position=position, **changes)


@pytest.fixture
def store(tmp_path: Path) -> TaskStore:
    """A plan that is not there yet."""
    return TaskStore(tmp_path / "plan.sqlite")


@pytest.mark.parametrize("task", [FULL, _task()], ids=["every field", "defaults"])
def test_a_task_comes_back_as_it_was(store: TaskStore, task: FileTask) -> None:
    """Every field, the signed URL too: without it nothing can be fetched."""
    store.save([task])

    assert [task] == store.load("acme")


@pytest.mark.parametrize(
    ("index_url", "expected"),
    [
        ("https://mrf.example/index.json", True),
        ("http://127.0.0.1/index.json", False),
        ("/a/index.json", False),
        (None, False),
    ],
)
def test_a_plan_of_an_older_version_tells_whose_addresses_it_holds(
    store: TaskStore, index_url: str | None, expected: bool
) -> None:
    """What its index says of that: an address in an index over the web is a stranger's."""
    store.save([_task(index_address=None if index_url is None else Address(index_url))])
    with closing(sqlite3.connect(store.path)) as plan, plan:
        plan.execute("UPDATE files SET task = json_remove(task, '$.is_from_stranger')")

    assert [expected] == [task.is_from_stranger for task in store.load("acme")]


def test_an_unknown_network_is_empty(store: TaskStore) -> None:
    """It was never planned; that is no error."""
    assert [] == store.load("acme")


def test_files_come_in_the_order_of_their_positions(store: TaskStore) -> None:
    """However they were saved."""
    store.save([_task(position=10), _task(position=9), _task(position=1)])

    assert [1, 9, 10] == [task.position for task in store.load("acme")]


def test_a_network_is_replaced_as_a_whole(store: TaskStore) -> None:
    """A file that the new index does not list is not fetched again."""
    store.save([_task(position=1), _task(position=2)])

    store.save([_task(position=3)])

    assert [3] == [task.position for task in store.load("acme")]


def test_other_networks_are_left_alone(store: TaskStore) -> None:
    """Only what occurs is replaced."""
    store.save([_task("acme"), _task("other")])

    store.save([_task("acme", 2)])

    assert [_task("other")] == store.load("other")


def test_networks_may_come_mixed(store: TaskStore) -> None:
    """An index lists files in any order; none is lost."""
    counts = store.save([_task("b", 1), _task("a", 2), _task("b", 3)])

    assert [("b", 2), ("a", 1)] == list(counts.items())
    assert [1, 3] == [task.position for task in store.load("b")]


def test_networks_are_listed_by_key(store: TaskStore) -> None:
    """Each once."""
    store.save([_task("b", 1), _task("a", 2), _task("b", 3)])

    assert ["a", "b"] == store.networks()


def test_a_source_that_fails_half_way_changes_nothing(store: TaskStore) -> None:
    """The old plan stays whole."""
    store.save([_task(position=1)])

    def broken() -> Any:  # noqa: ANN401 - an iterator that never ends well
        yield _task(position=2)
        raise LookupError

    with pytest.raises(LookupError):
        store.save(broken())
    assert [1] == [task.position for task in store.load("acme")]


def test_equal_plans_are_kept_once(store: TaskStore, tmp_path: Path) -> None:
    """Files of one structure share thousands of plans: each distinct list is one row, empty ones too."""
    plans = tuple(replace(PLAN, plan_id=f"{number}") for number in range(500))
    store.save(_task(position=position, plans=plans) for position in range(50))

    one = len(repr(plans))
    assert {plans} == {task.plans for task in store.load("acme")}
    assert (tmp_path / "plan.sqlite").stat().st_size < 3 * one


def test_plans_that_no_file_has_any_more_are_dropped(store: TaskStore, tmp_path: Path) -> None:
    """Month after month the plan stays as large as the last index."""
    for number in range(5):
        store.save([_task(plans=(replace(PLAN, plan_id=f"{number}"),))])

    with closing(sqlite3.connect(tmp_path / "plan.sqlite")) as connection:
        assert [(1,)] == connection.execute("SELECT count(*) FROM plan_sets").fetchall()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """It holds signed URLs, whatever the umask says."""
    before = os.umask(0)
    try:
        TaskStore.under(tmp_path).save([FULL])
    finally:
        os.umask(before)

    assert 0o600 == (tmp_path / ".mrf" / "tasks.sqlite").stat().st_mode & 0o777


def test_the_plan_stands_outside_what_is_published(tmp_path: Path) -> None:
    """Below the output folder, in the state folder."""
    TaskStore.under(tmp_path).save([FULL])

    assert [tmp_path / ".mrf" / "tasks.sqlite"] == [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_plan_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """One line with the path."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"file/\.mrf/tasks\.sqlite: the plan cannot be kept"):
        TaskStore.under(tmp_path / "file").load("acme")


def test_a_file_that_is_no_plan_is_told(tmp_path: Path) -> None:
    """It is not overwritten."""
    (tmp_path / "plan.sqlite").write_bytes(b"no database at all" * 100)

    with pytest.raises(StoreError, match="not a database"):
        TaskStore(tmp_path / "plan.sqlite").save([FULL])
    assert b"no database at all" * 100 == (tmp_path / "plan.sqlite").read_bytes()


_SAVE_MANY = """
import sys
from pathlib import Path
from mrf_assets.urls.address import Address
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.tasks import FileTask, NetworkIdentity

store, key = TaskStore(Path(sys.argv[1])), sys.argv[2]
identity = NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id=key)
print("ready", flush=True)
sys.stdin.readline()
for round in range(20):
    network = f"{key}-{round}"
    store.save(FileTask(address=Address(f"{n}"), network_id=network, identity=identity, position=n) for n in range(20))
"""


def test_two_processes_save_at_the_same_time(store: TaskStore, tmp_path: Path) -> None:
    """One waits for the other; both make the file if it is missing; nothing is lost."""
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", _SAVE_MANY, str(tmp_path / "plan.sqlite"), key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for key in ("a", "b")
    ]
    for saver in savers:
        assert saver.stdout is not None
        assert b"ready\n" == saver.stdout.readline()
    for saver in savers:
        saver.communicate(b"go\n", timeout=60)

    assert [0, 0] == [saver.returncode for saver in savers]
    assert [20] * 40 == [len(store.load(key)) for key in store.networks()]


# --- batches --------------------------------------------------------------------------------

BATCH = PlannedBatch(
    batch_id="20261105_060000-ab12",
    source_type="index",
    source_input="https://mrf.example/index.json",
    priorities={"b": 10, "a": 0, "c": 0},
    config={"output_dir": "/data", "keep_periods": None},
)


def test_a_batch_comes_back_as_it_was(store: TaskStore) -> None:
    """Its networks in their order."""
    store.save_batch(BATCH)
    found = store.load_batch(BATCH.batch_id)

    assert found == BATCH
    assert found
    assert ["b", "a", "c"] == list(found.priorities)


def test_an_unknown_batch_is_none(store: TaskStore) -> None:
    """Whatever its name is."""
    assert store.load_batch("../../etc/passwd' --") is None
    assert not store.is_held("../../etc/passwd")
    assert store.latest_batch() is None


def test_the_latest_batch_is_the_one_that_was_planned_last(store: TaskStore) -> None:
    """Not the one with the highest id."""
    store.save_batch(replace(BATCH, batch_id="z"))
    store.save_batch(BATCH)

    assert BATCH.batch_id == store.latest_batch()


def test_files_of_networks_are_counted(store: TaskStore) -> None:
    """Of those that are asked for."""
    store.save([_task("a"), _task("a", 2), _task("b"), _task("c")])

    assert (3, 0) == (store.count_files(["a", "b"]), store.count_files(["nobody"]))


def test_one_process_works_on_a_batch(store: TaskStore) -> None:
    """A second one is told so; afterwards the batch is free again."""
    with store.held("b"):
        assert store.is_held("b")
        assert not store.is_held("c")
        with pytest.raises(SettingError, match="batch: b is still running"), store.held("b"):
            pass
    assert not store.is_held("b")
    with store.held("b"):
        pass


def test_a_killed_process_holds_nothing(store: TaskStore, tmp_path: Path) -> None:
    """The lock goes with it."""
    code = "import sys; from mrf_assets.ingest.plan import TaskStore; from pathlib import Path\n"
    code += "with TaskStore(Path(sys.argv[1])).held('b'): print('held', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, str(tmp_path / "plan.sqlite")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "held\n" == process.stdout.readline()
        assert store.is_held("b")
        process.kill()
        process.wait()

    assert not store.is_held("b")
