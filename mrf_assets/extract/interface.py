"""What every reader takes and gives."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from mrf_assets.settings import Limits
from mrf_assets.stream.raw_file import Opener
from mrf_assets.whitelist import CodeWhitelist

TableBatch = tuple[str, pa.RecordBatch]  # the name of a table of `schema`, and rows of it
Reject = tuple[int, str, str, str, str]  # byte_offset, dropped, path, reason, excerpt

_EXCERPT_CHARACTERS = 200
_LOOKED_AT_CHARACTERS = 2_000
# What stands behind `?` or before `@` of an address may be a signature or a password.
_USERINFO = re.compile(r"(://)[^\s\"/?#@]*@")
_CUT_USERINFO = re.compile(r"(://)[^\s\"/?#@]*\Z")
_QUERY = re.compile(r"(://[^\s\"?#]*)[?#][^\s\"]*")
_MAX_REJECTS = 1_000_000  # some 300 MB
_MAX_IGNORED_KEYS = 500  # distinct paths that are counted by name; a hostile file has millions


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to read, and how."""

    url: str  # canonical; for error messages
    file_id: str
    codes: CodeWhitelist | None = None  # None keeps every code
    open_url: Opener  # for remote provider references
    provider_batch_rows: int = 20_000
    rate_batch_rows: int = 50_000
    spool_dir: Path | None = None  # where an item too large for memory waits for its code
    item_rows_in_memory: int = 20_000  # rows of one item held before they go to disk
    limits: Limits = field(default_factory=Limits)


class TooManyRejectsError(Exception):
    """One element has more rejects than memory should hold; nothing of it is dropped, the file is refused."""

    def __init__(self, byte_offset: int) -> None:
        super().__init__(byte_offset)
        self.byte_offset = byte_offset


@dataclass(slots=True)
class ReadCounts:
    """What was counted: the `files` row in the making, and the rejects not yet handed over."""

    items_read: int = 0
    items_kept: int = 0
    prices_read: int = 0
    rate_rows: int = 0
    prices_rejected: int = 0
    provider_groups_read: int = 0
    repairs: Counter[str] = field(default_factory=Counter)
    ignored_keys: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)

    def reject(self, byte_offset: int, dropped: str, path: str, reason: str, value: object) -> None:
        """Record a value that is not kept.

        Raises:
            TooManyRejectsError: Readers hand rejects over after each element, and this one has far too many.
        """
        if len(self.rejects) >= _MAX_REJECTS:
            raise TooManyRejectsError(byte_offset)
        self.rejects.append((byte_offset, dropped, path, reason, excerpt_of_value(value)))

    def repair(self, kind: str, times: int = 1) -> None:
        """Count a repair; one that was not made leaves no entry."""
        if times:
            self.repairs[kind] += times

    def ignore(self, path: str, times: int = 1) -> None:
        """Record a key that no table has a place for."""
        is_known = path in self.ignored_keys or len(self.ignored_keys) < _MAX_IGNORED_KEYS
        self.ignored_keys[path if is_known else "(others)"] += times

    def absorb(self, other: ReadCounts) -> None:
        """Add the counts of a part; its header stays its own."""
        self.prices_read += other.prices_read
        self.rate_rows += other.rate_rows
        self.prices_rejected += other.prices_rejected
        self.provider_groups_read += other.provider_groups_read
        self.repairs.update(other.repairs)
        for path, count in other.ignored_keys.items():
            self.ignore(path, count)
        self.rejects += other.rejects


Reader = Callable[[Iterable[bytes], Request, ReadCounts], Iterator[TableBatch]]


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value.adjusted()) < 18 else str(value)  # noqa: PLR2004 - fits int64
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def excerpt_of_value(value: object) -> str:
    """The value as text, lists and objects as compact JSON; at most 200 characters, addresses without query."""
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"))
    )
    if len(text) > _LOOKED_AT_CHARACTERS:  # the patterns take the square of the length in a text of "://://://"
        text = _CUT_USERINFO.sub(r"\1", text[:_LOOKED_AT_CHARACTERS])
    return _USERINFO.sub(r"\1", _QUERY.sub(r"\1", text))[:_EXCERPT_CHARACTERS].encode("utf-8", "replace").decode()
