"""One network as a run of Dagster: what is told, what is published, and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from mrf_assets.definitions import build_defs
from mrf_assets.defs import resources
from mrf_assets.defs.partitions import add_networks
from mrf_assets.defs.printable_metadata import failure
from mrf_assets.defs.resources import Ingestor
from mrf_assets.defs.run_records import all_records
from mrf_assets.errors import StoreError
from mrf_assets.fetch import open_url
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.lake.store import Store
from mrf_assets.quality.network_audit import audit
from mrf_assets.quality.network_rules import CHECKS, CheckResult
from mrf_assets.schema import TABLES
from mrf_assets.settings import Settings
from mrf_assets.sources import SourceOptions, read_source
from mrf_assets.text import percent_escaped
from mrf_assets_tests.dagster_fixtures import LOG_FILE, PERIOD, SECRET, Bench, Payer, Place, key, without_rates
from mrf_assets_tests.factory import document, render
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.table_rows import publish_generation


def _materializations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
    events = result.get_asset_materialization_events()
    return {str(event.asset_key and event.asset_key.to_user_string()): event.materialization for event in events}


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _failure(result: dg.ExecuteInProcessResult, step: str = "network_tables") -> dg.Failure:
    """What the step said when it failed."""
    data = result.failure_data_for_node(step)
    assert data is not None
    assert data.user_failure_data is not None
    return dg.Failure(data.user_failure_data.description, data.user_failure_data.metadata)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Dagster for all tests here; each takes networks of its own."""
    place = Place(tmp_path_factory.mktemp("assets"))
    with MrfServer() as server, place.instance() as instance:
        yield Bench(Payer(server), place, instance)


@pytest.fixture(scope="module")
def sound(bench: Bench) -> dg.ExecuteInProcessResult:
    """The run of a network that succeeds; some of its prices are repaired."""
    return bench.ingest("a")


@pytest.fixture(scope="module")
def missing(bench: Bench) -> dg.ExecuteInProcessResult:
    """The run of a network whose file is not there."""
    return bench.run(bench.plan("z"))


@pytest.fixture(scope="module")
def refused(bench: Bench) -> dg.ExecuteInProcessResult:
    """The run of a network whose new file fails a blocking check, after one that was published."""
    assert bench.ingest("b").success
    bench.payer.server.remove(Payer.path("b"))
    return bench.ingest("b", without_rates(2))


# --- texts of strangers ---------------------------------------------------------------------


_NO_TEXT = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\x1b]")


def _told(instance: dg.DagsterInstance, run_id: str) -> str:
    """All that is kept of a run, as the UI shows it."""
    return "\n".join(
        json.dumps(json.loads(dg.serialize_value(entry)), ensure_ascii=False) for entry in instance.all_logs(run_id)
    )


def test_the_records_of_a_run_hold_no_controls_of_strangers(bench: Bench) -> None:
    """Of keys in the file, which are counted by name, and of its own name."""
    made = document(seed=7, codes=2)
    made["in_network"][0]["evil\u202eyek\x1b[31m"] = 1
    path = "/2026-11-05_pl-evil-hr26_a\u202egz.nosj.json"
    bench.payer.server.put(path, render(made))
    url = bench.payer.server.url(percent_escaped(path))
    saved = TaskStore.under(bench.place.output).save(
        read_source("url", url, open_url, SourceOptions(network_id="evil"))
    )
    add_networks(bench.instance, list(saved))
    result = bench.run("evil")
    facts = _plain(_materializations(result)["rates"].metadata)

    assert result.success
    assert {"in_network.evil�yek�[31m": 1} == facts["ignored_keys"]
    assert not _NO_TEXT.search(_told(bench.instance, result.run_id))


def test_an_error_and_its_facts_hold_no_controls_of_strangers() -> None:
    """Texts, JSON and Markdown; lines stay lines."""
    told = failure(
        StoreError("a\u202eb", "x\ny"), {"text": "\u2066", "json": dg.MetadataValue.json({"\u200f": ["\x1b"]})}
    )

    assert "a�b: x\ny" == told.description
    assert {"text": "�", "json": {"�": ["�"]}} == _plain(told.metadata)


# --- a run that succeeds --------------------------------------------------------------------


def test_a_partition_run_materializes_all_tables(sound: dg.ExecuteInProcessResult) -> None:
    """Six tables, each for that network."""
    assert dict.fromkeys(TABLES, key("a")) == {
        table: event.partition for table, event in _materializations(sound).items()
    }


def test_a_materialization_tells_all_facts_of_an_extraction(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The keys of a batch script's result, with their values."""
    facts = _plain(_materializations(sound)["rates"].metadata)
    url = bench.payer.server.url(Payer.path("a"))
    expected = {
        "index": 1,
        "url": url,
        "filename": url.rsplit("/", 1)[-1],
        "network_id": key("a"),
        "prefix": f"cardinal_{key('a')}",
        "plans": 1,
        "success": True,
        "error": None,
        "log_file": LOG_FILE,
    }

    assert expected == {name: facts[name] for name in expected}
    assert facts["duration_seconds"] > 0
    assert facts["extraction_timestamp"].endswith("+00:00")


def test_output_files_are_exact_paths(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """Nobody has to guess names with a glob."""
    listed = _plain(_materializations(sound)["rates"].metadata)["output_files"]

    assert set(TABLES) == set(listed)
    assert [path for path in bench.place.tables() if key("a") in path] == sorted(
        str(Path(path).relative_to(bench.place.output)) for paths in listed.values() for path in paths
    )


@pytest.mark.parametrize("table", TABLES)
def test_a_materialization_counts_the_rows_of_its_table(
    sound: dg.ExecuteInProcessResult, bench: Bench, table: str
) -> None:
    """The number that Dagster plots is the number of rows on disk."""
    on_disk = sum(key("a") in row for row in bench.place.rows(table))

    assert on_disk == _materializations(sound)[table].metadata["dagster/partition_row_count"].value


def test_a_materialization_says_where_the_data_is(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The URI is that of the folder of the period."""
    uri = _materializations(sound)["rates"].metadata["dagster/uri"].value

    assert (bench.place.output / f"network_id={key('a')}" / f"period={PERIOD}").as_uri() == uri


def test_a_materialization_counts_repairs_by_kind(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The counts are those of the table `files`."""
    names = list(TABLES["files"].arrow.names)
    (row,) = (row for row in bench.place.rows("files") if key("a") in row)
    facts = _plain(_materializations(sound)["rates"].metadata)

    assert dict(row[names.index("repairs")]) == facts["repairs"] != {}
    assert sum(facts["repairs"].values()) == facts["repairs_total"]


def test_a_materialization_tells_what_the_downloads_took(bench: Bench) -> None:
    """One 429 is one request more, and a line in the plot of them."""
    bench.payer.server.script(Payer.path("t"), Answer(status=429, headers={"Retry-After": "1"}))
    metadata = _materializations(bench.ingest("t"))["rates"].metadata

    assert {"requests": 2, "retries": 1, "rate_limited": 1} == {
        name: metadata[name].value for name in ("requests", "retries", "rate_limited")
    }


def test_every_check_is_evaluated_for_the_partition(sound: dg.ExecuteInProcessResult) -> None:
    """A check has a status per network."""
    evaluated = {
        (it.asset_key.to_user_string(), it.check_name, it.partition) for it in sound.get_asset_check_evaluations()
    }

    names = {(check.table, check.name) for check in CHECKS}
    names |= {("rates", "newest_period_is_recent"), ("files", "few_refusals")}
    assert {(*name, key("a")) for name in names} == evaluated


def test_one_table_alone_still_tells_all_of_them(bench: Bench) -> None:
    """One pass publishes six tables, so Dagster hears of six, whatever was asked for."""
    bench.payer.publish("c")
    network_id = bench.plan("c")

    assert bench.run(network_id, tables=["rates"]).success
    assert list(TABLES) == [
        table for table in TABLES if network_id in bench.instance.get_materialized_partitions(dg.AssetKey(table))
    ]


def test_all_tables_of_a_run_have_one_data_version(bench: Bench) -> None:
    """Equal for equal files, whether one table was asked for or all."""
    bench.payer.publish("d")
    network_id = bench.plan("d")
    versions = set()
    for tables in (None, ["plans"]):
        assert bench.run(network_id, tables=tables).success
        for table in TABLES:
            (latest,) = bench.instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(table), asset_partitions=[network_id]), limit=1
            ).records
            assert latest.asset_materialization
            versions.add((latest.asset_materialization.tags or {}).get("dagster/data_version"))

    assert 1 == len(versions)
    assert versions != {None}


def test_a_secret_of_an_address_is_stored_in_the_plan_alone(
    sound: dg.ExecuteInProcessResult, missing: dg.ExecuteInProcessResult, bench: Bench
) -> None:
    """No event, no compute log, no metadata, no published row holds a signature."""
    assert (True, False) == (sound.success, missing.success)
    holders = [
        path.name for path in bench.place.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]

    assert {"tasks.sqlite"} == {name.removesuffix("-journal") for name in holders}
    assert not any(SECRET in repr(bench.place.rows(table)) for table in TABLES)


def test_the_plan_with_its_secrets_is_its_owners(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """Others on the machine cannot read signed addresses."""
    assert sound.success
    assert 0o600 == (bench.place.output / ".mrf" / "tasks.sqlite").stat().st_mode & 0o777


# --- nothing has changed --------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(bench: Bench) -> dg.ExecuteInProcessResult:
    """The second run of a network whose file is the same, with `skip_unchanged`."""
    assert bench.ingest("f").success
    return bench.run(key("f"), skip_unchanged=True)


def test_a_network_that_is_left_alone_is_observed(left: dg.ExecuteInProcessResult) -> None:
    """A success without a materialization: nothing was made. Each table tells what stands there."""
    observed = {
        event.asset_observation_data.asset_observation.asset_key.to_user_string(): _plain(
            event.asset_observation_data.asset_observation.metadata
        )
        for event in left.get_asset_observation_events()
    }

    assert (True, {}, set(TABLES)) == (left.success, _materializations(left), set(observed))
    assert (True, 24) == (observed["rates"]["unchanged"], observed["rates"]["dagster/partition_row_count"])
    assert {"json_mb_per_second", "rows_per_second"}.isdisjoint(observed["rates"])


def test_a_network_that_is_left_alone_stays_materialized(left: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """On the partitions page, though its latest run made nothing."""
    assert left.success
    statuses = bench.instance.get_status_by_partition(
        dg.AssetKey("rates"), [key("f")], dg.DynamicPartitionsDefinition(name="mrf_networks")
    )

    assert ["MATERIALIZED"] == [status.name for status in (statuses or {}).values() if status]


def test_a_person_who_asks_for_a_partition_gets_it_made(left: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The UI's runs read again, unless the setting says otherwise."""
    assert left.success
    downloads = bench.payer.server.count(Payer.path("f"))

    again = bench.run(key("f"))

    assert set(TABLES) == set(_materializations(again))
    assert downloads + 1 == bench.payer.server.count(Payer.path("f"))


def test_the_manifest_knows_a_network_that_is_left_alone(left: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """Its latest run has the facts of what is published."""
    assert left.success
    bench.ingest("g")
    left_again = bench.run(key("g"), skip_unchanged=True)

    record = all_records(bench.instance)[key("g")]

    assert (left_again.run_id, "success", True) == (record.run_id, record.status, record.facts["unchanged"])
    assert set(TABLES) == set(record.facts["output_files"])


# --- a blocking check fails -----------------------------------------------------------------


def test_a_failed_blocking_check_fails_the_run(refused: dg.ExecuteInProcessResult) -> None:
    """The text says which check it was, and where to look."""
    assert not refused.success
    assert (
        f"{key('b')}: not published, blocking checks failed: rates.not_empty; "
        "prices were rejected: rate_not_a_number (8), see docs/repairs.md; see the check results of the run"
        == _failure(refused).description
    )


def test_the_results_of_a_failed_audit_are_kept(refused: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """All rules are evaluated, the failed one with the number of offending rows."""
    found = {(it.asset_key.to_user_string(), it.check_name): it for it in bench.evaluations(refused.run_id)}

    assert len(CHECKS) == len(found)
    assert (False, 1) == (
        found["rates", "not_empty"].passed,
        found["rates", "not_empty"].metadata["offending_rows"].value,
    )


def test_a_failed_audit_publishes_nothing(refused: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The rates of the run before stay, and the run tells no materialization."""
    assert {} == _materializations(refused)
    assert 24 == sum(key("b") in row for row in bench.place.rows("rates"))
    assert [] == bench.place.leftovers()


def test_bad_input_is_not_tried_again(refused: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The file was asked for once by each of the two runs, and no retry stands in the events."""
    assert 2 == bench.payer.server.count(Payer.path("b"))
    assert not any(event.is_step_up_for_retry for event in refused.all_events)


# --- a file that is not there ---------------------------------------------------------------


def test_a_missing_file_is_a_failure_in_clear_words(missing: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """The address without its signature, the reason, and what to do."""
    address = bench.payer.server.url(Payer.path("z"))

    assert f"{address}: HTTP 404, the file is not there; get a newer index or drop the address" == (
        _failure(missing).description
    )


def test_a_failure_has_the_facts_of_an_extraction(missing: dg.ExecuteInProcessResult) -> None:
    """A failed network has an entry in the manifest too."""
    facts = _plain(_failure(missing).metadata)

    assert (1, key("z"), f"cardinal_{key('z')}", False) == (
        facts["index"], facts["network_id"], facts["prefix"], facts["success"],
    )  # fmt: skip
    assert facts["error"].endswith("get a newer index or drop the address")
    assert facts["duration_seconds"] >= 0


def test_a_failed_network_is_shown_as_failed(missing: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """Its partition is failed, not missing, on the partitions page."""
    assert not missing.success
    statuses = bench.instance.get_status_by_partition(
        dg.AssetKey("rates"), [key("z")], dg.DynamicPartitionsDefinition(name="mrf_networks")
    )

    assert ["FAILED"] == [status.name for status in (statuses or {}).values() if status]


# --- partitions that cannot run -------------------------------------------------------------


def test_an_unplanned_partition_says_what_to_do(bench: Bench) -> None:
    """A key that was typed by hand has no files."""
    add_networks(bench.instance, ["typed-by-hand"])

    assert (
        f"partition: typed-by-hand has no files planned under {bench.place.output}; run `mrf run` over its index "
        "first, and start Dagster with the same MRF_OUTPUT_DIR"
    ) == _failure(bench.run("typed-by-hand")).description


# --- checks alone ---------------------------------------------------------------------------


def test_the_audit_applies_every_rule_to_what_is_published(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """Nothing is fetched for it, and nothing is materialized."""
    fetched = bench.payer.server.count(Payer.path("a"))

    audited = bench.run(key("a"), job="audit")

    assert audited.success
    told = [(it.check_name, it.passed, it.partition) for it in sound.get_asset_check_evaluations()]
    assert [it for it in told if it[0] != "few_refusals"] == [  # of the download, which an audit does not repeat
        (it.check_name, it.passed, it.partition) for it in audited.get_asset_check_evaluations()
    ]
    assert (fetched, {}) == (bench.payer.server.count(Payer.path("a")), _materializations(audited))


def test_a_network_that_is_replaced_during_its_audit_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at its files and the reading of them."""
    store = Store(tmp_path)
    publish_generation(store)

    def overtaken(tables: dict[str, list[Path]], *values: Any, **limits: Any) -> list[CheckResult]:  # noqa: ANN401 - of `audit`
        publish_generation(store, 2)
        return audit(tables, *values, **limits)

    monkeypatch.setattr(resources, "audit", overtaken)

    found = Ingestor.of(Settings(output_dir=tmp_path)).audit("acme")
    assert {"2026-11": len(CHECKS)} == {period: len(results) for period, results in found.items()}


def test_an_audit_is_no_extraction(bench: Bench) -> None:
    """What the manifest tells of a network is its latest extraction, whatever was audited since."""
    extracted = bench.ingest("e")
    assert bench.run(key("e"), job="audit").success

    record = all_records(bench.instance)[key("e")]

    assert (extracted.run_id, set(TABLES)) == (record.run_id, set(record.facts["output_files"]))


def test_the_audit_of_nothing_says_what_to_do(bench: Bench) -> None:
    """A network that was never published cannot be audited."""
    bench.plan("y")

    assert f"partition: {key('y')} has nothing published under {bench.place.output}; materialize it first" == (
        _failure(bench.run(key("y"), job="audit"), "audit_network").description
    )


# --- the catalog ----------------------------------------------------------------------------


def test_the_catalog_is_an_asset(sound: dg.ExecuteInProcessResult, bench: Bench) -> None:
    """One file over all networks, and its path and counts as metadata."""
    assert sound.success
    definitions = build_defs(Settings(output_dir=bench.place.output))
    result = definitions.resolve_job_def("write_catalog").execute_in_process(instance=bench.instance)

    facts = _plain(_materializations(result)["catalog"].metadata)
    assert len(bench.place.networks()) == facts["networks"]
    with duckdb.connect(facts["path"], read_only=True) as connection:
        found = connection.execute("SELECT network_id FROM networks WHERE is_latest ORDER BY 1").fetchall()
    assert bench.place.networks() == [network.replace("=", "%3D") for (network,) in found]
