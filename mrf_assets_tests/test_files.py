"""A disk that is full, or would be: one clear error, nothing half visible, nothing left behind.

The disks are real, and small: file systems in memory, where the machine lets us mount them.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import DiskFull, StoreError
from mrf_assets.files import as_sqlite_error, as_store_error, atomic_write, require_room
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.lake.reference_tables import write_table
from mrf_assets.lake.store import Store
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.dagster_fixtures import Payer, Place, key
from mrf_assets_tests.factory import document, render, skewed, write_large
from mrf_assets_tests.mrf_server import Answer, MrfServer

_DISK_BYTES = 4 << 20
_PAGE_BYTES = 4_096


@pytest.fixture
def server() -> Iterator[MrfServer]:
    """A server that has nothing yet."""
    with MrfServer() as running:
        yield running


@contextmanager
def _mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory, which only root may mount."""
    place.mkdir(parents=True)
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounting.returncode:
        pytest.skip(f"no file system can be mounted here: {mounting.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 4 MB."""
    with _mounted(tmp_path / "disk", f"size={_DISK_BYTES}") as place:
        yield place


def _use_up_inodes(disk: Path) -> None:
    with suppress(OSError):
        for number in count():
            (disk / f"filler-{number}").touch()


def _fill(disk: Path, left_bytes: int = 0) -> Path:
    """Take all room of a disk but some."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        while (free := shutil.disk_usage(disk).free) > left_bytes:
            file.write(bytes(min(free - left_bytes, 1 << 20)))
    return filler


def _task(url: str, part: int = 1, parts: int = 1) -> FileTask:
    identity = NetworkIdentity(
        rule="explicit", rule_version=1, scope="Acme", raw_id="Acme", period="2026-11", part=part, parts=parts
    )
    return FileTask(address=Address(url), network_id="acme", identity=identity)


def _leftovers(output: Path) -> list[Path]:
    return list((output / ".mrf" / "staging").iterdir())


def _published(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("network_id=*/*/*")}


# --- looked at before -----------------------------------------------------------------------


def test_a_network_is_not_begun_below_the_floor(tmp_path: Path, server: MrfServer) -> None:
    """More is to stay free than the disk has: nothing is written, and the error says what to do."""
    floor = shutil.disk_usage(tmp_path).total
    settings = Settings(output_dir=tmp_path / "out", min_free_bytes=floor)
    task = _task(server.put("/a.json", render(document())))

    with pytest.raises(DiskFull) as caught:
        ingest("acme", [task], settings)

    assert (str(tmp_path / "out"), floor) == (caught.value.path, caught.value.kept_bytes)
    assert f"MRF_MIN_FREE_BYTES keeps {floor / 1e6:,.1f} MB; free some space" in str(caught.value)
    assert ([], []) == (Store(tmp_path / "out").networks(), _leftovers(tmp_path / "out"))


def test_a_file_that_cannot_fit_is_not_begun(disk: Path, tmp_path: Path, server: MrfServer) -> None:
    """Its announced size says so, before anything of it is extracted."""
    size_bytes = write_large(tmp_path / "a.json.gz", skewed(6_000_000)).file_bytes
    url = server.put("/a.json.gz", (tmp_path / "a.json.gz").read_bytes())
    _fill(disk, size_bytes // 2)

    with pytest.raises(DiskFull, match=r"about 0\.\d MB are to come; free some space") as caught:
        ingest("acme", [_task(url)], Settings(output_dir=disk / "out", min_free_bytes=0))

    assert size_bytes // 2 > caught.value.free_bytes > 0
    assert int(size_bytes * 0.7) == caught.value.coming_bytes


def test_a_whitelist_makes_no_promise_of_size(disk: Path, tmp_path: Path, server: MrfServer) -> None:
    """Two codes of a large file fit where all of it would not."""
    made = write_large(tmp_path / "a.json.gz", skewed(6_000_000))
    url = server.put("/a.json.gz", made.path.read_bytes())
    _fill(disk, made.file_bytes // 2)
    settings = Settings(output_dir=disk / "out", min_free_bytes=0, cpt_whitelist=made.whitelist)

    ingest("acme", [_task(url)], settings).require_published()

    assert ["acme"] == Store(disk / "out").networks()


def test_a_batch_is_not_begun_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error instead of one for each network, and exit code 1."""
    place = Place(tmp_path / "place")
    with MrfServer() as server:
        payer = Payer(server)
        payer.publish("a")
        url = payer.publish_index("a")
        place.root.mkdir()
        monkeypatch.setenv("MRF_MIN_FREE_BYTES", str(shutil.disk_usage(tmp_path).total))
        done = place.run(url, 2)

    assert (1, []) == (done.returncode, server.requests)
    assert f"Error: {place.output}: the disk is full: " in done.stderr
    assert "EXTRACTION SUMMARY" not in done.stdout


def test_the_room_of_a_folder_that_is_not_there_is_its_disks(tmp_path: Path) -> None:
    """The output folder is made later."""
    require_room(tmp_path / "not" / "yet" / "there", 1)
    with pytest.raises(DiskFull):
        require_room(tmp_path / "not" / "yet" / "there", shutil.disk_usage(tmp_path).total)


# --- looked at while a file is read ---------------------------------------------------------


def test_room_that_goes_while_a_file_is_read_is_noticed(disk: Path, server: MrfServer) -> None:
    """Somebody else fills the disk in the middle of a download; what is to stay free stays free."""
    content = render(document(seed=2, codes=8)) + b" " * (80 << 20)
    gate = server.hold("/a.json", at=1 << 16)
    server.put("/a.json", content)
    settings = Settings(output_dir=disk / "out", min_free_bytes=1 << 20, cpt_whitelist=disk / "codes.csv")
    (disk / "codes.csv").write_text("99213\n")

    def fill() -> None:
        gate.reached.wait(60)
        _fill(disk, 1 << 19)
        gate.release()

    filling = threading.Thread(target=fill)
    filling.start()
    with pytest.raises(DiskFull) as caught:
        ingest("acme", [_task(server.url("/a.json"))], settings)
    filling.join()

    assert (1 << 20) == caught.value.kept_bytes > caught.value.free_bytes
    assert [] == _leftovers(disk / "out")


# --- full all the same ----------------------------------------------------------------------


def test_a_download_that_cannot_be_spooled_is_not_begun(disk: Path, server: MrfServer) -> None:
    """Its announced size says so, before a byte of it is on the disk."""
    content = render(document()) + b" " * (6 << 20)
    settings = Settings(output_dir=disk / "out", min_free_bytes=1 << 20, spool_downloads=True)

    with pytest.raises(DiskFull) as caught:
        ingest("acme", [_task(server.put("/a.json", content))], settings)

    assert (len(content), 1 << 20) == (caught.value.coming_bytes, caught.value.kept_bytes)
    assert [] == _leftovers(disk / "out")


def test_a_spool_that_fills_the_disk_is_told_so(disk: Path, server: MrfServer) -> None:
    """The server did not say how long the file is."""
    server.put("/a.json", render(document()) + b" " * (6 << 20))
    server.always("/a.json", Answer(send_length=False))
    settings = Settings(output_dir=disk / "out", min_free_bytes=0, spool_downloads=True)

    with pytest.raises(DiskFull, match=r"the disk is full: 0\.\d MB are free; free some space"):
        ingest("acme", [_task(server.url("/a.json"))], settings)

    assert [] == _leftovers(disk / "out")


@pytest.mark.parametrize("processes", [1, 2], ids=["in one process", "in a process for each part"])
def test_a_disk_that_fills_up_fails_the_network_in_clear_words(disk: Path, server: MrfServer, processes: int) -> None:
    """The old data stays, nothing of the new is visible, and what was in the making is gone."""
    old, new = document(seed=1, codes=2), document(seed=2, codes=900)
    wanted = [f"{item['billing_code_type']},{item['billing_code']}" for item in old["in_network"] + new["in_network"]]
    (disk / "codes.csv").write_text("\n".join(wanted))
    settings = Settings(
        output_dir=disk / "out", min_free_bytes=0, part_processes=processes, cpt_whitelist=disk / "codes.csv"
    )
    names = ["/1.json", "/2.json"]
    tasks = [_task(server.put(name, render(old)), number, 2) for number, name in enumerate(names, 1)]
    ingest("acme", tasks, settings).require_published()
    before = _published(disk / "out")
    for name in names:
        server.put(name, render(new))
    _fill(disk, 16 * _PAGE_BYTES)

    with pytest.raises(DiskFull, match=rf"^{disk / 'out'}: the disk is full: 0\.\d MB are free; free some space"):
        ingest("acme", tasks, settings)

    assert before == _published(disk / "out")
    assert [] == _leftovers(disk / "out")


def test_a_network_is_read_once_there_is_room_again(disk: Path, server: MrfServer) -> None:
    """Nothing is left of the failure."""
    settings = Settings(output_dir=disk / "out", min_free_bytes=0)
    task = _task(server.put("/a.json", render(document(codes=20))))
    filler = _fill(disk, 4 * _PAGE_BYTES)
    with pytest.raises(DiskFull):
        ingest("acme", [task], settings)
    filler.unlink()

    ingest("acme", [task], settings).require_published()

    assert ["acme"] == Store(disk / "out").networks()


def test_a_plan_that_has_no_room_is_told_so(disk: Path) -> None:
    """SQLite says "database or disk is full"."""
    plan = TaskStore(disk / "plan.sqlite")
    plan.save([_task("https://mrf.example/a.json")])
    _fill(disk)

    with pytest.raises(DiskFull, match=f"^{disk}: the disk is full: 0.0 MB are free; free some space"):
        plan.save(
            replace(_task(f"https://mrf.example/{number}.json"), network_id=f"n{number}") for number in range(3_000)
        )


def test_a_full_disk_fails_one_network_and_spares_the_others(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch: the large one fails with its reason, the small ones are published."""
    place = Place(tmp_path / "place")
    large = write_large(tmp_path / "large.json.gz", skewed(12_000_000))
    with MrfServer() as server:
        payer = Payer(server)
        payer.publish("a")
        payer.server.put(payer.path("b"), large.path.read_bytes())
        payer.publish("c")
        place.root.mkdir()
        url = payer.publish_index("abc")
        monkeypatch.setenv("MRF_MIN_FREE_BYTES", "0")
        _fill(disk, 400_000)
        done = place.run(url, 1, "--output-dir", str(disk / "lake"))

    assert 1 == done.returncode
    assert [key("a"), key("c")] == Store(disk / "lake").networks()
    assert f"  ❌ {key('b')}: {disk / 'lake'}: the disk is full: " in done.stdout.partition("EXTRACTION SUMMARY")[2]


# --- DAGSTER_HOME --------------------------------------------------------------------------

_ROOM = "the disk is full: 0.0 MB are free; free some space, or name a DAGSTER_HOME on a larger disk"
_INODES = (
    r"the disk takes no more files: its inodes are used up, though \d+.\d MB are free; remove some files, or name a"
)


@pytest.mark.parametrize(
    ("options", "left_bytes", "workers", "reason"),
    [("size=8m", 2_500_000, 1, _ROOM), ("size=64m,nr_inodes=45", None, 2, _INODES)],
    ids=["room", "inodes"],
)
def test_a_home_that_fills_up_ends_the_batch_in_one_line_and_true_counts(
    tmp_path: Path, options: str, left_bytes: int | None, workers: int, reason: str
) -> None:
    """What was published counts as published though Dagster could not record it; the rest is not begun."""
    place = Place(tmp_path / "place")
    with MrfServer() as server, _mounted(place.home, options):
        payer = Payer(server)
        for letter in "abcdef":
            payer.publish(letter)
        if left_bytes is not None:
            _fill(place.home, left_bytes)
        done = place.run(payer.publish_index("abcdef"), workers)

    published, manifest = place.networks(), json.loads((place.output / "manifest.json").read_text())
    assert published
    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("⚠️")]
    assert re.fullmatch(f"⚠️ {place.home}: {reason}.*; no other network is begun, and `mrf resume` continues .*", told)
    assert f"Successful: {len(published)}/6" in done.stdout
    assert published == sorted(it["network_id"] for it in manifest["extractions"] if it["status"] == "success")
    assert all(it["output_files"] for it in manifest["extractions"] if it["status"] == "success")


@pytest.mark.parametrize(
    ("options", "reason"), [("size=64k", "the disk is full"), ("size=4m,nr_inodes=100", "its inodes are used up")]
)
@pytest.mark.parametrize("command", [("stats",), ("run", "--source", "url", "--input", "{url}")], ids=lambda it: it[0])
def test_a_home_that_is_full_is_told_in_one_line(
    tmp_path: Path, server: MrfServer, options: str, reason: str, command: tuple[str, ...]
) -> None:
    """Before anything starts."""
    place = Place(tmp_path / "place")
    url = Payer(server).publish("a")
    TaskStore.under(place.output).save([_task(url)])
    with _mounted(place.home, options):
        if "inodes" in options:
            with place.instance():  # a home that is empty has nothing to read, and `stats` leaves it so
                _use_up_inodes(place.home)
        else:
            _fill(place.home)
        done = place.mrf(*(each.replace("{url}", url) for each in command))

    assert 1 == done.returncode
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {place.home}: ")
    assert reason in line


# --- refusals as words ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_a_full_disk(tmp_path: Path, code: int) -> None:
    """What to do is the same; which of both it is, is said."""
    for refused in (
        as_store_error(tmp_path, OSError(code, "")),
        as_sqlite_error(tmp_path / "plan", "cannot be kept", OSError(code, "")),
    ):
        assert isinstance(refused, DiskFull)
        assert ("the quota is used up" in str(refused)) == (code == errno.EDQUOT)


def _save_plan(folder: Path) -> None:
    TaskStore(folder / "plan.sqlite").save([_task("https://mrf.example/a.json")])


def _save_table(folder: Path) -> None:
    write_table(folder / "a.parquet", pa.schema([("a", pa.int64())]), [])


@pytest.mark.parametrize("write", [_save_plan, _save_table])
def test_inodes_that_are_used_up_are_no_full_disk(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """There is room, but not for another file."""
    with _mounted(tmp_path / "disk", "size=1m,nr_inodes=2") as place:
        (place / "last").touch()
        with pytest.raises(DiskFull, match=r"takes no more files: its inodes are used up, though 1\.0 MB are free"):
            write(place)


def test_other_refusals_are_told_as_they_are(tmp_path: Path) -> None:
    """A read-only folder is not full."""
    refused = as_store_error(tmp_path, OSError(errno.EROFS, "Read-only file system"))
    locked = as_sqlite_error(tmp_path / "plan", "cannot be kept", sqlite3.OperationalError("database is locked"))

    assert (StoreError, StoreError) == (type(refused), type(locked))
    assert "cannot be written (Read-only file system)" in str(refused)
    assert "cannot be kept (database is locked)" in str(locked)


# --- files that appear whole ----------------------------------------------------------------


def test_two_writers_of_one_table_do_not_meet(tmp_path: Path) -> None:
    """One ends while the other is in the middle; who ends last wins, and its table is whole."""
    path = tmp_path / "reference" / "a.parquet"
    schema = pa.schema([("a", pa.int64())])

    def batch(value: int) -> pa.RecordBatch:
        return pa.record_batch([pa.array([value], pa.int64())], schema=schema)

    def overtaken() -> Iterator[pa.RecordBatch]:
        yield batch(1)
        write_table(path, schema, [batch(3)])
        assert [3] == pq.read_table(path)["a"].to_pylist()
        yield batch(2)

    assert 2 == write_table(path, schema, overtaken())
    assert [1, 2] == pq.read_table(path)["a"].to_pylist()
    assert [path] == list(path.parent.iterdir())


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """And nothing of its own."""
    path = tmp_path / "a"
    path.write_text("before")

    def fail() -> None:
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ("before", [path]) == (path.read_text(), list(tmp_path.iterdir()))


def test_what_a_killed_writer_left_is_removed_a_day_later(tmp_path: Path) -> None:
    """Of the same file alone; a young one may belong to somebody."""
    path = tmp_path / f"[a]*{'é' * 120}"
    paths = []
    for _ in range(2):
        with atomic_write(path) as partial:
            partial.write_text("whole")
            paths.append(partial)
    other = tmp_path / ".b.0123456789abcdef.partial"
    for left in (*paths, other):
        left.touch()
    for old in (paths[0], other):
        os.utime(old, (0, 0))
    with atomic_write(path) as partial:
        partial.write_text("anew")

    assert {path, paths[1], other} == set(tmp_path.iterdir())
    assert "anew" == path.read_text()
