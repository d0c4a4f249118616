"""The views over what is published: their rows, their words, and what they do when there is nothing or too much."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import SettingError, StoreError
from mrf_assets.lake.catalog import CATALOG_NAME, connect, write_catalog
from mrf_assets.lake.comparability import STATISTIC_RULES
from mrf_assets.lake.generations import purge_expired
from mrf_assets.lake.price_columns import RATE_UNITS
from mrf_assets.lake.store import Store
from mrf_assets.lake.view import table_docs
from mrf_assets.lake.views import VIEWS, view_names
from mrf_assets.quality.changes import changes_path, write_changes
from mrf_assets.schema import LAYOUT, RATES, STORED_TABLES, TABLES
from mrf_assets.settings import Settings
from mrf_assets_tests.old_duckdb import OLD_VERSIONS, OldDuckDB, old_duckdb
from mrf_assets_tests.small_lake import CODES, LATEST, PERIODS, Lake, make_lake
from mrf_assets_tests.table_rows import LABEL, batch, publish_generation, row, stage_generation, write_tables


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three networks of two periods, with heavy fan-out."""
    return make_lake(tmp_path_factory.mktemp("catalog"))


@pytest.fixture
def catalog(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to it."""
    with connect(lake.root) as connection:
        yield connection


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:  # noqa: ANN401 - a value of the query
    ((value,),) = connection.execute(sql).fetchall()
    return value


# --- periods --------------------------------------------------------------------------------


def test_a_view_shows_the_latest_period_of_each_network(catalog: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """And has as many prices as the documents."""
    found = catalog.execute("SELECT network_id, period, count(*) FROM rates GROUP BY ALL").fetchall()

    assert Counter((it.network, it.period) for it in lake.latest()) == {(n, p): count for n, p, count in found}


def test_history_shows_every_period(catalog: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Under a name of its own."""
    found = catalog.execute("SELECT network_id, period, count(*) FROM rates_history GROUP BY ALL").fetchall()

    assert Counter((it.network, it.period) for it in lake.prices) == {(n, p): count for n, p, count in found}


def test_a_network_that_lags_behind_shows_its_own_latest_period(tmp_path: Path) -> None:
    """The latest of each, not the latest of all."""
    publish_generation(Store(tmp_path), 1, network_id="early", period="2026-09")
    publish_generation(Store(tmp_path), 2, network_id="late", period="2026-11")
    publish_generation(Store(tmp_path), 3, network_id="late", period="2026-10")

    with connect(tmp_path) as connection:
        shown = connection.execute("SELECT network_id, period, file_id FROM rates ORDER BY ALL").fetchall()
        listed = connection.execute("SELECT * FROM networks ORDER BY ALL").fetchall()
    assert [("early", "2026-09", "1"), ("late", "2026-11", "2")] == shown
    assert [("early", "2026-09", True), ("late", "2026-10", False), ("late", "2026-11", True)] == listed


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_both_views(catalog: duckdb.DuckDBPyConnection, lake: Lake, table: str) -> None:
    """With the rows of its files, the path's columns in front."""
    paths = [str(path) for key in ("t~a", "t~b") for p in PERIODS for path in Store(lake.root).tables(key, p)[table]]
    rows = sum(pq.read_metadata(path).num_rows for path in paths)

    assert rows == _one(catalog, f"SELECT count(*) FROM {table}_history WHERE network_id <> 't~twin'")
    for view in (table, f"{table}_history"):
        columns = [column[0] for column in catalog.execute(f"FROM {view} LIMIT 0").description or ()]
        assert list(table_docs(TABLES[table])) == columns


# --- units ----------------------------------------------------------------------------------


def test_each_price_has_one_unit(catalog: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Dollars, percentages and per diem are told apart, and bundles and capitation from the code alone."""
    found = catalog.execute("SELECT rate_unit, count(*) FROM rates GROUP BY ALL").fetchall()

    assert dict(Counter(it.unit for it in lake.latest())) == dict(found)
    assert set(RATE_UNITS) == {unit for unit, _ in found}


@pytest.mark.parametrize(
    ("column", "unit"), [("dollars", "dollars"), ("dollars_per_day", "dollars per day"), ("percentage", "percent")]
)
def test_a_column_of_one_unit_holds_nothing_else(
    catalog: duckdb.DuckDBPyConnection, lake: Lake, column: str, unit: str
) -> None:
    """The exact amounts of that unit."""
    found = catalog.execute(f"SELECT {column} FROM rates WHERE {column} IS NOT NULL").fetchall()

    prices = [it for it in lake.latest() if it.unit == unit and (unit != "dollars" or it.is_in_dollars)]
    assert Counter(it.rate for it in prices) == Counter(value for (value,) in found)


def test_a_type_that_the_schema_does_not_know_has_no_unit(tmp_path: Path) -> None:
    """A guess would be mixed into a median."""
    with Store(tmp_path).stage("acme") as stage:
        with stage.part(LABEL) as writer:
            writer.write(RATES.name, batch(RATES, row(RATES, negotiated_type="odd"), row(RATES, negotiated_type=None)))
        stage.settle(LABEL, LATEST)
        stage.publish(LATEST)

    with connect(tmp_path) as connection:
        assert [(None, None)] * 2 == connection.execute("SELECT rate_unit, dollars FROM rates").fetchall()


@pytest.mark.parametrize("code", CODES, ids="-".join)
def test_a_median_counts_each_price_once(catalog: duckdb.DuckDBPyConnection, lake: Lake, code: tuple[str, str]) -> None:
    """Whatever the number of providers; the fanned-out one is another number, which shows that this can fail."""
    found = catalog.execute(
        """SELECT network_id, count(*), median(dollars) FROM rates
        WHERE billing_code_type = $type AND billing_code = $code AND dollars > 0 GROUP BY ALL ORDER BY ALL""",
        {"type": code[0], "code": code[1]},
    ).fetchall()

    expected = []
    for network in sorted({it.network for it in lake.prices}):
        prices = lake.latest(network=network, code=code)
        if rates := [it.rate for it in prices if it.is_in_dollars and it.rate > 0]:
            expected.append((network, len(rates), median(rates)))
    assert expected == found
    assert bool(found) is (code[0] != "RC")


def test_the_documents_would_show_a_fanned_out_median(lake: Lake) -> None:
    """Weighted by providers, medians differ: the tests above can fail."""
    prices = [it for it in lake.latest(code=CODES[0], unit="dollars") if it.rate > 0]

    assert median(it.rate for it in prices) != median(it.rate for it in prices for _ in it.holders)


# --- flat shapes ----------------------------------------------------------------------------

_FLAT = "network_id, billing_code_type, billing_code, negotiated_rate, negotiated_type"


def test_rates_by_group_has_a_row_per_price_and_group(catalog: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """The same as the documents say."""
    found = catalog.execute(f"SELECT {_FLAT}, provider_group_id FROM rates_by_group").fetchall()

    expected = Counter((it.network, *it.code, it.rate, it.kind, group) for it in lake.latest() for group in it.groups)
    assert expected == Counter(found)


def test_rates_by_npi_has_a_provider_once_per_price(catalog: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Though it stands in several groups of the price's set, by the same TIN."""
    found = catalog.execute(f"SELECT {_FLAT}, tin_type, tin_value, npi FROM rates_by_npi").fetchall()

    expected = Counter((it.network, *it.code, it.rate, it.kind, *held) for it in lake.latest() for held in it.holders)
    assert expected == Counter(found)


def test_rates_by_plan_has_a_row_per_price_and_plan(catalog: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """By the index; a network without plans has none."""
    found = catalog.execute(f"SELECT {_FLAT}, plan_name FROM rates_by_plan").fetchall()

    expected = Counter(
        (it.network, *it.code, it.rate, it.kind, plan.plan_name)
        for it in lake.latest()
        for plan in lake.plans[it.network]
    )
    assert expected == Counter(found)


@pytest.mark.parametrize("view", ["rates_by_group", "rates_by_npi", "rates_by_plan"])
def test_a_fan_out_can_be_undone(catalog: duckdb.DuckDBPyConnection, view: str) -> None:
    """The number of a price, with its network and file, names it."""
    by_price = "SELECT DISTINCT network_id, period, file_id, price_number, dollars FROM"

    once = f"SELECT count(*), sum(dollars) FROM ({by_price} {view})"
    many = f"SELECT count(*) FROM {view}"
    where = "WHERE network_id IN (SELECT network_id FROM plans)" if view == "rates_by_plan" else ""
    assert (
        catalog.execute(f"SELECT count(*), sum(dollars) FROM rates {where}").fetchall()
        == catalog.execute(once).fetchall()
    )
    assert _one(catalog, many) > 2 * _one(catalog, "SELECT count(*) FROM rates WHERE network_id = 't~a'")


def test_a_plan_in_the_header_stands_in_where_no_index_names_one(tmp_path: Path) -> None:
    """And not beside those of the index."""
    plan = {"plan_name": "Header", "plan_id": "1", "plan_id_type": "hios", "plan_market_type": "group"}
    for network, of_index in (("with", 1), ("without", 0)):
        with Store(tmp_path).stage(network) as stage:
            with stage.part(LABEL) as writer:
                writer.write(RATES.name, batch(RATES, row(RATES)))
                writer.write("files", batch(TABLES["files"], row(TABLES["files"], **plan)))
                writer.write("plans", batch(TABLES["plans"], *(row(TABLES["plans"]) for _ in range(of_index))))
            stage.settle(LABEL, LATEST)
            stage.publish(LATEST)

    with connect(tmp_path) as connection:
        found = connection.execute("SELECT network_id, plan_name FROM rates_by_plan ORDER BY ALL").fetchall()
    assert [("with", "Willow Choice"), ("without", "Header")] == found


# --- words ----------------------------------------------------------------------------------


def test_every_view_and_column_says_what_it_is(catalog: duckdb.DuckDBPyConnection) -> None:
    """In the database itself."""
    views = dict(
        catalog.execute(
            """SELECT view_name, comment FROM duckdb_views() WHERE NOT internal
            UNION ALL SELECT table_name, comment FROM duckdb_tables()"""
        ).fetchall()
    )
    columns = catalog.execute("SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal")

    assert set(view_names()) == set(views)
    assert all(comment and comment.startswith("One row per ") for comment in views.values())
    assert [] == [found for found in columns.fetchall() if not found[2]]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_docs_of_a_view_are_of_its_columns(catalog: duckdb.DuckDBPyConnection, view: Any) -> None:  # noqa: ANN401 - a View
    """No more and no less."""
    assert list(view.columns) == [
        column[0] for column in catalog.execute(f"FROM {view.name} LIMIT 0").description or ()
    ]


# --- edges ----------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [name for name in view_names() if name != STATISTIC_RULES.name])
def test_views_of_nothing_are_empty_and_typed(tmp_path: Path, view: str, lake: Lake) -> None:
    """An output folder that is empty has the same columns as any other."""
    with connect(tmp_path) as nothing, connect(lake.root) as something:
        assert 0 == _one(nothing, f"SELECT count(*) FROM {view}")
        assert something.execute(f"DESCRIBE {view}").fetchall() == nothing.execute(f"DESCRIBE {view}").fetchall()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A misspelt one is no empty one; it is not made."""
    with pytest.raises(
        SettingError,
        match=r"nothing is published in .*typo, there is no such folder; correct the path, or run `mrf run` first",
    ):
        connect(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_connecting_writes_nothing(lake: Lake) -> None:
    """A folder that may only be read is enough."""
    before = sorted(lake.root.rglob("*"))

    with connect(lake.root) as connection:
        connection.execute("FROM rates_by_npi").fetchall()
    assert before == sorted(lake.root.rglob("*"))


def test_networks_with_other_columns_are_shown_with_those_of_today(tmp_path: Path) -> None:
    """What an older version wrote lacks a column, has one more, and one of another type."""
    publish_generation(Store(tmp_path), 1, network_id="new")
    old = tmp_path / "network_id=old" / f"period={LATEST}"
    old.mkdir(parents=True)
    write_tables(old, {RATES.name: [row(RATES, file_id="0")]})
    path = old / f"rates-{LABEL}.parquet"
    table = pq.read_table(path).drop_columns(["setting"]).append_column("gone", pa.array(["x"]))
    number = table.schema.get_field_index("negotiated_rate")
    pq.write_table(table.set_column(number, "negotiated_rate", pa.array([12.5])), path)

    with connect(tmp_path) as connection:
        found = connection.execute(
            "SELECT network_id, setting, negotiated_rate, typeof(negotiated_rate), dollars FROM rates ORDER BY ALL"
        ).fetchall()
    amount = Decimal("12.5")
    kind = "DECIMAL(38,10)"
    assert [("new", "outpatient", amount, kind, amount), ("old", None, amount, kind, amount)] == found


def test_a_carried_part_of_an_older_layout_stays_readable(tmp_path: Path) -> None:
    """It is published anew beside a part of today, and is not taken for one of today."""
    old = tmp_path / "network_id=acme" / f"period={LATEST}"
    old.mkdir(parents=True)
    for paths in write_tables(old, {RATES.name: [row(RATES, file_id="0")]}).values():
        paths[0].rename(old / paths[0].name.replace(LABEL, "00001-of-00002"))
    path = old / "rates-00001-of-00002.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["setting"]), path)
    for generation in (1, 2):  # carried twice
        with Store(tmp_path).stage("acme") as stage:
            stage_generation(stage, generation, label="00002-of-00002")
            assert ["00001-of-00002"] == stage.carry_over(LATEST)
            stage.publish(LATEST)

    with connect(tmp_path) as connection:
        found = connection.execute("SELECT file_id, setting FROM rates ORDER BY ALL").fetchall()
    assert [("0", None), ("2", "outpatient")] == found


@pytest.mark.parametrize("name", ["it's", "a b", "x[1]*?", "quote''s", "a*b", "a?b"])
def test_an_output_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Quotes and characters of globs are letters like others; what a glob would match is left alone."""
    publish_generation(Store(tmp_path / name), 7)
    for neighbour in ("aXb", "x1yz"):
        publish_generation(Store(tmp_path / neighbour), 8)

    with connect(tmp_path / name) as connection:
        assert "7" == _one(connection, "SELECT file_id FROM rates_by_group")


def test_a_key_with_an_equals_sign_is_decoded(tmp_path: Path) -> None:
    """As the store gives it."""
    publish_generation(Store(tmp_path), network_id="a=b")

    with connect(tmp_path) as connection:
        assert [("a=b", "a=b")] == connection.execute(
            "SELECT rates.network_id, networks.network_id FROM rates, networks"
        ).fetchall()


def test_a_period_that_lacks_a_table_is_told(tmp_path: Path) -> None:
    """Its other tables would answer wrongly."""
    publish_generation(Store(tmp_path))
    (path,) = Store(tmp_path).tables("acme", LATEST)["plans"]
    path.unlink()

    with pytest.raises(StoreError, match="period=2026-11: misses tables of some part"):
        connect(tmp_path)


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    """With its path."""
    old = tmp_path / "network_id=acme" / f"period={LATEST}"
    old.mkdir(parents=True)
    paths = write_tables(old, {})
    paths["rates"][0].write_bytes(b"no parquet")

    with pytest.raises(StoreError, match=r"rates-00001-of-00001.parquet: cannot be read"):
        connect(tmp_path)


def test_a_published_file_that_duckdb_cannot_open_is_told(tmp_path: Path) -> None:
    """With its path, and what to do: numbers without it would be wrong."""
    publish_generation(Store(tmp_path))
    for path in tmp_path.rglob("rates-*"):
        path.write_bytes(b"")

    with pytest.raises(
        StoreError, match=r"rates-00001-of-00001-g\w+\.parquet.* too small .*; ingest its network again"
    ):
        connect(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("rate_changes/network_id=b/rate_changes.parquet", b"", "; run `mrf changes` for its network"),
        ("rate_changes/network_id=z/rate_changes.parquet", b"no parquet", "; run `mrf changes` for its network"),
        ("provider_directory.parquet", b"", "; materialize provider_directory again"),
    ],
)
def test_a_derived_file_that_cannot_be_read_keeps_nobody_from_the_rest(
    lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, name: str, content: bytes, remedy: str
) -> None:
    """A warning names it and says how it is made anew."""
    root = tmp_path / "copy"
    shutil.copytree(lake.root, root)
    write_changes(Settings(output_dir=root), "t~a")
    broken = root / "reference" / name
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(content)
    write_catalog(root)
    with connect(root) as connection:
        for view in ("rates", "rate_changes"):
            assert 0 < _one(connection, f"SELECT count(*) FROM {view}")
        assert 0 == _one(connection, "SELECT count(*) FROM provider_directory")

    (told,) = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert told.startswith(f"{broken} cannot be read and is left out (")
    assert told.endswith(remedy)


def test_changes_of_an_older_layout_have_all_columns(lake: Lake, tmp_path: Path) -> None:
    """Null in what they lack."""
    root = tmp_path / "copy"
    shutil.copytree(lake.root, root)
    for network in ("t~a", "t~b"):
        write_changes(Settings(output_dir=root), network)
    old = changes_path(root, "t~b")
    pq.write_table(pq.read_table(old, partitioning=None).drop_columns(["tins"]), old)
    with connect(root) as connection:
        found = connection.execute("SELECT network_id, count(tins) > 0 FROM rate_changes GROUP BY ALL ORDER BY ALL")

        assert [("t~a", True), ("t~b", False)] == found.fetchall()


def test_memory_is_bounded(lake: Lake) -> None:
    """By the caller."""
    with connect(lake.root, memory_mb=64, threads=1) as connection:
        settings = "SELECT name, value FROM duckdb_settings() WHERE name IN ('memory_limit', 'threads') ORDER BY name"
        assert [("memory_limit", "61.0 MiB"), ("threads", "1")] == connection.execute(settings).fetchall()


# --- the file -------------------------------------------------------------------------------


def test_the_file_has_the_same_views(lake: Lake, catalog: duckdb.DuckDBPyConnection) -> None:
    """Any DuckDB reads it, from anywhere."""
    made = write_catalog(lake.root)

    assert (3, 5, 5 * len(STORED_TABLES), lake.root / CATALOG_NAME) == (
        made.networks,
        made.periods,
        made.files,
        made.path,
    )
    with duckdb.connect(str(lake.root / CATALOG_NAME), read_only=True) as connection:
        for view in view_names():
            count = f"SELECT count(*) FROM {view}"
            assert _one(catalog, count) == _one(connection, count)


@pytest.fixture(scope="module", params=OLD_VERSIONS)
def old(request: pytest.FixtureRequest) -> OldDuckDB:
    """A DuckDB as BI tools bring it."""
    return old_duckdb(request.param, request.config.cache)


def test_an_older_duckdb_reads_every_view(lake: Lake, catalog: duckdb.DuckDBPyConnection, old: OldDuckDB) -> None:
    """With the rows that ours has."""
    made = write_catalog(lake.root)
    assert made.path is not None
    counts = [f"SELECT count(*) FROM {view}" for view in view_names()]
    comments = "SELECT count(comment) FROM duckdb_views() WHERE NOT internal"

    assert [[[_one(catalog, count)]] for count in counts] == old.ask(made.path, *counts)
    assert [[[_one(catalog, comments)]]] == old.ask(made.path, comments)


@pytest.mark.parametrize("view", ["rates_by_npi", "rates_by_provider"])
def test_a_view_that_is_slow_before_duckdb_2_says_so(catalog: duckdb.DuckDBPyConnection, view: str) -> None:
    """With what to ask instead: a preview by LIMIT took more than 90 s in 1.1.3 and 1.4.4."""
    comment = _one(catalog, f"SELECT comment FROM duckdb_views() WHERE view_name = '{view}'")

    assert "Before DuckDB 2.0 ask for an npi, a tin_value or a billing_code" in comment


def test_a_catalog_for_another_place_reads_the_lake_there(lake: Lake, tmp_path: Path, old: OldDuckDB) -> None:
    """Which is not there yet when it is written; its name may hold what patterns are made of."""
    before, after = tmp_path / "before", tmp_path / "it's [a] *new* pla?ce"
    shutil.copytree(lake.root, before)
    _add_derived(before)
    counts = [f"SELECT count(*) FROM {view}" for view in view_names()]
    with connect(before) as connection:
        expected = [[[_one(connection, count)]] for count in counts]
    write_catalog(before, root=str(after))
    before.rename(after)
    shutil.copytree(lake.root, tmp_path / "it's [a] *new and newer* pla?ce")  # a neighbour that the pattern matches

    assert expected == old.ask(after / CATALOG_NAME, *counts)
    with duckdb.connect(str(after / CATALOG_NAME), read_only=True) as connection:
        assert expected == [[[_one(connection, count)]] for count in counts]


def _add_derived(root: Path) -> None:
    write_changes(Settings(output_dir=root), "t~a")
    npis = pa.array([1234567893], pa.int64())
    rows = pa.table({"npi": npis, "primary_taxonomy_code": ["207Q00000X"], "taxonomy_codes": [["207Q00000X"]]})
    pq.write_table(rows, root / "reference" / "provider_directory.parquet")


def test_a_catalog_for_another_place_needs_nothing_of_the_state_folder(lake: Lake, tmp_path: Path) -> None:
    """Copies leave hidden folders out."""
    copy = tmp_path / "copy"
    write_catalog(lake.root, root=str(copy))
    shutil.copytree(lake.root, copy, ignore=shutil.ignore_patterns(".mrf"))

    with duckdb.connect(str(copy / CATALOG_NAME), read_only=True) as connection:
        assert 0 < _one(connection, "SELECT count(*) FROM rates_by_npi")


def test_a_catalog_whose_lake_was_moved_says_what_to_do(lake: Lake, tmp_path: Path, old: OldDuckDB) -> None:
    """In one line; written again where the lake is now, it reads it."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(lake.root, before)
    write_catalog(before)
    before.rename(after)

    (told,) = old.ask(after / CATALOG_NAME, "FROM rates")
    assert "this-catalog-is-out-of-date.run-mrf-catalog-again" in told.splitlines()[0]
    write_catalog(after)
    assert [[[len(lake.latest())]]] == old.ask(after / CATALOG_NAME, "SELECT count(*) FROM rates")


def test_a_catalog_reads_what_is_published_two_hours_later(tmp_path: Path) -> None:
    """Replaced files go when their grace is over; a catalog of them says that it is out of date."""
    publish_generation(Store(tmp_path), 1)
    write_catalog(tmp_path)
    purge_expired(tmp_path, now=time.time() + 7_200)
    with duckdb.connect(str(tmp_path / CATALOG_NAME), read_only=True) as connection:
        assert "1" == _one(connection, "SELECT file_id FROM rates")

    publish_generation(Store(tmp_path), 2)
    purge_expired(tmp_path, now=time.time() + 7_200)
    with (
        duckdb.connect(str(tmp_path / CATALOG_NAME), read_only=True) as connection,
        pytest.raises(duckdb.IOException, match=r"\A[^\n]*this-catalog-is-out-of-date.run-mrf-catalog-again"),
    ):
        connection.execute("FROM rates")
    write_catalog(tmp_path)
    with duckdb.connect(str(tmp_path / CATALOG_NAME), read_only=True) as connection:
        assert "2" == _one(connection, "SELECT file_id FROM rates")


_ODD_NAMES = ["it's", 'a "b"', "x[1]*?", "quote''s", "a?b", "a#b", "a%20b", "a{b,c}", "a\\b", "new\nline", "ñ"]


@pytest.mark.parametrize("name", _ODD_NAMES)
def test_a_catalog_may_stand_in_a_folder_of_any_name(tmp_path: Path, old: OldDuckDB, name: str) -> None:
    """And reads that folder alone; nothing of it appears elsewhere."""
    root = tmp_path / "lakes" / name
    publish_generation(Store(root), 7)
    write_catalog(root)
    for neighbour in ("x1y", "x[1]yz", "aXb", "a\\XXb", "axyb"):
        publish_generation(Store(tmp_path / "lakes" / neighbour), 8)
    listed = sorted(path.name for path in root.parent.iterdir())

    assert [[["7"]]] == old.ask(root / CATALOG_NAME, "SELECT file_id FROM rates_by_group")
    assert listed == sorted({name, "x1y", "x[1]yz", "aXb", "a\\XXb", "axyb"})


def test_the_file_is_replaced_under_its_readers(tmp_path: Path) -> None:
    """Who has the old one open goes on with it."""
    publish_generation(Store(tmp_path), 1)
    write_catalog(tmp_path)
    with duckdb.connect(str(tmp_path / CATALOG_NAME), read_only=True) as before:
        publish_generation(Store(tmp_path), 2)
        write_catalog(tmp_path)

        assert "1" == _one(before, "SELECT file_id FROM rates")
    with duckdb.connect(str(tmp_path / CATALOG_NAME), read_only=True) as after:
        assert "2" == _one(after, "SELECT file_id FROM rates")


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """Once it is old, or of a clock that was ahead; a young one may be somebody's."""
    (tmp_path / ".mrf").mkdir()
    old, young, future = (tmp_path / ".mrf" / f".catalog.duckdb.{name * 16}.partial" for name in "abc")
    for path in (old, young, future):
        path.touch()
    os.utime(old, (1, 1))
    os.utime(future, (4e9, 4e9))

    write_catalog(tmp_path)
    assert (False, True, False) == (old.exists(), young.exists(), future.exists())
    assert [young] == list((tmp_path / ".mrf").glob(".catalog*"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A regular file stands in the way."""
    (tmp_path / ".mrf").touch()

    with pytest.raises(StoreError, match="has no room for the catalog"):
        write_catalog(tmp_path)


def test_the_layout_stands_in_the_names(tmp_path: Path) -> None:
    """So a reader need not open thousands of files to know their columns."""
    publish_generation(Store(tmp_path))

    names = [path.name for paths in Store(tmp_path).tables("acme", LATEST).values() for path in paths]
    assert all(f"-g{LAYOUT}" in name for name in names)
