"""The code location: what Dagster finds when it loads the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.tags import TagConcurrencyLimitsCounter  # what the queue asks

from mrf_assets.definitions import build_defs, defs
from mrf_assets.quality.network_rules import CHECKS, Check
from mrf_assets.schema import TABLES, Table
from mrf_assets.settings import Settings
from mrf_assets_tests.dagster_fixtures import REPOSITORY

_SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
_GRAPH = defs.resolve_asset_graph()
_CHECK_SPECS = {
    (check.asset_key.to_user_string(), check.name): _GRAPH.get_check_spec(check)
    for check in _GRAPH.asset_check_keys
    if check.asset_key.to_user_string() in TABLES
}
_PROVIDERS = {"npis", "npi_registry", "npi_look_ups", "provider_directory"}


def _check_id(check: Check) -> str:
    return f"{check.table}.{check.name}"


def test_the_definitions_load() -> None:
    """Dagster finds nothing wrong with them."""
    dg.Definitions.validate_loadable(defs)


def test_the_assets_are_the_tables_their_source_and_the_providers() -> None:
    """Each table of the schema is an asset, made from the payer's files; seven are about all networks, or none."""
    assert {
        *(*TABLES, "network_files", "discovered_indexes", *_PROVIDERS),
        *("catalog", "rate_changes", "report"),
    } == set(_SPECS)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_table_says_what_it_is(table: Table) -> None:
    """Grain, owners, kinds and group stand in the catalog."""
    spec = _SPECS[table.name]

    assert (table.grain, ["team:data-platform"], {"parquet", "duckdb"}, "network_tables") == (
        spec.description, spec.owners, spec.kinds, spec.group_name,
    )  # fmt: skip


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_table_has_the_columns_of_the_schema(table: Table) -> None:
    """Names, types, docs and nullability come out of the one truth."""
    columns = _SPECS[table.name].metadata["dagster/column_schema"].columns

    assert [(it.name, str(it.type), it.doc, it.nullable) for it in table.columns] == [
        (it.name, it.type, it.description, it.constraints.nullable) for it in columns
    ]


@pytest.mark.parametrize("name", sorted(_SPECS.keys() - _PROVIDERS - {"catalog", "report", "discovered_indexes"}))
def test_every_asset_is_partitioned_by_network(name: str) -> None:
    """One key means one network everywhere."""
    partitions = _SPECS[name].partitions_def

    assert isinstance(partitions, dg.DynamicPartitionsDefinition)
    assert "mrf_networks" == partitions.name


@pytest.mark.parametrize("table", TABLES)
def test_a_table_depends_on_the_files_of_the_payer(table: str) -> None:
    """The lineage begins where the data comes from."""
    assert ["network_files"] == [dep.asset_key.to_user_string() for dep in _SPECS[table].deps]


def test_the_catalog_is_made_of_all_tables() -> None:
    """One file for all networks, behind each of their tables and the directory of providers."""
    assert {*TABLES, "provider_directory"} == {dep.asset_key.to_user_string() for dep in _SPECS["catalog"].deps}
    assert _SPECS["catalog"].partitions_def is None


def test_the_checks_are_the_rules() -> None:
    """No rule without a check, no check without a rule; and whether a network is late, and its payer refuses us."""
    rules = {(check.table, check.name) for check in CHECKS}

    assert rules | {("rates", "newest_period_is_recent"), ("files", "few_refusals")} == set(_CHECK_SPECS)


@pytest.mark.parametrize("check", CHECKS, ids=_check_id)
def test_a_check_shows_its_rule(check: Check) -> None:
    """What is meant and the SQL that selects the offending rows are its description."""
    description = _CHECK_SPECS[check.table, check.name].description or ""

    assert description.startswith(check.explanation)
    assert f"```sql\n{check.sql}\n```" in description


@pytest.mark.parametrize("check", CHECKS, ids=_check_id)
def test_a_check_blocks_as_its_rule_says(check: Check) -> None:
    """Errors block, warnings do not."""
    assert check.blocking == _CHECK_SPECS[check.table, check.name].blocking


def test_there_are_jobs_to_ingest_to_audit_and_to_enrich() -> None:
    """Dagster's own catch-all aside."""
    names = {job.name for job in defs.resolve_all_job_defs()}

    expected = {"ingest", "ingest_in_process", "audit", "enrich_npis", "write_catalog", "late_networks", "prune_runs"}
    expected |= {"audit_catalog", "compare_months", "write_report", "discover_portals", "look_up_npis"}

    assert expected == names - {"__ASSET_JOB"}


def test_steps_run_in_processes_of_their_own() -> None:
    """The executor of the code location is the multiprocess executor."""
    job = defs.resolve_job_def("ingest")

    assert "multiprocess" == job.executor_def.name


def test_the_workers_of_the_command_line_run_steps_themselves() -> None:
    """They are processes of their own already."""
    assert "in_process" == defs.resolve_job_def("ingest_in_process").executor_def.name


def test_settings_reach_the_resource(tmp_path: Path) -> None:
    """The launchpad's defaults are the settings the location was loaded with."""
    built = build_defs(Settings(output_dir=tmp_path, rate_batch_size=7))

    assert built.resources
    assert (str(tmp_path), 7) == (built.resources["ingestor"].output_dir, built.resources["ingestor"].rate_batch_size)


def test_runs_that_nobody_watches_are_careful_with_addresses(tmp_path: Path) -> None:
    """What `dagster dev` and the daemon load refuses private addresses; settings of a person are taken as they are."""
    built = build_defs(Settings(output_dir=tmp_path))

    assert defs.resources
    assert built.resources
    assert defs.resources["ingestor"].refuse_private_addresses
    assert not built.resources["ingestor"].refuse_private_addresses


def test_the_workspace_loads(tmp_path: Path) -> None:
    """`dagster dev -w workspace.yaml` finds a location that is valid."""
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=REPOSITORY,
        env=os.environ | {"DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "Validation successful for code location mrf_assets" in done.stdout + done.stderr


def test_the_queue_runs_a_network_once_at_a_time(tmp_path: Path) -> None:
    """A second run of it would wait for the first; of one host there may be two."""
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        limits = instance.get_concurrency_config().run_queue_config
    assert limits
    running = [dg.DagsterRun("network_tables", tags={"dagster/partition": "t~a", "mrf/host": "h"})]

    def waits(**tags: str) -> bool:
        run = dg.DagsterRun("network_tables", tags={kind.replace("_", "/"): value for kind, value in tags.items()})
        return TagConcurrencyLimitsCounter(limits.tag_concurrency_limits, running).is_blocked(run)

    assert waits(dagster_partition="t~a")
    assert not waits(dagster_partition="t~b", mrf_host="h")
    running *= 2
    assert waits(dagster_partition="t~b", mrf_host="h")
