"""The NPPES bulk files: found on their page, downloaded, kept as parquet, joined with our NPIs.

    <folder>/NPPES_Data_Dissemination_November_2026_V2.parquet      the month, some 10 million NPIs
    <folder>/NPPES_Data_Dissemination_110926_111526_Weekly_V2.parquet   changes of a week

The names of the files change (`_V2`, re-cuts as `_V3`), so they are read from the page and never made up.
"""

from __future__ import annotations

import csv
import datetime as dt
import fcntl
import io
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import IO, Final
from urllib.parse import unquote, urljoin, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mrf_assets.errors import CorruptArchive, NotFoundAtSource, StoreError, UnsupportedContent
from mrf_assets.nppes.bulk_columns import COLUMNS, EXPRESSIONS
from mrf_assets.schema import NPI_REGISTRY
from mrf_assets.stream import Opener
from mrf_assets.urls import canonical_url

logger = logging.getLogger(__name__)

_MONTHLY = re.compile(r"\ANPPES_Data_Dissemination_([A-Z][a-z]+)_(\d{4})(?:_V(\d+))?\.zip\Z", re.IGNORECASE)
_WEEKLY = re.compile(r"\ANPPES_Data_Dissemination_\d{6}_(\d{6})_Weekly(?:_V(\d+))?\.zip\Z", re.IGNORECASE)
_MEMBER = re.compile(r"(?:\A|/)npidata_pfile_\d{8}-(\d{8})\.csv\Z", re.IGNORECASE)
_MONTHS = {dt.date(2000, month, 1).strftime("%B").lower(): month for month in range(1, 13)}
_MOST_PAGE_BYTES = 10 << 20
_BLOCK_BYTES = 4 << 20
_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "1GB", "threads": 2}
_ROWS_AT_ONCE = 10_000
_UNTIL: Final = "data_until"
_TOLD_BYTES = 100 << 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class BulkFile:
    """One file of the page; the newest compares as the greatest."""

    until: dt.date  # of a week its last day, of a month its first
    version: int
    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkListing:
    """What of the page is of use: the newest month, and the weeks that are listed beside it."""

    monthly: BulkFile
    weekly: tuple[BulkFile, ...]

    @property
    def files(self) -> tuple[BulkFile, ...]:
        """The month first."""
        return (self.monthly, *self.weekly)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def read_listing(page: bytes, page_url: str) -> BulkListing:
    """The files that a page lists.

    Raises:
        NotFoundAtSource: It lists no monthly file.
    """
    links = _Links()
    links.feed(page.decode("utf-8", errors="replace"))
    monthly: list[BulkFile] = []
    weekly: dict[dt.date, BulkFile] = {}
    for link in links.found:
        url = urljoin(page_url, link)
        name = PurePosixPath(unquote(urlsplit(url).path)).name
        if (found := _MONTHLY.match(name)) and found[1].lower() in _MONTHS:
            first = dt.date(int(found[2]), _MONTHS[found[1].lower()], 1)
            monthly.append(BulkFile(until=first, version=int(found[3] or 1), name=name, url=url))
        elif (found := _WEEKLY.match(name)) and (last := _week_end(found[1])):
            file = BulkFile(until=last, version=int(found[2] or 1), name=name, url=url)
            weekly[last] = max(file, weekly.get(last, file))
    if not monthly:
        raise NotFoundAtSource(
            canonical_url(page_url), "lists no NPPES_Data_Dissemination_<Month>_<Year>.zip; check MRF_NPI_FILES_URL"
        )
    return BulkListing(monthly=max(monthly), weekly=tuple(weekly[last] for last in sorted(weekly)))


def _week_end(text: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text, "%m%d%y").replace(tzinfo=dt.UTC).date()
    except ValueError:
        return None


class BulkRegistry:
    """The bulk files of a folder, as one table of NPIs; the latest word on each counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.received_bytes = 0  # downloaded by this object

    @property
    def paths(self) -> list[Path]:
        """The parquet files that are here."""
        return sorted(self.folder.glob("NPPES_*.parquet"))

    def refresh(self, page_url: str, open_url: Opener, *, weekly: bool = True) -> list[str]:
        """Have what the page lists, and nothing else; returns the names of what was downloaded.

        A file that is here already is not asked for again. Old files go when the new ones are complete.

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
                made = [file.name for file in files if self._have(file, open_url)]
                wanted = {self._path(file) for file in files}
                for leftover in {*self.paths, *self.folder.glob("*.new"), *self.folder.glob("*.zip")} - wanted:
                    leftover.unlink()
        except (OSError, duckdb.IOException) as error:
            raise StoreError(
                str(self.folder),
                f"cannot be written ({_reason(error)}); the bulk file needs some 3 GB of room",
            ) from error
        return made

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
                str(self.folder), f"cannot be read ({_reason(error)}); delete it, and the files are downloaded again"
            ) from error

    def _rows(self, npis: pa.Table) -> Iterator[pa.RecordBatch]:
        if not self.paths:
            return
        with duckdb.connect(config=_LIMITS) as connection:
            connection.register("wanted", npis.select(["npi"]))
            ranked = " UNION ALL ".join(
                f"SELECT *, {rank} AS rank FROM read_parquet({_literal(str(path))})"  # noqa: S608 - quoted
                for rank, path in enumerate(sorted(self.paths, key=_data_until))
            )
            found = connection.sql(
                f"SELECT * EXCLUDE (rank) FROM ({ranked}) SEMI JOIN wanted USING (npi) "  # noqa: S608 - the same
                "QUALIFY row_number() OVER (PARTITION BY npi ORDER BY rank DESC) = 1 ORDER BY npi"
            )
            for batch in () if found is None else found.to_arrow_reader(_ROWS_AT_ONCE):
                yield batch.cast(NPI_REGISTRY.arrow)

    def _path(self, file: BulkFile) -> Path:
        return self.folder / f"{Path(file.name).stem}.parquet"

    def _have(self, file: BulkFile, open_url: Opener) -> bool:
        """Make one file's parquet, unless it is here; true if it was made."""
        target = self._path(file)
        if target.exists():
            return False
        archive = self.folder / file.name
        partial = target.with_name(target.name + ".new")
        fetched_at = dt.datetime.now(tz=dt.UTC)
        self.received_bytes += _download(file.url, archive, open_url)
        write_parquet(archive, partial, file.name, fetched_at)
        partial.replace(target)
        archive.unlink()
        return True


def _read_page(url: str, open_url: Opener) -> bytes:
    page = b""
    with open_url(url) as raw:
        while len(page) < _MOST_PAGE_BYTES and (block := raw.read(_MOST_PAGE_BYTES - len(page))):
            page += block
    return page


def _download(url: str, target: Path, open_url: Opener) -> int:
    partial = target.with_name(target.name + ".new")
    received = told = 0
    with open_url(url) as raw, partial.open("wb") as file:
        while block := raw.read(_BLOCK_BYTES):
            file.write(block)
            received += len(block)
            if received - told >= _TOLD_BYTES:
                told = received
                logger.info("%s: %.0f MB", target.name, received / 1e6)
    partial.replace(target)
    return received


def write_parquet(archive: Path, target: Path, name: str, fetched_at: dt.datetime) -> int:
    """Stream the NPIs out of a dissemination zip into parquet; returns how many.

    The other members (other names, practice locations, endpoints, headers, readme) are not read.

    Raises:
        CorruptArchive: Not a zip, or it broke.
        UnsupportedContent: It has no `npidata_pfile_*.csv`, or that lacks a column that is needed.
        duckdb.IOException: The target cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            member, until = _member(opened, name)
            missing = sorted(set(COLUMNS) - set(_header(opened, member)))
            if missing:
                raise UnsupportedContent(name, f"{member} has no column {missing[0]!r}; CMS changed it: report it")
            with opened.open(member) as lines:
                return _write(lines, target, name, fetched_at, until)
    except duckdb.IOException:  # of the target; what breaks in the archive comes through Arrow as another error
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, pa.ArrowInvalid, duckdb.Error) as error:
        raise CorruptArchive(name, f"cannot be read ({_reason(error)}); download it again") from error


def _member(opened: zipfile.ZipFile, name: str) -> tuple[str, dt.date]:
    for member in opened.namelist():
        if found := _MEMBER.search(member):
            return member, dt.datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=dt.UTC).date()
    raise UnsupportedContent(name, "has no npidata_pfile_<date>-<date>.csv; check MRF_NPI_FILES_URL")


def _header(opened: zipfile.ZipFile, member: str) -> list[str]:
    with opened.open(member) as lines, io.TextIOWrapper(lines, encoding="utf-8-sig", newline="") as text:
        return next(csv.reader(text), [])


def _write(lines: IO[bytes], target: Path, name: str, fetched_at: dt.datetime, until: dt.date) -> int:
    # benchmarks/NOTES.md, "NPPES": Arrow's reader takes half the time of DuckDB's through a pipe.
    reader = pa_csv.open_csv(
        lines,
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
    constants = {
        "source": _literal("bulk"),
        "source_file": _literal(name),
        "fetched_at": f"TIMESTAMPTZ {_literal(fetched_at.isoformat())}",
    }
    untold = {"other_names": "CAST(NULL AS VARCHAR[])", "practice_locations": "CAST(NULL AS INTEGER)"}
    sources = {**EXPRESSIONS, **constants, **untold}
    selected = ", ".join(f"{sources.get(name, 'CAST(NULL AS VARCHAR)')} AS {name}" for name in NPI_REGISTRY.arrow.names)
    with duckdb.connect(config=_LIMITS) as connection:
        connection.register("lines", reader)
        connection.execute(
            f'COPY (SELECT {selected} FROM lines WHERE TRY_CAST("NPI" AS BIGINT) IS NOT NULL) '  # noqa: S608 - constants
            f"TO {_literal(str(target))} "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{_UNTIL}: {_literal(until.isoformat())}}})"
        )
    return int(pq.read_metadata(target).num_rows)


def _reason(error: Exception) -> str:
    """One line; DuckDB's go on with hints and Python's traceback."""
    return str(getattr(error, "strerror", None) or error).strip().split("\n", 1)[0]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _data_until(path: Path) -> tuple[str, bool]:
    """Until when a file knows; of two with the same day the weekly one is newer."""
    metadata = pq.read_metadata(path).metadata or {}
    return metadata.get(_UNTIL.encode(), b"").decode(), "_Weekly" in path.name
