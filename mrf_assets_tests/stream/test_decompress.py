"""The bytes decide what a file is; what is damaged never passes for whole."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import inspect
import io
import lzma
import signal
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import (
    CorruptArchive,
    EmptyFile,
    LimitExceeded,
    MrfError,
    StreamError,
    TruncatedFile,
    UnsupportedContent,
)
from mrf_assets.settings import Limits
from mrf_assets.stream.decompress import Expected, open_json
from mrf_assets.stream.raw_file import BLOCK_BYTES
from mrf_assets.stream.read_ahead import read_ahead
from mrf_assets_tests.conftest import FakeFile
from mrf_assets_tests.factory import gzipped, gzipped_with_bad_crc, seeded, with_byte, zipped

_JSON = b'{"in_network":[{"billing_code":"99213","name":"\xc3\xa9"},{"billing_code":"J1100"}]}'
_LARGE = b'{"x":[' + b",".join(b"%d" % (number * number) for number in range(400_000)) + b"]}"


def _content(data: bytes, *, expect: Expected = "json", sizes: list[int] | None = None) -> bytes:
    return b"".join(open_json(FakeFile(data, sizes=sizes), expect=expect).blocks())


def _nothing() -> None:
    pass


def _outcome(data: bytes) -> bytes | StreamError:
    try:
        return _content(data)
    except StreamError as error:
        return error


def _stored(data: bytes) -> bytes:
    """Gzip without compression, so that every byte counts."""
    return gzip.compress(data, compresslevel=0, mtime=0)


_WHOLE = [
    pytest.param("plain", _JSON, id="plain"),
    pytest.param("plain", b" \r\n" + _JSON + b"\n", id="plain, white space around"),
    pytest.param("plain", b"\xef\xbb\xbf" + _JSON, id="plain, byte order mark"),
    pytest.param("plain", b"[1]", id="a list is JSON too"),
    pytest.param("gzip", gzipped(_JSON), id="gzip"),
    pytest.param("gzip", gzipped(_JSON, members=3), id="gzip of three members"),
    pytest.param("gzip", gzipped(_JSON) + gzipped(b"") + gzipped(_JSON), id="gzip with an empty member"),
    pytest.param("gzip", gzipped(gzipped(_JSON)), id="gzip in gzip"),
    pytest.param("gzip", gzipped(gzipped(gzipped(_JSON))), id="gzip in gzip in gzip"),
    pytest.param("gzip", gzipped(_JSON) + bytes(600), id="gzip with zeros after it"),
    pytest.param("gzip", gzipped(zipped({"a.json": _JSON})), id="zip in gzip"),
    pytest.param("zip", zipped({"a.json": _JSON}), id="zip"),
    pytest.param("zip", zipped({"a.json.gz": gzipped(_JSON, members=2)}), id="gzip in zip"),
    pytest.param("zip", zipped({"rates": _JSON}), id="zip, member without a suffix"),
    pytest.param("zip", zipped({"sub/": b"", "sub/a.JSON": _JSON}), id="zip with a folder"),
    pytest.param(
        "zip",
        zipped({"__MACOSX/._a.json": b"junk", "readme.txt": b"hello", "a.json": _JSON}),
        id="zip with junk members",
    ),
]


@pytest.mark.parametrize(("container", "data"), _WHOLE)
def test_the_content_comes_out_whole(container: str, data: bytes) -> None:
    """Every container that payers use is unpacked, and named by its outermost layer."""
    file = open_json(FakeFile(data))
    content = b"".join(file.blocks())

    assert content.strip().removeprefix(b"\xef\xbb\xbf") in (_JSON, _JSON + _JSON, b"[1]")
    assert container == file.container


@pytest.mark.parametrize(("container", "data"), _WHOLE)
def test_sizes_and_digest_are_of_what_was_read(container: str, data: bytes) -> None:
    """`size_bytes` and `sha256` tell of the published bytes, `json_size_bytes` of the content."""
    file = open_json(FakeFile(data))
    content = b"".join(file.blocks())

    assert len(data) == file.size_bytes, container
    assert hashlib.sha256(data).hexdigest() == file.sha256
    assert len(content) == file.json_size_bytes


@pytest.mark.parametrize("pack", [bytes, gzipped, lambda data: zipped({"a.json": data})], ids=["plain", "gzip", "zip"])
def test_blocks_are_of_bounded_size_and_never_empty(pack: Callable[[bytes], bytes]) -> None:
    """A file larger than a block comes in several."""
    blocks = list(open_json(FakeFile(pack(_LARGE))).blocks())

    assert _LARGE == b"".join(blocks)
    assert len(blocks) > 1
    assert all(0 < len(block) <= BLOCK_BYTES for block in blocks)


@given(
    data=st.sampled_from([case.values[1] for case in _WHOLE]),
    sizes=st.lists(st.integers(1, 40), max_size=200),
)
def test_the_size_of_reads_does_not_matter(data: bytes, sizes: list[int]) -> None:
    """A connection that gives a few bytes at a time gives the same content."""
    assert _content(data) == _content(data, sizes=sizes)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("HTML or XML", b"<!DOCTYPE html><html><body>moved</body></html>"),
        ("HTML or XML", b"\r\n  \t<html>"),
        ("HTML or XML", b"\xef\xbb\xbf<?xml version='1.0'?><Error/>"),
        ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(40)),
        ("zstandard", b"\x28\xb5\x2f\xfd" + bytes(40)),
        ("bzip2", bz2.compress(_JSON)),
        ("xz", lzma.compress(_JSON)),
        ("RAR", b"Rar!\x1a\x07\x01\x00"),
        ("PDF", b"%PDF-1.7"),
        ("parquet", b"PAR1" + bytes(40)),
        ("UTF-16", '{"a":1}'.encode("utf-16")),
        ("UTF-16", b"\xfe\xff" + '{"a":1}'.encode("utf-16-be")),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzipped], ids=["plain", "gzipped"])
@pytest.mark.parametrize("expect", ["json", "text"])
def test_content_that_is_not_read_is_named(
    name: str, data: bytes, pack: Callable[[bytes], bytes], expect: Expected
) -> None:
    """The person learns what it is, also inside a container, also where text is expected."""
    with pytest.raises(UnsupportedContent, match=name):
        _content(pack(data), expect=expect)


@pytest.mark.parametrize("data", [b"file_url,plan_name\n", b"https://mrf.example/a.json\n", b'"text"', b"\x1f"])
def test_text_is_no_json(data: bytes) -> None:
    """A CSV where JSON was promised is refused with its first words."""
    with pytest.raises(UnsupportedContent, match="is not JSON"):
        _content(data)


@pytest.mark.parametrize("pack", [bytes, gzipped, lambda data: zipped({"a.csv": data})], ids=["plain", "gzip", "zip"])
def test_text_passes_where_text_is_expected(pack: Callable[[bytes], bytes]) -> None:
    """Sources read CSVs and lists through the same door."""
    assert b"file_url\n" == _content(pack(b"file_url\n"), expect="text")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        gzipped(b""),
        gzipped(b"", members=1) + gzipped(b""),
        zipped({"a.json": b""}),
        zipped({}),
        zipped({"d/": b""}),
    ],
    ids=["no byte", "gzip of nothing", "two members of nothing", "empty member", "empty zip", "zip of a folder"],
)
def test_an_empty_file_is_told(data: bytes) -> None:
    """Not one byte of content is no success."""
    with pytest.raises(EmptyFile):
        _content(data)


class _Unseekable(io.BytesIO):
    """As a pipe: a zip that is written into it has sizes and checksums behind its members."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def seek(self, *_args: object) -> int:
        raise io.UnsupportedOperation


def _streamed_zip(members: Mapping[str, bytes], *, sign: bool = True) -> bytes:
    """A zip as programs write it that do not know what comes; empty members are stored, the rest is deflated."""
    packed = _Unseekable()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED if data else zipfile.ZIP_STORED
            archive.writestr(info, data)
    return packed.getvalue() if sign else packed.getvalue().replace(b"PK\x07\x08", b"")


@pytest.mark.parametrize("sizes", [[], [1] * 3_000], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("sign", [True, False])
@pytest.mark.parametrize(
    "members",
    [
        {"readme.txt": b"", "a.json": _JSON},
        {"a.json": _JSON, "readme.txt": b""},
        {"d/": b"", "d/readme.txt": b"", "d/a.json": _JSON, "z": b""},
        {"a" * 60_000: b"", "a.json": _LARGE, "b": b""},
    ],
    ids=["before", "behind", "several", "long name, large file"],
)
def test_a_member_of_0_bytes_does_not_make_a_zip_unreadable(
    members: dict[str, bytes], sign: bool, sizes: list[int]
) -> None:
    """Its end cannot be seen as it comes, unless one knows that it has none."""
    (expected,) = filter(None, members.values())

    assert expected == _content(_streamed_zip(members, sign=sign), sizes=sizes)


def test_a_stored_member_whose_size_follows_is_refused_where_it_has_content() -> None:
    """Its end cannot be told from its content."""
    packed = _Unseekable()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.json"), _JSON)

    with pytest.raises(UnsupportedContent, match="NotStreamUnzippable"):
        _content(packed.getvalue())


def test_members_of_0_bytes_count_as_members() -> None:
    """A zip of a hundred thousand of them is an attack."""
    with pytest.raises(LimitExceeded, match="more than 5 files"):
        list(
            open_json(
                FakeFile(_streamed_zip({str(it): b"" for it in range(9)})), limits=Limits(max_zip_members=5)
            ).blocks()
        )


def test_a_zip_of_several_files_is_refused() -> None:
    """Which one is meant is not guessed."""
    with pytest.raises(UnsupportedContent, match="more than one file of data"):
        _content(zipped({"a.json": _JSON, "b.json": _JSON}))


def test_a_tower_of_containers_is_refused() -> None:
    """More layers than make sense are an attack or an accident."""
    with pytest.raises(UnsupportedContent, match="compressed more than 3 times"):
        _content(gzipped(gzipped(gzipped(gzipped(_JSON)))))


@pytest.mark.parametrize(
    "data",
    [
        gzipped(_JSON),
        _stored(_JSON),
        gzipped(gzipped(_JSON)),
        zipped({"a.json": _JSON}),
        zipped({"a.json.gz": gzipped(_JSON)}),
        gzipped(zipped({"a.json": _JSON})),
    ],
    ids=["gzip", "stored gzip", "gzip in gzip", "zip", "gzip in zip", "zip in gzip"],
)
def test_a_truncated_archive_never_succeeds(data: bytes) -> None:
    """Whatever the length at which it was cut, there is an error of the stream."""
    passed = [length for length in range(len(data)) if not isinstance(_outcome(data[:length]), StreamError)]

    assert [] == passed


@pytest.mark.parametrize("pack", [gzipped, lambda data: zipped({"a.json": data})], ids=["gzip", "zip"])
def test_truncation_is_told_with_the_compressed_offset(pack: Callable[[bytes], bytes]) -> None:
    """The person sees how much arrived."""
    data = pack(_LARGE)[:100_000]

    with pytest.raises(TruncatedFile) as error:
        _content(data)

    assert 100_000 == error.value.byte_offset


def test_a_second_member_that_is_cut_is_told() -> None:
    """A single zlib object would silently stop after the first (UHC ships three members)."""
    one = gzipped(_JSON)

    with pytest.raises(TruncatedFile):
        _content(one + one[:-1])


@pytest.mark.parametrize("behind", [b"\r\n", b"\0\0\r\n", b"garbage", b"}", b"x" * 60_000], ids=lambda it: repr(it[:9]))
@pytest.mark.parametrize(
    "pack", [gzipped, zlib.compress, lambda data: zipped({"a.json": data})], ids=["gzip", "zlib", "zip"]
)
def test_bytes_behind_a_complete_archive_are_passed_over_and_counted(
    behind: bytes, pack: Callable[[bytes], bytes]
) -> None:
    """Nothing is missing: the checksum is right, and JSON has its own end."""
    data = pack(_JSON) + behind
    file = open_json(FakeFile(data, sizes=[1] * 100))

    assert _JSON == b"".join(file.blocks())
    assert {"trailing_bytes": 1} == file.repairs
    assert len(data) == file.size_bytes


@pytest.mark.parametrize(("container", "data"), _WHOLE)
def test_a_file_with_nothing_behind_its_end_has_no_repair(container: str, data: bytes) -> None:
    """Zeros behind a gzip are padding, which gzip(1) passes over as well."""
    file = open_json(FakeFile(data))
    list(file.blocks())

    assert {} == file.repairs, container


def test_bytes_behind_the_gzip_of_a_list_may_be_lines_that_are_lost() -> None:
    """A list has no end of its own; white space holds no lines."""
    packed = gzipped(b"https://mrf.example/a.json\n")

    assert b"https://mrf.example/a.json\n" == _content(packed + b"\r\n", expect="text")
    with pytest.raises(CorruptArchive, match="maybe more lines"):
        _content(packed + b"more", expect="text")


@pytest.mark.parametrize("behind", [b"\x1f", b"\x1f\x8b", gzipped(_JSON)[:-1]])
@pytest.mark.parametrize("zeros", [0, 600])
def test_the_beginning_of_a_member_behind_a_gzip_is_a_member_that_was_cut(behind: bytes, zeros: int) -> None:
    """However little of it arrived."""
    with pytest.raises(TruncatedFile):
        _content(gzipped(_JSON) + bytes(zeros) + behind)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (None, zlib.compress(_LARGE)),
        (None, zlib.compress(_LARGE, 0)),
        (None, gzipped(zlib.compress(_LARGE))),
        ("deflate", zlib.compress(_LARGE)),
        ("deflate", _raw_deflate(_LARGE)),
        ("deflate", _LARGE),  # an encoding that is claimed only
        ("deflate", gzipped(_LARGE)),
        ("gzip", gzipped(_LARGE)),
        ("br", _LARGE),
    ],
)
def test_what_deflate_may_mean_is_read(encoding: str | None, data: bytes) -> None:
    """RFC 9110, 8.4.1.2: zlib, and bare deflate from some."""
    assert _LARGE == b"".join(open_json(FakeFile(data, content_encoding=encoding)).blocks())


@pytest.mark.parametrize("pack", [zlib.compress, _raw_deflate], ids=["zlib", "bare"])
def test_deflate_that_is_cut_is_told(pack: Callable[[bytes], bytes]) -> None:
    """It is no whole file."""
    with pytest.raises(TruncatedFile, match="the zlib stream"):
        list(open_json(FakeFile(pack(_LARGE)[:-50_000], content_encoding="deflate")).blocks())


def test_an_encoding_that_is_not_read_is_named() -> None:
    """Brotli has no first bytes to know it by."""
    with pytest.raises(UnsupportedContent, match="Content-Encoding 'br', which is not read"):
        list(open_json(FakeFile(b"\x8b\x02\x80{}", content_encoding="br")).blocks())


def test_a_bad_checksum_is_told() -> None:
    """Content that does not match its CRC is not believed."""
    with pytest.raises(CorruptArchive, match="download it again"):
        _content(gzipped_with_bad_crc(_JSON))


def test_a_bad_checksum_in_a_zip_is_told() -> None:
    """The same, with the zip's CRC of its member."""
    data = zipped({"a.json": _JSON})

    with pytest.raises(CorruptArchive):
        _content(with_byte(data, 14, data[14] ^ 0xFF))


def test_an_encrypted_zip_is_told() -> None:
    """A password is not asked for."""
    with pytest.raises(UnsupportedContent, match="encrypted"):
        _content(with_byte(zipped({"a.json": _JSON}), 6, 1))


@pytest.mark.parametrize("data", [gzipped(_JSON), zipped({"a.json": _JSON})], ids=["gzip", "zip"])
def test_one_changed_byte_gives_the_same_content_or_an_error(data: bytes) -> None:
    """No damage to an archive becomes other content or a traceback."""
    wrong = [
        (offset, byte)
        for offset in range(len(data))
        for byte in {0, 0xFF, data[offset] ^ 1, data[offset] ^ 0x80} - {data[offset]}
        if (outcome := _outcome(with_byte(data, offset, byte))) != _JSON and not isinstance(outcome, StreamError)
    ]

    assert [] == wrong


@pytest.mark.parametrize("mark", [",", ";", "|", "\t", "~"])
def test_csv_is_named(mark: str) -> None:
    """Humana's files of 2022 were gzipped, with ~ between the fields."""
    with pytest.raises(UnsupportedContent, match=r"is CSV \(it begins with 'npi.*which is not read"):
        _content(gzipped(mark.join(["npi", "tin", "rate"]).encode() + b"\n1\n"))


def test_errors_name_the_file() -> None:
    """The URL that is told is the canonical one of the opened file."""
    with pytest.raises(MrfError, match=r"https://mrf\.example/rates\.json\.gz: "):
        list(open_json(FakeFile(b"%PDF", url="https://mrf.example/rates.json.gz")).blocks())


def test_a_zip_is_read_as_it_comes() -> None:
    """The first block is there before the last byte of the file is asked for."""
    data = zipped({"a.json": b'{"a":"' + seeded(1).randbytes(4_000_000).hex().encode() + b'"}'})
    raw = FakeFile(data)
    next(open_json(raw).blocks())

    assert raw.read(1)


@pytest.mark.parametrize("cut", [1, 21, 22])
def test_a_zip_without_its_end_is_truncated(cut: int) -> None:
    """Its member may be whole; the download was not."""
    with pytest.raises(TruncatedFile, match="zip"):
        _content(zipped({"a.json": _JSON})[:-cut])


@given(blocks=st.lists(st.binary(min_size=1, max_size=9)), most=st.integers(1, 3))
def test_blocks_read_ahead_are_the_same_blocks(blocks: list[bytes], most: int) -> None:
    """Whatever their number and the length of the queue."""
    assert blocks == list(read_ahead(iter(blocks), _nothing, most))


def test_an_error_ahead_comes_behind_the_blocks_before_it() -> None:
    """As it would without a thread."""

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise EmptyFile("https://mrf.example/a", "is empty")

    got: list[bytes] = []
    with pytest.raises(EmptyFile):
        got.extend(read_ahead(broken(), _nothing))
    assert [b"a"] == got


def test_leaving_early_ends_the_thread() -> None:
    """A reader that stops at an error leaves nobody behind."""
    before = set(threading.enumerate())
    blocks = read_ahead(iter(lambda: b"x", None), _nothing, 2)
    assert b"x" == next(blocks)

    blocks.close()

    assert before == set(threading.enumerate())


def test_an_interrupt_waits_for_no_block() -> None:
    """A server that answers no more would hold it up until its answer is given up."""
    hung_up, interrupted = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main

    def stalled() -> Iterator[bytes]:
        yield b"a"
        while not hung_up.wait(0.02):
            signal.pthread_kill(main, signal.SIGUSR1)

    blocks = read_ahead(stalled(), hung_up.set)

    def interrupt(_number: int, _frame: object) -> None:
        if (
            inspect.getgeneratorstate(blocks) == inspect.GEN_RUNNING and not interrupted.is_set()
        ):  # it waits for a block
            interrupted.set()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(blocks)
    finally:
        hung_up.set()
        signal.signal(signal.SIGUSR1, before)


def test_a_gzip_header_of_a_megabyte_is_passed_over() -> None:
    """A file name that long; without its end there is no content."""
    packed = gzip.compress(_JSON, mtime=0)
    named = packed[:3] + b"\x08" + packed[4:10] + b"a" * (1 << 20)

    assert _JSON == _content(named + b"\0" + packed[10:])
    with pytest.raises(TruncatedFile):
        _content(named)
