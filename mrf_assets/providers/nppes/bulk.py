"""The NPPES bulk files: found on their page, downloaded, kept as parquet, joined with our NPIs.

    <folder>/NPPES_Data_Dissemination_November_2026_V2.parquet      the month, some 10 million NPIs
    <folder>/NPPES_Data_Dissemination_110926_111526_Weekly_V2.parquet   changes of a week

The names of the files change (`_V2`, re-cuts as `_V3`), so they are read from the page and never made up.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, Protocol, cast

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mrf_assets.errors import CorruptArchive, StoreError, UnsupportedContent
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.providers.nppes.bulk_archive import NpiLines, columns_of, corrupt, npi_lines, reason_of
from mrf_assets.providers.nppes.bulk_columns import COLUMNS, EXPRESSIONS, REPAIRS
from mrf_assets.providers.nppes.bulk_listing import BulkFile, read_listing
from mrf_assets.schema import NPI_REGISTRY
from mrf_assets.stream.raw_file import Opener
from mrf_assets.urls.address import Address

logger = logging.getLogger(__name__)

_MAX_PAGE_BYTES = 10 << 20
_BLOCK_BYTES = 4 << 20
_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "1GB", "threads": 2}
_ROWS_AT_ONCE = 10_000
_UNTIL: Final = "data_until"
_STATE: Final = "source_state"  # of the zip, as the server told it: `FileState` as JSON
_MIN_SHARE = 0.5  # of the NPIs of the month before, or of the lines of the file; less is a file cut short
_TOLD_BYTES = 100 << 20


class Stated(Protocol):
    """What a server says of a file's present state."""

    @property
    def etag(self) -> str | None: ...  # noqa: D102 - as HTTP names it
    @property
    def last_modified(self) -> str | None: ...  # noqa: D102
    @property
    def size_bytes(self) -> int | None: ...  # noqa: D102


Probe = Callable[[str], Stated | None]  # None: nothing can be learned


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """The same, kept with what was made of the file."""

    etag: str | None
    last_modified: str | None
    size_bytes: int | None

    @classmethod
    def of(cls, validators: Stated) -> FileState:
        """Out of a server's answer."""
        return cls(etag=validators.etag, last_modified=validators.last_modified, size_bytes=validators.size_bytes)

    def differs_from(self, other: FileState) -> bool:
        """True where both tell of another file; ETags last, for servers behind one balancer differ in theirs."""
        pairs = [(self.size_bytes, other.size_bytes), (self.last_modified, other.last_modified)]
        if None in pairs[1]:
            pairs.append((self.etag, other.etag))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


class BulkRegistry:
    """The bulk files of a folder, as one table of NPIs; the latest word on each counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.received_bytes = 0  # downloaded by this object
        self.repairs: Counter[str] = Counter()  # in what it downloaded; the kinds stand in docs/repairs.md

    @property
    def paths(self) -> list[Path]:
        """The parquet files that are here."""
        return sorted(self.folder.glob("NPPES_*.parquet"))

    def refresh(
        self, page_url: str, open_url: Opener, probe: Probe = lambda _: None, *, weekly: bool = True
    ) -> list[str]:
        """Have what the page lists, and nothing else; returns the names of what was downloaded.

        A file that is here already is asked about, and downloaded again only if the server has another under its
        name: CMS mends files in place. Old files go when the new ones are complete.

        Raises:
            FetchError: The page or a file cannot be had.
            StreamError: A file is not what it claims to be.
            StoreError: The folder cannot be written.
        """
        listing = read_listing(_read_page(page_url, open_url), page_url)
        files = listing.files if weekly else (listing.monthly,)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(fcntl.LOCK_EX):
                downloads = [file.name for file in files if self._have(file, open_url, probe)]
                current_paths = {self._path(file) for file in files}
                for leftover in {*self.paths, *self.folder.glob("*.new"), *self.folder.glob("*.zip")} - current_paths:
                    leftover.unlink()
        except (OSError, duckdb.IOException) as error:
            raise StoreError(
                str(self.folder),
                f"cannot be written ({reason_of(error)}); the bulk file needs some 3 GB of room",
            ) from error
        return downloads

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """The folder to ourselves, or with other readers: `mrf enrich` and the asset share it."""
        handle = os.open(self.folder, os.O_RDONLY)  # a lock on the folder itself leaves no file in it
        try:
            try:
                fcntl.flock(handle, how | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: another process works on the bulk files; this one waits", self.folder)
                fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)

    def rows(self, npis: pa.Table) -> Iterator[pa.RecordBatch]:
        """`schema.NPI_REGISTRY` of those NPIs (a table with a column `npi`) that are here, in order.

        Raises:
            StoreError: A file cannot be read.
        """
        if not self.folder.exists():
            return
        try:
            with self._locked(fcntl.LOCK_SH):
                yield from self._rows(npis)
        except (OSError, duckdb.Error, pa.ArrowException) as error:
            raise StoreError(
                str(self.folder), f"cannot be read ({reason_of(error)}); delete it, and the files are downloaded again"
            ) from error

    def _rows(self, npis: pa.Table) -> Iterator[pa.RecordBatch]:
        if not self.paths:
            return
        with duckdb.connect(config=_LIMITS) as connection:
            connection.register("wanted", npis.select(["npi"]))
            columns = ", ".join(NPI_REGISTRY.arrow.names)
            ranked_rows = " UNION ALL ".join(
                f"SELECT {columns}, {rank} AS rank FROM read_parquet({_literal(pattern_of(path))})"  # noqa: S608 - quoted
                for rank, path in enumerate(sorted(self.paths, key=_data_until))
            )
            relation = connection.sql(
                f"SELECT * EXCLUDE (rank) FROM ({ranked_rows}) SEMI JOIN wanted USING (npi) "  # noqa: S608 - the same
                "QUALIFY row_number() OVER (PARTITION BY npi ORDER BY rank DESC) = 1 ORDER BY npi"
            )
            for batch in () if relation is None else relation.to_arrow_reader(_ROWS_AT_ONCE):
                yield batch.cast(NPI_REGISTRY.arrow)

    def _path(self, file: BulkFile) -> Path:
        return self.folder / f"NPPES{Path(file.name).stem[5:]}.parquet"  # pages write it in any case

    def _have(self, file: BulkFile, open_url: Opener, probe: Probe) -> bool:
        """Make one file's parquet, unless it is here; true if it was made."""
        target = self._path(file)
        if target.exists() and not _has_changed(target, probe(file.url)):
            return False
        archive = self.folder / file.name
        partial = target.with_name(target.name + ".new")
        fetched_at = dt.datetime.now(tz=dt.UTC)
        try:
            received_bytes, state = _download(file.url, archive, open_url)
            self.received_bytes += received_bytes
            result = write_parquet(archive, partial, file.name, fetched_at, state)
            if not _is_weekly(file.name):
                self._require_whole(file.name, result.rows)
            partial.replace(target)
        finally:
            archive.unlink(missing_ok=True)  # a gigabyte
            partial.unlink(missing_ok=True)
        for kind, count in result.repairs.items():
            logger.warning("%s: %s: %d (docs/repairs.md says what is done)", file.name, kind, count)
        self.repairs.update(result.repairs)
        return True

    def _require_whole(self, name: str, rows: int) -> None:
        """A month without NPIs, or with far fewer than the one that is here, was cut short: it is not kept."""
        before = max((_rows_before(path) for path in self.paths if not _is_weekly(path.name)), default=0)
        if not rows or rows < _MIN_SHARE * before:
            raise CorruptArchive(
                name, f"has {rows:,} NPIs, and the month before {before:,}; it was cut short: download it again later"
            )


def _read_page(url: str, open_url: Opener) -> bytes:
    page = b""
    with open_url(Address(url)) as raw:
        while len(page) < _MAX_PAGE_BYTES and (block := raw.read(_MAX_PAGE_BYTES - len(page))):
            page += block
    return page


def _is_weekly(name: str) -> bool:
    return "_weekly" in name.lower()


def _has_changed(target: Path, now: Stated | None) -> bool:
    """True where the server has another file now than what this was made of, or this cannot be read any more."""
    try:
        stored_state = (pq.read_metadata(target).metadata or {}).get(_STATE.encode())
    except (OSError, pa.ArrowException):
        return True
    return (
        now is not None
        and stored_state is not None
        and FileState(**json.loads(stored_state)).differs_from(FileState.of(now))
    )


def _rows_of(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _rows_before(path: Path) -> int:
    """0 where it is damaged: it judges no other."""
    try:
        return _rows_of(path)
    except (OSError, pa.ArrowException):
        return 0


def _download(url: str, target: Path, open_url: Opener) -> tuple[int, FileState]:
    """Bytes received, and what the server said of the file."""
    partial = target.with_name(target.name + ".new")
    received_bytes = reported_bytes = 0
    with open_url(Address(url)) as raw, partial.open("wb") as file:
        state = FileState.of(raw)
        while block := raw.read(_BLOCK_BYTES):
            file.write(block)
            received_bytes += len(block)
            if received_bytes - reported_bytes >= _TOLD_BYTES:
                reported_bytes = received_bytes
                logger.info("%s: %.0f MB", target.name, received_bytes / 1e6)
    partial.replace(target)
    return received_bytes, state


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of one zip."""

    rows: int
    repairs: Counter[str]  # by kind


def write_parquet(
    archive: Path, target: Path, name: str, fetched_at: dt.datetime, state: FileState | None = None
) -> Written:
    """Stream the NPIs out of a dissemination zip into parquet.

    The other members (other names, practice locations, endpoints, headers, readme) are not read.

    Raises:
        CorruptArchive: Not a zip, it broke, or most of its lines have no NPI.
        UnsupportedContent: It has no `npidata_pfile_*.csv`, or that lacks a column that is needed.
        duckdb.IOException: The target cannot be written.
    """
    columns = columns_of(archive, name)
    with npi_lines(archive, name) as lines:
        for column in COLUMNS:
            if columns.count(column) != 1:
                how_often = f"{columns.count(column)} times the" if column in columns else "no"
                what = f"{lines.member} has {how_often} column {column!r}"
                raise UnsupportedContent(name, f"{what}; CMS changed it: report it")
        try:
            line_count, repairs = _write(lines, target, name, fetched_at, state)
        except (pa.ArrowException, duckdb.Error) as error:
            if lines.damage is None and isinstance(error, duckdb.IOException):  # of the target
                raise
            raise corrupt(name, lines.damage or reason_of(error)) from error
    rows = _rows_of(target)
    if rows < _MIN_SHARE * line_count:
        raise CorruptArchive(name, f"only {rows:,} of its {line_count:,} lines have an NPI; download it again")
    repairs |= {"bulk_byte_not_unicode": lines.repaired_bytes, "bulk_line_without_npi": line_count - rows}
    return Written(rows=rows, repairs=+repairs)


def _write(
    lines: NpiLines, target: Path, name: str, fetched_at: dt.datetime, state: FileState | None
) -> tuple[int, Counter[str]]:
    """Lines read, and repairs by kind."""
    # benchmarks/NOTES.md, "NPPES": Arrow's reader takes half the time of DuckDB's through a pipe.
    reader = pa_csv.open_csv(
        cast("IO[bytes]", lines),  # Arrow wants `read` and `closed` alone
        read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            include_columns=list(COLUMNS),
            column_types=dict.fromkeys(COLUMNS, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    line_count = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal line_count
        for batch in reader:
            line_count += batch.num_rows
            yield batch

    constants = {
        "source": _literal("bulk"),
        "source_file": _literal(name),
        "fetched_at": f"TIMESTAMPTZ {_literal(fetched_at.isoformat())}",
    }
    absent_columns = {"other_names": "CAST(NULL AS VARCHAR[])", "practice_locations": "CAST(NULL AS INTEGER)"}
    sources = {**EXPRESSIONS, **constants, **absent_columns}
    select_list = [f"{sources.get(name, 'CAST(NULL AS VARCHAR)')} AS {name}" for name in NPI_REGISTRY.arrow.names]
    select_list += [f"{expression} AS {kind}" for kind, expression in REPAIRS.items()]
    notes = {_UNTIL: lines.until.isoformat()} | ({} if state is None else {_STATE: json.dumps(asdict(state))})
    metadata = ", ".join(f"{key}: {_literal(value)}" for key, value in notes.items())
    with duckdb.connect(config=_LIMITS) as connection:
        connection.register("lines", pa.RecordBatchReader.from_batches(reader.schema, batches()))
        connection.execute(
            f"COPY (SELECT {', '.join(select_list)} FROM lines WHERE {EXPRESSIONS['npi']} IS NOT NULL) "  # noqa: S608 - constants
            f"TO {_literal(str(target))} (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{metadata}}})"
        )
        sums = connection.execute(
            f"SELECT {', '.join(f'sum({kind})' for kind in REPAIRS)} FROM read_parquet({_literal(pattern_of(target))})"  # noqa: S608 - constants
        ).fetchone()
    return line_count, Counter({kind: int(count or 0) for kind, count in zip(REPAIRS, sums or (), strict=True)})


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _data_until(path: Path) -> tuple[str, bool]:
    """Until when a file knows; of two with the same day the weekly one is newer."""
    metadata = pq.read_metadata(path).metadata or {}
    return metadata.get(_UNTIL.encode(), b"").decode(), _is_weekly(path.name)
