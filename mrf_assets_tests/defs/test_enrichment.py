"""The providers of what is published: counted, looked up, joined; as runs of Dagster."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrf_assets.definitions import build_defs
from mrf_assets.defs.enrichment import ASSETS, new_providers
from mrf_assets.defs.refusals import FEW_REFUSALS
from mrf_assets.fetch import open_url
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.providers import look_up_options
from mrf_assets.providers.directory import write_directory
from mrf_assets.providers.directory_rules import DIRECTORY_CHECKS
from mrf_assets.providers.npis import published_npis
from mrf_assets.providers.registry import RegistryResult, RegistryUpdate
from mrf_assets.schema import NPI_REGISTRY, NPIS, PROVIDER_DIRECTORY
from mrf_assets.settings import EnrichSettings, Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import Document, document, render
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.nppes_factory import bulk_row, bulk_zip, listing, make_npis, provider
from mrf_assets_tests.nppes_odd_zips import broken_zips
from mrf_assets_tests.nppes_server import NppesServer, Reply, refused

MONTH = "NPPES_Data_Dissemination_November_2026_V2.zip"
DOWN = Reply(status=404)
STRANGERS = make_npis(3, seed=99)
ODD_MONTHS = dict(broken_zips(make_npis(5)))


@dataclass(slots=True)
class Shop:
    """A lake with two networks, the registry, CMS's page of bulk files, and Dagster."""

    lake: Path
    api: NppesServer
    cms: MrfServer
    instance: dg.DagsterInstance
    price_per_1000_requests: float = 0.0

    def publish(self, name: str, content: Document) -> None:
        """One more network."""
        source = self.lake.parent / f"{name}.json"
        source.write_bytes(render(content))
        identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=name, period="2026-11")
        task = FileTask(address=Address(str(source)), network_id=f"t~{name}", identity=identity)
        ingest(task.network_id, [task], Settings(output_dir=self.lake)).require_published()

    def put_bulk(self, npis: list[int]) -> None:
        """CMS publishes a month that has these NPIs, and others that are not ours."""
        self.cms.put("/NPI_Files.html", listing(MONTH))
        self.cms.put(f"/{MONTH}", bulk_zip(bulk_row(str(npi)) for npi in [*npis, *STRANGERS]))

    def forget_bulk(self) -> None:
        """As if no bulk file had been downloaded."""
        for path in (self.lake / ".mrf" / "nppes").iterdir():
            path.unlink()

    def run(self, **config: Any) -> dg.ExecuteInProcessResult:  # noqa: ANN401 - of the registry's update
        """The job, with this configuration of the update."""
        enrich = EnrichSettings(
            npi_api_url=self.api.url,
            npi_files_url=self.cms.url("/NPI_Files.html"),
            rate_limit_delay=0.001,
            price_per_1000_requests=self.price_per_1000_requests,
        )
        defs = build_defs(Settings(output_dir=self.lake), enrich)
        return defs.resolve_job_def("enrich_npis").execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {"npi_registry": {"config": config}}} if config else None,
        )

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A reference table."""
        source = self.lake / "reference" / name
        with duckdb.connect() as connection:
            cursor = connection.execute(f"FROM '{source / '*.parquet' if source.is_dir() else source}' ORDER BY npi")
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def npis(self) -> list[int]:
        """Those of the directory."""
        return [row["npi"] for row in self.rows("provider_directory.parquet")]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Two networks are published; the registry knows all their NPIs, the bulk file none."""
    with NppesServer() as api, MrfServer() as cms, dg.instance_for_test() as instance:
        shop = Shop(tmp_path / "lake", api, cms, instance)
        for name in ("a", "b"):
            shop.publish(name, document(seed=ord(name), codes=8))
        shop.put_bulk([])
        yield shop


def facts(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of one materialization."""
    (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(asset)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_the_providers_of_all_networks_are_named(shop: Shop) -> None:
    """Each NPI of both networks once, with the registry's name and place."""
    result = shop.run()

    assert result.success
    rows = shop.rows("provider_directory.parquet")
    assert len(rows) > 10
    assert PROVIDER_DIRECTORY.arrow.names == list(rows[0])
    for row in rows:
        basic = provider(str(row["npi"]))["basic"]
        expected = basic.get("organization_name") or f"{basic['first_name']} {basic['last_name']}"
        assert ("matched", expected, "api") == (row["status"], row["provider_name"], row["source"])
    assert {1} == set(shop.api.requests.values())


@pytest.mark.parametrize(("refusals", "passed"), [(0, True), (4, False)])
def test_a_check_warns_of_a_registry_that_refuses_us(shop: Shop, refusals: int, *, passed: bool) -> None:
    """More than 5 % of the requests; fewer are what finding its limit costs."""
    npis = pa.Table.from_batches(published_npis(shop.lake))["npi"].to_pylist()
    shop.api.script(str(npis[0]), *[refused("0")] * refusals)
    result = shop.run(mode="api_only")

    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "few_refusals"]
    assert (True, passed, dg.AssetCheckSeverity.WARN) == (result.success, check.passed, check.severity)
    assert refusals == check.metadata["requests_refused"].value
    assert len(npis) + refusals == check.metadata["requests"].value
    assert "MRF_RATE_LIMIT_DELAY" in (check.description or "")


def test_the_catalog_names_the_providers_of_a_price(shop: Shop) -> None:
    """Before the directory is made the names are null; afterwards each NPI of a price has one."""
    named = "SELECT count(*), count(provider_name) FROM rates_by_provider WHERE npi IS NOT NULL"
    with connect(shop.lake) as connection:
        ((before, names_before),) = connection.execute(named).fetchall()
    shop.run()

    with connect(shop.lake) as connection:
        ((after, names_after),) = connection.execute(named).fetchall()
        directory = connection.execute("SELECT npi FROM provider_directory ORDER BY npi").fetchall()
    assert (before, 0, before) == (after, names_before, names_after)
    assert before > 0
    assert shop.npis() == [npi for (npi,) in directory]


def test_an_npi_counts_the_prices_that_name_it(shop: Shop) -> None:
    """Through sets and groups, in both networks."""
    shop.run()

    lake = f"{shop.lake}/*/*"
    with duckdb.connect() as connection:
        expected = dict(
            connection.execute(f"""
            SELECT npi, count(r.provider_set_id) FROM read_parquet('{lake}/providers-*.parquet', filename=true) p
            LEFT JOIN '{lake}/provider_sets-*.parquet' s USING (file_id, provider_group_id)
            LEFT JOIN '{lake}/rates-*.parquet' r USING (file_id, provider_set_id)
            WHERE npi IS NOT NULL GROUP BY npi""").fetchall()
        )
    rows = shop.rows("npis.parquet")
    assert NPIS.arrow.names == list(rows[0])
    assert expected == {row["npi"]: row["rates"] for row in rows}
    assert {1, 2} >= {row["networks"] for row in rows}


def test_a_second_run_asks_for_new_npis_alone(shop: Shop) -> None:
    """A third network is published: what is known stays."""
    shop.run()
    before = set(shop.npis())
    shop.publish("c", document(seed=99, codes=8))
    shop.api.requests.clear()

    result = shop.run()

    new = set(shop.npis()) - before
    assert new
    assert {str(npi) for npi in new} == set(shop.api.requests)
    assert (len(new), len(before)) == (
        facts(result, "npi_registry")["from_api"],
        facts(result, "npi_registry")["known_before"],
    )


def test_without_new_npis_nobody_is_asked(shop: Shop) -> None:
    """The sensor may run it after every network."""
    shop.run()
    before = shop.api.total()

    assert shop.run().success
    assert before == shop.api.total()


def test_many_missing_npis_come_out_of_the_bulk_files(shop: Shop) -> None:
    """intelligent: bulk above the threshold, the API for those that the file does not have."""
    shop.run(mode="bulk_only")
    npis = [row["npi"] for row in shop.rows("npis.parquet")]
    shop.put_bulk(npis[2:])
    shop.forget_bulk()

    result = shop.run(many=5)

    assert {"bulk": len(npis) - 2, "api": 2} == Counter(row["source"] for row in shop.rows("npi_registry"))
    assert {str(npi) for npi in npis[:2]} == set(shop.api.requests)
    assert (len(npis) - 2, 2) == tuple(facts(result, "npi_registry")[name] for name in ("from_bulk", "from_api"))


def test_bulk_only_never_asks_the_api(shop: Shop) -> None:
    """What the files do not have stays to be looked up."""
    result = shop.run(mode="bulk_only")

    assert result.success
    assert 0 == shop.api.total()
    assert {None} == {row["status"] for row in shop.rows("provider_directory.parquet")}


def test_api_only_never_asks_for_the_bulk_files(shop: Shop) -> None:
    """Though many are missing."""
    shop.run(mode="api_only", many=1)

    assert [] == shop.cms.requests
    assert {"api"} == {row["source"] for row in shop.rows("npi_registry")}


def test_side_by_side_everything_is_looked_up_once(shop: Shop) -> None:
    """parallel_all: whoever comes first; each NPI is in the registry once."""
    shop.run(mode="bulk_only")
    npis = [row["npi"] for row in shop.rows("npis.parquet")]
    shop.put_bulk(npis)

    assert shop.run(mode="parallel_all").success
    assert npis == [row["npi"] for row in shop.rows("npi_registry")]


def test_side_by_side_survives_without_the_bulk_files(shop: Shop) -> None:
    """CMS's page is gone: the API is asked for all."""
    shop.cms.remove("/NPI_Files.html")

    assert shop.run(mode="parallel_all").success
    assert {"api"} == {row["source"] for row in shop.rows("npi_registry")}


@pytest.mark.parametrize(
    ("config", "odd"), [({"mode": "intelligent", "many": 5}, "encrypted"), ({"mode": "parallel_all"}, "UTF-16")]
)
def test_a_broken_bulk_file_leaves_all_to_the_api(shop: Shop, config: dict[str, Any], odd: str) -> None:
    """As promised of both modes, whatever is wrong with the file."""
    shop.cms.put(f"/{MONTH}", ODD_MONTHS[odd])

    assert shop.run(**config).success
    assert {"api"} == {row["source"] for row in shop.rows("npi_registry")}
    assert len(shop.npis()) == len(shop.rows("npi_registry"))


@pytest.mark.parametrize(
    ("config", "page"),
    [
        ({"mode": "intelligent", "many": 5}, b"<a href='file:///etc/NPPES_Data_Dissemination_May_2026.zip'>x</a>"),
        ({"mode": "parallel_all"}, b"<![x y]>"),
    ],
)
def test_an_odd_page_of_bulk_files_leaves_all_to_the_api(shop: Shop, config: dict[str, Any], page: bytes) -> None:
    """The same."""
    shop.cms.put("/NPI_Files.html", page)

    assert shop.run(**config).success
    assert {"api"} == {row["source"] for row in shop.rows("npi_registry")}


@pytest.mark.parametrize("config", [{"mode": "intelligent", "many": 5}, {"mode": "parallel_all"}])
def test_a_folder_of_bulk_files_that_cannot_be_used_leaves_all_to_the_api(shop: Shop, config: dict[str, Any]) -> None:
    """A file lies in its place; the ledger beside it can be written."""
    shop.lake.joinpath(".mrf").mkdir(exist_ok=True)
    shop.lake.joinpath(".mrf", "nppes").write_bytes(b"")

    assert shop.run(**config).success
    assert {"api"} == {row["source"] for row in shop.rows("npi_registry")}


def test_repairs_of_the_bulk_files_are_published(shop: Shop) -> None:
    """By kind, with the materialization."""
    shop.cms.put(f"/{MONTH}", bulk_zip(bulk_row(npi, **{"Last Update Date": "2026-11-10"}) for npi in STRANGERS))

    assert {"bulk_date_form": 3} == facts(shop.run(mode="bulk_only"), "npi_registry")["bulk_repairs"]


def test_without_cms_the_api_is_asked_for_many_too(shop: Shop) -> None:
    """intelligent: its page is gone, and the API answers."""
    shop.cms.remove("/NPI_Files.html")

    assert shop.run(many=5).success
    assert {"api"} == {row["source"] for row in shop.rows("npi_registry")}


def test_side_by_side_counts_what_both_rounds_of_the_api_did(shop: Shop) -> None:
    """The first round meets a registry that is down; the second, once the bulk files are here, does not."""
    for name in "cdefghij":
        shop.publish(name, document(seed=ord(name), codes=10))
    shop.price_per_1000_requests = 1_000
    shop.api.always(DOWN)
    gate = shop.cms.hold(f"/{MONTH}", 0)

    def come_back(_npi: str) -> None:
        if shop.api.total() == 50:
            gate.release()
        if shop.api.total() > 50:
            shop.api.always(None)

    shop.api.on_request = come_back

    result = shop.run(mode="parallel_all", max_workers=1)

    found = facts(result, "npi_registry")
    assert shop.api.total() == found["requests"] == found["cost_dollars"] > 50
    assert (found["npis"] - 50, 50) == (found["from_api"], found["failed"])
    assert len(shop.rows("npi_registry")) == found["dagster/row_count"] == found["from_api"]


def test_a_registry_that_is_down_is_told_and_the_next_run_goes_on(shop: Shop) -> None:
    """The run fails; what came before stays, and the next one asks for the rest alone."""
    counted = 0

    def fail_later(_npi: str) -> None:
        nonlocal counted
        counted += 1
        if counted == 12:
            shop.api.always(DOWN)

    for name in "cdefghij":
        shop.publish(name, document(seed=ord(name), codes=10))
    shop.api.on_request = fail_later

    failed = shop.run(mode="api_only", max_workers=2)

    assert not failed.success
    (event,) = failed.get_step_failure_events()
    told = str(event.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]
    assert "look-ups failed in a row" in told
    assert "materialize it again, and it goes on" in told
    done = {str(row["npi"]) for row in shop.rows("npi_registry")}
    assert len(done) >= 10
    shop.api.requests.clear()
    shop.api.always(None)

    assert shop.run(mode="api_only").success
    assert not done & set(shop.api.requests)
    assert len(shop.npis()) == len(shop.rows("npi_registry"))


def test_a_registry_that_is_down_is_replaced_by_the_bulk_files(shop: Shop) -> None:
    """S3.23: intelligent falls back."""
    for name in "cdefghij":
        shop.publish(name, document(seed=ord(name), codes=10))
    shop.run(mode="bulk_only")
    npis = [row["npi"] for row in shop.rows("npis.parquet")]
    shop.forget_bulk()
    shop.put_bulk(npis)
    shop.api.always(DOWN)

    shop.run()

    assert dict.fromkeys(npis, "matched") == {row["npi"]: row["status"] for row in shop.rows("npi_registry")}


def test_the_bulk_files_replace_a_registry_that_answers_nobody(shop: Shop) -> None:
    """Though fewer are missing than the API gives up after; what they do not have either is told as failed."""
    shop.run(mode="bulk_only")
    npis = [row["npi"] for row in shop.rows("npis.parquet")]
    shop.forget_bulk()
    shop.put_bulk(npis[1:])
    shop.api.always(DOWN)

    result = shop.run()

    assert npis[1:] == [row["npi"] for row in shop.rows("npi_registry")]
    found = facts(result, "npi_registry")
    assert (len(npis) - 1, 1, 0) == (found["from_bulk"], found["failed"], found["pending"])


def test_what_is_old_is_looked_up_anew(shop: Shop) -> None:
    """max_age_days: 0 days is everything, ten nothing."""
    shop.run()
    once = shop.api.total()

    shop.run(max_age_days=10)
    assert once == shop.api.total()
    shop.run(max_age_days=0)

    assert 2 * once == shop.api.total()
    assert once == len(shop.rows("npi_registry"))
    assert NPI_REGISTRY.arrow.names == list(shop.rows("npi_registry")[0])


def test_what_was_looked_up_in_the_future_is_looked_up_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: the clock was wrong then."""

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]  # a plain one is JSON
            return dt.datetime(2099, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patched:
        patched.setattr("mrf_assets.providers.nppes.client.dt", SimpleNamespace(**vars(dt) | {"datetime": Ahead}))
        shop.run()
    once = shop.api.total()

    for _ in range(2):
        shop.run(max_age_days=10)

    assert 2 * once == shop.api.total()


def test_what_is_old_stays_until_it_is_replaced(shop: Shop) -> None:
    """A dead API, or a limit, never empties the registry."""
    shop.run()
    before = shop.rows("npi_registry")
    shop.api.always(DOWN)

    shop.run(max_age_days=0, mode="api_only")
    assert before == shop.rows("npi_registry")

    shop.api.always(None)
    shop.run(max_age_days=0, mode="api_only", limit=3)

    after = shop.rows("npi_registry")
    assert [row["npi"] for row in before] == [row["npi"] for row in after] == shop.npis()
    assert 3 == sum(old["fetched_at"] < new["fetched_at"] for old, new in zip(before, after, strict=True))


def test_an_update_tells_how_far_it_is(shop: Shop) -> None:
    """S3.33, S4.39: as an observation whose numbers plot, from the first look-up on."""
    result = shop.run()

    (event,) = result.get_asset_observation_events()
    observed = {name: value.value for name, value in event.asset_observation_data.asset_observation.metadata.items()}
    assert (1, 0) == (observed["completed"], observed["failed"])
    assert observed["pending"] == len(shop.npis()) - 1


def test_a_lost_ledger_is_made_anew_out_of_the_registry(shop: Shop) -> None:
    """Its rows count as looked up, which is told; the rest is asked for, and no row is lost."""
    shop.run(limit=3)
    before = shop.rows("npi_registry")
    for lost in (shop.lake / ".mrf").glob("npi_registry.sqlite*"):
        lost.unlink()

    result = shop.run()

    assert result.success
    assert 3 == facts(result, "npi_registry")["adopted_rows"]
    assert len(shop.npis()) == shop.api.total()
    after = shop.rows("npi_registry")
    assert shop.npis() == [row["npi"] for row in after]
    assert before == [row for row in after if row["npi"] in {old["npi"] for old in before}]
    assert 0 == facts(shop.run(), "npi_registry")["adopted_rows"]


def test_a_lake_can_be_moved(tmp_path: Path) -> None:
    """The next update goes on in the new place, and asks for nobody twice."""
    npis = [{"npi": int(npi), "rates": 1, "networks": 1} for npi in make_npis(5)]
    here, there = tmp_path / "lake", tmp_path / "lake2"
    write_table(Reference(here).npis, NPIS.arrow, [pa.RecordBatch.from_pylist(npis, schema=NPIS.arrow)])
    with NppesServer() as api:
        settings = EnrichSettings(npi_api_url=api.url, rate_limit_delay=0.001)

        def update(lake: Path, **changes: Any) -> RegistryResult:  # noqa: ANN401 - fields of LookUpOptions
            batch = look_up_options(settings, **changes)
            return RegistryUpdate(lake=lake, settings=settings, open_url=open_url, batch=batch, mode="api_only").run()

        assert 3 == update(here, limit=3).rows
        here.rename(there)
        result = update(there)

        assert (3, 0, 5) == (result.known_before, result.adopted_rows, result.rows)
        assert 5 == api.total()
    assert not here.exists()


def test_a_limit_counts_for_both_rounds_of_the_api(shop: Shop) -> None:
    """Side by side with bulk files that cannot be had, the API is asked twice."""
    shop.cms.put("/NPI_Files.html", b"<html></html>")
    shop.run(mode="parallel_all", limit=3)

    assert 3 == shop.api.total()


def test_the_later_row_of_an_npi_counts(shop: Shop) -> None:
    """While an update is under way, or after it was killed, an NPI has its old row and its new one."""
    shop.run()
    renewed = {**shop.rows("npi_registry")[0], "organization_name": "RENEWED"}
    path = shop.lake / "reference" / "npi_registry" / "part-999999.parquet"
    pq.write_table(pa.Table.from_pylist([renewed], schema=NPI_REGISTRY.arrow), path)

    write_directory(shop.lake)

    assert shop.npis() == [row["npi"] for row in shop.rows("npis.parquet")]
    assert "RENEWED" == shop.rows("provider_directory.parquet")[0]["provider_name"]


def test_a_limit_is_no_failure(shop: Shop) -> None:
    """The rest is for the next run."""
    result = shop.run(limit=3)

    assert result.success
    assert 3 == shop.api.total()
    assert facts(result, "npi_registry")["pending"] > 0


def test_a_wrong_mode_is_told(shop: Shop) -> None:
    """With those that there are, before anything is started: the launchpad shows it, too."""
    with pytest.raises(dg.DagsterInvalidConfigError, match="'intelligent', 'parallel_all', 'api_only', 'bulk_only'"):
        shop.run(mode="scraping")


def test_figures_are_there_to_plot(shop: Shop) -> None:
    """Numbers, not texts."""
    result = shop.run()

    registry, directory = facts(result, "npi_registry"), facts(result, "provider_directory")
    for name in ("requests", "success_rate_percent", "utilisation_percent", "records_per_minute", "duration_seconds"):
        assert isinstance(registry[name], int | float)
    assert len(shop.npis()) == directory["status_matched"] == directory["dagster/row_count"]
    assert 1.0 == directory["name_fill_rate"]


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_a_sound_directory_passes_its_checks(shop: Shop) -> None:
    """Each rule has a check."""
    names = [*(check.name for check in DIRECTORY_CHECKS), FEW_REFUSALS]
    assert dict.fromkeys(names, True) == _checks(shop.run())


def test_withdrawn_and_unknown_npis_are_found(shop: Shop) -> None:
    """A tenth of each is more than is tolerated."""
    shop.run(mode="bulk_only")
    npis = [str(row["npi"]) for row in shop.rows("npis.parquet")]
    shop.api.deactivated |= set(npis[::5])
    shop.api.unknown |= set(npis[1::5])

    checks = _checks(shop.run())

    assert {"deactivated_npis", "npis_known_to_nppes"} == {name for name, passed in checks.items() if not passed}


def test_npis_that_nobody_looked_up_are_found(shop: Shop) -> None:
    """The first run was cut short."""
    assert not _checks(shop.run(limit=1))["npis_looked_up"]


def test_a_published_network_starts_the_job(shop: Shop) -> None:
    """The sensor waits for `providers`."""
    shop.instance.report_runless_asset_event(dg.AssetMaterialization("providers", partition="t~a"))
    context = dg.build_sensor_context(instance=shop.instance)

    data = new_providers.evaluate_tick(context)

    assert 1 == len(data.run_requests or ())


def test_one_process_talks_to_the_registry() -> None:
    """By its pool, and by the lock of its ledger."""
    assert {"npi_registry"} == {asset.op.pool for asset in ASSETS if asset.op.pool}
