"""What the tests of Dagster, of the command line and of the UI share: a small payer, and a place to run.

A `Payer` serves an index and its files; a `Place` is a DAGSTER_HOME with an output folder, and runs the
command line there as a process of its own. Modules make their fixtures out of both.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import duckdb
import psutil
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from mrf_assets.definitions import build_defs
from mrf_assets.defs.partitions import add_networks
from mrf_assets.fetch import open_url
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.schema import SET_TINS, STORED_TABLES
from mrf_assets.settings import Settings
from mrf_assets.sources import SourceOptions, read_source
from mrf_assets.submit import FOLLOWER
from mrf_assets.tasks import Plan
from mrf_assets_tests import warm_start
from mrf_assets_tests.factory import Document, document, gzipped, index, plans, render
from mrf_assets_tests.mrf_server import MrfServer
from mrf_assets_tests.table_rows import without_generations

REPOSITORY = Path(__file__).parent.parent
SECRET = "S3cr3tV4lue"  # in the signature of every address
SIGNATURE = f"?Expires=1793145600&Signature={SECRET}&Key-Pair-Id=K{SECRET}"
PERIOD = "2026-11"
LOG_FILE = "logs/20261122_101112/one_extraction.log"
DEADLINE_SECONDS = 240.0  # a busy machine must not fail a test

_PLAN = Plan(plan_name="Willow", plan_id_type="ein", plan_id="12-3456789", plan_market_type="group")

_Found = TypeVar("_Found")


def wait_for(
    what: str, look: Callable[[], _Found | None], seconds: float = DEADLINE_SECONDS, *, every_seconds: float = 0.2
) -> _Found:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every_seconds)
    raise TimeoutError(what)


def key(letter: str) -> str:
    """The partition key of a payer's network."""
    return f"healthsparq~pl-{letter}-hr26"


class Payer:
    """Networks that are called by a letter, one small file each, behind signed addresses."""

    def __init__(self, server: MrfServer) -> None:
        self.server = server

    @staticmethod
    def path(letter: str) -> str:
        """Where a network's file lies on the server."""
        return f"/prd/2026-11-05_pl-{letter}-hr26_Cardinal-National_in-network-rates.json.gz"

    def url(self, letter: str) -> str:
        """The signed address of a network's file."""
        return self.server.url(self.path(letter)) + SIGNATURE

    def publish(self, letter: str, content: Document | None = None) -> str:
        """Serve a file for a network, made up by its letter if none is given; gives its address."""
        made = content or document(seed=ord(letter), codes=6, deviation_share=0.3)
        self.server.put(self.path(letter), gzipped(render(made)))
        return self.url(letter)

    def publish_index(
        self, letters: str, path: str = "/2026-11-05_index.json", plan_counts: Mapping[str, int] | None = None
    ) -> str:
        """Serve an index over networks, whether their files exist or not; two plans use each, or as many as told."""
        counts = plan_counts or {}
        listed = [(self.url(letter), plans(counts.get(letter, 2), seed=ord(letter))) for letter in letters]
        return self.server.put(path, render(index(listed)))


@dataclass(frozen=True, slots=True)
class Place:
    """A DAGSTER_HOME and an output folder."""

    root: Path

    @property
    def home(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "home"

    @property
    def output(self) -> Path:
        """Where parquet goes."""
        return self.root / "lake"

    @property
    def environment(self) -> dict[str, str]:
        """Of processes that run here."""
        return os.environ | {
            "DAGSTER_HOME": str(self.home),
            "MRF_OUTPUT_DIR": str(self.output),
            "MRF_REFUSE_PRIVATE_ADDRESSES": "false",  # the tests' payers are on this machine
        }

    def start(self, *arguments: str, module: str = "mrf_assets") -> subprocess.Popen[str]:
        """Start the command line in a session of its own."""
        self.root.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=self.environment,
            cwd=self.root,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def mrf(self, *arguments: str, module: str = "mrf_assets") -> subprocess.CompletedProcess[str]:
        """Run the command line to its end; the project's own begins with its imports made."""
        if module == "mrf_assets":
            self.root.mkdir(exist_ok=True)
            return warm_start.run(arguments, environment=self.environment, folder=self.root, seconds=DEADLINE_SECONDS)
        with self.start(*arguments, module=module) as process:
            return finished(process)

    def run(self, index_url: str, workers: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`mrf run` over an index."""
        return self.mrf(*run_arguments(index_url, workers), *arguments)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's records of what ran here."""
        if not (self.home / "dagster.yaml").exists():
            self.home.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / "dagster.yaml", self.home)
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def published(self) -> dict[str, str]:
        """SHA-256 of each published file, by path."""
        return {
            str(path.relative_to(self.output)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.output.glob("network_id=*/*/*"))
        }

    def tables(self) -> list[str]:
        """The published files of the six tables, without what is made of them when they are published."""
        return [path for path in self.published() if not Path(path).name.startswith(SET_TINS.name)]

    def digests(self) -> dict[str, str]:
        """SHA-256 of each published file, by its path without the generation."""
        return without_generations(self.published())

    def networks(self) -> list[str]:
        """The networks that have something published, all tables of it."""
        tables = Counter(Path(path).parts[0] for path in self.published())
        assert set(tables.values()) <= {len(STORED_TABLES)}
        return sorted(name.removeprefix("network_id=") for name in tables)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """All published rows of a table with their network, in an order that depends on them alone."""
        files = f"{self.output}/network_id=*/*/{table}-*.parquet"
        found = duckdb.execute(f"SELECT * FROM read_parquet('{files}', hive_partitioning = true)").fetchall()
        return sorted(found, key=repr)

    def leftovers(self) -> list[Path]:
        """What is in the making: nothing, when nothing runs."""
        return sorted((self.output / ".mrf").glob("staging/*")) + sorted(self.output.glob("**/.*.parquet*"))

    def written(self) -> list[str]:
        """Every path below this place."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


def without_rates(seed: int) -> Document:
    """A file whose every price is a word: prices are read, none can be kept, so `not_empty` refuses it."""
    made = document(seed=seed, codes=2)
    for item in made["in_network"]:
        for rate in item["negotiated_rates"]:
            for price in rate["negotiated_prices"]:
                price["negotiated_rate"] = "on request"
    return made


@dataclass(frozen=True, slots=True)
class Bench:
    """A payer, a place, and Dagster in this process."""

    payer: Payer
    place: Place
    instance: dg.DagsterInstance

    def plan(self, letter: str, path: str | None = None) -> str:
        """Plan a network as the command line does, with its file or with one at another path; gives its partition."""
        options = SourceOptions(prefix="cardinal", plans=(_PLAN,))
        url = self.payer.url(letter) if path is None else self.payer.server.url(path)
        saved = TaskStore.under(self.place.output).save(read_source("url", url, open_url, options))
        add_networks(self.instance, list(saved))
        return next(iter(saved))

    def run(
        self,
        network_id: str,
        tables: list[str] | None = None,
        tags: Mapping[str, str] | None = None,
        job: str = "ingest_in_process",
        *,
        skip_unchanged: bool | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a network's partition, all tables or some."""
        return (
            build_defs(Settings(output_dir=self.place.output, skip_unchanged=skip_unchanged))
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                asset_selection=None if tables is None else [dg.AssetKey(table) for table in tables],
                # `partition_key=` finds no partitions where checks alone are selected.
                tags={"dagster/partition": network_id, **(tags or {})},
                raise_on_error=False,
            )
        )

    def evaluations(self, run_id: str) -> list[dg.AssetCheckEvaluation]:
        """The check results of a run."""
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        return [it.dagster_event.asset_check_evaluation_data for it in events if it.dagster_event]

    def ingest(self, letter: str, content: Document | None = None) -> dg.ExecuteInProcessResult:
        """Publish a file at the payer's, plan it and run it."""
        self.payer.publish(letter, content)
        return self.run(self.plan(letter), tags={"mrf/log_file": LOG_FILE})


def run_arguments(index_url: str, workers: int) -> Sequence[str]:
    """The flags of a run over an index."""
    return ("run", "--source", "index", "--input", index_url, "--workers", str(workers))


def finished(process: subprocess.Popen[str], seconds: float = DEADLINE_SECONDS) -> subprocess.CompletedProcess[str]:
    """A process once it has ended; one that does not end is killed."""
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def worker_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> psutil.Process:
    """The process that works on a run of Dagster's own launcher."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if found := re.match(r"Started process for run \(pid: (\d+)\)", entry.message):
            return psutil.Process(int(found[1]))
    raise AssertionError(run.run_id)


def partitions_of(instance: dg.DagsterInstance, table: str) -> set[str]:
    """The partitions of a table that Dagster shows as materialized."""
    return set(instance.get_materialized_partitions(dg.AssetKey(table)))


def add_backfill(
    instance: dg.DagsterInstance,
    status: BulkActionStatus,
    tags: Mapping[str, str],
    partition_keys: Sequence[str],
    *,
    submitted_days_ago: float = 0.0,
    ended_days_ago: float = 0.0,
) -> PartitionBackfill:
    """A backfill as the daemon finds it: of the job `ingest`, with no run yet."""
    has_ended = status in (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED)
    backfill = PartitionBackfill(
        backfill_id=f"backfill{len(instance.get_backfills())}",
        status=status,
        from_failure=False,
        tags=tags,
        backfill_timestamp=time.time() - submitted_days_ago * 86_400,
        backfill_end_timestamp=time.time() - ended_days_ago * 86_400 if has_ended else None,
        partition_names=list(partition_keys),
    )
    instance.add_backfill(backfill)
    return backfill


def add_asset_backfill(
    instance: dg.DagsterInstance, definitions: dg.Definitions, table: str, partition_keys: Sequence[str]
) -> PartitionBackfill:
    """A backfill as the UI makes it of a table's partitions that were selected there."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=f"backfill{len(instance.get_backfills())}",
        asset_graph=definitions.resolve_asset_graph(),
        partition_names=list(partition_keys),
        asset_selection=[dg.AssetKey(table)],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers(base_url: str) -> bool:
    """Whether Dagster's UI is there."""
    try:
        with urllib.request.urlopen(f"{base_url}/server_info", timeout=2):  # noqa: S310 - our own server
            return True
    except OSError:
        return False


def dagster_dev(place: Place, **environment: str) -> AbstractContextManager[str]:
    """`dagster dev` with further variables in its environment; gives its address."""
    return _served(place, ("dagster", "dev"), environment)


def dagster_webserver(place: Place) -> AbstractContextManager[str]:
    """The UI alone, without the daemon; gives its address."""
    return _served(place, ("dagster_webserver",), {})


@contextmanager
def quick_dagster(place: Place, **environment: str) -> Iterator[str]:
    """The UI and a daemon that looks after backfills, their followers and the queue every second; gives the address."""
    # Dagster has no settings for these, and reads them where it waits.
    quick = (
        "import dagster._daemon.controller as it; it.DEFAULT_DAEMON_INTERVAL_SECONDS = 1; "
        "it.RELOAD_WORKSPACE_INTERVAL = 3_600; "  # each time it starts a new code server
        "import dagster._daemon.sensor as it; it.MIN_INTERVAL_LOOP_TIME = 1; "
        "slow = it.is_under_min_interval; "
        f"it.is_under_min_interval = lambda state, sensor: sensor.name != {FOLLOWER!r} and slow(state, sensor); "
        "from dagster._core.run_coordinator import QueuedRunCoordinator as it; it.dequeue_interval_seconds = 1; "
        "from dagster._daemon.cli import main; main()"
    )
    with place.instance(), (place.root / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-c", quick, "run", "-w", "workspace.yaml"],
            cwd=REPOSITORY,
            env=place.environment | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            with _served(place, ("dagster_webserver",), environment) as base_url:  # both begin side by side
                yield base_url
        finally:
            with suppress(subprocess.TimeoutExpired, ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
                daemon.wait(15)
            kill_all_of(place)
            daemon.wait()


@contextmanager
def _served(place: Place, command: Sequence[str], environment: dict[str, str]) -> Iterator[str]:
    """One of Dagster's servers in a session of its own."""
    with place.instance():  # makes DAGSTER_HOME
        port = free_port()
    with (place.root / "dagster.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *("-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port))],
            cwd=REPOSITORY,
            env=place.environment | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        base_url = f"http://127.0.0.1:{port}"
        wait_for("the UI to answer", lambda: answers(base_url))
        yield base_url
    finally:
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(15)  # where SIGINT is ignored, so is SIGTERM
        kill_all_of(place)
        process.wait()


def processes_of(place: Place) -> list[int]:
    """Every process with this DAGSTER_HOME in its environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"DAGSTER_HOME={place.home}".encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


def kill_all_of(place: Place) -> None:
    """Nothing outlives the tests; also what a power cut does."""
    while found := processes_of(place):  # what was being started is found the next time
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
