"""Settings out of the environment and flags."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from mrf_assets.discover import DiscoveryMode
from mrf_assets.errors import SettingError
from mrf_assets.extract import READERS
from mrf_assets.limits import Limits
from mrf_assets.settings import (
    DISCOVERY_MODES,
    READER_NAMES,
    DiscoverySettings,
    EnrichSettings,
    IndexWatching,
    Operations,
    Settings,
    dagster_home,
    default_host_state_dir,
    unknown_variables,
)

GIVEN = {
    "MRF_OUTPUT_DIR": "/data/out",
    "MRF_CPT_WHITELIST": "codes.csv",
    "MRF_TIN_WHITELIST": "tins.csv",
    "MRF_ALLOW_EMPTY": "true",
    "MRF_REFERENCED_GROUPS_ONLY": "true",
    "MRF_PROVIDER_BATCH_SIZE": "11",
    "MRF_RATE_BATCH_SIZE": "12",
    "MRF_READER": "ijson",
    "MRF_KEEP_PERIODS": "13",
    "MRF_GRACE_SECONDS": "60",
    "MRF_CONNECT_TIMEOUT_SECONDS": "1.5",
    "MRF_READ_TIMEOUT_SECONDS": "2.5",
    "MRF_TOTAL_TIMEOUT_SECONDS": "3.5",
    "MRF_MAX_RETRIES": "5",
    "MRF_CONNECTION_POOLING": "no",
    "MRF_SPOOL_DOWNLOADS": "yes",
    "MRF_REFUSE_PRIVATE_ADDRESSES": "1",
    "MRF_OBJECT_STORES": "s3, GS",
    "MRF_OBJECT_STORE_ENDPOINT": "http://store.example:9000",
    "MRF_OBJECT_STORE_ACCOUNT": "acme",
    "MRF_OBJECT_STORE_ANONYMOUS": "false",
    "MRF_HOST_CONCURRENCY": "5",
    "MRF_HOST_START_RATE_PER_SECOND": "0.5",
    "MRF_ADAPTIVE_RATE_LIMITING": "false",
    "MRF_HOST_STATE_DIR": "/data/hosts",
    "MRF_PART_PROCESSES": "4",
    "MRF_READ_AHEAD": "no",
    "MRF_MAX_PARALLEL_STEPS": "3",
    "MRF_QUERY_MEMORY_MB": "64",
    "MRF_TAXONOMY_CODES": "/data/taxonomies.csv",
    "MRF_DRIFT_ROWS_SHARE": "0.1",
    "MRF_DRIFT_CODES_SHARE": "0.2",
    "MRF_DRIFT_GROUPS_SHARE": "0.3",
    "MRF_DRIFT_MEDIAN_SHARE": "0.4",
    "MRF_MAX_INFLATION": "14",
    "MRF_MAX_JSON_BYTES": "15",
    "MRF_MAX_ZIP_MEMBERS": "16",
    "MRF_MAX_NESTING_DEPTH": "17",
    "MRF_MAX_ELEMENT_BYTES": "18000000",
    "MRF_MAX_ELEMENT_VALUES": "23",
    "MRF_MAX_REMOTE_FETCHES": "19",
    "MRF_MAX_REMOTE_REFERENCES": "20",
    "MRF_MAX_REMOTE_REFERENCE_BYTES": "21",
    "MRF_MAX_REMOTE_TOTAL_BYTES": "22",
    "MRF_REMOTE_REFERENCE_FAILURE_SHARE": "0.25",
    "MRF_SKIP_UNCHANGED": "false",
    "MRF_MIN_FREE_BYTES": "14",
}
NUMBERS = [
    "provider_batch_size",
    "rate_batch_size",
    "keep_periods",
    "connect_timeout_seconds",
    "read_timeout_seconds",
    "total_timeout_seconds",
    "host_concurrency",
    "host_start_rate_per_second",
    "part_processes",
    "max_parallel_steps",
    "query_memory_mb",
    "max_inflation",
    "max_json_bytes",
    "max_zip_members",
    "max_nesting_depth",
    "max_element_bytes",
    "max_element_values",
    "max_remote_fetches",
    "max_remote_references",
    "max_remote_reference_bytes",
    "max_remote_total_bytes",
]


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be set."""
    assert Settings() == Settings.from_environment({})


def test_every_field_is_read_from_the_environment() -> None:
    """Each field has its variable, and comes as its own kind."""
    expected = Settings(
        output_dir=Path("/data/out"),
        cpt_whitelist=Path("codes.csv"),
        tin_whitelist=Path("tins.csv"),
        allow_empty=True,
        referenced_groups_only=True,
        provider_batch_size=11,
        rate_batch_size=12,
        reader="ijson",
        keep_periods=13,
        grace_seconds=60,
        connect_timeout_seconds=1.5,
        read_timeout_seconds=2.5,
        total_timeout_seconds=3.5,
        max_retries=5,
        connection_pooling=False,
        spool_downloads=True,
        refuse_private_addresses=True,
        object_stores="s3, GS",
        object_store_endpoint="http://store.example:9000",
        object_store_account="acme",
        object_store_anonymous=False,
        host_concurrency=5,
        host_start_rate_per_second=0.5,
        adaptive_rate_limiting=False,
        host_state_dir=Path("/data/hosts"),
        part_processes=4,
        read_ahead=False,
        max_parallel_steps=3,
        query_memory_mb=64,
        taxonomy_codes=Path("/data/taxonomies.csv"),
        drift_rows_share=0.1,
        drift_codes_share=0.2,
        drift_groups_share=0.3,
        drift_median_share=0.4,
        max_inflation=14,
        max_json_bytes=15,
        max_zip_members=16,
        max_nesting_depth=17,
        max_element_bytes=18_000_000,
        max_element_values=23,
        max_remote_fetches=19,
        max_remote_references=20,
        max_remote_reference_bytes=21,
        max_remote_total_bytes=22,
        remote_reference_failure_share=0.25,
        skip_unchanged=False,
        min_free_bytes=14,
    )

    assert {f"MRF_{field.name.upper()}" for field in fields(Settings)} == GIVEN.keys()
    assert expected == Settings.from_environment(GIVEN)


def test_an_override_wins_over_the_environment() -> None:
    """A flag is nearer to the person than a variable."""
    assert Path("here") == Settings.from_environment(GIVEN, output_dir=Path("here")).output_dir


def test_an_override_of_none_is_none_at_all() -> None:
    """A flag that was not given does not hide the variable."""
    assert 12 == Settings.from_environment(GIVEN, rate_batch_size=None).rate_batch_size


def test_an_empty_variable_is_none_at_all() -> None:
    """`MRF_CPT_WHITELIST=` switches the whitelist off, as the shell's way to unset for one command."""
    assert Settings.from_environment({"MRF_CPT_WHITELIST": ""}).cpt_whitelist is None


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["many", "1,5", "0x10"])
def test_a_value_of_the_wrong_kind_is_named(name: str, text: str) -> None:
    """The error says which variable and what it held."""
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({f"MRF_{name.upper()}": text})

    assert f"MRF_{name.upper()}: is {text!r}, which is no number" == str(caught.value)


def test_a_reader_that_is_not_there_is_refused_with_those_that_are() -> None:
    """Whichever command reads the settings."""
    with pytest.raises(SettingError, match=r"^reader: is 'abacus'; use one of: fast, ijson"):
        Settings.from_environment({"MRF_READER": "abacus"})
    assert READER_NAMES == tuple(sorted(READERS))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("MRF_OUTPT_DIR", "; did you mean MRF_OUTPUT_DIR?"),
        ("MRF_output_dir", "; did you mean MRF_OUTPUT_DIR?"),
        ("mrf_reader", "; did you mean MRF_READER?"),
        ("MRF_BUDGET_DOLARS", "; did you mean MRF_BUDGET_DOLLARS?"),
        ("MRF_XYZZY", "; the README lists the settings"),
    ],
)
def test_an_unknown_variable_is_reported_with_the_name_that_is_near(name: str, told: str) -> None:
    """It would be ignored, and nobody would know why."""
    environ = dict.fromkeys(GIVEN, "") | {"MRF_BATCH_SIZE": "1", "MRF_PORTALS": "", "HOME": "/", name: "x"}

    assert [f"{name} is no setting and is ignored{told}"] == unknown_variables(environ)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["0", "-1"])
def test_a_number_below_its_limit_is_refused(name: str, text: str) -> None:
    """No batch of nothing, no wait of no time."""
    with pytest.raises(SettingError, match=f"^{name}: is {text}"):
        Settings.from_environment({f"MRF_{name.upper()}": text})


@pytest.mark.parametrize("name", ["connect_timeout_seconds", "read_timeout_seconds", "total_timeout_seconds"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 86_401])
def test_a_wait_that_no_socket_takes_is_refused(name: str, value: float) -> None:
    """Infinity ends in a traceback of the socket: "timestamp out of range for platform time_t"."""
    with pytest.raises(SettingError, match=name):
        Settings.from_environment({}, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_nesting_depth", 7),
        ("max_nesting_depth", 201),
        ("max_element_bytes", (2 << 20) - 1),
        ("remote_reference_failure_share", -0.1),
        ("remote_reference_failure_share", 1.1),
        ("remote_reference_failure_share", float("nan")),
    ],
)
def test_a_bound_that_cannot_be_kept_is_refused(name: str, value: float) -> None:
    """Less than the schema needs, more than Python can follow, shorter than a block, no share."""
    with pytest.raises(SettingError, match=name):
        Settings.from_environment({}, **{name: value})


def test_bounds_of_files_go_together() -> None:
    """What reads bytes takes them as one value, and they have one home."""
    assert Limits() == Settings().limits
    assert 7 == Settings(max_zip_members=7).limits.max_zip_members


def test_limits_hold_for_overrides() -> None:
    """A flag is judged like a variable."""
    with pytest.raises(SettingError, match="rate_batch_size: is 0; it must be 1 or more"):
        Settings.from_environment({}, rate_batch_size=0)


def test_the_smallest_values_are_taken() -> None:
    """One row a batch, one period kept."""
    settings = Settings(provider_batch_size=1, rate_batch_size=1, keep_periods=1, max_parallel_steps=1)

    assert (1, 1, 1, 1) == (
        settings.provider_batch_size,
        settings.rate_batch_size,
        settings.keep_periods,
        settings.max_parallel_steps,
    )


@pytest.mark.parametrize(("environ", "expected"), [({}, ".dagster_home"), ({"DAGSTER_HOME": "/d"}, "/d")])
def test_the_home_of_dagster_is_absolute(environ: dict[str, str], expected: str) -> None:
    """Dagster takes no relative path."""
    assert Path(expected).absolute() == dagster_home(environ)


def test_a_switch_is_true_or_false() -> None:
    """Anything else is refused, so that a slip does not mean the contrary."""
    assert Settings.from_environment({"MRF_READ_AHEAD": "Yes"}).read_ahead
    with pytest.raises(SettingError, match="neither true nor false"):
        Settings.from_environment({"MRF_READ_AHEAD": "maybe"})


def test_no_retry_at_all_can_be_asked_for() -> None:
    """0 is a number of retries, less is none."""
    assert 0 == Settings.from_environment({"MRF_MAX_RETRIES": "0"}).max_retries
    with pytest.raises(SettingError, match=r"^max_retries: is -1"):
        Settings(max_retries=-1)


def test_stores_are_a_list_of_known_ones() -> None:
    """Spaces and case do not matter, an unknown store is named, an empty list is none at all."""
    assert ("s3", "gs") == Settings(object_stores="s3, GS").object_store_schemes
    assert () == Settings(object_stores="").object_store_schemes
    with pytest.raises(SettingError, match="object_stores: names ftp; known are s3, gs, az"):
        Settings(object_stores="s3,ftp")


def test_an_endpoint_says_how_it_is_spoken_to() -> None:
    """`localhost:9000` alone would be taken for no endpoint, and the cloud be asked."""
    with pytest.raises(SettingError, match="object_store_endpoint: has no http"):
        Settings(object_store_endpoint="localhost:9000")


def test_a_daemon_is_careful_with_addresses_unless_told_otherwise() -> None:
    """Nobody watches its runs; on a command line a person does."""
    assert not Settings.from_environment({}).refuse_private_addresses
    assert Settings.for_daemon({}).refuse_private_addresses
    assert Settings.for_daemon({"MRF_REFUSE_PRIVATE_ADDRESSES": ""}).refuse_private_addresses
    assert not Settings.for_daemon({"MRF_REFUSE_PRIVATE_ADDRESSES": "false"}).refuse_private_addresses


def test_what_hosts_take_is_shared_by_all_of_a_user() -> None:
    """Without a setting it is one folder, of this user alone."""
    assert f"mrf_assets-hosts-{os.geteuid()}" == default_host_state_dir({}).name
    assert Path("/data/hosts") == default_host_state_dir(GIVEN)


def test_all_of_the_disk_may_be_used() -> None:
    """0 is a floor, a debt is none."""
    assert 0 == Settings.from_environment({"MRF_MIN_FREE_BYTES": "0"}).min_free_bytes
    with pytest.raises(SettingError, match="min_free_bytes: is -1; it must be 0 or more"):
        Settings.from_environment({"MRF_MIN_FREE_BYTES": "-1"})


def test_every_field_of_the_enrichment_is_read_from_the_environment() -> None:
    """Beside those of all commands."""
    given = {
        "MRF_NPI_API_URL": "http://127.0.0.1/api",
        "MRF_NPI_FILES_URL": "http://127.0.0.1/files",
        "MRF_BATCH_SIZE": "20",
        "MRF_RATE_LIMIT_DELAY": "0.25",
        "MRF_MAX_REQUESTS_PER_MINUTE": "120",
        "MRF_NPI_TIMEOUT_SECONDS": "7.5",
        "MRF_PRICE_PER_1000_REQUESTS": "1",
        "MRF_PRICE_PER_GB": "2",
        "MRF_PRICE_PER_HOUR": "3",
    }
    expected = EnrichSettings(
        npi_api_url="http://127.0.0.1/api",
        npi_files_url="http://127.0.0.1/files",
        batch_size=20,
        rate_limit_delay=0.25,
        max_requests_per_minute=120,
        npi_timeout_seconds=7.5,
        price_per_1000_requests=1.0,
        price_per_gb=2.0,
        price_per_hour=3.0,
    )

    added = {field.name for field in fields(EnrichSettings)} - {field.name for field in fields(Settings)}
    assert {f"MRF_{name.upper()}" for name in added} == given.keys()
    assert expected == EnrichSettings.from_environment(given)
    assert EnrichSettings.from_environment(GIVEN).max_retries == Settings.from_environment(GIVEN).max_retries


def test_a_program_of_ours_spares_the_threads_of_blas() -> None:
    """Unless somebody has said how many; as a library the package leaves them alone."""
    say = "import {}, os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}

    def told(module: str, **given: str) -> str:
        command = [sys.executable, "-c", say.format(module)]
        return subprocess.run(command, env=plain | given, check=True, capture_output=True, text=True).stdout.strip()

    assert ("1", "3", "None") == (
        told("mrf_assets.__main__"),
        told("mrf_assets.__main__", OPENBLAS_NUM_THREADS="3"),
        told("mrf_assets.lake.catalog"),
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc than glibc's")
def test_a_program_of_ours_keeps_freed_memory_for_the_next_block() -> None:
    """Three blocks of 8 MB at a time, and again: the system gives their pages once, or each time."""
    blocks = "[b'x' * (8 << 20), b'x' * (8 << 20), b'x' * (8 << 20)]"
    take = f"import resource; [{blocks}.clear() for _ in range(30)]; print(resource.getrusage(0).ru_minflt)"

    def faults(module: str) -> int:
        command = [sys.executable, "-c", f"import {module}; {take}"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("mrf_assets.startup") < faults("mrf_assets.settings") - 30 * (8 << 20) // mmap.PAGESIZE


def test_a_program_of_ours_ends_when_all_that_others_left_to_do_is_done() -> None:
    """What was printed is there, threads and `atexit` come first, and the exit code is the one that was given."""
    lines = """import mrf_assets.startup, atexit, threading
class Last:
    def __del__(self): print("taken apart")
last = Last()
atexit.register(print, "at exit")
printed = threading.Event()
threading.Thread(target=lambda: printed.wait() and print("thread")).start()
print("printed")
printed.set()
mrf_assets.startup.leave(3)"""

    found = subprocess.run([sys.executable, "-c", lines], check=False, capture_output=True, text=True)

    assert (3, ["printed", "thread", "at exit"]) == (found.returncode, found.stdout.splitlines())


def test_a_library_takes_itself_apart() -> None:
    """Who imports a module of ours, and does not run the program, ends as Python ends."""
    lines = """import mrf_assets.startup
class Last:
    def __del__(self): print("taken apart")
last = Last()
raise SystemExit(3)"""

    found = subprocess.run([sys.executable, "-c", lines], check=False, capture_output=True, text=True)

    assert (3, "taken apart\n") == (found.returncode, found.stdout)


def test_the_defaults_of_the_enrichment_are_those_asked_for() -> None:
    """S2.35: 10, 0.5 and 3."""
    settings = EnrichSettings.from_environment({})

    assert (10, 0.5, 3) == (settings.batch_size, settings.rate_limit_delay, settings.max_retries)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 21),
        ("rate_limit_delay", -1.0),
        ("rate_limit_delay", float("nan")),
        ("max_retries", -1),
        ("max_requests_per_minute", 0),
        ("npi_timeout_seconds", 0.0),
        ("npi_timeout_seconds", float("inf")),
        ("price_per_gb", -0.1),
    ],
)
def test_a_limit_of_the_enrichment_holds(name: str, value: float) -> None:
    """The error names the setting."""
    with pytest.raises(SettingError, match=f"^{name}: is {value}"):
        EnrichSettings.from_environment({}, **{name: value})


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "40000000"])
def test_a_grace_time_is_from_nothing_to_a_year(seconds: str) -> None:
    """What stays for ever would fill the disk."""
    with pytest.raises(SettingError, match=r"grace_seconds: is .+; it must be from 0 to"):
        Settings.from_environment({"MRF_GRACE_SECONDS": seconds})
    assert 0 == Settings.from_environment({"MRF_GRACE_SECONDS": "0"}).grace_seconds


OPERATIONS = {
    "MRF_ALERT_URLS": "json://alerts.example/S3cr3t",
    "MRF_PRICE_PER_GB": "0.01",
    "MRF_PRICE_PER_CORE_HOUR": "0.05",
    "MRF_BUDGET_DOLLARS": "20",
    "MRF_FRESH_DAYS": "40",
    "MRF_KEEP_RUNS_DAYS": "90",
}


def test_every_field_of_operations_is_read_from_the_environment() -> None:
    """Each has its variable, and comes as its own kind."""
    expected = Operations(
        alert_urls="json://alerts.example/S3cr3t",
        price_per_gb=0.01,
        price_per_core_hour=0.05,
        budget_dollars=20.0,
        fresh_days=40,
        keep_runs_days=90,
    )

    assert {f"MRF_{field.name.upper()}" for field in fields(Operations)} == OPERATIONS.keys()
    assert expected == Operations.from_environment(OPERATIONS)
    assert Operations() == Operations.from_environment({})


def test_addresses_of_alerts_are_not_shown() -> None:
    """They are secrets."""
    assert "S3cr3t" not in repr(Operations.from_environment(OPERATIONS))


@pytest.mark.parametrize(
    "given",
    [
        {"MRF_PRICE_PER_GB": "-1"},
        {"MRF_PRICE_PER_CORE_HOUR": "inf"},
        {"MRF_BUDGET_DOLLARS": "nan", "MRF_PRICE_PER_GB": "1"},
        {"MRF_FRESH_DAYS": "0"},
        {"MRF_KEEP_RUNS_DAYS": "-1"},
        {"MRF_BUDGET_DOLLARS": "5"},
    ],
)
def test_an_impossible_value_of_operations_is_named(given: dict[str, str]) -> None:
    """A budget without a price is one: it would never be reached."""
    name = min(given).removeprefix("MRF_").lower()

    with pytest.raises(SettingError, match=name):
        Operations.from_environment(given)


WATCHING = {
    "MRF_INDEX_REGISTRY": "/etc/indexes.toml",
    "MRF_SENSOR_ENABLED": "false",
    "MRF_SENSOR_INTERVAL_SECONDS": "5",
    "MRF_SENSOR_TICK_SECONDS": "2.5",
    "MRF_SENSOR_MAX_RUNS": "7",
    "MRF_SENSOR_MAX_PROBES": "8",
}


def test_every_field_of_index_watching_is_read_from_the_environment() -> None:
    """Each has its variable, and comes as its own kind."""
    expected = IndexWatching(
        index_registry=Path("/etc/indexes.toml"),
        sensor_enabled=False,
        sensor_interval_seconds=5,
        sensor_tick_seconds=2.5,
        sensor_max_runs=7,
        sensor_max_probes=8,
    )

    assert {f"MRF_{field.name.upper()}" for field in fields(IndexWatching)} == WATCHING.keys()
    assert expected == IndexWatching.from_environment(WATCHING)
    assert IndexWatching() == IndexWatching.from_environment({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sensor_interval_seconds", 0),
        ("sensor_max_runs", 0),
        ("sensor_max_probes", 0),
        ("sensor_tick_seconds", 0.0),
        ("sensor_tick_seconds", 51.0),
    ],
)
def test_an_impossible_value_of_index_watching_is_named(name: str, value: float) -> None:
    """A tick must end before Dagster ends it."""
    with pytest.raises(SettingError, match=f"^{name}: is "):
        IndexWatching(**{name: value})  # type: ignore[arg-type]  # of several kinds


def test_the_registry_stands_in_dagster_home_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemon, webserver and shell have that in common."""
    monkeypatch.setenv("DAGSTER_HOME", "/srv/dagster")

    assert Path("/srv/dagster/indexes.toml") == IndexWatching().registry
    assert Path("/etc/x.toml") == IndexWatching(index_registry=Path("/etc/x.toml")).registry


DISCOVERY = {
    "MRF_PORTALS": "/etc/portals.csv",
    "MRF_DISCOVERY_MODE": "scraping_only",
    "MRF_CHROMIUM": "/opt/chromium",
    "MRF_CHROMIUM_SANDBOX": "false",
    "MRF_ENABLE_PARALLEL_SCRAPING": "false",
    "MRF_SCRAPER_POOL_SIZE": "2",
    "MRF_SCRAPER_RATE_PER_SECOND": "0.5",
    "MRF_SCRAPER_TIMEOUT_SECONDS": "12.5",
    "MRF_SCRAPER_PAGES_PER_CONTEXT": "7",
}


def test_every_field_of_the_discovery_is_read_from_the_environment() -> None:
    """Each has its variable, and comes as its own kind."""
    expected = DiscoverySettings(
        portals=Path("/etc/portals.csv"),
        discovery_mode="scraping_only",
        chromium=Path("/opt/chromium"),
        chromium_sandbox=False,
        enable_parallel_scraping=False,
        scraper_pool_size=2,
        scraper_rate_per_second=0.5,
        scraper_timeout_seconds=12.5,
        scraper_pages_per_context=7,
    )

    assert {f"MRF_{field.name.upper()}" for field in fields(DiscoverySettings)} == DISCOVERY.keys()
    assert expected == DiscoverySettings.from_environment(DISCOVERY)
    assert DiscoverySettings() == DiscoverySettings.from_environment({})


def test_the_modes_of_the_discovery_are_those_that_it_knows() -> None:
    """Settings come before it, and may not ask it."""
    assert get_args(DiscoveryMode) == DISCOVERY_MODES


def test_the_defaults_of_the_discovery_are_those_asked_for() -> None:
    """Four pages at a time, one a second of each host, thirty seconds for each."""
    looking = DiscoverySettings()

    assert (4, 1.0, 30.0, True, "intelligent") == (
        looking.scraper_pool_size, looking.scraper_rate_per_second, looking.scraper_timeout_seconds,
        looking.enable_parallel_scraping, looking.discovery_mode,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("discovery_mode", "stealth"),
        ("scraper_pool_size", 0),
        ("scraper_pool_size", 21),
        ("scraper_pages_per_context", 0),
        ("scraper_rate_per_second", 0.0),
        ("scraper_rate_per_second", float("inf")),
        ("scraper_timeout_seconds", 0.0),
        ("scraper_timeout_seconds", float("nan")),
    ],
)
def test_an_impossible_value_of_the_discovery_is_named(name: str, value: object) -> None:
    """Before anything is asked for."""
    with pytest.raises(SettingError, match=f"^{name}: is "):
        DiscoverySettings(**{name: value})  # type: ignore[arg-type]  # of several kinds
