"""Files that mean harm, made on the fly: bombs, bottomless nesting, endless texts, names that are attacks.

Nothing here is stored: what is large is a generator, for a reader's blocks or for a server's answer.
"""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zipfile import ZipFile

from mrf_assets_tests.factory import Document

GIB = 1 << 30
_BLOCK = 1 << 20

# Texts that somebody's shell, SQL, HTML, markdown, terminal, log or file system would act on.
ATTACKS = (
    "../../../../etc/cron.d/x",
    "/etc/passwd",
    "..\\..\\windows\\system32",
    "CON",
    "a\x00b",
    "x" * 5000,
    "'; DROP TABLE rates; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "```\n# heading\n| a | b |",
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "line one\r\nERROR line two",
    "\u202egnp.exe",
    "\u2028\u2029",
    "$(touch /tmp/owned) `id` ; rm -rf ~",
    "{{7*7}} ${7*7} %s %n",
    "=cmd|' /C calc'!A0",
)
# Each is a secret that must not be seen again: in userinfo, and as the usual kinds of signature.
SECRETS = ("Us3rS3cr3t", "Amz5ecret", "Az5ecret", "T0kenS3cret", "Sign5ecret")


def secret_query() -> str:
    """A query that holds most of the secrets."""
    _, amz, azure, token, signature = SECRETS
    return f"X-Amz-Signature={amz}&X-Amz-Credential={amz}&sig={azure}&se=2026&token={token}&Signature={signature}"


def attacked(document: Document) -> Document:
    """A copy of an in-network file with attacks in each of its free texts, keys included, all in turn."""
    attacks = itertools.cycle(ATTACKS)

    def poison(value: Any, key: str) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            return {name: poison(each, name) for name, each in value.items()} | {next(attacks): next(attacks)}
        if isinstance(value, list):
            return [poison(each, key) for each in value]
        return next(attacks) if isinstance(value, str) and key in _FREE_TEXTS else value

    poisoned = poison(document, "")
    assert isinstance(poisoned, dict)
    return poisoned


_FREE_TEXTS = frozenset(
    {
        "reporting_entity_name",
        "reporting_entity_type",
        "version",
        "plan_name",
        "plan_id",
        "issuer_name",
        "name",
        "description",
        "billing_code",
        "billing_code_type",
        "billing_code_type_version",
        "business_name",
        "network_name",
        "additional_information",
        "negotiation_arrangement",
        "negotiated_type",
        "setting",
        "value",
    }
)


@dataclass(frozen=True, slots=True)
class Endless:
    """A document with one part that is repeated up to a size."""

    before: bytes
    part: bytes
    behind: bytes
    size_bytes: int

    def blocks(self, block_bytes: int = _BLOCK) -> Iterator[bytes]:
        """The document in blocks of about that size."""
        yield self.before
        block = self.part * max(1, block_bytes // len(self.part))
        for _ in range(self.size_bytes // len(block)):
            yield block
        yield self.behind

    @property
    def begin(self) -> int:
        """Where the first repetition stands."""
        return len(self.before)


_CODE = b'"billing_code_type":"CPT","billing_code":"10001"'
_PLACES = {
    "header": (b'{"reporting_entity_name":', b',"in_network":[]}'),
    "unknown key": (b'{"x":', b',"in_network":[]}'),
    "reference": (b'{"provider_references":[{"provider_group_id":1,"x":', b'}],"in_network":[]}'),
    "item": (b'{"in_network":[{%b,"name":' % _CODE, b"}]}"),
    "unknown key of an item": (b'{"in_network":[{%b,"x":' % _CODE, b"}]}"),
    "rate": (b'{"in_network":[{%b,"negotiated_rates":[{"x":' % _CODE, b"}]}]}"),
    "price": (b'{"in_network":[{%b,"negotiated_rates":[{"negotiated_prices":[{"negotiated_rate":' % _CODE, b"}]}]}]}"),
}
PLACES = tuple(_PLACES)
_VALUES = {
    "text": (b'"', b"x", b'"'),
    "text of brackets": (b'"', b"]},", b'"'),
    "text of escapes": (b'"', b'\\"', b'"'),
    "number": (b"1", b"0", b""),
    "decimals": (b"1.", b"3", b""),
    "white space": (b"", b" ", b"1"),
    "list of numbers": (b"[0", b",12", b"]"),
    "object of texts": (b'{"a":""', b',"b":"c"', b"}"),
}
VALUES = tuple(_VALUES)


def endless(value: str, place: str, size_bytes: int) -> Endless:
    """A value of `VALUES` at a place of `PLACES`, as large as wanted."""
    (before, behind), (opening, part, closing) = _PLACES[place], _VALUES[value]
    return Endless(before + opening, part, closing + behind, size_bytes)


def deep(place: str, levels: int, *, kind: bytes = b"[") -> bytes:
    """A document with brackets inside of brackets at a place of `PLACES`."""
    before, behind = _PLACES[place]
    opening, closing = (b"[", b"]") if kind == b"[" else (b'{"a":', b"}")
    return before + opening * levels + b"1" + closing * levels + behind


def many_elements(place: str, part: bytes, size_bytes: int) -> Endless:
    """One list or object with parts without number."""
    before, behind = _PLACES[place]
    opening, closing = (b"{", b'"z":1}') if part.startswith(b'"') else (b"[", b"1]")
    return Endless(before + opening, part, closing + behind, size_bytes)


def gzip_bomb(content: Iterator[bytes]) -> Iterator[bytes]:
    """The content gzipped, as it comes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for block in content:
        if packed := packer.compress(block):
            yield packed
    yield packer.flush()


def gzipped_blocks(blocks: Iterator[bytes]) -> bytes:
    """The same, at once: some kilobytes for a gigabyte."""
    return b"".join(gzip_bomb(blocks))


def emptiness(size_bytes: int = GIB) -> Iterator[bytes]:
    """JSON that says nothing, again and again."""
    yield b'{"x":['
    block = b'{"%b":1},' % (b"a" * 1000) * (_BLOCK // 1000)
    yield from itertools.repeat(block, size_bytes // len(block))


def nested_zip(content: bytes, layers: int) -> bytes:
    """A zip in a zip in a zip."""
    for _ in range(layers):
        packed = io.BytesIO()
        with ZipFile(packed, "w") as archive:
            archive.writestr("x.json", content)
        content = packed.getvalue()
    return content


def zip_of_names(names: list[str], content: bytes) -> bytes:
    """Members with names of our choice; the last one holds the data, the others some words."""
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in names[:-1]:
            archive.writestr(name, b"nothing")
        archive.writestr(names[-1], content)
    return packed.getvalue()


def zip_of_many(members: int) -> Iterator[bytes]:
    """The local parts of a zip with members without number, by hand: `zipfile` would hold them all."""
    for number in range(members):
        name = b"%d.txt" % number
        yield (
            struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, zlib.crc32(b"x"), 1, 1, len(name), 0) + name + b"x"
        )
    yield struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)


def packed_twice(content: bytes) -> bytes:
    """A bomb in a bomb."""
    return gzip.compress(gzip.compress(content, mtime=0), mtime=0)
