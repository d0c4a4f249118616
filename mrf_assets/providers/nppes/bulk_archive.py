"""The NPIs of a dissemination zip as UTF-8 bytes; what is wrong with the archive is one error, whatever zipfile says.

Column names and dates are for `bulk_columns`, rows and parquet for `bulk`.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrf_assets.errors import CorruptArchive, MrfError, UnsupportedContent

_MEMBER = re.compile(r"(?:\A|/)npidata_pfile_\d{8}-(\d{8})\.csv\Z", re.IGNORECASE | re.ASCII)
_MAX_HEADER_BYTES = 1 << 20  # the published one has 12 kB
_LONE_BYTE = re.compile("[\udc80-\udcff]")  # what Python makes of a byte that is not UTF-8
_LONE_BYTES_BEGIN = 0xDC00


class NpiLines(io.RawIOBase):
    """The CSV of the NPIs, for Arrow's reader. Bytes that are not UTF-8 are read as Windows-1252, and counted.

    Raises:
        CorruptArchive: From `read`; Arrow and DuckDB make another error of it, so its reason stays in `damage`.
    """

    def __init__(self, zip_file: zipfile.ZipFile, member: str, name: str, until: dt.date) -> None:
        super().__init__()
        self.member, self.until = member, until
        self.repaired_bytes = 0
        self.damage: str | None = None
        self._name, self._raw = name, zip_file.open(member)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._ready = b""

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end. Arrow's buffer has room for no more."""
        while not self._ready:
            try:
                block = self._raw.read(size)
            except Exception as error:  # zipfile has no type for what is wrong with a stranger's archive
                # Its text alone: the error would hold the connection that reads us, and be held by it, for ever.
                self.damage = reason_of(error)
                raise corrupt(self._name, self.damage) from error
            self._ready = self._as_utf8(block)
            if not block:
                break
        chunk = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(chunk) :]
        return chunk

    def close(self) -> None:
        """Close the member."""
        self._raw.close()
        super().close()

    def _as_utf8(self, block: bytes) -> bytes:
        if block.isascii() and not self._decoder.getstate()[0]:  # all but a few blocks: nothing to decode
            return block
        text = self._decoder.decode(block, final=not block)
        if not _LONE_BYTE.search(text):
            return text.encode()
        text, count = _LONE_BYTE.subn(_windows_1252, text)
        self.repaired_bytes += count
        return text.encode()


@contextmanager
def npi_lines(archive: Path, name: str) -> Iterator[NpiLines]:
    """Open the `npidata_pfile_*.csv` of a zip; the other members are not read.

    Raises:
        CorruptArchive: It is not a zip that can be read.
        UnsupportedContent: It is encrypted or of an unknown method, or has no such member, or one without a date.
    """
    try:
        zip_file = zipfile.ZipFile(archive)
        member, until = _member(zip_file, name)
        lines = NpiLines(zip_file, member, name, until)
    except MrfError:
        raise
    except RuntimeError as error:  # encrypted, or packed by a method that zipfile does not know
        reason = reason_of(error)
        raise UnsupportedContent(
            name, f"is packed in a way that is not read ({reason}); download it again, and tell CMS if it stays so"
        ) from error
    except Exception as error:
        raise corrupt(name, reason_of(error)) from error
    with zip_file, lines:
        yield lines


def columns_of(archive: Path, name: str) -> list[str]:
    """The names in the first line.

    Raises:
        CorruptArchive, UnsupportedContent: As `npi_lines`, or the first line has no end.
    """
    with npi_lines(archive, name) as lines:
        begin = b""
        while len(begin) < _MAX_HEADER_BYTES and b"\n" not in begin and (block := lines.read(_MAX_HEADER_BYTES)):
            begin += block
    line, end, _ = begin.removeprefix(codecs.BOM_UTF8).partition(b"\n")
    if not end and len(begin) >= _MAX_HEADER_BYTES:
        what = f"the first line of {lines.member} is longer than {_MAX_HEADER_BYTES:,} bytes"
        raise UnsupportedContent(name, f"{what}; tell CMS, and set MRF_NPI_FILES_URL to another page if it stays so")
    try:
        return next(csv.reader(io.StringIO(line.decode(errors="replace"), newline="")), [])
    except csv.Error as error:
        raise corrupt(name, reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """One line; the errors of DuckDB go on with hints, and those of Python with a traceback."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return text.split("\n", 1)[0] or type(error).__name__


def corrupt(name: str, reason: str) -> CorruptArchive:
    """The error for a person."""
    return CorruptArchive(name, f"cannot be read ({reason}); download it again")


def _member(zip_file: zipfile.ZipFile, name: str) -> tuple[str, dt.date]:
    for member in zip_file.namelist():
        if match := _MEMBER.search(member):
            try:
                return member, dt.datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=dt.UTC).date()
            except ValueError:
                raise UnsupportedContent(name, f"{member} has no date in its name; download it again") from None
    raise UnsupportedContent(name, "has no npidata_pfile_<date>-<date>.csv; check MRF_NPI_FILES_URL")


def _windows_1252(match: re.Match[str]) -> str:
    return bytes([ord(match[0]) - _LONE_BYTES_BEGIN]).decode("cp1252", errors="replace")
