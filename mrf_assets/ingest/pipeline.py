"""The road of one network: fetch, extract, audit, publish. All callers share it.

`ingest` is what the Dagster assets, `mrf run` and `mrf extract` do with one partition key.
"""

from __future__ import annotations

import datetime as dt
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import AccessRefused, MrfError, SettingError, WhitelistKeepsNothing
from mrf_assets.extract import READERS, Reader, Request, Tally
from mrf_assets.fetch import FetchOptions, Validators, open_url, probe
from mrf_assets.files import as_store_errors, require_room
from mrf_assets.ingest.parallel import in_processes
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.ingest.provider_filter import kept_rows
from mrf_assets.ingest.results import FileResult, NetworkResult, Progress, spent, spent_on, spent_together
from mrf_assets.ingest.unchanged import UnchangedPart, plan_rows, unchanged_parts
from mrf_assets.lake.store import PartWriter, Stage, Store, part_labels
from mrf_assets.quality.network_rules import audit
from mrf_assets.schema import FILES, LAYOUT_VERSION, PLANS, PROVIDERS, RATES, REJECTS
from mrf_assets.settings import NETWORK_PATHS, Settings
from mrf_assets.stream.decompress import DecompressedFile, Opener, TransferCounts, open_json, read_ahead
from mrf_assets.tasks import FileTask
from mrf_assets.whitelist import Whitelists

logger = logging.getLogger(__name__)

_WITH_PRICES = frozenset({"price", "rate", "item"})  # rejects that cost prices
_COLLECT_EVERY = 500_000  # objects made
# Tables of everything took 0.15 to 0.62 of the bytes of a gzip, and up to 0.1 of those of plain JSON: the shapes of
# mrf_assets_tests/factory.py at 60 MB. What a whitelist keeps of a file cannot be told before.
_TABLES_SHARE = {"gzip": 0.7, "zip": 0.7, "zlib": 0.7, "plain": 0.1}
_ROOM_EVERY_BYTES = 32 << 20  # of JSON


def settings_of(tasks: Iterable[FileTask], settings: Settings) -> Settings:
    """The settings of a network: those of the run, and over them what its files bring along.

    Raises:
        SettingError: Unknown or unusable arguments, or two files that do not agree.
    """
    arguments: dict[str, str] = {}
    for task in tasks:
        for name, text in task.extra_args.items():
            if arguments.setdefault(name, text) != text:
                what = f"is {arguments[name]!r} and {text!r} in files of {task.network_id}; give all of them one value"
                raise SettingError(f"extra_args.{name}", what)
    return settings.with_arguments(arguments)


def with_checked_arguments(tasks: Iterable[FileTask], settings: Settings) -> Iterator[FileTask]:
    """The same tasks, their whitelists read once and named by absolute paths: a run may start anywhere.

    Raises:
        InputError: Arguments that a file may not have, or that cannot be used.
    """
    checked: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for task in tasks:
        if not task.extra_args:
            yield task
            continue
        given = tuple(sorted(task.extra_args.items()))
        if given not in checked:
            own = settings.with_arguments(task.extra_args)
            Whitelists.of(own)
            paths = {name: str(getattr(own, name).absolute()) for name in NETWORK_PATHS if name in task.extra_args}
            checked[given] = {**task.extra_args, **paths}
        yield replace(task, extra_args=checked[given])


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
    (`FileTask.extra_args`) wins over the settings.

    Raises:
        MrfError: As its class says; nothing was published.
    """
    settings = settings_of(tasks, settings)
    reader = READERS[settings.reader]
    store, wanted = Store(settings.output_dir.absolute(), settings.grace_seconds), Whitelists.of(settings)
    for warning in wanted.warnings:
        _warn_once(warning)
    fetch_options = fetch_options or FetchOptions.of(settings)
    labels = part_labels(tasks)
    parts = [(task, labels[task.file_id]) for task in tasks]
    with store.turn(network_id, list(labels.values())):
        began, started, cpu_before = dt.datetime.now(tz=dt.UTC), time.monotonic(), _cpu_seconds()
        standing: Sequence[UnchangedPart] = ()
        if settings.skip_unchanged:
            asked = partial(_said_of, fetch_options)
            standing = unchanged_parts(store, parts, partial(_known_row, settings=settings, wanted=wanted), asked)
        if standing:
            result = _as_published(network_id, standing, store, settings)
        else:
            with store.stage(network_id) as stage:
                work = _Work(network_id, settings, wanted, reader, stage, fetch_options, progress_every_seconds)
                result = _ingested(work, parts, store, on_progress)
    seconds = time.monotonic() - started
    return replace(result, started=began, seconds=seconds, cpu_seconds=_cpu_seconds() - cpu_before)


@cache
def _warn_once(text: str) -> None:
    """A worker ingests many networks with one whitelist."""
    logger.warning("%s", text)


def _ingested(
    work: _Work, parts: Sequence[tuple[FileTask, str]], store: Store, on_progress: Callable[[Progress], None]
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
                period: audit(stage.tables(period), work.wanted.codes, spill_dir=stage.directory)
                for period in stage.periods()
            },
        )
        if not result.failed_checks:
            if not settings.allow_empty:
                _refuse_to_empty(store, stage, files)
            published = [file for period in stage.periods() for file in stage.publish(period)]
            result = replace(result, published=published, pruned_periods=_prune(store, result, settings))
    return result


def _refuse_to_empty(store: Store, stage: Stage, files: Sequence[FileResult]) -> None:
    """Raise where a whitelist leaves no price of a period, and the period, or the latest one, has prices."""
    for period in stage.periods():
        rows = [file.row for file in files if file.period == period]
        is_by_whitelist = any(row["items_kept"] < row["items_read"] or row["prices_filtered"] for row in rows)
        if is_by_whitelist and not any(map(_parquet_rows, stage.tables(period)[RATES.name])):
            known = store.periods(stage.network_id)
            before = period if period in known else known[-1] if known else None
            paths = store.tables(stage.network_id, before)[RATES.name] if before else []
            if published := sum(map(_parquet_rows, paths)):
                items_read = sum(row["items_read"] for row in rows)
                error = WhitelistKeepsNothing(stage.network_id, period, items_read, published)
                error.spent = spent_on(files)
                raise error


def _parquet_rows(path: Path) -> int:
    """Rows of a table; none where it is damaged, for then there is nothing to lose."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0


def _one_by_one(
    work: _Work, parts: Sequence[tuple[FileTask, str]], on_progress: Callable[[Progress], None]
) -> Iterator[FileResult]:
    """Every part; the error of one tells what the parts before it took, too."""
    so_far: dict[str, int] = {}
    for part in parts:
        try:
            file = work.ingest_file(part, on_progress)
        except MrfError as error:
            error.spent = spent_together(so_far, error.spent)
            raise
        so_far = spent_together(so_far, spent_on([file]))
        yield file


def _options_of(task: FileTask, options: FetchOptions) -> FetchOptions:
    return options.named_by(stranger=task.is_from_stranger)


def _said_of(options: FetchOptions, task: FileTask) -> Validators | None:
    return probe(task.url, _options_of(task, options))


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _prune(store: Store, result: NetworkResult, settings: Settings) -> list[str]:
    keep = settings.keep_periods
    return [] if keep is None else store.prune(result.network_id, keep, spared=result.periods)


def _as_published(
    network_id: str, standing: Sequence[UnchangedPart], store: Store, settings: Settings
) -> NetworkResult:
    """A network that is left alone, as its tables tell."""
    logger.info("%s: unchanged, %d file(s) are published as they are", network_id, len(standing))
    files = [
        FileResult(
            task=part.task,
            period=part.period,
            row=part.row,
            rejects=_reasons(part.files[REJECTS.name].path),
            transfer=TransferCounts(),
            seconds=0.0,
        )
        for part in standing
    ]
    result = NetworkResult(
        network_id=network_id, files=files, checks={}, unchanged_since=max(part.written for part in standing)
    )
    published = [file for period in result.periods for file in store.files(network_id, period)]
    ours = {part.files[FILES.name].label for part in standing}
    with store.publication(network_id):
        pruned = _prune(store, result, settings)
    return replace(
        result,
        published=published,
        carried_parts=sorted({file.label for file in published} - ours),
        pruned_periods=pruned,
    )


def _reasons(path: Path) -> dict[str, int]:
    """How often each reason stands in a file of rejects."""
    counts = pq.read_table(path, columns=["reason"])["reason"].value_counts()
    return {str(each["values"]): each["counts"].as_py() for each in counts}


def _by_reason(rejects: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts = Counter[str]()
    for (_, reason), count in rejects.items():
        counts[reason] += count
    return dict(counts)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the files of one network share while they are ingested."""

    network_id: str
    settings: Settings
    wanted: Whitelists
    reader: Reader
    stage: Stage
    fetch_options: FetchOptions
    progress_every_seconds: float

    def ingest_file(self, part: tuple[FileTask, str], on_progress: Callable[[Progress], None]) -> FileResult:
        """Stage the tables of one file, with the label of its names, and settle them into their period.

        A link that is refused is renewed from the index once, and the file read from its start.
        """
        task, label = part
        # Here too: a part in a process of its own must not bring a full disk home as a bug.
        with as_store_errors(self.settings.output_dir.absolute()):
            return self._ingest_renewed(task, label, on_progress)

    def _ingest_renewed(self, task: FileTask, label: str, on_progress: Callable[[Progress], None]) -> FileResult:
        try:
            return self._ingest(task, label, on_progress)
        except AccessRefused as refusal:
            if refusal.url != task.canonical_url:  # of a remote reference
                raise
            # What it imports takes 20 ms of every start, and few links expire.
            from mrf_assets.ingest.renewal import renewed_task  # noqa: PLC0415

            plan = TaskStore.under(self.settings.output_dir)
            renewed = renewed_task(task, refusal, plan, self._opener, limits=self.settings.limits)
        logger.info("%s: the link was refused, and its index has a new one", self.network_id)
        return self._ingest(renewed, label, on_progress)

    @property
    def _opener(self) -> Opener:
        return partial(open_url, options=self.fetch_options)

    def _ingest(self, task: FileTask, label: str, on_progress: Callable[[Progress], None]) -> FileResult:
        started = time.monotonic()
        tally, rejects = Tally(), Counter[tuple[str, str]]()
        spool_dir = self.stage.directory if self.settings.spool_downloads else None
        logger.info("%s: reading %s", self.network_id, task.canonical_url)
        with (
            self.stage.part(label) as writer,
            open_url(task.url, replace(_options_of(task, self.fetch_options), spool_dir=spool_dir)) as raw,
            _rare_collections(),
            ExitStack() as reading,
        ):
            source = open_json(raw, limits=self.settings.limits)
            reading.enter_context(_noting_what_is_spent(source))
            blocks = read_ahead(source.blocks(), raw.close) if self.settings.read_ahead else source.blocks()
            watched = self._watched(reading.enter_context(closing(blocks)), source, task, tally, on_progress)
            request = Request(
                url=task.canonical_url,
                file_id=task.file_id,
                codes=self.wanted.codes,
                # Addresses in a file are its publisher's.
                open_url=partial(open_url, options=self.fetch_options.named_by(stranger=not raw.is_private)),
                provider_batch_rows=self.settings.provider_batch_size,
                rate_batch_rows=self.settings.rate_batch_size,
                spool_dir=self.stage.directory,
                limits=self.settings.limits,
            )
            for table, batch in self.reader(watched, request, tally):
                writer.write(table, batch)
                if table == REJECTS.name:
                    rejects.update(
                        zip(*(batch.column(name).to_pylist() for name in ("dropped", "reason")), strict=True)
                    )
            tally.repairs.update(source.repairs)
            period, period_source = _period(task, tally)
            row = self._file_row(task, source, tally) | {"period_source": period_source, "providers_filtered": 0}
            if not self._is_filtered:
                self._close_part(writer, task, row)
        if self._is_filtered:
            self._filter_part(label, task, row, writer.rows[PROVIDERS.name])
        self.stage.settle(label, period)
        seconds = time.monotonic() - started
        logger.info(
            "%s: read %s: %d rate rows of %d prices, %d rejects, %.1f MB of JSON in %.1f s",
            self.network_id, task.filename, row["rate_rows"], row["prices_read"], writer.rows[REJECTS.name],
            source.json_size_bytes / 1e6, seconds,
        )  # fmt: skip
        return FileResult(
            task=task,
            period=period,
            row=row,
            rejects=_by_reason(rejects),
            transfer=raw.transfer,
            seconds=seconds,
            price_rejects=_by_reason({key: count for key, count in rejects.items() if key[0] in _WITH_PRICES}),
        )

    def _watched(
        self,
        blocks: Iterator[bytes],
        source: DecompressedFile,
        task: FileTask,
        tally: Tally,
        on_progress: Callable[[Progress], None],
    ) -> Iterator[bytes]:
        """The blocks, with progress told every few seconds and the room on the disk looked at every few."""
        started = told = time.monotonic()
        looked_bytes = 0
        for number, block in enumerate(blocks):
            if number == 0 or source.json_size_bytes - looked_bytes >= _ROOM_EVERY_BYTES:
                looked_bytes = source.json_size_bytes
                self._require_room(source, read_bytes=source.size_bytes if number else 0)
            yield block
            now = time.monotonic()
            if now - told >= self.progress_every_seconds:
                told = now
                on_progress(
                    Progress(
                        network_id=self.network_id,
                        filename=task.filename,
                        read_bytes=source.size_bytes,
                        size_bytes=source.raw.size_bytes,
                        json_bytes=source.json_size_bytes,
                        rate_rows=tally.rate_rows,
                        seconds=now - started,
                    )
                )

    def _require_room(self, source: DecompressedFile, read_bytes: int) -> None:
        """Room for the rest of a file, as far as it can be told, and for what is to stay free."""
        coming = 0.0
        if self.wanted.codes is None and source.raw.size_bytes is not None:
            rest_bytes = max(source.raw.size_bytes - read_bytes, 0)
            coming = rest_bytes * _TABLES_SHARE.get(source.container, 0) * (2 if self._is_filtered else 1)
        require_room(self.settings.output_dir.absolute(), self.settings.min_free_bytes, int(coming))

    def _file_row(self, task: FileTask, source: DecompressedFile, tally: Tally) -> dict[str, Any]:
        return _known_row(task, settings=self.settings, wanted=self.wanted) | {
            "container": source.container,
            "size_bytes": source.size_bytes,
            "json_size_bytes": source.json_size_bytes,
            "sha256": source.sha256,
            "etag": source.raw.etag,
            "last_modified": source.raw.last_modified,
            **tally.header,
            "items_read": tally.items_read,
            "items_kept": tally.items_kept,
            "prices_read": tally.prices_read,
            "rate_rows": tally.rate_rows,
            "prices_rejected": tally.prices_rejected,
            "prices_filtered": 0,
            "provider_groups_read": tally.provider_groups_read,
            "repairs": dict(sorted(tally.repairs.items())),
            "ignored_keys": dict(sorted(tally.ignored_keys.items())),
            "reader": self.settings.reader,
        }

    def _close_part(self, writer: PartWriter, task: FileTask, row: dict[str, Any]) -> None:
        """Write what is known at the end only: the file's own row, and its plans."""
        writer.write(FILES.name, pa.RecordBatch.from_pylist([row], schema=FILES.arrow))
        if plans := plan_rows(task):
            writer.write(PLANS.name, pa.RecordBatch.from_pylist(plans, schema=PLANS.arrow))

    @property
    def _is_filtered(self) -> bool:
        return self.wanted.tins is not None or self.wanted.leaves_groups_out(self.settings)

    def _batch_rows(self, table: str) -> int:
        return self.settings.provider_batch_size if table == PROVIDERS.name else self.settings.rate_batch_size

    def _filter_part(self, label: str, task: FileTask, row: dict[str, Any], provider_rows: int) -> None:
        """Write the part once more, with the wanted providers alone."""
        unfiltered = self.stage.set_aside(label)
        tins, referenced_only = self.wanted.tins, self.wanted.leaves_groups_out(self.settings)
        with self.stage.part(label) as writer:
            for table, batch in kept_rows(unfiltered, self._batch_rows, tins=tins, referenced_only=referenced_only):
                writer.write(table, batch)
            row["providers_filtered"] = provider_rows - writer.rows[PROVIDERS.name]
            row["prices_filtered"] = row["rate_rows"] - writer.rows[RATES.name]
            row["rate_rows"] = writer.rows[RATES.name]
            self._close_part(writer, task, row)
        for path in unfiltered.values():
            path.unlink()


def _known_row(task: FileTask, *, settings: Settings, wanted: Whitelists) -> dict[str, Any]:
    """What stands in a `files` row whatever the file's content is.

    A setting that changes rows must leave a trace here: `unchanged` compares what is published with it.
    """
    identity, codes, tins = task.identity, wanted.codes, wanted.tins
    return {
        "file_id": task.file_id,
        "source_url": task.canonical_url,
        "mirror_urls": list(task.mirror_urls),
        "filename": task.filename,
        "part": identity.part,
        "parts": identity.parts,
        "network_scope": identity.scope,
        "raw_network_id": identity.raw_id,
        "variant": identity.variant,
        "network_id_rule": identity.rule,
        "network_id_rule_version": identity.rule_version,
        "code_whitelist_sha256": None if codes is None else codes.sha256,
        "tin_whitelist_sha256": None if tins is None else tins.sha256,
        "referenced_groups_only": wanted.leaves_groups_out(settings),
        "layout_version": LAYOUT_VERSION,
    }


@contextmanager
def _noting_what_is_spent(source: DecompressedFile) -> Iterator[None]:
    """On the error that ends it: a download that failed costs what it cost."""
    try:
        yield
    except MrfError as error:
        error.spent = spent_together(spent(source.size_bytes, source.raw.transfer), error.spent)
        raise


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Readers make millions of tuples and no cycles; looking for some costs 13 to 30 % (benchmarks/NOTES.md)."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _period(task: FileTask, tally: Tally) -> tuple[str, str]:
    """(YYYY-MM, where it was taken from).

    The header comes after name and index: `last_updated_on` 2020-08-27 stood in a file of September 2022.
    """
    if task.identity.period:
        return task.identity.period, "name"
    if task.index_period:
        return task.index_period, "index"
    if updated := tally.header.get("last_updated_on"):
        return f"{updated.year:04d}-{updated.month:02d}", "last_updated_on"  # %Y does not pad the year 202
    return f"{dt.datetime.now(tz=dt.UTC):%Y-%m}", "download"
