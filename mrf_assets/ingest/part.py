"""Ingest one file of a network: fetch it, read it, filter it, stage it."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from mrf_assets.errors import AccessRefused, MrfError
from mrf_assets.extract import ReadCounts, Reader, Request
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.files import as_store_errors, require_room
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.ingest.provider_filter import kept_rows
from mrf_assets.ingest.results import FileResult, Progress, fetch_cost, total_cost
from mrf_assets.ingest.unchanged import plan_rows
from mrf_assets.lake.part_writer import PartWriter
from mrf_assets.lake.publish import Stage
from mrf_assets.schema import FILES, LAYOUT_VERSION, PLANS, PROVIDERS, RATES, REJECTS
from mrf_assets.settings import Settings
from mrf_assets.stream.decompress import DecompressedFile, open_json
from mrf_assets.stream.raw_file import Opener
from mrf_assets.stream.read_ahead import read_ahead
from mrf_assets.tasks import FileTask
from mrf_assets.whitelist import Whitelists

logger = logging.getLogger(__name__)

_WITH_PRICES = frozenset({"price", "rate", "item"})  # rejects that cost prices
_COLLECT_EVERY = 500_000  # objects made
# Tables of everything took 0.15 to 0.62 of the bytes of a gzip, and up to 0.1 of those of plain JSON: the shapes of
# mrf_assets_tests/factory.py at 60 MB. What a whitelist keeps of a file cannot be told before.
_TABLES_SHARE = {"gzip": 0.7, "zip": 0.7, "zlib": 0.7, "plain": 0.1}
_ROOM_EVERY_BYTES = 32 << 20  # of JSON


def options_of(task: FileTask, options: FetchOptions) -> FetchOptions:
    """How this file is fetched: what a stranger names has fewer rights."""
    return options.named_by(stranger=task.is_from_stranger)


def _by_reason(rejects: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts = Counter[str]()
    for (_, reason), count in rejects.items():
        counts[reason] += count
    return dict(counts)


@dataclass(frozen=True, slots=True)
class PartIngest:
    """Ingests one file at a time; holds what the files of one network share."""

    network_id: str
    settings: Settings
    whitelists: Whitelists
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
            if refusal.url != str(task.address):  # of a remote reference
                raise
            # What it imports takes 20 ms of every start, and few links expire.
            from mrf_assets.ingest.renewal import renewed_task  # noqa: PLC0415

            plan = TaskStore.under(self.settings.output_dir)
            renewed_file = renewed_task(task, refusal, plan, self._opener, limits=self.settings.limits)
        logger.info("%s: the link was refused, and its index has a new one", self.network_id)
        return self._ingest(renewed_file, label, on_progress)

    @property
    def _opener(self) -> Opener:
        return partial(open_url, options=self.fetch_options)

    def _ingest(self, task: FileTask, label: str, on_progress: Callable[[Progress], None]) -> FileResult:
        start = time.monotonic()
        counts, rejects = ReadCounts(), Counter[tuple[str, str]]()
        spool_dir = self.stage.directory if self.settings.spool_downloads else None
        logger.info("%s: reading %s", self.network_id, task.address)
        with (
            self.stage.part(label) as writer,
            open_url(task.address, options_of(task, self.fetch_options).changed(spool_dir=spool_dir)) as raw,
            _rare_collections(),
            ExitStack() as stack,
        ):
            source = open_json(raw, limits=self.settings.limits)
            stack.enter_context(_recording_cost(source))
            blocks = read_ahead(source.blocks(), raw.close) if self.settings.read_ahead else source.blocks()
            json_blocks = self._with_progress(stack.enter_context(closing(blocks)), source, task, counts, on_progress)
            request = Request(
                url=str(task.address),
                file_id=task.file_id,
                codes=self.whitelists.codes,
                # Addresses in a file are its publisher's.
                open_url=partial(open_url, options=self.fetch_options.named_by(stranger=not raw.is_private)),
                provider_batch_rows=self.settings.provider_batch_size,
                rate_batch_rows=self.settings.rate_batch_size,
                spool_dir=self.stage.directory,
                limits=self.settings.limits,
            )
            for table, batch in self.reader(json_blocks, request, counts):
                writer.write(table, batch)
                if table == REJECTS.name:
                    rejects.update(
                        zip(*(batch.column(name).to_pylist() for name in ("dropped", "reason")), strict=True)
                    )
            counts.repairs.update(source.repairs)
            period, period_source = _period(task, counts)
            row = self._file_row(task, source, counts) | {"period_source": period_source, "providers_filtered": 0}
            if not self._is_filtered:
                self._close_part(writer, task, row)
        if self._is_filtered:
            self._filter_part(label, task, row, writer.rows[PROVIDERS.name])
        self.stage.settle(label, period)
        seconds = time.monotonic() - start
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

    def _with_progress(
        self,
        blocks: Iterator[bytes],
        source: DecompressedFile,
        task: FileTask,
        counts: ReadCounts,
        on_progress: Callable[[Progress], None],
    ) -> Iterator[bytes]:
        """The blocks, with progress told every few seconds and the room on the disk looked at every few."""
        start = last_report = time.monotonic()
        looked_bytes = 0
        for number, block in enumerate(blocks):
            if number == 0 or source.json_size_bytes - looked_bytes >= _ROOM_EVERY_BYTES:
                looked_bytes = source.json_size_bytes
                self._require_room(source, read_bytes=source.size_bytes if number else 0)
            yield block
            now = time.monotonic()
            if now - last_report >= self.progress_every_seconds:
                last_report = now
                on_progress(
                    Progress(
                        network_id=self.network_id,
                        filename=task.filename,
                        read_bytes=source.size_bytes,
                        size_bytes=source.raw.size_bytes,
                        json_bytes=source.json_size_bytes,
                        rate_rows=counts.rate_rows,
                        seconds=now - start,
                    )
                )

    def _require_room(self, source: DecompressedFile, read_bytes: int) -> None:
        """Room for the rest of a file, as far as it can be told, and for what is to stay free."""
        expected_bytes = 0.0
        if self.whitelists.codes is None and source.raw.size_bytes is not None:
            rest_bytes = max(source.raw.size_bytes - read_bytes, 0)
            expected_bytes = rest_bytes * _TABLES_SHARE.get(source.container, 0) * (2 if self._is_filtered else 1)
        require_room(self.settings.output_dir.absolute(), self.settings.min_free_bytes, int(expected_bytes))

    def _file_row(self, task: FileTask, source: DecompressedFile, counts: ReadCounts) -> dict[str, Any]:
        return known_row(task, settings=self.settings, whitelists=self.whitelists) | {
            "container": source.container,
            "size_bytes": source.size_bytes,
            "json_size_bytes": source.json_size_bytes,
            "sha256": source.sha256,
            "etag": source.raw.etag,
            "last_modified": source.raw.last_modified,
            **counts.header,
            "items_read": counts.items_read,
            "items_kept": counts.items_kept,
            "prices_read": counts.prices_read,
            "rate_rows": counts.rate_rows,
            "prices_rejected": counts.prices_rejected,
            "prices_filtered": 0,
            "provider_groups_read": counts.provider_groups_read,
            "repairs": dict(sorted(counts.repairs.items())),
            "ignored_keys": dict(sorted(counts.ignored_keys.items())),
            "reader": self.settings.reader,
        }

    def _close_part(self, writer: PartWriter, task: FileTask, row: dict[str, Any]) -> None:
        """Write what is known at the end only: the file's own row, and its plans."""
        writer.write(FILES.name, pa.RecordBatch.from_pylist([row], schema=FILES.arrow))
        if plans := plan_rows(task):
            writer.write(PLANS.name, pa.RecordBatch.from_pylist(plans, schema=PLANS.arrow))

    @property
    def _is_filtered(self) -> bool:
        return self.whitelists.tins is not None or self.whitelists.leaves_groups_out(self.settings)

    def _batch_rows(self, table: str) -> int:
        return self.settings.provider_batch_size if table == PROVIDERS.name else self.settings.rate_batch_size

    def _filter_part(self, label: str, task: FileTask, row: dict[str, Any], provider_rows: int) -> None:
        """Write the part once more, with the wanted providers alone."""
        unfiltered = self.stage.set_aside(label)
        tins, referenced_only = self.whitelists.tins, self.whitelists.leaves_groups_out(self.settings)
        with self.stage.part(label) as writer:
            for table, batch in kept_rows(unfiltered, self._batch_rows, tins=tins, referenced_only=referenced_only):
                writer.write(table, batch)
            row["providers_filtered"] = provider_rows - writer.rows[PROVIDERS.name]
            row["prices_filtered"] = row["rate_rows"] - writer.rows[RATES.name]
            row["rate_rows"] = writer.rows[RATES.name]
            self._close_part(writer, task, row)
        for path in unfiltered.values():
            path.unlink()


def known_row(task: FileTask, *, settings: Settings, whitelists: Whitelists) -> dict[str, Any]:
    """What stands in a `files` row whatever the file's content is.

    A setting that changes rows must leave a trace here: `unchanged` compares what is published with it.
    """
    identity, codes, tins = task.identity, whitelists.codes, whitelists.tins
    return {
        "file_id": task.file_id,
        "source_url": str(task.address),
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
        "referenced_groups_only": whitelists.leaves_groups_out(settings),
        "layout_version": LAYOUT_VERSION,
    }


@contextmanager
def _recording_cost(source: DecompressedFile) -> Iterator[None]:
    """On the error that ends it: a download that failed costs what it cost."""
    try:
        yield
    except MrfError as error:
        error.cost = total_cost(fetch_cost(source.size_bytes, source.raw.transfer), error.cost)
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


def _period(task: FileTask, counts: ReadCounts) -> tuple[str, str]:
    """(YYYY-MM, where it was taken from).

    The header comes after name and index: `last_updated_on` 2020-08-27 stood in a file of September 2022.
    """
    if task.identity.period:
        return task.identity.period, "name"
    if task.index_period:
        return task.index_period, "index"
    if last_updated := counts.header.get("last_updated_on"):
        return f"{last_updated.year:04d}-{last_updated.month:02d}", "last_updated_on"  # %Y does not pad the year 202
    return f"{dt.datetime.now(tz=dt.UTC):%Y-%m}", "download"
