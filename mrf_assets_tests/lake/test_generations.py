"""Publications one after another: no reader meets two of them, and what is replaced stays for a while."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import StoreError
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.generations import FileName, published_files, purge_expired
from mrf_assets.lake.store import Store
from mrf_assets.schema import LAYOUT, STORED_TABLES, TABLES
from mrf_assets_tests.table_rows import LABEL, publish_generation, write_tables

DEADLINE_SECONDS = 120
PERIOD = "2026-11"


def _generations(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".mrf" / "generations").glob("*"))


def _shown(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Which publication each table shows; `file_id` is its number."""
    union = " UNION ".join(f"SELECT file_id FROM {table}" for table in TABLES)
    return {found for (found,) in connection.execute(union).fetchall()}


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label", "layout", "generation"),
    [
        ("rates-00001-of-00002.parquet", "00001-of-00002", None, None),
        ("rates-00001-of-00002-0a1b2c3d.parquet", "00001-of-00002-0a1b2c3d", None, None),
        ("rates-00001-of-00002-gabcd01234567.parquet", "00001-of-00002", "abcd", "01234567"),
        ("rates-00001-of-00002-0a1b2c3d-gabcd01234567.parquet", "00001-of-00002-0a1b2c3d", "abcd", "01234567"),
    ],
)
def test_a_name_is_read_back(name: str, label: str, layout: str | None, generation: str | None) -> None:
    """With and without the file_id of twins, and of publications before generations."""
    found = FileName.of(name)

    assert found == FileName(table="rates", label=label, part="00001-of-00002", layout=layout, generation=generation)


@pytest.mark.parametrize("name", ["rates.parquet", "other-00001-of-00001.parquet", "lock", "rates-1-of-1.parquet", ""])
def test_another_name_is_none_of_ours(name: str) -> None:
    """A file that somebody put there is left alone."""
    assert FileName.of(name) is None


def test_names_of_two_publications_differ(tmp_path: Path) -> None:
    """In every table, and in nothing but the generation."""
    names = [{file.path.name for file in publish_generation(Store(tmp_path), number)} for number in (1, 2)]

    assert set() == names[0] & names[1]
    assert len(TABLES) == len(names[0]) == len(names[1])
    assert {LAYOUT} == {found.layout for name in names[0] | names[1] if (found := FileName.of(name))}


# --- the grace time -------------------------------------------------------------------------


def test_a_connection_shows_what_was_published_when_it_was_made(tmp_path: Path) -> None:
    """Also of files that it had not opened yet."""
    publish_generation(Store(tmp_path), 1)
    with connect(tmp_path) as before:
        publish_generation(Store(tmp_path), 2)
        publish_generation(Store(tmp_path), 3)

        assert {"1"} == _shown(before)
    with connect(tmp_path) as after:
        assert {"3"} == _shown(after)


def test_what_was_replaced_goes_when_its_grace_is_over(tmp_path: Path) -> None:
    """The next publication removes it, or the next sweep; a reader of it is told."""
    store = Store(tmp_path, grace_seconds=100)
    publish_generation(store, 1)
    with connect(tmp_path) as before:
        publish_generation(store, 2)
        assert 2 == len(_generations(tmp_path))

        assert 0 == purge_expired(tmp_path, time.time() + 98)
        assert {"1"} == _shown(before)
        assert 1 == purge_expired(tmp_path, time.time() + 101)
        assert 1 == len(_generations(tmp_path))
        with pytest.raises(duckdb.IOException, match="rates-00001-of-00001-g"):
            before.execute("FROM rates")
    with connect(tmp_path) as after:
        assert {"2"} == _shown(after)


def test_what_was_replaced_by_a_clock_that_was_ahead_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be held until then."""
    store, ahead = Store(tmp_path), time.time() + 1e8
    publish_generation(store, 1)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: ahead)
        publish_generation(store, 2)
    assert 2 == len(_generations(tmp_path))

    store.sweep()

    assert 1 == len(_generations(tmp_path))


def test_a_clock_that_is_a_little_behind_takes_nothing_from_a_reader(tmp_path: Path) -> None:
    """Machines that share a folder differ by seconds."""
    publish_generation(Store(tmp_path), 1)
    publish_generation(Store(tmp_path), 2)

    assert 0 == purge_expired(tmp_path, time.time() - 60)


@pytest.mark.parametrize(("made", "removed"), [(0.0, 0), (1e8, 1)])
def test_marks_of_an_older_version_are_understood(tmp_path: Path, made: float, removed: int) -> None:
    """They say when the files go; since when is told by the mark's own time."""
    publish_generation(Store(tmp_path), 1)
    publish_generation(Store(tmp_path), 2)
    (mark,) = (tmp_path / ".mrf" / "replaced").iterdir()
    now = time.time()
    mark = mark.rename(mark.with_name(f"{int(now + made + 3_600)}-{mark.name.rpartition('-')[2]}"))
    os.utime(mark, (now + made, now + made))

    assert removed == purge_expired(tmp_path)


def test_without_grace_nothing_stays(tmp_path: Path) -> None:
    """Where disk is short."""
    for number in (1, 2, 3):
        publish_generation(Store(tmp_path, grace_seconds=0), number)

    assert 1 == len(_generations(tmp_path))
    assert [] == list((tmp_path / ".mrf" / "replaced").glob("*"))


def test_a_pruned_period_stays_for_its_grace(tmp_path: Path) -> None:
    """A reader of all periods goes on."""
    store = Store(tmp_path)
    for number, period in enumerate(("2026-10", PERIOD)):
        publish_generation(store, number, period=period)
    with connect(tmp_path) as before:
        assert ["2026-10"] == store.prune("acme", 1)
        assert 2 == len(before.execute("FROM rates_history").fetchall())
    assert 1 == purge_expired(tmp_path, time.time() + 3_601)
    assert 1 == len(_generations(tmp_path))


@pytest.mark.parametrize("when", [1, 4_000_000_000], ids=["long ago", "in the future"])
def test_a_network_that_was_removed_by_hand_is_let_go(tmp_path: Path, when: int) -> None:
    """Its files would hold their disk space for ever; young ones may be about to be published."""
    publish_generation(Store(tmp_path), 1, network_id="gone")
    publish_generation(Store(tmp_path), 2, network_id="young")
    publish_generation(Store(tmp_path), 3, network_id="stays")
    for network in ("gone", "young"):
        folder = tmp_path / f"network_id={network}"
        for path in folder.glob("*/*"):
            path.unlink()
        (folder / f"period={PERIOD}").rmdir()
    held = {path.parts[-1]: path.parts[-3] for path in (tmp_path / ".mrf" / "generations").glob("*/network_id=*/*")}
    assert {f"period={PERIOD}"} == set(held)
    for path in (tmp_path / ".mrf" / "generations").glob("*/network_id=*"):
        if path.name != "network_id=young":
            os.utime(path.parent, (when, when))

    Store(tmp_path).sweep()
    purge_expired(tmp_path, time.time() + 3_601)

    assert ["network_id=stays", "network_id=young"] == sorted(
        path.name for path in (tmp_path / ".mrf" / "generations").glob("*/network_id=*")
    )


def test_a_replacement_that_failed_expires_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old set is still published when its grace would be over."""
    publish_generation(Store(tmp_path), 1)
    with monkeypatch.context() as patched:
        patched.setattr("mrf_assets.lake.publish._exchange", _disk_error)
        with pytest.raises(StoreError):
            publish_generation(Store(tmp_path), 2)

    with connect(tmp_path) as before:
        assert 0 == purge_expired(tmp_path, time.time() + 3_601)
        assert {"1"} == _shown(before)


def _disk_error(*_paths: Path) -> None:
    raise OSError(errno.EIO, "input/output error")


# --- where it is read -----------------------------------------------------------------------


def test_held_files_cost_no_space(tmp_path: Path) -> None:
    """They are the same files."""
    publish_generation(Store(tmp_path))
    published = {path.stat().st_ino for path in tmp_path.glob("network_id=*/period=*/*.parquet")}

    assert published == {file.path.stat().st_ino for file in published_files(tmp_path)}
    assert all(".mrf" in file.path.parts for file in published_files(tmp_path))


@pytest.mark.parametrize("glob", ["**/*.parquet", "*/*/*.parquet", "**/rates-*"])
def test_globs_count_nothing_twice(tmp_path: Path, glob: str) -> None:
    """DuckDB looks into hidden folders, too."""
    for number in (1, 2):
        publish_generation(Store(tmp_path), number)

    with duckdb.connect() as connection:
        found = connection.execute("SELECT file FROM glob($1)", [f"{tmp_path}/{glob}"]).fetchall()
    assert (1 if "rates" in glob else len(STORED_TABLES)) == len([path for (path,) in found if ".held" not in path])
    assert "rates" in glob or not any(".held" in path for (path,) in found)


def test_without_hard_links_the_published_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is overtaken gets an error then, and no mix."""
    monkeypatch.setattr(os, "link", _no_links)
    publish_generation(Store(tmp_path), 1)

    assert {tmp_path / "network_id=acme" / f"period={PERIOD}"} == {it.path.parent for it in published_files(tmp_path)}
    with connect(tmp_path) as before:
        publish_generation(Store(tmp_path), 2)
        with pytest.raises(duckdb.IOException):
            _shown(before)


def _no_links(*_paths: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_publications_before_generations_are_read(tmp_path: Path) -> None:
    """And replaced by ones that have a name."""
    folder = tmp_path / "network_id=acme" / f"period={PERIOD}"
    folder.mkdir(parents=True)
    write_tables(folder, {})
    assert {f"{table}-{LABEL}.parquet" for table in TABLES} == {file.path.name for file in published_files(tmp_path)}

    publish_generation(Store(tmp_path), 1)

    with connect(tmp_path) as connection:
        assert {"1"} == _shown(connection)


# --- readers and a publisher at once --------------------------------------------------------

_PUBLISHER = """
import sys
from pathlib import Path
from mrf_assets.lake.store import Store
from mrf_assets_tests.table_rows import stage_generation

root, grace = Path(sys.argv[1]), float(sys.argv[2])
number = 0
while number < 2_000 and not (root / "stop").exists():
    number += 1
    with Store(root, grace).stage("acme") as stage:
        for part in (1, 2):
            stage_generation(stage, number, label=f"{part:05d}-of-00002")
        stage.publish("2026-11")
    if number == 1:
        print("published", flush=True)
print(number)
"""

# Each reader looks 40 times, and prints what it saw: a generation, or "error" where it was told that files are gone.
_LOOK = """
import sys, duckdb
from pathlib import Path
import pyarrow.parquet as pq
from mrf_assets.lake.catalog import connect
from mrf_assets.schema import STORED_TABLES, TABLES

root = Path(sys.argv[1])

def catalog():
    with connect(root) as connection:
        for _ in range(3):
            for table in TABLES:
                for found, parts in connection.execute(
                    f"SELECT file_id, count(*) FROM {table} GROUP BY ALL"
                ).fetchall():
                    assert parts == 2, (table, parts)
                    yield found
            yield from (found for found, in connection.execute("SELECT file_id FROM rates_by_npi").fetchall())

def glob():
    with duckdb.connect() as connection:
        path = f"{root}/*/*/rates-*.parquet"
        found = connection.execute("SELECT file_id FROM read_parquet($1) ORDER BY 1", [path]).fetchall()
        assert len(found) == 2, found
        yield from (file_id for file_id, in found)

def one_by_one():
    paths = sorted((root / "network_id=acme" / "period=2026-11").glob("*.parquet"))
    assert len(paths) == 2 * len(STORED_TABLES), paths
    for path in paths:
        yield from pq.read_table(path).column("file_id").to_pylist()

looks = {"catalog": catalog, "glob": glob, "one_by_one": one_by_one}
for _ in range(40):
    try:
        print(*sorted(set(looks[sys.argv[2]]())), sep="+")
    except (FileNotFoundError, duckdb.IOException):
        print("error")
"""


@contextmanager
def _publishing(root: Path, grace_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process that replaces a network of two parts again and again."""
    arguments = [sys.executable, "-c", _PUBLISHER, str(root), str(grace_seconds)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "published\n" == process.stdout.readline()
        try:
            yield process
        finally:
            (root / "stop").touch()
            process.wait(DEADLINE_SECONDS)


def _seen(root: Path, how: str) -> list[str]:
    found = subprocess.run(
        [sys.executable, "-c", _LOOK, str(root), how],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert "" == found.stderr
    return found.stdout.split()


def test_a_reader_of_the_catalog_never_sees_an_error_or_a_mix(tmp_path: Path) -> None:
    """Forty connections, each asking every table three times, while the network is replaced without a pause."""
    with _publishing(tmp_path, 3_600):
        seen = _seen(tmp_path, "catalog")

    assert 40 == len(seen)
    assert all(each.isdecimal() for each in seen)
    assert len(set(seen)) > 1
    assert sorted(seen, key=int) == seen


@pytest.mark.parametrize("how", ["glob", "one_by_one"])
def test_a_reader_of_paths_sees_one_publication_or_an_error(tmp_path: Path, how: str) -> None:
    """A plain glob over the parts of a table, and every file of a network one after another: never a mix."""
    with _publishing(tmp_path, 3_600):
        seen = [each for each in _seen(tmp_path, how) if each != "error"]

    assert all(each.isdecimal() for each in seen)
    assert sorted(seen, key=int) == seen


def test_a_reader_that_listed_files_before_a_replacement_is_told(tmp_path: Path) -> None:
    """The one that was overtaken between two files, step by step."""
    publish_generation(Store(tmp_path), 1)
    listed = Store(tmp_path).tables("acme", PERIOD)
    assert ["1"] == pq.read_table(listed["rates"][0]).column("file_id").to_pylist()

    publish_generation(Store(tmp_path), 2)

    with pytest.raises(FileNotFoundError):
        pq.read_table(listed["provider_sets"][0])
