"""What wanted TINs keep, and that the rest is counted."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.provider_filter import kept_rows
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, PROVIDER_SETS, PROVIDERS, RATES, REJECTS, TABLES, Table
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets.whitelist import TinWhitelist
from mrf_assets_tests.factory import Document, document, render
from mrf_assets_tests.table_rows import Row, row, write_tables

WANTED, OTHER = "111111111", "222222222"


def _tables() -> dict[str, list[Row]]:
    """Groups 1 and 3 have the wanted TIN, 2 has another; sets 10 = {1, 2}, 20 = {2}, 30 = {3}."""
    return {
        PROVIDERS.name: [
            row(PROVIDERS, provider_group_id="1", tin_value=WANTED),
            row(PROVIDERS, provider_group_id="1", tin_value=OTHER),
            row(PROVIDERS, provider_group_id="2", tin_value=OTHER),
            row(PROVIDERS, provider_group_id="2", tin_value=None),
            row(PROVIDERS, provider_group_id="3", tin_value=WANTED, npi=None),
        ],
        PROVIDER_SETS.name: [
            row(PROVIDER_SETS, provider_set_id=set_id, provider_group_id=group)
            for set_id, group in [(30, "3"), (10, "1"), (10, "2"), (20, "2")]
        ],
        RATES.name: [
            row(RATES, provider_set_id=set_id, negotiated_rate=Decimal(number))
            for number, set_id in enumerate([30, 20, 10, None, 30, 20])
        ],
        FILES.name: [row(FILES)],
        REJECTS.name: [row(REJECTS)],
    }


def _filtered(
    folder: Path, tables: dict[str, list[Row]], tins: set[str], rows: int = 100
) -> dict[str, list[pa.RecordBatch]]:
    paths = {name: found for name, (found,) in write_tables(folder, tables).items()}
    batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in TABLES}
    for name, batch in kept_rows(paths, lambda _table: rows, tins=TinWhitelist(frozenset(tins)), referenced_only=False):
        batches[name].append(batch)
    return batches


def _rows(batches: dict[str, list[pa.RecordBatch]], table: str) -> list[Row]:
    return [each for batch in batches[table] for each in batch.to_pylist()]


def test_providers_of_wanted_tins_are_kept(tmp_path: Path) -> None:
    """A group with several TINs keeps the wanted one alone."""
    kept = _rows(_filtered(tmp_path, _tables(), {WANTED}), PROVIDERS.name)

    assert [("1", WANTED), ("3", WANTED)] == [(each["provider_group_id"], each["tin_value"]) for each in kept]


def test_sets_keep_the_groups_of_wanted_tins(tmp_path: Path) -> None:
    """A set names only groups that are there."""
    kept = _rows(_filtered(tmp_path, _tables(), {WANTED}), PROVIDER_SETS.name)

    assert [(30, "3"), (10, "1")] == [(each["provider_set_id"], each["provider_group_id"]) for each in kept]


def test_prices_that_name_a_wanted_tin_are_kept_in_their_order(tmp_path: Path) -> None:
    """One wanted group of a set is enough; a price of nobody goes."""
    kept = _rows(_filtered(tmp_path, _tables(), {WANTED}), RATES.name)

    assert [0, 2, 4] == [each["negotiated_rate"] for each in kept]


@pytest.mark.parametrize("table", [FILES.name, REJECTS.name])
def test_other_tables_pass_unchanged(tmp_path: Path, table: str) -> None:
    """What was rejected stays told, whoever it was for."""
    tables = _tables()

    assert 1 == len(_rows(_filtered(tmp_path, tables, {WANTED}), table))


def test_unknown_tins_keep_nothing(tmp_path: Path) -> None:
    """No provider, no set, no price."""
    batches = _filtered(tmp_path, _tables(), {"999999999"})

    assert [[], [], []] == [batches[name] for name in (PROVIDERS.name, PROVIDER_SETS.name, RATES.name)]


def test_a_file_without_rows_is_filtered_too(tmp_path: Path) -> None:
    """Empty tables stay empty."""
    assert {name: [] for name in TABLES} == _filtered(tmp_path, {}, {WANTED})


def test_batches_have_the_schema_of_their_table(tmp_path: Path) -> None:
    """Docs included, so that parquet files are the same with and without a filter."""
    for name, batches in _filtered(tmp_path, _tables(), {WANTED}).items():
        for batch in batches:
            batch.validate(full=True)
            assert TABLES[name].arrow.equals(batch.schema, check_metadata=True), name


@pytest.mark.parametrize(("rows", "expected"), [(1, [1, 1, 1]), (2, [2, 1]), (3, [3]), (4, [3])])
def test_batches_are_as_large_as_asked_for(tmp_path: Path, rows: int, expected: list[int]) -> None:
    """What a filter leaves is gathered, so that row groups do not become crumbs."""
    assert expected == [batch.num_rows for batch in _filtered(tmp_path, _tables(), {WANTED}, rows)[RATES.name]]


def test_order_is_kept_where_a_join_would_change_it(tmp_path: Path) -> None:
    """Few providers and many members of sets: DuckDB read the sets in parallel and gave them in another order."""
    groups, per_set, sets = 20_000, 10, 20_000
    paths = {name: found for name, (found,) in write_tables(tmp_path, {}).items()}
    members = [(number, (31 * number + nth) % groups) for number in range(sets) for nth in range(per_set)]
    _write(
        paths[PROVIDERS.name],
        PROVIDERS,
        provider_group_id=[f"{group}" for group in range(groups)],
        tin_value=[OTHER if group % 4 else WANTED for group in range(groups)],
    )
    _write(
        paths[PROVIDER_SETS.name],
        PROVIDER_SETS,
        provider_set_id=[number for number, _ in members],
        provider_group_id=[f"{group}" for _, group in members],
    )

    kept = [
        pair
        for name, batch in kept_rows(
            paths, lambda _table: 50_000, tins=TinWhitelist(frozenset({WANTED})), referenced_only=False
        )
        if name == PROVIDER_SETS.name
        for pair in zip(batch.column(1).to_pylist(), batch.column(2).to_pylist(), strict=True)
    ]
    assert [(number, f"{group}") for number, group in members if not group % 4] == kept


def _write(path: Path, table: Table, **columns: list[Any]) -> None:
    """One table of many rows that are all the same but for some columns."""
    rows = len(next(iter(columns.values())))
    sound = row(table)
    arrays = [pa.array(columns.get(f.name, [sound.get(f.name)] * rows), f.type) for f in table.arrow]
    pq.write_table(pa.table(arrays, schema=table.arrow), path, row_group_size=50_000)


# --- through the pipeline -------------------------------------------------------------------


def _document() -> Document:
    """Three groups of a TIN each; the first has the wanted one."""
    made = document(codes=6, groups=3)
    for number, reference in enumerate(made["provider_references"]):
        reference["provider_groups"] = [
            {
                "npi": [1234567893],
                "tin": {"type": "ein", "value": "11-1111111" if number == 0 else f"22-222222{number}"},
            }
        ]
    return made


def _ingested(tmp_path: Path, made: Document, *tins: str, **settings: Any) -> dict[str, list[Row]]:  # noqa: ANN401 - fields of Settings
    (tmp_path / "a.json").write_bytes(render(made))
    (tmp_path / "tins.csv").write_text("\n".join(tins))
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id="acme", period="2026-11")
    task = FileTask(address=Address(str(tmp_path / "a.json")), network_id="acme", identity=identity)
    given = Settings(output_dir=tmp_path / "out", tin_whitelist=tmp_path / "tins.csv", **settings)
    ingest("acme", [task], given).require_published()
    tables = Store(tmp_path / "out").tables("acme", "2026-11")
    return {name: pq.read_table(path).to_pylist() for name, (path,) in tables.items()}


def _prices(made: Document, *group_ids: int) -> int:
    return sum(
        len(rate["negotiated_prices"])
        for item in made["in_network"]
        for rate in item["negotiated_rates"]
        if set(group_ids) & set(rate["provider_references"])
    )


def test_what_is_filtered_out_is_counted(tmp_path: Path) -> None:
    """Prices read are rate rows and filtered ones, and the audit agrees."""
    made = _document()
    wanted, every = _prices(made, 1), _prices(made, 1, 2, 3)
    tables = _ingested(tmp_path, made, "11-1111111")
    (file,) = tables[FILES.name]

    assert 0 < wanted < every
    assert (wanted, every, wanted, every - wanted) == (
        len(tables[RATES.name]),
        file["prices_read"],
        file["rate_rows"],
        file["prices_filtered"],
    )


def test_the_whitelist_is_recorded(tmp_path: Path) -> None:
    """A reader sees that the file is not whole, and by which list."""
    (file,) = _ingested(tmp_path, _document(), "11-1111111")[FILES.name]

    assert TinWhitelist(frozenset({"111111111"})).sha256 == file["tin_whitelist_sha256"]


def test_published_sets_name_published_groups(tmp_path: Path) -> None:
    """Keys do not dangle after the filter."""
    tables = _ingested(tmp_path, _document(), "11-1111111")

    assert {"1"} == {each["provider_group_id"] for each in tables[PROVIDERS.name]}
    assert {"1"} == {each["provider_group_id"] for each in tables[PROVIDER_SETS.name]}
    assert {each["provider_set_id"] for each in tables[PROVIDER_SETS.name]} == {
        each["provider_set_id"] for each in tables[RATES.name]
    }


def test_a_filter_that_wants_all_changes_no_row(tmp_path: Path) -> None:
    """All three TINs wanted: the same rates in the same order as without a list."""
    made = _document()
    tables = _ingested(tmp_path, made, "111111111", "222222221", "222222222")

    rates = [
        Decimal(str(price["negotiated_rate"]))
        for item in made["in_network"]
        for rate in item["negotiated_rates"]
        for price in rate["negotiated_prices"]
    ]
    assert rates == [each["negotiated_rate"] for each in tables[RATES.name]]


def test_a_list_that_fits_nothing_publishes_an_empty_network(tmp_path: Path) -> None:
    """That no price is wanted is an answer, not a failure; each price is counted."""
    made = _document()
    tables = _ingested(tmp_path, made, "999999999")
    (file,) = tables[FILES.name]

    assert [] == tables[RATES.name]
    assert file["prices_read"] == file["prices_filtered"] > 0


def test_row_groups_follow_the_batch_size_behind_the_filter(tmp_path: Path) -> None:
    """As they do without one."""
    made = _document()
    _ingested(tmp_path, made, "111111111", "222222221", "222222222", rate_batch_size=10)
    (path,) = Store(tmp_path / "out").tables("acme", "2026-11")[RATES.name]
    metadata = pq.read_metadata(path)

    assert [10, 10, 4] == [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


@pytest.mark.parametrize(
    ("groups", "filtered", "codes"),
    [({"1"}, 2, "CPT,00001"), ({"1", "2", "3"}, 0, None)],
    ids=["with a whitelist", "without one"],
)
def test_groups_that_no_kept_price_names_are_left_out_on_demand(
    tmp_path: Path, groups: set[str], filtered: int, codes: str | None
) -> None:
    """With a whitelist alone: without one, a directory of all providers is what was asked for."""
    made = document(codes=[("CPT", "00001"), ("CPT", "00002")], groups=3)
    made["in_network"][0]["negotiated_rates"] = [
        {**made["in_network"][0]["negotiated_rates"][0], "provider_references": [1]}
    ]
    for reference in made["provider_references"]:
        reference["provider_groups"] = reference["provider_groups"][:1]
        reference["provider_groups"][0]["npi"] = [1234567893]
    source, whitelist = tmp_path / "a.json", tmp_path / "codes.csv"
    source.write_bytes(render(made))
    whitelist.write_text(codes or "")
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id="acme", period="2026-11")
    task = FileTask(address=Address(str(source)), network_id="acme", identity=identity)

    ingest(
        "acme",
        [task],
        Settings(output_dir=tmp_path / "out", referenced_groups_only=True, cpt_whitelist=whitelist if codes else None),
    ).require_published()

    tables = Store(tmp_path / "out").tables("acme", "2026-11")
    providers, files = (pq.read_table(tables[name.name][0]).to_pylist() for name in (PROVIDERS, FILES))
    assert groups == {each["provider_group_id"] for each in providers}
    assert filtered == files[0]["providers_filtered"]
