"""The output folder: what is visible when, what a crash leaves, how the files are made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import StoreError
from mrf_assets.lake.part_writer import PartWriter
from mrf_assets.lake.publish import _replace_in_two_steps, row_counts
from mrf_assets.lake.store import Store, part_labels
from mrf_assets.schema import FILES, PROVIDER_SETS, PROVIDERS, RATES, STORED_TABLES, TABLES
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.table_rows import LABEL, batch, plain_name, publish_generation, row, stage_generation

NAMES = sorted(f"{name}-{LABEL}.parquet" for name in STORED_TABLES)


def _period_dir(root: Path, period: str = "2026-11") -> Path:
    return root / "network_id=acme" / f"period={period}"


def _generations(paths: dict[str, list[Path]]) -> set[str]:
    return {f"{value}" for (path,) in paths.values() for value in pq.read_table(path).column("file_id").to_pylist()}


def _names(folder: Path) -> list[str]:
    return sorted(plain_name(path) for path in folder.iterdir())


def _query(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def _staged(root: Path) -> list[Path]:
    return list((root / ".mrf" / "staging").glob("*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An output folder that is not there yet."""
    return Store(tmp_path / "out")


# --- publishing -----------------------------------------------------------------------------


def test_nothing_is_visible_before_it_is_published(store: Store) -> None:
    """Neither by the store nor by a look into the folder."""
    with store.stage("acme") as stage:
        stage_generation(stage)

        assert [] == store.networks()
        assert [] == list(store.root.glob("network_id=*"))


def test_all_tables_appear_together(store: Store) -> None:
    """One rename publishes the directory with all six, the empty ones too."""
    published = publish_generation(store)

    assert list(TABLES) == [file.table for file in published]
    assert NAMES == _names(_period_dir(store.root))


def test_what_is_published_is_described(store: Store) -> None:
    """Path, rows and size are those of the files."""
    published = publish_generation(store)

    assert dict.fromkeys(TABLES, 1) == row_counts(published)
    assert [file.path.stat().st_size for file in published] == [file.size_bytes for file in published]


def test_a_stage_that_was_published_leaves_nothing_behind(store: Store) -> None:
    """Also where it replaced a period."""
    publish_generation(store, 1)
    publish_generation(store, 2)

    assert [] == _staged(store.root)


def test_a_period_is_replaced_as_a_whole(store: Store) -> None:
    """A part that the new set does not have is gone."""
    with store.stage("acme") as stage:
        stage_generation(stage, 1, label="00001-of-00002")
        stage_generation(stage, 1, label="00002-of-00002")
        stage.publish("2026-11")

    publish_generation(store, 2)

    assert NAMES == _names(_period_dir(store.root))
    assert {"2"} == _generations(store.tables("acme", "2026-11"))


def test_other_periods_and_networks_are_left_alone(store: Store) -> None:
    """A publication touches its own directory."""
    publish_generation(store, 1, period="2026-10")
    publish_generation(store, 2, network_id="other")
    publish_generation(store, 3)

    assert ["acme", "other"] == store.networks()
    assert ["2026-10", "2026-11"] == store.periods("acme")
    assert {"1"} == _generations(store.tables("acme", "2026-10"))
    assert {"2"} == _generations(store.tables("other", "2026-11"))


def test_open_files_keep_the_old_set(store: Store) -> None:
    """A query under way ends with what it began with; who opens anew gets the new set."""
    publish_generation(store, 1)
    with store.tables("acme", "2026-11")["rates"][0].open("rb") as old:
        publish_generation(store, 2)

        assert ["1"] == pq.read_table(old).column("file_id").to_pylist()
    assert {"2"} == _generations(store.tables("acme", "2026-11"))


def test_held_files_can_be_opened_after_they_were_replaced(store: Store) -> None:
    """Who listed them before the replacement reads one whole set, of each period."""
    for period in ("2026-10", "2026-11"):
        publish_generation(store, 1, period=period)
    held = store.retained_tables("acme")
    publish_generation(store, 2)

    assert ["2026-10", "2026-11"] == list(held)
    assert {"1"} == _generations(held["2026-11"])
    assert {"2"} == _generations(store.retained_tables("acme")["2026-11"])
    assert {} == store.retained_tables("other")


def test_a_directory_handle_keeps_the_old_set_until_the_stage_ends(store: Store) -> None:
    """The directory itself is exchanged, not its files one by one."""
    publish_generation(store, 1)
    handle = os.open(_period_dir(store.root), os.O_RDONLY)
    try:
        with store.stage("acme") as stage:
            stage_generation(stage, 2)
            stage.publish("2026-11")

            assert ("1", "2") == (_generation_behind(handle), _published_generation(store.root))
    finally:
        os.close(handle)


def _generation_behind(directory: int) -> str | None:
    """The generation of all six tables in an open directory; None where they are being removed."""
    files = []
    try:
        with ExitStack() as opened:
            names = sorted(os.listdir(directory))
            if [plain_name(Path(name)) for name in names] != NAMES:
                return None
            for name in names:
                file = os.fdopen(os.open(name, os.O_RDONLY, dir_fd=directory), "rb")
                files.append(opened.enter_context(file))
            found = {f"{each}" for file in files for each in pq.read_table(file).column("file_id").to_pylist()}
    except FileNotFoundError:
        return None
    (generation,) = found  # of one generation, never a mix
    return generation


def _published_generation(root: Path) -> str | None:
    handle = os.open(_period_dir(root), os.O_RDONLY)
    try:
        return _generation_behind(handle)
    finally:
        os.close(handle)


def test_a_reader_never_sees_a_missing_table_or_a_mix(store: Store) -> None:
    """Fifty replacements under a reader: the path is always there, and behind it one whole generation.

    A reader that was overtaken (its directory is no longer the published one) looks again.
    """
    publish_generation(store, 0)
    seen: list[str] = []
    defects: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                handle = os.open(_period_dir(store.root), os.O_RDONLY)
                try:
                    generation = _generation_behind(handle)
                    if generation is not None:
                        seen.append(generation)
                    elif os.path.samestat(os.fstat(handle), _period_dir(store.root).stat()):
                        defects.append("a table of the published set is missing")
                finally:
                    os.close(handle)
            except (OSError, ValueError) as defect:
                defects.append(defect)

    reader = threading.Thread(target=read)
    reader.start()
    for generation in range(1, 51):
        publish_generation(store, generation)
    done.set()
    reader.join()

    assert [] == defects
    assert len(set(seen)) > 1
    assert sorted(seen, key=int) == seen  # and never an older one behind a newer


def test_two_periods_are_published_each_by_itself(store: Store) -> None:
    """A stage may hold several; each becomes visible when it is published."""
    with store.stage("acme") as stage:
        stage_generation(stage, 1, "2026-11")
        stage_generation(stage, 2, "2026-10")

        assert ["2026-10", "2026-11"] == stage.periods()
        stage.publish("2026-10")
        assert ["2026-10"] == store.periods("acme")


# --- what failures leave --------------------------------------------------------------------


def test_a_failed_run_leaves_no_stage(store: Store) -> None:
    """And the published set stays."""
    publish_generation(store, 1)

    with pytest.raises(LookupError):
        _fail_when_staged(store)
    assert [] == _staged(store.root)
    assert {"1"} == _generations(store.tables("acme", "2026-11"))


def test_a_failure_in_the_middle_of_a_table_leaves_no_stage(store: Store) -> None:
    """Writers are closed before the folder goes."""
    with pytest.raises(LookupError):
        _fail_while_writing(store)
    assert [] == _staged(store.root)


def _fail_when_staged(store: Store) -> None:
    with store.stage("acme") as stage:
        stage_generation(stage, 2)
        raise LookupError


def _fail_while_writing(store: Store) -> None:
    with store.stage("acme") as stage, stage.part(LABEL) as writer:
        writer.write(RATES.name, batch(RATES, row(RATES)))
        raise LookupError


_STAGER = """
import sys
from pathlib import Path
from mrf_assets.lake.store import Store
from mrf_assets_tests.table_rows import stage_generation

with Store(Path(sys.argv[1])).stage("acme") as stage:
    stage_generation(stage)
    with stage.part("00002-of-00002") as writer:
        print("staged", flush=True)
        sys.stdin.readline()
"""


@contextmanager
def _stager(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has staged one part, is writing another, and waits for a line."""
    with subprocess.Popen(
        [sys.executable, "-c", _STAGER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"staged\n" == process.stdout.readline()
        yield process


def test_a_killed_process_publishes_nothing_and_is_swept_behind(store: Store) -> None:
    """SIGKILL runs no cleanup; the next start does."""
    with _stager(store.root) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert 1 == len(_staged(store.root))
    assert 1 == store.sweep()
    assert [] == _staged(store.root)
    assert [] == store.networks()


def test_the_stage_of_a_living_process_is_not_swept(store: Store) -> None:
    """It ends by itself."""
    with _stager(store.root) as process:
        assert 0 == store.sweep()
        assert 1 == len(_staged(store.root))
        process.communicate(b"go on\n", timeout=60)

    assert 0 == process.returncode
    assert [] == _staged(store.root)


def test_the_stage_of_this_process_is_not_swept(store: Store) -> None:
    """Locks hold between threads too."""
    with store.stage("acme") as stage:
        assert 0 == store.sweep()
        stage_generation(stage)


def test_a_stage_that_just_begins_is_not_swept(store: Store) -> None:
    """Sweeping without a pause while stages begin: none is taken for a leftover."""
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            store.sweep()

    with store.stage("first"):
        sweeper = threading.Thread(target=sweep)
        sweeper.start()
        try:
            for _ in range(100):
                with store.stage("acme") as stage:
                    stage_generation(stage)
                    assert ["2026-11"] == stage.periods()
        finally:
            done.set()
            sweeper.join()


def test_a_sweep_of_nothing_makes_nothing(store: Store) -> None:
    """Looking is not writing."""
    assert 0 == store.sweep()
    assert not store.root.exists()


def test_a_replacement_that_was_cut_in_its_middle_is_undone(store: Store) -> None:
    """Where the file system cannot swap, a crash may come between two renames: the old set comes back."""
    publish_generation(store, 1)
    _period_dir(store.root).rename(_period_dir(store.root).with_name(".period=2026-11"))

    assert 1 == store.sweep()
    assert {"1"} == _generations(store.tables("acme", "2026-11"))


def test_two_steps_swap_directories_as_one_does(tmp_path: Path) -> None:
    """What file systems get that cannot swap: the new set in place, the old one in the stage."""
    for name in ("staged", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was {name}").touch()

    _replace_in_two_steps(tmp_path / "staged", tmp_path / "target")

    assert {"staged/was target", "target/was staged"} == {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")}


def test_what_was_put_aside_goes_once_the_new_set_is_there(store: Store) -> None:
    """A crash behind the second rename, or a run since then."""
    publish_generation(store, 1)
    _period_dir(store.root).rename(_period_dir(store.root).with_name(".period=2026-11"))
    publish_generation(store, 2)

    assert 1 == store.sweep()
    assert ["period=2026-11"] == _names(store.root / "network_id=acme")
    assert {"2"} == _generations(store.tables("acme", "2026-11"))


@pytest.mark.parametrize("below", [".", "sub/folder"])
def test_a_root_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, below: str) -> None:
    """A regular file stands in the way."""
    (tmp_path / "file").touch()
    root = tmp_path / "file" / below

    with pytest.raises(StoreError) as caught, Store(root).stage("acme"):
        pytest.fail("a stage below a file")
    assert f"{root}: cannot be written (Not a directory); check the folder, its owner and its disk" == str(caught.value)


def test_a_state_folder_that_cannot_be_swept_is_told(store: Store) -> None:
    """Not a traceback at the start of every run."""
    (store.root / ".mrf" / "lock").mkdir(parents=True)

    with pytest.raises(StoreError, match="cannot be written"):
        store.sweep()


def test_a_failure_while_publishing_is_told_and_changes_nothing(store: Store) -> None:
    """A file stands where the network's directory belongs."""
    store.root.mkdir()
    (store.root / "network_id=acme").write_text("in the way")

    with pytest.raises(StoreError, match="cannot be written"):
        publish_generation(store)
    assert "in the way" == (store.root / "network_id=acme").read_text()
    assert [] == _staged(store.root)


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["", "..", ".", "../x", "a/b", "/etc", "Acme", ".hidden", "-x", "a b", "a\n", "a*", "a\0", "é", "a%2e"]
)
def test_an_unsafe_key_is_refused(store: Store, key: str) -> None:
    """Before anything is written."""
    with pytest.raises(StoreError, match="is no safe partition key"), store.stage(key):
        pytest.fail("staged")
    with pytest.raises(StoreError, match="is no safe partition key"):
        store.periods(key)
    assert not store.root.exists()


@pytest.mark.parametrize("key", ["0", "302_39b0", "a.b~c-d", "a=b", "=".join("abc"), "x" * 120])
def test_a_safe_key_is_read_back_as_it_is(store: Store, key: str) -> None:
    """By the store, and by DuckDB out of the path."""
    publish_generation(store, network_id="plain")
    publish_generation(store, network_id=key)

    assert sorted(["plain", key]) == store.networks()
    assert ["2026-11"] == store.periods(key)
    glob = f"read_parquet('{store.root}/*/*/rates-*.parquet', hive_partitioning = true)"
    assert sorted([("plain",), (key,)]) == _query(f"SELECT network_id FROM {glob} ORDER BY 1")


def test_a_network_without_periods_is_not_listed(store: Store) -> None:
    """A crash between making the directory and the rename leaves it empty."""
    (store.root / "network_id=acme").mkdir(parents=True)

    assert [] == store.networks()


@pytest.mark.parametrize("period", ["", "2026", "2026-1", "2026-11-01", "../x", "2026-11\n"])
def test_an_unsafe_period_is_refused(store: Store, period: str) -> None:
    """It becomes part of a path."""
    with pytest.raises(StoreError, match="is no period of the form YYYY-MM"), store.stage("acme") as stage:
        stage_generation(stage, period=period)


def _task(name: str, part: int, parts: int) -> FileTask:
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id="acme", part=part, parts=parts)
    return FileTask(address=Address(f"https://mrf.example/{name}"), network_id="acme", identity=identity)


def test_a_label_says_part_and_parts() -> None:
    """Five digits each, so that names sort."""
    first, last = _task("a", 1, 12), _task("b", 12, 12)

    assert {first.file_id: "00001-of-00012", last.file_id: "00012-of-00012"} == part_labels([first, last])


def test_files_that_claim_the_same_part_get_their_ids(tmp_path: Path) -> None:
    """A user gave one network id to two files; neither overwrites the other."""
    one, two, other = _task("a", 1, 1), _task("b", 1, 1), _task("c", 2, 2)
    labels = part_labels([one, two, other])

    assert {
        one.file_id: f"00001-of-00001-{one.file_id[:8]}",
        two.file_id: f"00001-of-00001-{two.file_id[:8]}",
        other.file_id: "00002-of-00002",
    } == labels
    store = Store(tmp_path)
    with store.stage("acme") as stage:
        for label in labels.values():
            stage_generation(stage, label=label)
        stage.publish("2026-11")
    assert sorted(f"rates-{label}.parquet" for label in labels.values()) == [
        plain_name(path) for path in store.tables("acme", "2026-11")["rates"]
    ]


# --- periods --------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "removed"), [(1, ["2025-12", "2026-01"]), (2, ["2025-12"]), (3, []), (9, [])])
def test_pruning_keeps_the_newest_periods(store: Store, keep: int, removed: list[str]) -> None:
    """The newest by month, in whatever order they were published."""
    every = ["2026-02", "2025-12", "2026-01"]
    for period in every:
        publish_generation(store, period=period)

    assert removed == store.prune("acme", keep)
    assert sorted(set(every) - set(removed)) == store.periods("acme")
    assert [] == _staged(store.root)


# --- readers --------------------------------------------------------------------------------


def test_a_plain_glob_reads_networks_and_periods(store: Store) -> None:
    """DuckDB takes both out of the path, as text; staged files are not met."""
    publish_generation(store, 1, network_id="123", period="2026-10")
    publish_generation(store, 2, network_id="acme", period="2026-11")
    glob = f"read_parquet('{store.root}/*/*/rates-*.parquet', hive_partitioning = true)"

    with store.stage("acme") as stage:
        stage_generation(stage, 3)
        with stage.part("00002-of-00002"):
            assert [("123", "2026-10", "1"), ("acme", "2026-11", "2")] == _query(
                f"SELECT network_id, period, file_id FROM {glob} ORDER BY ALL"
            )


def test_tables_are_found_by_name_and_part(store: Store) -> None:
    """`providers` does not match `provider_sets`."""
    publish_generation(store)

    assert {name: [f"{name}-{LABEL}.parquet"] for name in TABLES} == {
        name: [plain_name(path) for path in paths] for name, paths in store.tables("acme", "2026-11").items()
    }


# --- parquet --------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> dict[str, pq.FileMetaData]:
    """Metadata of each table, with ten rows in every one."""
    with PartWriter(tmp_path, LABEL) as writer:
        for table in TABLES.values():
            writer.write(table.name, batch(table, *[row(table)] * 10))
    return {name: pq.read_metadata(tmp_path / f"{name}-{LABEL}.parquet") for name in TABLES}


def _columns(metadata: pq.FileMetaData) -> list[pq.ColumnChunkMetaData]:
    group = metadata.row_group(0)
    return [group.column(number) for number in range(group.num_columns)]


def test_row_groups_follow_the_batches(tmp_path: Path) -> None:
    """One row group a batch; an empty batch makes none."""
    with PartWriter(tmp_path, LABEL) as writer:
        for rows in (3, 0, 2, 5):
            writer.write(RATES.name, batch(RATES, *[row(RATES)] * rows))
    metadata = pq.read_metadata(tmp_path / f"rates-{LABEL}.parquet")

    assert [3, 2, 5] == [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def test_a_large_batch_is_one_row_group(tmp_path: Path) -> None:
    """The writer of pyarrow would cut at a limit of its own."""
    rows = 1_100_000
    with PartWriter(tmp_path, LABEL) as writer:
        writer.write(PROVIDER_SETS.name, batch(PROVIDER_SETS, row(PROVIDER_SETS)).take(pa.array([0] * rows)))

    assert 1 == pq.read_metadata(tmp_path / f"provider_sets-{LABEL}.parquet").num_row_groups


def test_rows_are_counted_as_they_are_written(tmp_path: Path) -> None:
    """By table."""
    with PartWriter(tmp_path, LABEL) as writer:
        writer.write(RATES.name, batch(RATES, *[row(RATES)] * 3))
        writer.write(RATES.name, batch(RATES, row(RATES)))

    assert dict.fromkeys(TABLES, 0) | {RATES.name: 4} == writer.rows


def test_every_column_is_compressed_with_zstd(written: dict[str, pq.FileMetaData]) -> None:
    """Nested ones too."""
    assert {"ZSTD"} == {column.compression for metadata in written.values() for column in _columns(metadata)}


def test_every_column_has_a_dictionary_but_npis(written: dict[str, pq.FileMetaData]) -> None:
    """Leaves of lists, structs and maps are named to parquet by their full path; booleans never have one."""
    without = {
        f"{name}.{column.path_in_schema}"
        for name, metadata in written.items()
        for column in _columns(metadata)
        if not column.has_dictionary_page
    }

    assert {"providers.npi", "providers.is_inline", "files.referenced_groups_only"} == without


def test_nested_leaves_have_dictionaries(written: dict[str, pq.FileMetaData]) -> None:
    """The paths that parquet gives to lists, lists of structs and maps."""
    encoded = {
        column.path_in_schema
        for name in (PROVIDERS.name, RATES.name, FILES.name)
        for column in _columns(written[name])
        if "RLE_DICTIONARY" in column.encodings
    }

    assert {
        "network_names.list.element",
        "service_codes.list.element",
        "billing_code_modifiers.list.element",
        "repairs.key_value.key",
        "repairs.key_value.value",
    } <= encoded


def test_leaves_of_a_list_of_structs_have_dictionaries(tmp_path: Path) -> None:
    """Codes of bundles repeat from price to price."""
    code = {"billing_code_type": "CPT", "billing_code_type_version": "2026", "billing_code": "1", "description": "x"}
    with PartWriter(tmp_path, LABEL) as writer:
        writer.write(RATES.name, batch(RATES, row(RATES, bundled_codes=[code])))
    columns = _columns(pq.read_metadata(tmp_path / f"rates-{LABEL}.parquet"))

    assert set(code) == {
        column.path_in_schema.removeprefix("bundled_codes.list.element.")
        for column in columns
        if column.path_in_schema.startswith("bundled_codes") and column.has_dictionary_page
    }


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    """No time of day, no random number."""
    first, second = Store(tmp_path / "1"), Store(tmp_path / "2")

    assert [file.path.read_bytes() for file in publish_generation(first)] == [
        file.path.read_bytes() for file in publish_generation(second)
    ]


@pytest.mark.parametrize(
    ("table", "column", "value", "other"),
    [
        ("rates", "billing_code", "code 7", "other"),
        ("providers", "npi", 7, 8_000),
        ("providers", "tin_value", "t7", "x"),
    ],
)
def test_row_groups_without_what_is_asked_for_are_not_read(
    tmp_path: Path, table: str, column: str, value: object, other: object
) -> None:
    """Bloom filters tell, though minimum and maximum of every row group include the value."""
    made = {"billing_code": "code {}", "tin_value": "t{}"}
    with PartWriter(tmp_path, LABEL) as writer:
        for start in range(10):
            numbers = range(start, 3_000, 10)
            rows = [row(TABLES[table], **{column: made[column].format(n) if column in made else n}) for n in numbers]
            writer.write(table, batch(TABLES[table], *rows))
    path = tmp_path / f"{table}-{LABEL}.parquet"

    def may_have(wanted: object) -> list[int]:
        probe = (
            f"SELECT row_group_id FROM parquet_bloom_probe('{path}', '{column}', $1) WHERE NOT bloom_filter_excludes"
        )
        with duckdb.connect() as connection:
            return sorted(number for (number,) in connection.execute(probe, [wanted]).fetchall())

    assert 7 in may_have(value)
    assert len(may_have(value)) <= 5
    assert len(may_have(other)) <= 5
