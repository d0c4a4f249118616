"""From the bytes of a file to decompressed blocks.

`fetch` opens files (`raw_file`), readers consume blocks. What a file is, its first bytes
decide and never its name: payers serve HTML with status 200, gzip without `.gz`, gzip in
gzip, and UHC several gzip members in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import Literal

from isal import igzip_lib

from mrf_assets.errors import CorruptArchive, EmptyFile, LimitExceeded, TruncatedFile, UnsupportedContent
from mrf_assets.settings import MIB, Limits
from mrf_assets.stream.raw_file import BLOCK_BYTES, RawFile
from mrf_assets.urls import is_remote

_HEAD_BYTES = 512  # enough to know a file by
_DEFAULT_LIMITS = Limits()
_ANY_INFLATION_BYTES = 64 * MIB  # a small file of equal rows may shrink to nearly nothing
_GZIP = b"\x1f\x8b"
_ZLIB_HEADER_BYTES, _ZLIB_METHOD, _ZLIB_CHECK = 2, 0x78, 31  # deflate with a window of 32 KiB; RFC 1950, 2.2
_SHOWN_CHARACTERS = 40
_ENCODINGS = ("identity", "gzip", "x-gzip", "deflate")  # of HTTP
_BLANK = b" \t\r\n\0"
_PIECE_BYTES = 1 << 17  # compressed, worked on at a time
_MAX_CONTAINERS = 3  # json.gz in a zip, gzipped once more by the server, is the most that makes sense

_DELIMITERS = (b",", b";", b"|", b"\t", b"~")  # the last one is Humana's

Expected = Literal["json", "text"]

_UNSUPPORTED = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip inside of a zip",
    b"PAR1": "parquet",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class _Readable(ABC):
    """Compressed bytes, whatever they lie in."""

    @abstractmethod
    def read(self, size: int = -1) -> bytes: ...


class _Tee(_Readable):
    """Counts what is read from below, and lets the first bytes be looked at."""

    def __init__(self, raw: RawFile) -> None:
        self._raw, self._head, self.size_bytes = raw, b"", 0

    def read(self, size: int = -1) -> bytes:
        if self._head:
            chunk = self._head if size < 0 else self._head[:size]
            self._head = self._head[len(chunk) :]
            return chunk
        data = self._raw.read(BLOCK_BYTES if size < 0 else size)
        self.size_bytes += len(data)
        return data

    def peek(self, size: int) -> bytes:
        while len(self._head) < size:
            data = self._raw.read(BLOCK_BYTES)
            if not data:
                break
            self.size_bytes += len(data)
            self._head += data
        return self._head[:size]


class _Blocks(_Readable):
    """A block iterator as a file, for what must be unpacked a second time."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def peek(self, size: int) -> bytes:
        while len(self._rest) < size:
            block = next(self._blocks, b"")
            if not block:
                break
            self._rest += block
        return self._rest[:size]

    def read(self, size: int = -1) -> bytes:
        data = self._rest or next(self._blocks, b"")
        cut = len(data) if size < 0 else size
        self._rest = data[cut:]
        return data[:cut]

    def drain(self) -> None:
        while self.read():
            pass


def is_zlib(head: bytes) -> bool:
    """Whether bytes begin as zlib data do (RFC 1950): as most servers send `Content-Encoding: deflate`."""
    return len(head) >= _ZLIB_HEADER_BYTES and head[0] == _ZLIB_METHOD and int.from_bytes(head[:2]) % _ZLIB_CHECK == 0


class DecompressedFile:
    """The decompressed blocks of one file; sizes and digest are whole once the blocks are."""

    def __init__(self, raw: RawFile, *, expect: Expected = "json", limits: Limits = _DEFAULT_LIMITS) -> None:
        self.raw = raw
        self._limits, self._unpacked_bytes = limits, 0  # of all containers, and of members that are passed over
        self.container = "plain"
        self.repairs = Counter[str]()  # whole once the blocks are
        if raw.transfer.unescaped_addresses:
            self.repairs["address_unescaped"] = 1
        self.json_size_bytes = 0
        self._expect: Expected = expect
        self._tee = _Tee(raw)

    @property
    def size_bytes(self) -> int:
        """Compressed bytes read so far."""
        return self._tee.size_bytes

    @property
    def sha256(self) -> str:
        """Hex digest of the compressed bytes read so far."""
        return self.raw.sha256

    def blocks(self) -> Generator[bytes]:
        """Yield decompressed blocks of about 1 MiB, none of them empty.

        Raises:
            EmptyFile: No content.
            UnsupportedContent: HTML, 7z and the like, named.
            TruncatedFile: A container ended before its end; `byte_offset` counts compressed bytes.
            CorruptArchive: Wrong checksum or structure.
            LimitExceeded: A decompression bomb, or too many members of a zip.
            FetchError: From below.
        """
        most_bytes = self._limits.max_json_bytes
        for block in self._unpack(self._tee, depth=0):
            self.json_size_bytes += len(block)
            if most_bytes is not None and self.json_size_bytes > most_bytes:
                raise LimitExceeded(self.raw.url, "max_json_bytes", f"is more than {most_bytes} bytes of JSON")
            yield block
        if not self.json_size_bytes:
            raise EmptyFile(self.raw.url, "the file is empty; the payer published nothing, or the download failed")

    def _unpack(self, source: _Tee | _Blocks, depth: int) -> Iterator[bytes]:
        head = source.peek(_HEAD_BYTES)
        if depth > _MAX_CONTAINERS:
            raise UnsupportedContent(
                self.raw.url, f"compressed more than {_MAX_CONTAINERS} times over; unpack it first"
            )
        if head.startswith(_GZIP):
            self._note_container("gzip")
            yield from self._unpack(_Blocks(self._unpacked(self._gunzip(source))), depth + 1)
        elif is_zlib(head):
            self._note_container("zlib")
            yield from self._unpack(_Blocks(self._unpacked(self._inflate(source, igzip_lib.DECOMP_ZLIB))), depth + 1)
        elif head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
            self._note_container("zip")
            yield from self._unpack(_Blocks(self._unzip(source)), depth + 1)
        elif depth == 0 and self._is_bare_deflate(head):
            self._note_container("zlib")
            yield from self._unpack(_Blocks(self._unpacked(self._inflate(source, igzip_lib.DECOMP_DEFLATE))), depth + 1)
        else:
            self._refuse(head)
            while block := source.read(BLOCK_BYTES):
                yield block

    def _unpacked(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks, as long as they are no bomb: what is passed over costs time, too."""
        most = self._limits.max_inflation
        for block in blocks:
            self._unpacked_bytes += len(block)
            if self._unpacked_bytes > max(_ANY_INFLATION_BYTES, most * self.size_bytes):
                what = f"unpacks to more than {most} times its size ({self.size_bytes} bytes read so far)"
                raise LimitExceeded(self.raw.url, "max_inflation", what)
            yield block

    def _note_container(self, container: str) -> None:
        if self.container == "plain":
            self.container = container

    def _is_bare_deflate(self, head: bytes) -> bool:
        """Whether a server sent deflate without a header, as old ones do: the bytes alone do not tell."""
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return self.raw.content_encoding == "deflate" and bool(head) and not text.startswith((b"{", b"[", b"<"))

    def _refuse(self, head: bytes) -> None:
        for magic, name in _UNSUPPORTED.items():
            if head.startswith(magic):
                raise UnsupportedContent(
                    self.raw.url, f"is {name}, which is not read; unpack it to JSON, .json.gz or .zip first"
                )
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if text.startswith(b"<"):
            raise UnsupportedContent(
                self.raw.url,
                "is an HTML or XML page, not data; open the address in a browser: the link has moved or expired",
            )
        if self._expect == "json" and text and not text.startswith((b"{", b"[")):
            encoding = (self.raw.content_encoding or "identity")[:_SHOWN_CHARACTERS]
            if encoding not in _ENCODINGS:
                raise UnsupportedContent(
                    self.raw.url, f"was sent with Content-Encoding {encoding!r}, which is not read; tell the payer"
                )
            line = text.partition(b"\n")[0]
            if max(map(line.count, _DELIMITERS)) > 1:
                reason = f"is CSV{self._beginning(text)}, which is not read; look for the payer's JSON"
                raise UnsupportedContent(self.raw.url, reason)
            raise UnsupportedContent(self.raw.url, f"is not JSON{self._beginning(text)}; check the address")

    def _beginning(self, text: bytes) -> str:
        """The first characters, for a person; nothing of what a machine of our own network answers."""
        if self.raw.is_private and is_remote(self.raw.url):
            return ""
        return f" (it begins with {text[:_SHOWN_CHARACTERS].decode('utf-8', 'replace')!r})"

    def _gunzip(self, source: _Tee | _Blocks) -> Iterator[bytes]:
        """All members, one behind the other."""
        rest = source.read(_PIECE_BYTES)
        while rest.startswith(_GZIP):
            rest = yield from self._member(source, rest, igzip_lib.DECOMP_GZIP, "the gzip stream")
            rest = rest.lstrip(b"\0") or self._behind_zeros(source)
            if len(rest) < len(_GZIP):
                rest += source.read(_PIECE_BYTES)
        if rest and _GZIP.startswith(rest):  # the beginning of a member that was cut
            raise TruncatedFile(self.raw.url, self.size_bytes, "the gzip stream")
        self._trailing(source, rest, "the gzip stream")

    def _inflate(self, source: _Tee | _Blocks, kind: int) -> Iterator[bytes]:
        """What a server makes of `Content-Encoding: deflate`: one stream, with a header of zlib or with none."""
        what = "the zlib stream"
        rest = yield from self._member(source, source.read(_PIECE_BYTES), kind, what)
        self._trailing(source, rest, what)

    def _member(self, source: _Tee | _Blocks, data: bytes, kind: int, what: str) -> Generator[bytes, None, bytes]:
        """One compressed stream, which begins with `data`; gives what was read behind its end."""
        stream = igzip_lib.IgzipDecompressor(flag=kind)
        while True:
            try:
                block: bytes = stream.decompress(data, BLOCK_BYTES)
            except igzip_lib.error as error:  # type: ignore[misc]  # isal has no types
                raise CorruptArchive(
                    self.raw.url, f"{what} is damaged before byte {self.size_bytes} ({error}); download it again"
                ) from None
            if block:
                yield block
            if stream.eof:
                rest: bytes = stream.unused_data
                return rest
            data = source.read(_PIECE_BYTES) if stream.needs_input else b""
            if stream.needs_input and not data:
                raise TruncatedFile(self.raw.url, self.size_bytes, what)

    def _behind_zeros(self, source: _Tee | _Blocks) -> bytes:
        """What comes behind the zeros that tapes and disks fill up with, as gzip(1) passes them over."""
        while data := source.read(_PIECE_BYTES):
            if rest := data.lstrip(b"\0"):
                return rest
        return b""

    def _trailing(self, source: _Tee | _Blocks, rest: bytes, what: str) -> None:
        """Read what is no part of a stream that is whole: JSON tells by itself whether something is missing."""
        is_blank, has_any = True, False
        while rest:
            has_any = True
            is_blank = is_blank and not rest.strip(_BLANK)
            rest = source.read(_PIECE_BYTES)
        if not is_blank and self._expect == "text":
            raise CorruptArchive(
                self.raw.url, f"{what} has other bytes behind its end, maybe more lines; download it again"
            )
        if has_any:
            self.repairs["trailing_bytes"] += 1

    def _unzip(self, source: _Tee | _Blocks) -> Iterator[bytes]:
        """The one member that is data."""
        # What it imports takes 45 ms, an eighth of a start, and few payers publish zips.
        from mrf_assets.stream.zip import translate_errors, zip_members  # noqa: PLC0415

        with translate_errors(self.raw.url, lambda: self.size_bytes):
            compressed = iter(lambda: source.read(BLOCK_BYTES), b"")
            members = zip_members(compressed, self._limits.max_zip_members, self.raw.url, self.repairs)
            yield from self._only_data(members)

    def _only_data(self, members: Iterable[tuple[bytes, Iterator[bytes]]]) -> Iterator[bytes]:
        data_files, heads = 0, list[bytes]()
        for name, chunks in members:
            member = _Blocks(self._unpacked(chunks))
            head = member.peek(_HEAD_BYTES)
            if name.endswith(b"/") or name.startswith(b"__MACOSX/") or not self._is_data(head):
                heads.append(head)
                member.drain()
                continue
            data_files += 1
            if data_files > 1:
                raise UnsupportedContent(
                    self.raw.url, "the zip holds more than one file of data; unpack it and ingest each by itself"
                )
            while block := member.read(BLOCK_BYTES):
                yield block
        if not data_files:
            self._refuse(next(filter(None, heads), b""))

    def _is_data(self, head: bytes) -> bool:
        """Whether a member of a zip is what is looked for; its first bytes decide."""
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return bool(head) and (self._expect == "text" or text.startswith((b"{", b"[", b"\x1f\x8b")))


def open_json(raw: RawFile, *, expect: Expected = "json", limits: Limits = _DEFAULT_LIMITS) -> DecompressedFile:
    """Decompressed view of an opened file; `expect="text"` lets CSV and lists through."""
    return DecompressedFile(raw, expect=expect, limits=limits)
