"""What Dagster shows of the checks of a network: each result is about what is published, and no run plans one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from dagster._core.storage.asset_check_execution_record import AssetCheckPartitionInfo

from mrf_assets.definitions import defs
from mrf_assets.defs.checks import check_specs
from mrf_assets.defs.freshness import freshness_spec
from mrf_assets.defs.refusals import FEW_REFUSALS
from mrf_assets.quality.network_rules import CHECKS
from mrf_assets.schema import TABLES
from mrf_assets_tests.dagster_fixtures import Bench, Payer, Place, key, without_rates
from mrf_assets_tests.factory import Document, document
from mrf_assets_tests.mrf_server import Answer, MrfServer

_RULES = [spec.key for spec in check_specs()]
_CHECKS = [*_RULES, freshness_spec(100).key]
_SOUND = document(seed=7, codes=6)
_NEVER_PUBLISHED: dict[dg.AssetKey, int | None] = dict.fromkeys(map(dg.AssetKey, TABLES))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Dagster for all tests here; each takes networks of its own."""
    place = Place(tmp_path_factory.mktemp("checks"))
    with MrfServer() as server, place.instance() as instance:
        yield Bench(Payer(server), place, instance)


def _infos(bench: Bench, network_id: str) -> dict[dg.AssetCheckKey, AssetCheckPartitionInfo]:
    """What Dagster counts in lineage, Checks tab and Partitions."""
    found = bench.instance.event_log_storage.get_asset_check_partition_info(_CHECKS, partition_keys=[network_id])
    return {info.check_key: info for info in found}


def _published(bench: Bench, network_id: str, run_id: str) -> dict[dg.AssetKey, int]:
    """The storage id of the latest materialization of each table; it is that of a run."""
    found = {}
    for asset_key in _NEVER_PUBLISHED:
        of_network = dg.AssetRecordsFilter(asset_key=asset_key, asset_partitions=[network_id])
        (latest,) = bench.instance.fetch_materializations(of_network, limit=1).records
        assert run_id == latest.run_id
        found[asset_key] = latest.storage_id
    return found


def _assert_current(
    bench: Bench,
    network_id: str,
    published: Mapping[dg.AssetKey, int | None],
    *,
    checks: Sequence[dg.AssetCheckKey] = _CHECKS,
    is_refused: bool = False,
) -> None:
    """Each check has a result about what is published; all passed, unless a file without prices was refused since."""
    infos = _infos(bench, network_id)

    assert set(checks) == set(infos)
    assert {check: published[check.asset_key] for check in checks} == {
        check: info.latest_target_materialization_storage_id for check, info in infos.items()
    }
    assert all(info.is_current for info in infos.values())
    failed = {check.name for check, info in infos.items() if info.latest_execution_status.value == "FAILED"}
    assert ({"not_empty", "nothing_rejected"} if is_refused else set()) == failed


def test_a_first_run_has_results_about_what_it_published(bench: Bench) -> None:
    """Not about the month before, of which there is none."""
    run = bench.ingest("a", _SOUND)

    _assert_current(bench, key("a"), _published(bench, key("a"), run.run_id))


@pytest.mark.parametrize(("letter", "refusals", "passed"), [("r", 0, True), ("s", 2, False)])
def test_a_check_warns_of_a_payer_that_refuses_us(bench: Bench, letter: str, refusals: int, *, passed: bool) -> None:
    """More than 5 % of the requests were answered with 429; the network is published all the same."""
    bench.payer.server.script(Payer.path(letter), *[Answer(status=429, headers={"Retry-After": "0"})] * refusals)
    run = bench.ingest(letter, _SOUND)

    (found,) = [each for each in bench.evaluations(run.run_id) if each.check_name == FEW_REFUSALS]
    assert (True, passed, dg.AssetCheckSeverity.WARN) == (run.success, found.passed, found.severity)
    assert (dg.AssetKey("files"), key(letter), refusals) == (
        *(found.asset_key, found.partition, found.metadata["requests_refused"].value),
    )
    assert found.target_materialization_data is not None


@pytest.mark.parametrize(("letter", "content"), [("u", None), ("v", without_rates(1))], ids=["missing", "no prices"])
def test_a_check_warns_of_refusals_where_the_network_fails(bench: Bench, letter: str, content: Document | None) -> None:
    """It may have failed because of them: its file cannot be fetched, or is refused by the audit."""
    refused = Answer(status=429, headers={"Retry-After": "0"})
    bench.payer.server.script(Payer.path(letter), refused, refused)
    run = bench.run(bench.plan(letter)) if content is None else bench.ingest(letter, content)

    (found,) = [each for each in bench.evaluations(run.run_id) if each.check_name == FEW_REFUSALS]
    assert (False, False, dg.AssetCheckSeverity.WARN) == (run.success, found.passed, found.severity)
    assert (key(letter), 2, 3) == (
        *(found.partition, found.metadata["requests_refused"].value, found.metadata["requests"].value),
    )


def test_a_second_month_has_results_about_itself(bench: Bench) -> None:
    """As Dagster's default would bind them to the month before, and then show none."""
    bench.ingest("b", _SOUND)
    path = Payer.path("b").replace("2026-11-05", "2026-12-05")
    bench.payer.server.put(path, bench.payer.server.stored(Payer.path("b")))
    network_id = bench.plan("b", path)

    run = bench.run(network_id)

    assert key("b") == network_id
    assert {"period=2026-12"} < {part.split("/")[1] for part in bench.place.published() if key("b") in part}
    _assert_current(bench, network_id, _published(bench, network_id, run.run_id))


def test_one_table_alone_has_the_results_of_all(bench: Bench) -> None:
    """One pass publishes all tables, and is judged as a whole."""
    bench.payer.publish("c", _SOUND)
    run = bench.run(bench.plan("c"), tables=["plans"])

    _assert_current(bench, key("c"), _published(bench, key("c"), run.run_id))


def test_an_unchanged_network_keeps_its_results(bench: Bench) -> None:
    """They stand, and nothing is stored again but whether the network is late."""
    first = bench.ingest("d", _SOUND)
    before = _infos(bench, key("d"))

    run = bench.run(key("d"), skip_unchanged=True)

    assert ["newest_period_is_recent"] == [it.check_name for it in bench.evaluations(run.run_id)]
    assert {check: before[check] for check in _RULES} == {check: _infos(bench, key("d"))[check] for check in _RULES}
    _assert_current(bench, key("d"), _published(bench, key("d"), first.run_id))


def test_a_run_that_fails_before_its_audit_leaves_the_results_it_found(bench: Bench) -> None:
    """The file of the next month is not there; what is published passed, and goes on passing."""
    first = bench.ingest("e", _SOUND)
    before = _infos(bench, key("e"))
    bench.payer.server.remove(Payer.path("e"))

    assert not bench.run(key("e")).success

    assert before == _infos(bench, key("e"))
    _assert_current(bench, key("e"), _published(bench, key("e"), first.run_id))


def test_a_network_that_never_came_has_no_results(bench: Bench) -> None:
    """It is Missing for each check, which spoils no count; Execution failed would."""
    assert not bench.run(bench.plan("f")).success

    assert {} == _infos(bench, key("f"))


def test_a_refused_file_has_results_though_nothing_is_published(bench: Bench) -> None:
    """A blocking check failed; whoever looks finds which."""
    assert not bench.ingest("g", without_rates(1)).success

    _assert_current(bench, key("g"), _NEVER_PUBLISHED, checks=_RULES, is_refused=True)


def test_a_refused_file_fails_the_checks_of_what_stays_published(bench: Bench) -> None:
    """The month before stays readable; that the new one was refused is what the check says."""
    first = bench.ingest("h", _SOUND)
    refused = bench.ingest("h", without_rates(1))

    found = {(it.asset_key.to_user_string(), it.check_name): it for it in bench.evaluations(refused.run_id)}
    assert found["rates", "not_empty"].metadata["refused"].value is True
    _assert_current(bench, key("h"), _published(bench, key("h"), first.run_id), is_refused=True)


def test_an_unchanged_network_is_audited_after_a_refused_file(bench: Bench) -> None:
    """The payer took the bad file back: the checks are about the published data again."""
    first = bench.ingest("i", _SOUND)
    assert not bench.ingest("i", without_rates(1)).success
    bench.payer.publish("i", _SOUND)

    run = bench.run(key("i"), skip_unchanged=True)

    assert any(event.is_asset_observation for event in run.all_events)
    _assert_current(bench, key("i"), _published(bench, key("i"), first.run_id))


def test_results_that_an_earlier_version_stored_are_mended_by_an_unchanged_run(bench: Bench) -> None:
    """They were bound to the month before, or to nothing, and were shown as missing."""
    first = bench.ingest("j", _SOUND)
    for check in _RULES:
        bench.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=check.asset_key, check_name=check.name, passed=True, partition=key("j"))
        )
    assert not any(_infos(bench, key("j"))[check].is_current for check in _RULES)

    bench.run(key("j"), skip_unchanged=True)

    _assert_current(bench, key("j"), _published(bench, key("j"), first.run_id))


def test_an_audit_has_results_about_what_is_published(bench: Bench) -> None:
    """Also where the latest file was refused: what is published is judged, and passes."""
    first = bench.ingest("k", _SOUND)
    assert not bench.ingest("k", without_rates(1)).success

    assert bench.run(key("k"), job="audit").success

    _assert_current(bench, key("k"), _published(bench, key("k"), first.run_id))


def test_an_audit_that_fails_leaves_no_results(bench: Bench) -> None:
    """Nothing is published, so there is nothing to judge."""
    assert not bench.run(bench.plan("l"), job="audit").success

    assert {} == _infos(bench, key("l"))


@pytest.mark.parametrize("asset", [*TABLES, "rate_changes", "npi_registry", "npi_look_ups", "provider_directory"])
def test_no_run_plans_a_check_of_an_asset(asset: str) -> None:
    """Neither what the UI's buttons and its backfills start, which run Dagster's own job with a selection."""
    everything = defs.resolve_job_def("__ASSET_JOB")
    subset = everything.get_subset(asset_selection={dg.AssetKey(asset)})

    planned = [output for step in create_execution_plan(subset).steps for output in step.step_outputs]
    assert planned
    assert [] == [output.name for output in planned if output.properties.asset_check_key]


@pytest.mark.parametrize(
    "job",
    ["ingest", "ingest_in_process", "audit", "compare_months", "enrich_npis", "look_up_npis", "write_catalog"],
)
def test_no_job_plans_a_check(job: str) -> None:
    """What ends before its audit leaves no check without a result."""
    plan = create_execution_plan(defs.resolve_job_def(job))

    assert [] == [out.name for step in plan.steps for out in step.step_outputs if out.properties.asset_check_key]


def test_every_rule_is_shown_with_its_table() -> None:
    """Though no job executes them: the UI lists them, and counts them."""
    shown = defs.resolve_asset_graph().asset_check_keys

    assert {dg.AssetCheckKey(dg.AssetKey(check.table), check.name) for check in CHECKS} < shown
