"""Bulk files as they must not be: damaged, encrypted, of other methods, with odd headers, lines and dates.

Each is a change of one sound file. What may come of it is known: `rows`, where all that matters is there, or an error.
"""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Iterator, Sequence

from mrf_assets_tests.nppes_factory import BULK_COLUMNS, bulk_row

MEMBER = "npidata_pfile_20050523-20261108.csv"
_LINES = 20
_ENCRYPTED, _UNKNOWN_METHOD = 0x1, 77


def csv_of(npis: Sequence[str], **changes: str) -> bytes:
    """The member, with some cells of its first line changed."""
    text = io.StringIO()
    lines = csv.DictWriter(text, BULK_COLUMNS, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines.writeheader()
    lines.writerows([bulk_row(npis[0]) | changes, *map(bulk_row, npis[1:])])
    return text.getvalue().encode()


def zip_of(data: bytes, member: str = MEMBER, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of one member."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", method) as archive:
        archive.writestr(member, data)
    return stored.getvalue()


def readable_zips(npis: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Odd, and all of their lines can be read."""
    sound = csv_of(npis)
    head, _, lines = sound.partition(b"\n")
    yield "as published", zip_of(sound)
    yield "byte order mark", zip_of(b"\xef\xbb\xbf" + sound)
    yield "CRLF", zip_of(sound.replace(b"\n", b"\r\n"))
    yield "without a last line end", zip_of(sound.rstrip(b"\n"))
    yield "without quotes around names", zip_of(head.replace(b'"', b"") + b"\n" + lines)
    yield "columns in another order", zip_of(_reordered(sound))
    yield "one more column", zip_of(head + b',"New"\n' + lines.replace(b"\n", b',"x"\n'))
    yield "Latin-1", zip_of(csv_of(npis, **{"Provider First Name": "Ren@"}).replace(b"Ren@", b"Ren\xe9"))
    yield "Latin-1 in each line", zip_of(lines_with(sound, b"\xfcber"))
    yield "a sequence cut at the end", zip_of(csv_of(npis, **{"Provider First Name": "@"}).replace(b"@", b"\xe2\x82"))
    yield "UTF-8", zip_of(csv_of(npis, **{"Provider First Name": "Ren\u00e9 \U0001f60a"}))
    yield "a last quote without an end", zip_of(sound[:-2] + b"\n")
    yield "zero bytes in a name", zip_of(csv_of(npis, **{"Provider First Name": "a\0b"}))
    yield "line breaks in a name", zip_of(csv_of(npis, **{"Provider First Name": "a\nb\r\nc"}))
    for number, date in enumerate(("2026-11-10", "11/31/2026", "0000-00-00", "yesterday", "1/2/2026", "9" * 300)):
        yield f"date {number}", zip_of(csv_of(npis, **{"NPI Deactivation Date": date, "Last Update Date": date}))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"method {method}", zip_of(sound, method=method)
    yield "in a folder", zip_of(sound, f"a/b/{MEMBER}")
    yield "bytes before the zip", b"x" * 100 + zip_of(sound)
    yield "a comment behind the zip", zip_of(sound)[:-2] + b"\x05\x00hello"


def broken_zips(npis: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Nothing may come of these but one error."""
    sound = csv_of(npis)
    whole = zip_of(sound)
    head, _, lines = sound.partition(b"\n")
    yield "nothing", b""
    yield "HTML", b"<html>Access denied</html>"
    yield "gzip", b"\x1f\x8b\x08\x00" + bytes(100)
    yield "encrypted", _flagged(whole, _ENCRYPTED)
    yield "an unknown method", _with_method(whole, _UNKNOWN_METHOD)
    for method in (9, 12, 14):  # Deflate64, bzip2 and LZMA, which it is not
        yield f"said to be method {method}", _with_method(whole, method)
    for share in (0.1, 0.5, 0.9, 0.99):
        yield f"cut at {share:.0%}", whole[: int(len(whole) * share)]
    yield "an empty archive", b"PK\x05\x06" + bytes(18)
    yield "no data member", zip_of(sound, "x.csv")
    for date in ("20269999", "00000000", "20260230"):
        yield f"member of {date}", zip_of(sound, f"npidata_pfile_20050523-{date}.csv")
    yield (
        "a name that is not UTF-8",
        _flagged(zip_of(sound, f"caf\xe9/{MEMBER}"), 0x800).replace(b"\xc3\xa9", b"\xff\xff"),
    )
    yield "an empty member", zip_of(b"")
    yield "a line break alone", zip_of(b"\n")
    yield "UTF-16", zip_of(sound.decode().encode("utf-16"))
    yield "binary", zip_of(random.Random(1).randbytes(5_000))  # noqa: S311 - a fixed one
    yield "a Latin-1 byte in the header", zip_of(head.replace(b"First Name", b"First N\xe4me") + b"\n" + lines)
    yield "no column of NPIs", zip_of(sound.replace(b'"NPI"', b'"NPJ"', 1))
    yield "a column twice", zip_of(head + b',"NPI"\n' + lines.replace(b"\n", b',"1"\n'))
    yield "a header without an end", zip_of(b"a" * (3 << 20))
    yield "a line cut short", zip_of(sound[: -len(sound) // 40])
    yield "a line of one cell", zip_of(sound + b'"x"\n')
    yield "a header of one long name", zip_of(b'"' + b"a" * 200_000 + b'"\n' + lines)
    yield "a quote that is never closed in the middle", zip_of(sound.replace(b'","', b'","x', 1)[:-2] + b",\n")
    yield "a line without an end", zip_of(sound + b'"' + b"x" * (9 << 20))
    yield "no NPI in any line", zip_of(head + b"\n" + _without_npis(lines))


def damaged_zips(npis: Sequence[str], count: int) -> Iterator[tuple[str, bytes]]:
    """Bytes of a sound file changed at random, in the archive or, packed anew, in its text."""
    rng = random.Random(7)  # noqa: S311 - scripted luck
    sound = csv_of(npis)
    for number in range(count):
        is_packed = bool(number % 2)
        data = bytearray(zip_of(sound) if is_packed else sound)
        for _ in range(rng.choice((1, 1, 5, 50))):
            data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), 0x22, 0x0A, 0x2C, 0xE9))
        yield f"damaged {number}", bytes(data) if is_packed else zip_of(bytes(data))


def lines_with(sound: bytes, name: bytes) -> bytes:
    """The file with a name in each line, as other columns have it."""
    head, *lines = sound.rstrip(b"\n").split(b"\n")
    return b"\n".join([head, *(line[: line.rindex(b'"')] + name + b'"' for line in lines)]) + b"\n"


def _reordered(sound: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(sound.decode())))
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(row[::-1] for row in rows)
    return text.getvalue().encode()


def _without_npis(lines: bytes) -> bytes:
    return b"".join(b'"x' + line[11:] for line in lines.splitlines(keepends=True))


def _flagged(archive: bytes, flag: int) -> bytes:
    """The archive with a bit set in the flags of its headers."""
    data = bytearray(archive)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + place
        data[at : at + 2] = (int.from_bytes(data[at : at + 2], "little") | flag).to_bytes(2, "little")
    return bytes(data)


def _with_method(archive: bytes, method: int) -> bytes:
    data = bytearray(archive)
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.index(mark) + place
        data[at : at + 2] = method.to_bytes(2, "little")
    return bytes(data)
