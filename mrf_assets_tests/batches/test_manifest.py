"""The manifest: its keys, its order, its file."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.batches.manifest import GrowingManifest, NetworkRecord, build_manifest, write_manifest
from mrf_assets.errors import StoreError
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls.address import Address
from mrf_assets_tests.dagster_fixtures import wait_for

OUTPUT = Path("/data/out")
ENTRY_KEYS = {
    "url",
    "source_url",
    "filename",
    "output_prefix",
    "network_id",
    "extraction_timestamp",
    "status",
    "unchanged",
    "output_files",
    "error",
    "duration_seconds",
    "plans",
}


def _task(position: int = 1, *, network_id: str = "acme", query: str = "", **changes: Any) -> FileTask:  # noqa: ANN401 - fields of FileTask
    return FileTask(
        address=Address(f"https://mrf.example/{position}.json.gz{query}"),
        network_id=network_id,
        identity=NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id=network_id),
        position=position,
        **changes,
    )


def _record(**changes: Any) -> NetworkRecord:  # noqa: ANN401 - fields of NetworkRecord
    values: dict[str, Any] = {
        "network_id": "acme",
        "run_id": "r",
        "batch_id": "b",
        "status": "success",
        "error": None,
        "facts": {},
        "tags": {},
        "seconds": 12.34567,
        "end_time": dt.datetime(2026, 11, 5, 6, 7, 8, tzinfo=dt.UTC),
    }
    return NetworkRecord(**values | changes)


def _manifest(*networks: tuple[NetworkRecord, list[FileTask]]) -> dict[str, Any]:
    return build_manifest(
        batch_id="b",
        extraction_run="2026-11-05T06:00:00+00:00",
        source_type="index",
        source_input="index.json",
        output_dir=OUTPUT,
        networks=networks,
    )


def _entry(record: NetworkRecord, task: FileTask) -> dict[str, Any]:
    (entry,) = _manifest((record, [task]))["extractions"]
    assert isinstance(entry, dict)
    return entry


def test_the_manifest_says_where_it_comes_from() -> None:
    """Batch, start, source and number of tasks stand at its head."""
    manifest = _manifest((_record(), [_task(1), _task(2)]))

    del manifest["extractions"], manifest["summary"]
    assert {
        "extraction_run": "2026-11-05T06:00:00+00:00",
        "batch_id": "b",
        "source_type": "index",
        "source_input": "index.json",
        "total_tasks": 2,
    } == manifest


def test_an_entry_has_the_keys_that_scripts_read() -> None:
    """Both names of the address are there, for older scripts."""
    assert ENTRY_KEYS == _entry(_record(), _task()).keys()


def test_an_entry_tells_what_was_read() -> None:
    """Address, name, label and network are the task's."""
    entry = _entry(_record(), _task(output_prefix="east_"))

    assert {
        "url": "https://mrf.example/1.json.gz",
        "source_url": "https://mrf.example/1.json.gz",
        "filename": "1.json.gz",
        "output_prefix": "east_",
        "network_id": "acme",
    }.items() <= entry.items()


def test_a_signature_is_not_exported() -> None:
    """A manifest is handed around; a signed link is a secret."""
    manifest = _manifest((_record(), [_task(query="?Expires=1&Signature=S3cr3t")]))

    assert "S3cr3t" not in json.dumps(manifest)


def test_the_time_is_that_of_the_extraction() -> None:
    """What the run recorded goes before the end of the run."""
    record = _record(facts={"extraction_timestamp": "2026-11-05T06:00:30+00:00"})

    assert "2026-11-05T06:00:30+00:00" == _entry(record, _task())["extraction_timestamp"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"start_time": dt.datetime(2026, 11, 5, 6, 7, 1, 999, tzinfo=dt.UTC)}, "2026-11-05T06:07:01+00:00"),
        ({}, "2026-11-05T06:07:08+00:00"),
        ({"end_time": None}, None),
    ],
    ids=["start", "end", "neither"],
)
def test_without_a_recorded_time_the_start_of_the_run_counts(changes: dict[str, Any], expected: str | None) -> None:
    """A run that failed early recorded no time; one that never began has none."""
    assert expected == _entry(_record(**changes), _task())["extraction_timestamp"]


@pytest.mark.parametrize("facts", [{}, {"output_files": {"providers": None, "rates": None}}])
def test_a_failure_has_no_output_files_but_their_names(facts: dict[str, Any]) -> None:
    """Scripts read both keys."""
    entry = _entry(_record(status="failed", error="HTTP 404", facts=facts), _task())

    assert {"providers": None, "rates": None} == entry["output_files"]


def test_seconds_are_rounded() -> None:
    """Milliseconds are enough."""
    assert 12.346 == _entry(_record(), _task())["duration_seconds"]


def test_an_unknown_duration_is_null() -> None:
    """A run that never started took no time that is known."""
    assert _entry(_record(seconds=None), _task())["duration_seconds"] is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [("success", "success"), ("failed", "failed"), ("canceled", "failed"), ("running", "failed")],
)
def test_an_entry_is_a_success_or_a_failure(status: str, expected: str) -> None:
    """What did not succeed has failed, as far as a script can tell."""
    assert expected == _entry(_record(status=status), _task())["status"]


def test_a_failure_says_why() -> None:
    """The error of the run is the error of its files."""
    entry = _entry(_record(status="failed", error="it ended early"), _task())

    assert "it ended early" == entry["error"]


def test_a_log_file_is_told_where_there_is_one() -> None:
    """Runs with more than one worker have a log each."""
    assert "logs/acme.log" == _entry(_record(tags={"mrf/log_file": "logs/acme.log"}), _task())["log_file"]


def test_no_log_file_no_key() -> None:
    """A sequential run logs to the console."""
    assert "log_file" not in _entry(_record(), _task())


def test_output_files_are_relative_to_the_output_folder() -> None:
    """The folder can be moved, and a path outside stays whole."""
    facts = {"output_files": {"rates": ["/data/out/network_id=acme/rates-1.parquet", "/elsewhere/rates-2.parquet"]}}

    assert {"rates": ["network_id=acme/rates-1.parquet", "/elsewhere/rates-2.parquet"]} == _entry(
        _record(facts=facts), _task()
    )["output_files"]


def test_plans_are_those_of_the_file() -> None:
    """Each plan with the four keys of the CMS schema that every version has."""
    plan = Plan(plan_name="Willow", plan_id_type="ein", plan_id="12-3456789", plan_market_type="group", issuer_name="I")

    assert [
        {"plan_name": "Willow", "plan_id_type": "ein", "plan_id": "12-3456789", "plan_market_type": "group"}
    ] == _entry(_record(), _task(plans=(plan,)))["plans"]


def test_entries_stand_in_the_order_of_the_source() -> None:
    """Networks end in any order; the manifest does not show it."""
    manifest = _manifest(
        (_record(network_id="b"), [_task(10, network_id="b"), _task(2, network_id="b")]), (_record(), [_task(9)])
    )

    assert ["2.json.gz", "9.json.gz", "10.json.gz"] == [entry["filename"] for entry in manifest["extractions"]]


def test_the_summary_counts_files_and_networks() -> None:
    """A network of two files that failed is two failed files."""
    manifest = _manifest((_record(status="failed"), [_task(1), _task(2)]), (_record(), [_task(3)]))

    assert {
        "successful": 1,
        "failed": 2,
        "not_run": 0,
        "networks_successful": 1,
        "networks_failed": 1,
        "networks_unchanged": 0,
    } == manifest["summary"]


@pytest.mark.parametrize("digest", ["code_whitelist_sha256", "tin_whitelist_sha256"])
def test_the_summary_counts_what_whitelists_kept(digest: str) -> None:
    """Over the networks that were read with one."""
    counts = {"items_read": 9, "items_kept": 3, "prices_read": 8, "prices_rejected": 1, "prices_filtered": 2}
    filtered = _record(facts=counts | {"versions": {digest: "ab"}})
    manifest = _manifest(*((each, [_task()]) for each in (filtered, filtered, _record(facts=counts))))

    expected = {"items_read": 18, "items_kept": 6, "prices_read": 16, "prices_kept": 10}
    assert expected == manifest["summary"]["whitelist"]


def test_nothing_done_is_a_manifest_too() -> None:
    """A batch of nothing has an empty list and zeros."""
    manifest = _manifest()

    assert (0, [], 0, 0) == (
        manifest["total_tasks"],
        manifest["extractions"],
        manifest["summary"]["successful"],
        manifest["summary"]["failed"],
    )


def test_the_file_holds_the_manifest(tmp_path: Path) -> None:
    """UTF-8, readable, with a line break at its end, in a folder that is made."""
    manifest = _manifest((_record(error="naïve"), [_task()]))
    path = tmp_path / "new" / "manifest.json"

    write_manifest(manifest, path)

    text = path.read_text(encoding="utf-8")
    assert manifest == json.loads(text)
    assert "naïve" in text
    assert text.endswith("}\n")


def test_the_file_is_readable_by_others(tmp_path: Path) -> None:
    """It holds no secret, and other users' scripts read it."""
    write_manifest(_manifest(), tmp_path / "manifest.json")

    assert 0o644 == (tmp_path / "manifest.json").stat().st_mode & 0o777


def test_an_open_manifest_does_not_change(tmp_path: Path) -> None:
    """The new file replaces the old one whole; who reads the old one reads on."""
    path = tmp_path / "manifest.json"
    write_manifest({"n": 1}, path)

    with path.open() as old:
        write_manifest({"n": 2}, path)
        assert {"n": 1} == json.load(old)
    assert {"n": 2} == json.loads(path.read_text())


@pytest.mark.parametrize("odd", [{"n": object()}, {"n": "\ud800"}])
def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, odd: dict[str, Any]) -> None:
    """And no half of a new one beside it."""
    write_manifest({"n": 1}, tmp_path / "manifest.json")

    with pytest.raises((TypeError, UnicodeEncodeError)):
        write_manifest(odd, tmp_path / "manifest.json")

    assert ["manifest.json"] == [path.name for path in tmp_path.iterdir()]
    assert {"n": 1} == json.loads((tmp_path / "manifest.json").read_text())


def test_a_folder_in_its_place_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    """The path is in the message; no temporary file stays."""
    (tmp_path / "manifest.json").mkdir()

    with pytest.raises(StoreError, match=r"manifest\.json: cannot be written"):
        write_manifest({}, tmp_path / "manifest.json")

    assert ["manifest.json"] == [path.name for path in tmp_path.iterdir()]


def test_a_path_below_a_file_is_told(tmp_path: Path) -> None:
    """One line says where and what to do."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="check the folder"):
        write_manifest({}, tmp_path / "file" / "manifest.json")


def test_a_network_that_was_left_alone_is_a_success_and_counted() -> None:
    """Its entry is whole: the files that are published, and that they were not made again."""
    facts = {"unchanged": True, "output_files": {"rates": ["/data/out/rates-1.parquet"]}}
    left, read = _record(facts=facts), _record(network_id="beta")

    manifest = _manifest((left, [_task(1)]), (read, [_task(2, network_id="beta")]))

    assert (2, 2, 1) == tuple(
        manifest["summary"][name] for name in ("successful", "networks_successful", "networks_unchanged")
    )
    assert [(True, "success", 1), (False, "success", 0)] == [
        (entry["unchanged"], entry["status"], len(entry["output_files"])) for entry in manifest["extractions"]
    ]


def test_a_manifest_grows_with_each_network_and_forgets_the_batch_before(tmp_path: Path) -> None:
    """A batch that is killed leaves what it has done."""
    path = tmp_path / "manifest.json"
    path.write_text('{"batch_id": "before"}')
    growing = GrowingManifest(
        path=path, tasks_of=lambda _network_id: [_task()], build=lambda networks: _manifest(*networks)
    )

    growing.begin()
    begun = json.loads(path.read_text())
    growing.add(_record())
    grown = json.loads(path.read_text())

    assert ("b", []) == (begun["batch_id"], begun["extractions"])
    assert ["acme"] == [entry["network_id"] for entry in grown["extractions"]]


def test_a_manifest_of_many_networks_is_not_written_with_each(tmp_path: Path) -> None:
    """It is written whole, so writing it each time would take longer with each."""
    written: list[int] = []

    def build(networks: Iterable[tuple[NetworkRecord, list[FileTask]]]) -> dict[str, Any]:
        found = list(networks)
        written.append(len(found))
        return {"n": len(found)}

    growing = GrowingManifest(path=tmp_path / "manifest.json", tasks_of=lambda _network_id: [], build=build)
    for number in range(200):
        growing.add(_record(network_id=f"n{number}"))

    assert 1 == written[0]
    assert len(written) < 200


def test_a_manifest_that_is_written_again_loads_the_tasks_of_what_is_new_alone(tmp_path: Path) -> None:
    """And of what ran again, whose addresses its run may have renewed."""
    loaded: list[str] = []

    def tasks_of(network_id: str) -> list[FileTask]:
        loaded.append(network_id)
        return [_task(len(loaded), network_id=network_id)]

    path = tmp_path / "manifest.json"
    records = {name: _record(network_id=name) for name in ("before", "again")}
    growing = GrowingManifest(
        path=path, tasks_of=tasks_of, build=lambda networks: _manifest(*networks), records=records
    )
    growing.begin()
    for name in ("again", "new"):
        growing.add(_record(network_id=name))
        growing.begin()

    assert ({"before", "again"}, ["again", "new"]) == (set(loaded[:2]), loaded[2:])
    entries = {entry["network_id"]: entry["filename"] for entry in json.loads(path.read_text())["extractions"]}
    assert ("3.json.gz", "4.json.gz") == (entries["again"], entries["new"])


def test_what_a_pause_held_back_is_written_without_another_network(tmp_path: Path) -> None:
    """The next one may take hours, and the batch be killed meanwhile."""
    path = tmp_path / "manifest.json"
    growing = GrowingManifest(
        path=path, tasks_of=lambda _network_id: [], build=lambda networks: {"n": len(list(networks))}
    )
    for number in range(3):
        growing.add(_record(network_id=f"n{number}"))

    def caught_up() -> bool:
        growing.catch_up()
        return bool(json.loads(path.read_text()) == {"n": 3})

    wait_for("the manifest to catch up", caught_up)
