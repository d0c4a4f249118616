"""Ingest one network: its files (`part`), their audit, their publication. All callers share it.

`ingest` is what the Dagster assets, `mrf run` and `mrf extract` do with one partition key.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import MrfError, SettingError, WhitelistKeepsNothing
from mrf_assets.extract import READERS
from mrf_assets.fetch import FetchOptions, Validators, probe
from mrf_assets.ingest.parallel import in_processes
from mrf_assets.ingest.part import PartIngest, known_row, options_of
from mrf_assets.ingest.results import FileResult, NetworkResult, Progress, cost_of_files, total_cost
from mrf_assets.ingest.unchanged import UnchangedPart, unchanged_parts
from mrf_assets.lake.publish import Stage
from mrf_assets.lake.store import Store, part_labels
from mrf_assets.quality.network_audit import audit
from mrf_assets.schema import FILES, RATES, REJECTS
from mrf_assets.settings import NETWORK_PATHS, Settings
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.tasks import FileTask
from mrf_assets.whitelist import Whitelists

logger = logging.getLogger(__name__)


def settings_of(tasks: Iterable[FileTask], settings: Settings) -> Settings:
    """The settings of a network: those of the run, and over them what its files bring along.

    Raises:
        SettingError: Unknown or unusable arguments, or two files that do not agree.
    """
    arguments: dict[str, str] = {}
    for task in tasks:
        for name, text in task.arguments.items():
            if arguments.setdefault(name, text) != text:
                what = f"is {arguments[name]!r} and {text!r} in files of {task.network_id}; give all of them one value"
                raise SettingError(f"extra_args.{name}", what)
    return settings.with_arguments(arguments)


def with_checked_arguments(tasks: Iterable[FileTask], settings: Settings) -> Iterator[FileTask]:
    """The same tasks, their whitelists read once and named by absolute paths: a run may start anywhere.

    Raises:
        InputError: Arguments that a file may not have, or that cannot be used.
    """
    absolute_arguments: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for task in tasks:
        if not task.arguments:
            yield task
            continue
        arguments = tuple(sorted(task.arguments.items()))
        if arguments not in absolute_arguments:
            own = settings.with_arguments(task.arguments)
            Whitelists.of(own)
            paths = {name: str(getattr(own, name).absolute()) for name in NETWORK_PATHS if name in task.arguments}
            absolute_arguments[arguments] = {**task.arguments, **paths}
        yield replace(task, extra_args=absolute_arguments[arguments])


def ingest(
    network_id: str,
    tasks: Sequence[FileTask],
    settings: Settings,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    *,
    progress_every_seconds: float = 5.0,
    fetch_options: FetchOptions | None = None,
) -> NetworkResult:
    """Fetch, extract, audit and publish the files of one network.

    Nothing is published before every file is read and every period has passed its audit; then
    the periods are published one by one, each in one step, the oldest first. Failed blocking
    checks are told in the result (`require_published`), all else raises. Whoever ingests the same
    meanwhile, in whatever process, waits for its turn (`Store.turn`). With `skip_unchanged`, a
    network whose files are all published as they are is left alone (`unchanged_since`). Files are
    fetched as the settings say, unless `fetch_options` says it. What the files bring along
    (`FileTask.arguments`) wins over the settings.

    Raises:
        MrfError: As its class says; nothing was published.
    """
    settings = settings_of(tasks, settings)
    reader = READERS[settings.reader]
    store, whitelists = Store(settings.output_dir.absolute(), settings.grace_seconds), Whitelists.of(settings)
    for warning in whitelists.warnings:
        _warn_once(warning)
    fetch_options = fetch_options or FetchOptions.of(settings)
    labels = part_labels(tasks)
    parts = [(task, labels[task.file_id]) for task in tasks]
    with store.turn(network_id, list(labels.values())):
        start_time, start, cpu_before = dt.datetime.now(tz=dt.UTC), time.monotonic(), _cpu_seconds()
        published_parts: Sequence[UnchangedPart] = ()
        if settings.skip_unchanged:
            probe_file = partial(_validators_of, fetch_options)
            published_parts = unchanged_parts(
                store, parts, partial(known_row, settings=settings, whitelists=whitelists), probe_file
            )
        if published_parts:
            result = _as_published(network_id, published_parts, store, settings)
        else:
            with store.stage(network_id) as stage:
                work = PartIngest(
                    network_id, settings, whitelists, reader, stage, fetch_options, progress_every_seconds
                )
                result = _ingested(work, parts, store, on_progress)
    seconds = time.monotonic() - start
    return replace(result, start_time=start_time, seconds=seconds, cpu_seconds=_cpu_seconds() - cpu_before)


@cache
def _warn_once(text: str) -> None:
    """A worker ingests many networks with one whitelist."""
    logger.warning("%s", text)


def _ingested(
    work: PartIngest, parts: Sequence[tuple[FileTask, str]], store: Store, on_progress: Callable[[Progress], None]
) -> NetworkResult:
    """Read the parts and publish what passes its audit."""
    stage, settings = work.stage, work.settings
    processes = min(settings.part_processes or 1, len(parts))
    if processes > 1:
        files = in_processes(work.ingest_file, parts, processes, on_progress)
    else:
        files = list(_one_by_one(work, parts, on_progress))
    # What reading took is kept for more of it: 90 to 110 MB of a 1.3 GB file, which the audit would stand beside.
    pa.default_memory_pool().release_unused()
    with store.publication(work.network_id):
        result = NetworkResult(
            network_id=work.network_id,
            files=files,
            carried_parts=[part for period in stage.periods() for part in stage.carry_over(period)],
            checks={
                period: audit(stage.tables(period), work.whitelists.codes, spill_dir=stage.directory)
                for period in stage.periods()
            },
        )
        if not result.failed_checks:
            if not settings.allow_empty:
                _refuse_to_empty(store, stage, files)
            table_files = [file for period in stage.periods() for file in stage.publish(period)]
            result = replace(result, published=table_files, pruned_periods=_prune(store, result, settings))
    return result


def _refuse_to_empty(store: Store, stage: Stage, files: Sequence[FileResult]) -> None:
    """Raise where a whitelist leaves no price of a period, and the period, or the latest one, has prices."""
    for period in stage.periods():
        rows = [file.row for file in files if file.period == period]
        is_by_whitelist = any(row["items_kept"] < row["items_read"] or row["prices_filtered"] for row in rows)
        if is_by_whitelist and not any(map(_parquet_rows, stage.tables(period)[RATES.name])):
            published_periods = store.periods(stage.network_id)
            before = period if period in published_periods else published_periods[-1] if published_periods else None
            paths = store.tables(stage.network_id, before)[RATES.name] if before else []
            if published_rows := sum(map(_parquet_rows, paths)):
                items_read = sum(row["items_read"] for row in rows)
                error = WhitelistKeepsNothing(stage.network_id, period, items_read, published_rows)
                error.cost = cost_of_files(files)
                raise error


def _parquet_rows(path: Path) -> int:
    """Rows of a table; none where it is damaged, for then there is nothing to lose."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0


def _one_by_one(
    work: PartIngest, parts: Sequence[tuple[FileTask, str]], on_progress: Callable[[Progress], None]
) -> Iterator[FileResult]:
    """Every part; the error of one tells what the parts before it took, too."""
    so_far: dict[str, int] = {}
    for part in parts:
        try:
            file = work.ingest_file(part, on_progress)
        except MrfError as error:
            error.cost = total_cost(so_far, error.cost)
            raise
        so_far = total_cost(so_far, cost_of_files([file]))
        yield file


def _validators_of(options: FetchOptions, task: FileTask) -> Validators | None:
    return probe(task.address, options_of(task, options))


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _prune(store: Store, result: NetworkResult, settings: Settings) -> list[str]:
    keep_periods = settings.keep_periods
    return [] if keep_periods is None else store.prune(result.network_id, keep_periods, exempt_periods=result.periods)


def _as_published(network_id: str, parts: Sequence[UnchangedPart], store: Store, settings: Settings) -> NetworkResult:
    """A network that is left alone, as its tables tell."""
    logger.info("%s: unchanged, %d file(s) are published as they are", network_id, len(parts))
    files = [
        FileResult(
            task=part.task,
            period=part.period,
            row=part.row,
            rejects=_reasons(part.files[REJECTS.name].path),
            transfer=TransferCounts(),
            seconds=0.0,
        )
        for part in parts
    ]
    result = NetworkResult(
        network_id=network_id, files=files, checks={}, unchanged_since=max(part.extraction_time for part in parts)
    )
    table_files = [file for period in result.periods for file in store.files(network_id, period)]
    labels = {part.files[FILES.name].label for part in parts}
    with store.publication(network_id):
        pruned_periods = _prune(store, result, settings)
    return replace(
        result,
        published=table_files,
        carried_parts=sorted({file.label for file in table_files} - labels),
        pruned_periods=pruned_periods,
    )


def _reasons(path: Path) -> dict[str, int]:
    """How often each reason stands in a file of rejects."""
    counts = pq.read_table(path, columns=["reason"])["reason"].value_counts()
    return {str(each["values"]): each["counts"].as_py() for each in counts}
