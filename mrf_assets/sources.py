"""From an index, a CSV, a URL list or one URL to the files that are to be ingested.

Addresses go into a temporary database while the source is read, because an index names the same
file again and again (Univera 119,307 times for 3,186 files) and may be larger than memory
(Anthem's is 10 GB compressed). Then `network_id` names them, and tasks come out one by one.
Downloads are the opener's business, the files' content is `extract`'s.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import astuple, dataclass, field, fields, replace
from functools import lru_cache
from itertools import groupby
from os.path import abspath
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urljoin, urlsplit

import ijson

from mrf_assets.errors import EmptyFile, MalformedJson, Problem, SettingError, SourceProblems, TruncatedFile
from mrf_assets.network_id import assign_keys, explicit_identity, identify, partition_key
from mrf_assets.stream import Opener, open_json
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls import canonical_url, is_remote, local_path

SourceKind = Literal["csv", "index", "urls", "url"]

_BOM = b"\xef\xbb\xbf"
_EXAMPLES = 100  # what a tally keeps of things that may be millions


# --- values ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What a caller may say about a source besides where it is."""

    prefix: str = ""  # output_prefix is `<prefix>_<network_id>`, or the id alone
    network_id: str | None = None  # one network for all files: `urls` and `url`
    plans: tuple[Plan, ...] = ()  # plans of all files: `urls` and `url`
    structures: int | None = None  # read the first N reporting structures: `index`
    match: str | None = None  # only structures with a plan whose name, id, issuer or sponsor has this text: `index`
    max_files: int | None = None  # the first N files


@dataclass(slots=True, kw_only=True)
class SourceTally:
    """What was found in a source; whole when the first task comes out. Its size has a bound."""

    structures: int = 0  # reporting structures read
    structures_selected: int = 0  # those that `match` left
    locations: int = 0  # in-network locations, list lines or CSV rows that were usable
    files: int = 0  # different ones among them, by canonical URL
    mirrors: int = 0  # files that are not read, because another address holds the same
    tasks: int = 0  # files to ingest
    allowed_amount_files: int = 0  # different ones; counted, never ingested
    allowed_amount_examples: tuple[str, ...] = ()  # canonical, sorted, the first 100
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)  # the first 100
    reporting_entity_name: str | None = None
    reporting_entity_type: str | None = None
    version: str | None = None
    last_updated_on: str | None = None
    index_period: str | None = None  # YYYY-MM, from the index's address, else from last_updated_on
    rules: Counter[str] = field(default_factory=Counter)  # files by naming family
    repairs: Counter[str] = field(default_factory=Counter)
    ignored_keys: Counter[str] = field(default_factory=Counter)  # the first 100 different ones

    def report(self, where: str, what: str) -> None:
        """Note one problem that does not stop the rest."""
        self.problem_count += 1
        if len(self.problems) < _EXAMPLES:
            self.problems.append(Problem(where, what))

    def ignore(self, key: str) -> None:
        """Note a key or column that means nothing to us."""
        key = key[:80]
        if key in self.ignored_keys or len(self.ignored_keys) < _EXAMPLES:
            self.ignored_keys[key] += 1


class _Unusable(ValueError):
    """A location that is no address of a file; the text says why."""


# --- locations ------------------------------------------------------------------------------

_SHOWN_CHARS = 120
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"\w[\w.-]*\Z|[0-9A-Fa-f:.]+\Z")  # names, also international ones; IPv6
_FILE_LIKE = re.compile(r"(?i)(?:\A\.{0,2}/.+|.+\.(?:json|zip|gz))\Z")  # not "N/A", not "Missing file"


def _shown(location: str) -> str:
    """A location that may be anything, fit for an error: no signature, no control character, not long."""
    shown = canonical_url(_SURROGATE.sub("?", location)).partition("?")[0]
    return repr(shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}...")


def _check_remote(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:  # brackets that do not match, a port that is no number
        raise _Unusable(f"{_shown(url)} is malformed ({str(error).partition(' as ')[0]})") from None
    if not _HOST.match(parts.hostname or ""):
        raise _Unusable(f"{_shown(url)} has no usable host")
    if parts.path in {"", "/"} and not parts.query:
        raise _Unusable(f"{_shown(url)} names a host and no file")
    return url


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError as error:  # "//[", which urllib takes for half an IPv6 host
        raise _Unusable(f"{_shown(location)} is malformed ({error})") from None


def _usable_location(location: str, base: str) -> str:
    """The address that a source's text stands for: an http(s) URL, or the absolute path of a local file.

    Relative ones are taken from the folder of `base`, the source's own location.

    Raises:
        _Unusable: Not an address; for a person.
    """
    if _CONTROL.search(location):
        raise _Unusable(f"{_shown(location)} has a line break or another control character inside")
    if _SURROGATE.search(location):
        raise _Unusable(f"{_shown(location)} has half a Unicode character inside")
    scheme = _SCHEME.match(location)
    if scheme and scheme.group(1).lower() in {"http", "https"}:
        return _check_remote(location)
    if scheme and scheme.group(1).lower() != "file":
        raise _Unusable(f"{_shown(location)} is of a kind that is not read; http, https, file:// and paths are")
    if scheme and is_remote(base):
        raise _Unusable(f"{_shown(location)} is a file on the publisher's machine")
    if not scheme and not _FILE_LIKE.search(location.partition("?")[0]):
        raise _Unusable(
            f"{_shown(location)} is no URL and no path (write ./name for a file without .json, .gz or .zip)"
        )
    if is_remote(base):
        return _check_remote(_joined(base, location))
    return _absolute(local_path(base).parent / local_path(location))


def _absolute(path: Path) -> str:
    """Not `resolve`: the name of a link says what the file is, as "2026-08_302_42A0_..." -> "blob17"."""
    return abspath(path)  # noqa: PTH100 - as the docstring says


def _own_location(location: str) -> str:
    """A source's location as the user gave it; local ones absolute, so that file ids do not hang on the shell."""
    return location if is_remote(location) else _absolute(local_path(location))


# --- the spool ------------------------------------------------------------------------------

_PLAN_FIELDS = tuple(it.name for it in fields(Plan))

_TABLES = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY, canonical TEXT NOT NULL UNIQUE, url TEXT NOT NULL, description TEXT,
    named TEXT, period TEXT, key TEXT NOT NULL, wanted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE assigned (file_id INTEGER PRIMARY KEY, head INTEGER NOT NULL, network_id TEXT NOT NULL, parts INTEGER);
CREATE TABLE plan (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE,
    plan_name TEXT, plan_id_type TEXT, plan_id TEXT, plan_market_type TEXT, issuer_name TEXT, plan_sponsor_name TEXT
);
CREATE TABLE file_set (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE file_set_member (file_id INTEGER, set_id INTEGER, PRIMARY KEY (file_id, set_id)) WITHOUT ROWID;
CREATE TABLE plan_set (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE plan_set_member (set_id INTEGER, plan_id INTEGER, PRIMARY KEY (set_id, plan_id)) WITHOUT ROWID;
CREATE TABLE structure (file_set INTEGER, plan_set INTEGER, PRIMARY KEY (file_set, plan_set)) WITHOUT ROWID;
CREATE TABLE allowed_amount_file (canonical TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_FILE_SETS = """
SELECT DISTINCT set_id FROM assigned JOIN file_set_member USING (file_id) WHERE head = ? ORDER BY set_id
"""

_PLANS = """
SELECT plan_name, plan_id_type, plan_id, plan_market_type, issuer_name, plan_sponsor_name FROM plan WHERE id IN (
    SELECT plan_id FROM assigned
    JOIN file_set_member USING (file_id)
    JOIN structure ON file_set = file_set_member.set_id
    JOIN plan_set_member ON plan_set_member.set_id = plan_set
    WHERE assigned.head = ?
) ORDER BY id
"""

_GROUPS = """
SELECT head FROM assigned JOIN file ON file.id = file_id
GROUP BY head HAVING max(wanted) ORDER BY min(file_id) LIMIT ?
"""

_MEMBERS = """
SELECT canonical, url, description, named, period, network_id, parts FROM assigned JOIN file ON file.id = file_id
WHERE head = ? ORDER BY file_id = head DESC, canonical
"""


class _Spool:
    """Files, plans and which go together, on disk.

    Structures repeat whole lists of files, so a list is kept once, by its digest: links stay far
    below plans times files. The database has no name: SQLite unlinks it as it opens it, so signed
    URLs do not outlive the process even if it is killed.
    """

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        # One consumer at a time, but maybe not always in one thread: a generator is closed wherever it is dropped.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16384; PRAGMA temp_store=FILE;"
            f"BEGIN; {_TABLES}"
        )
        self._last_plans: tuple[tuple[int, ...], tuple[Plan, ...]] = ((), ())
        # What comes again and again: a structure's plans under their files, the same files in every structure.
        self.file = lru_cache(1 << 15)(self._file)
        self.plan = lru_cache(1 << 12)(self._plan)
        self.describe = lru_cache(1 << 15)(self._describe)
        self.allowed_amount_file = lru_cache(1 << 12)(self._allowed_amount_file)

    def close(self) -> None:
        """Drop everything."""
        self._db.close()

    def _file(self, url: str, named: str | None = None, period: str | None = None) -> int:
        """The id of a file, new or known; what later mentions know of it is added.

        Raises:
            _Unusable: Two mentions of one file do not agree.
        """
        canonical = canonical_url(url)
        row = self._db.execute("SELECT named, period, id FROM file WHERE canonical = ?", (canonical,)).fetchone()
        if row is None:
            added = self._db.execute(
                "INSERT INTO file (canonical, url, named, period, key) VALUES (?, ?, ?, ?, ?)",
                (canonical, url, named, period, partition_key(_identity(canonical, named, period))),
            )
            return added.lastrowid or 0
        for what, before, now in (("network_id", row[0], named), ("period", row[1], period)):
            if before and now and before != now:
                raise _Unusable(f"{_shown(url)} has the {what} {now!r} here and {before!r} above")
        known = (named or row[0], period or row[1])
        if known != row[:2]:
            key = partition_key(_identity(canonical, *known))
            self._db.execute("UPDATE file SET named = ?, period = ?, key = ? WHERE id = ?", (*known, key, row[2]))
        return int(row[2])

    def _describe(self, file_id: int, description: str) -> None:
        """Give a file the source's words for it; the first ones stay."""
        self._db.execute("UPDATE file SET description = ? WHERE id = ? AND description IS NULL", (description, file_id))

    def _plan(self, plan: Plan) -> int:
        values = astuple(plan)
        digest = hashlib.blake2b(json.dumps(values).encode(), digest_size=16).digest()
        row = self._db.execute("SELECT id FROM plan WHERE digest = ?", (digest,)).fetchone()
        if row:
            return int(row[0])
        added = self._db.execute("INSERT INTO plan VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", (digest, *values))
        return added.lastrowid or 0

    def _allowed_amount_file(self, url: str) -> None:
        """Note a file that is not ingested."""
        self._db.execute("INSERT OR IGNORE INTO allowed_amount_file VALUES (?)", (canonical_url(url),))

    def count_allowed_amounts(self, tally: SourceTally) -> None:
        """How many different ones were noted, with examples."""
        tally.allowed_amount_files = self._db.execute("SELECT count(*) FROM allowed_amount_file").fetchone()[0]
        rows = self._db.execute("SELECT canonical FROM allowed_amount_file ORDER BY 1 LIMIT ?", (_EXAMPLES,))
        tally.allowed_amount_examples = tuple(canonical for (canonical,) in rows)

    def link(self, file_ids: Iterable[int], plan_ids: Iterable[int], *, wanted: bool = True) -> None:
        """Every one of the plans uses every one of the files."""
        files, plans = array("q", sorted(set(file_ids))), array("q", sorted(set(plan_ids)))
        if wanted:
            self._db.executemany("UPDATE file SET wanted = 1 WHERE id = ? AND NOT wanted", ((it,) for it in files))
            pair = self._set("file", files), self._set("plan", plans)
            self._db.execute("INSERT OR IGNORE INTO structure VALUES (?, ?)", pair)

    def _set(self, kind: str, ids: array[int]) -> int:
        digest = hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
        row = self._db.execute(f"SELECT id FROM {kind}_set WHERE digest = ?", (digest,)).fetchone()  # noqa: S608 - our own names
        if row:
            return int(row[0])
        set_id = self._db.execute(f"INSERT INTO {kind}_set (digest) VALUES (?)", (digest,)).lastrowid or 0  # noqa: S608 - our own names
        self._db.executemany(
            f"INSERT INTO {kind}_set_member (set_id, {kind}_id) VALUES (?, ?)",  # noqa: S608 - our own names
            ((set_id, it) for it in ids),
        )
        return set_id

    def assign(self, tally: SourceTally) -> None:
        """Name the networks, one group of equal keys at a time, and count. Nothing may be added after it."""
        for cached in (self.file, self.plan, self.describe, self.allowed_amount_file):
            cached.cache_clear()  # the tasks may be worked off for days
        rows = self._db.execute("SELECT key, id, canonical, named, period FROM file ORDER BY key, canonical")
        for _, group in groupby(rows, key=lambda row: row[0]):
            ids: dict[str, int] = {}
            identities: dict[str, NetworkIdentity] = {}
            for _, file_id, canonical, named, period in group:
                ids[canonical], identities[canonical] = file_id, _identity(canonical, named, period)
            assigned = assign_keys(identities)
            self._db.executemany(
                "INSERT INTO assigned VALUES (?, ?, ?, ?)",
                (
                    (ids[url], ids[it.mirror_of or url], it.network_id, it.identity.parts)
                    for url, it in assigned.items()
                ),
            )
            tally.files += len(assigned)
            tally.mirrors += sum(it.mirror_of is not None for it in assigned.values())
            tally.rules.update(it.identity.rule for it in assigned.values())
        self._db.execute("CREATE INDEX assigned_head ON assigned (head)")
        tally.tasks = sum(1 for _ in self._heads())

    def _heads(self) -> Iterator[int]:
        limit = -1 if self._options.max_files is None else self._options.max_files
        return (int(head) for (head,) in self._db.execute(_GROUPS, (limit,)))

    def _plans(self, head: int) -> tuple[Plan, ...]:
        """The plans of a file and its mirrors, in order of first appearance.

        Files that the same structures name share one tuple: Anthem's indexes list hundreds of files
        for each of their employers.
        """
        file_sets = tuple(set_id for (set_id,) in self._db.execute(_FILE_SETS, (head,)))
        if file_sets != self._last_plans[0]:
            rows = self._db.execute(_PLANS, (head,))
            self._last_plans = file_sets, tuple(Plan(**dict(zip(_PLAN_FIELDS, row, strict=True))) for row in rows)
        return self._last_plans[1]

    def tasks(self, index_period: str | None) -> Iterator[FileTask]:
        """Yield the wanted files in order of first appearance."""
        for position, head in enumerate(self._heads(), start=1):
            members = self._db.execute(_MEMBERS, (head,)).fetchall()
            canonical, url, _, named, period, network_id, parts = members[0]
            prefix = self._options.prefix
            yield FileTask(
                url=url,
                network_id=network_id,
                identity=replace(_identity(canonical, named, period), parts=parts),
                position=position,
                output_prefix=f"{prefix}_{network_id}" if prefix else network_id,
                description=next((member[2] for member in members if member[2]), None),
                index_period=index_period,
                plans=self._plans(head),
                mirror_urls=tuple(member[0] for member in members[1:]),
            )


def _identity(canonical: str, named: str | None, period: str | None) -> NetworkIdentity:
    identity = explicit_identity(canonical, named) if named else identify(canonical)
    return replace(identity, period=period) if period else identity


# --- table of contents ----------------------------------------------------------------------

_Event = tuple[str, Any]
_PARSE_BYTES = 1 << 16  # pieces small enough to say where the JSON breaks
_HEADER = ("reporting_entity_name", "reporting_entity_type", "version", "last_updated_on")
_ALLOWED = ("allowed_amount_file", "allowed_amount_files")  # Anthem: at the root; HCSC: an array
_NO_INDEX = {
    "in_network": "an in-network-rates file; use --source url to ingest it",
    "provider_references": "an in-network-rates file; use --source url to ingest it",
    "out_of_network": "an allowed-amounts file, which is not ingested",
    "provider_groups": "a provider-reference file; ingest the in-network file that refers to it, with --source url",
}


class _Bytes:
    """What the JSON parser reads, with a count, so that an error can be found again."""

    def __init__(self, blocks: Iterator[bytes], tally: SourceTally) -> None:
        self._pieces = self._cut(blocks, tally)
        self.piece, self.begin, self.ended = b"", 0, False

    @staticmethod
    def _cut(blocks: Iterator[bytes], tally: SourceTally) -> Iterator[bytes]:
        head = b""
        while len(head) < len(_BOM) and (block := next(blocks, b"")):
            head += block
        if head.startswith(_BOM):
            tally.repairs["byte_order_mark"] += 1
            yield _BOM  # not given to the parser, but counted
            head = head[len(_BOM) :]
        for block in (block for chunk in ([head], blocks) for block in chunk):
            for begin in range(0, len(block), _PARSE_BYTES):
                yield block[begin : begin + _PARSE_BYTES]

    def read(self, size: int, /) -> bytes:
        """The next piece, whatever its size."""
        if size == 0:  # ijson asks whether these are bytes
            return b""
        self.begin += len(self.piece)
        self.piece = next(self._pieces, b"")
        if self.begin == 0 and self.piece == _BOM:
            return self.read(size)
        self.ended = not self.piece
        return self.piece

    def offset(self, error: str) -> int:
        """Where yajl stumbled: it quotes up to 30 bytes before the place and says nothing else."""
        lines = error.split("\n")
        if len(lines) < 3 or "(right here)" not in lines[2]:  # noqa: PLR2004 - message, quote, arrow
            return self.begin
        arrow = lines[2].index("^")
        before = lines[1][:arrow].lstrip().encode("utf-8", "surrogateescape")
        text = self.piece.replace(b"\n", b" ").replace(b"\r", b" ")
        found = text.find(before)
        unique = found >= 0 and text.find(before, found + 1) < 0
        return self.begin + (found + len(before) if unique else 0)


class _Index:
    """One pass over a table of contents: each method takes one JSON value off the events."""

    def __init__(self, shown: str, base: str, spool: _Spool, tally: SourceTally, options: SourceOptions) -> None:
        self._shown, self._base = shown, base
        self._spool, self._tally, self._options = spool, tally, options
        self._is_index = False
        self._matches = _matcher(options.match)
        self._usable = lru_cache(1 << 15)(_usable_location)

    def read(self, blocks: Iterator[bytes]) -> None:
        """Put all that the index names into the spool.

        Raises:
            MalformedJson, TruncatedFile: With the byte of the decompressed index.
            SourceProblems: JSON of another kind.
        """
        source = _Bytes(blocks, self._tally)
        try:
            self._root(iter(ijson.basic_parse(source)))
        except ijson.JSONError as error:
            if source.ended and not source.begin:
                raise EmptyFile(self._shown, "the index is empty; download it again") from None
            if source.ended:
                raise TruncatedFile(self._shown, source.begin, "the JSON of the index") from None
            reason = str(error).partition("\n")[0].removeprefix("b'").partition("\\n")[0]
            raise MalformedJson(self._shown, source.offset(str(error)), reason) from None

    def _fail(self, what: str) -> SourceProblems:
        return SourceProblems(self._shown, (Problem("root", what),))

    def _root(self, events: Iterator[_Event]) -> None:
        if next(events)[0] != "start_map":
            raise self._fail("is no table of contents: a JSON object with reporting_structure was expected")
        keys: list[str] = []
        for event, key in events:
            if event == "end_map":
                break
            keys.append(key[:40])
            self._root_value(key, events)
            if self._enough():
                return
            del keys[20:]
        next(events, None)  # lets the parser object to what comes after the end
        if not self._is_index:
            found = ", ".join(keys) or "nothing"
            raise self._fail(f"is no table of contents: reporting_structure is missing, its keys are {found}")

    def _enough(self) -> bool:
        return self._options.structures is not None and self._tally.structures >= self._options.structures

    def _root_value(self, key: str, events: Iterator[_Event]) -> None:
        if key in _NO_INDEX:
            raise self._fail(f"is {_NO_INDEX[key]}")
        if key == "reporting_structure":
            self._is_index = True
            for number, event in self._elements(key, events):
                self._structure(f"reporting_structure[{number}]", event, events)
                if self._enough():
                    return
        elif key in _HEADER:
            setattr(self._tally, key, self._text(next(events), events))
        elif key in _ALLOWED:
            self._tally.repairs["allowed_amount_file_at_root"] += 1
            self._allowed(key, key, events)
        else:
            self._tally.ignore(key)
            _skip(next(events), events)

    def _elements(self, key: str, events: Iterator[_Event]) -> Iterator[tuple[int, _Event]]:
        """The first event of each element; a single value counts as a list of one, null as an empty list."""
        first = next(events)
        if first[0] == "start_array":
            yield from enumerate(iter(lambda: next(events), ("end_array", None)))
        elif first[0] != "null":
            if key != "allowed_amount_file":  # the only one that CMS wants single
                self._tally.repairs[f"{key}_not_a_list"] += 1
            yield 0, first

    def _structure(self, where: str, first: _Event, events: Iterator[_Event]) -> None:
        self._tally.structures += 1
        if first[0] != "start_map":
            self._tally.report(where, "is no object")
            _skip(first, events)
            return
        files: set[int] = set()
        plans: set[int] = set()
        selected = False
        for _, key in iter(lambda: next(events), ("end_map", None)):
            if key == "reporting_plans":
                for plan in self._plans(where, events):
                    plans.add(self._spool.plan(plan))
                    selected = selected or self._matches(plan)
            elif key == "in_network_files":
                files.update(self._files(f"{where}.{key}", key, events))
            elif key in _ALLOWED:
                self._allowed(f"{where}.{key}", key, events)
            else:
                self._tally.ignore(key)
                _skip(next(events), events)
        selected = selected or self._options.match is None
        self._tally.structures_selected += selected
        self._spool.link(files, plans, wanted=selected)

    def _plans(self, where: str, events: Iterator[_Event]) -> Iterator[Plan]:
        for number, first in self._elements("reporting_plans", events):
            if first[0] != "start_map":
                self._tally.report(f"{where}.reporting_plans[{number}]", "is no object")
                _skip(first, events)
                continue
            yield _plan(self._flat_object(_PLAN_FIELDS, events), self._tally)

    def _files(self, where: str, key: str, events: Iterator[_Event]) -> Iterator[int]:
        for number, first in self._elements(key, events):
            url, description = self._location(f"{where}[{number}]", first, events)
            if url is not None:
                self._tally.locations += 1
                file_id = self._spool.file(url)
                if description:
                    self._spool.describe(file_id, description)
                yield file_id

    def _allowed(self, where: str, key: str, events: Iterator[_Event]) -> None:
        for number, first in self._elements(key, events):
            url, _ = self._location(f"{where}[{number}]", first, events)
            if url is not None:
                self._spool.allowed_amount_file(url)

    def _location(self, where: str, first: _Event, events: Iterator[_Event]) -> tuple[str | None, str | None]:
        """The address and description of one file entry; no address if it is unusable, which is reported."""
        if first[0] == "start_map":
            entry = self._flat_object(("location", "description"), events)
        else:
            self._tally.repairs["file_entry_not_an_object"] += 1
            entry = {"location": self._text(first, events)}
        location = entry.get("location")
        if not location or not location.strip():
            self._tally.report(where, "has no location")
            return None, None
        if location != location.strip():
            self._tally.repairs["location_trimmed"] += 1
        try:
            return self._usable(location.strip(), self._base), entry.get("description")
        except _Unusable as reason:
            self._tally.report(where, str(reason))
            return None, None

    def _flat_object(self, known: tuple[str, ...], events: Iterator[_Event]) -> dict[str, str | None]:
        """The known texts of an object whose `start_map` is taken."""
        found: dict[str, str | None] = {}
        for _, key in iter(lambda: next(events), ("end_map", None)):
            if key in known:
                found[key] = self._text(next(events), events)
            else:
                self._tally.ignore(key)
                _skip(next(events), events)
        return found

    def _text(self, first: _Event, events: Iterator[_Event]) -> str | None:
        event, value = first
        if event == "string":
            return str(value)
        if event == "number":
            self._tally.repairs["number_for_text"] += 1
            return str(value)
        if event != "null":
            self._tally.repairs["value_dropped"] += 1
            _skip(first, events)
        return None


def _skip(first: _Event, events: Iterator[_Event]) -> None:
    """Pass over one value whose first event is taken."""
    depth = int(first[0].startswith("start_"))
    while depth:
        event, _ = next(events)
        depth += event.startswith("start_") - event.startswith("end_")


def _plan(raw: Mapping[str, str | None], tally: SourceTally) -> Plan:
    """A plan as given, but trimmed, blank as null, and the two enumerations in lower case (CMS v2)."""
    texts = {name: (raw.get(name) or "").strip() or None for name in _PLAN_FIELDS}
    for name in ("plan_id_type", "plan_market_type"):
        given = texts[name]
        if given and given != given.lower():
            tally.repairs[f"{name}_case"] += 1
            texts[name] = given.lower()
    return Plan(**texts)


def _matcher(match: str | None) -> Callable[[Plan], bool]:
    """Whether a plan has the text in its name, id, issuer or sponsor; EINs with and without hyphen are equal."""
    if match is None:
        return lambda _: True
    wanted = match.casefold()

    def matches(plan: Plan) -> bool:
        texts = (plan.plan_name, plan.issuer_name, plan.plan_sponsor_name, plan.plan_id)
        if any(wanted in text.casefold() for text in texts if text):
            return True
        bare = wanted.replace("-", "")
        return bare.isdecimal() and bare in (plan.plan_id or "").replace("-", "")

    return matches


def read_index(
    location: str, open_url: Opener, options: SourceOptions | None = None, tally: SourceTally | None = None
) -> Iterator[FileTask]:
    """Yield the in-network files of a CMS table of contents (schema v1 or v2, whatever it claims).

    The index is read to its end before the first task: later structures name the same files again
    and add plans. Only `options.structures` stops early, and then knows no later plans and no
    later collisions of network ids. Memory is flat but for the plans of one task.

    A location that is no address ("Missing file" is one payer's) is reported in the tally and does
    not stop the rest.

    Raises:
        SourceProblems: Not a table of contents, or not one usable in-network file in it.
        MalformedJson, TruncatedFile: With the byte of the decompressed index.
        FetchError, StreamError: From the opener and the stream.

    Source: CMSgov/price-transparency-guide, table-of-contents, v1.0.0 to v2.2.0.
    """
    options, tally, location = options or SourceOptions(), tally or SourceTally(), _own_location(location)
    shown = canonical_url(location)
    with closing(_Spool(options)) as spool:
        with open_url(location) as raw:
            _Index(shown, location, spool, tally, options).read(open_json(raw).blocks())
        spool.count_allowed_amounts(tally)
        tally.index_period = identify(location).period or _month(tally.last_updated_on)
        spool.assign(tally)
        if not tally.files:
            raise SourceProblems(shown, _why_no_file(tally))
        if not tally.tasks:
            what = f"no structure with in-network files has a plan with {options.match!r} in it; try less text"
            raise SourceProblems(shown, (Problem("match", what),))
        yield from spool.tasks(tally.index_period)


def _why_no_file(tally: SourceTally) -> tuple[Problem, ...]:
    found = f"{tally.structures} reporting structures, {tally.allowed_amount_files} allowed-amount files"
    return (*tally.problems, Problem("reporting_structure", f"names no usable in-network file ({found})"))


def _month(text: str | None) -> str | None:
    """YYYY-MM of a date, if it is one."""
    found = re.match(r"(20\d\d-(?:0[1-9]|1[0-2]))(?!\d)", text or "")
    return found.group(1) if found else None


# --- lists ----------------------------------------------------------------------------------

_LINE_BYTES = 1 << 20
_DELIMITERS = ",;\t|"
_MAX_PROBLEMS = 1000
_COLUMNS = ("file_url", *_PLAN_FIELDS, "network_id", "description", "period")


class _Problems:
    """Collects what is wrong with a list, to tell all of it at once."""

    def __init__(self, source: str) -> None:
        self._source, self._found = source, list[Problem]()

    def add(self, where: int | str, what: str) -> None:
        """Note a problem of a line, or of something else that has a name."""
        place = f"line {where}" if isinstance(where, int) else where
        self._found.append(Problem(place, what))
        if len(self._found) >= _MAX_PROBLEMS:
            self._found.append(Problem(place, "reading stopped here; is this a list of files?"))
            self.settle()

    def settle(self) -> None:
        """Raise `SourceProblems` if there are any."""
        if self._found:
            raise SourceProblems(self._source, tuple(self._found))


def _lines(location: str, open_url: Opener, problems: _Problems) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line with its end; lines that are not UTF-8 are problems."""
    with open_url(location) as raw:
        for number, line in enumerate(_split(open_json(raw, expect="text").blocks()), start=1):
            if len(line) > _LINE_BYTES:
                problems.add(number, "is longer than 1 MiB; this is no list of files")
                problems.settle()
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                problems.add(number, f"is not UTF-8 at its byte {error.start + 1}; save the file as UTF-8")
                text = "\n"
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends: LF, CRLF or CR (Excel for Mac)."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).splitlines(keepends=True)
        yield from lines
        if len(rest) > _LINE_BYTES:
            break
    yield from rest.splitlines(keepends=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filling:
    """A list while it is read."""

    location: str
    options: SourceOptions
    spool: _Spool
    tally: SourceTally
    problems: _Problems

    def add(
        self, where: int | str, location: str, plans: Iterable[Plan], known: Mapping[str, str | None] | None = None
    ) -> None:
        """Take one file with what is known of it (`network_id`, `period`, `description`), or note its problem."""
        known = known or {}
        named = known.get("network_id") or self.options.network_id
        try:
            url = _usable_location(location, self.location)
            file_id = self.spool.file(url, named, known.get("period"))
        except _Unusable as reason:
            self.problems.add(where, str(reason))
            return
        if description := known.get("description"):
            self.spool.describe(file_id, description)
        self.spool.link([file_id], [self.spool.plan(plan) for plan in plans])
        self.tally.locations += 1


def _listed(
    shown: str,
    location: str,
    options: SourceOptions | None,
    tally: SourceTally | None,
    fill: Callable[[_Filling], None],
) -> Iterator[FileTask]:
    """Fill a spool with `fill`; tell its problems all at once, or yield the tasks."""
    options, tally = options or SourceOptions(), tally or SourceTally()
    problems = _Problems(shown)
    with closing(_Spool(options)) as spool:
        fill(_Filling(location=location, options=options, spool=spool, tally=tally, problems=problems))
        problems.settle()
        spool.assign(tally)
        if not tally.files:
            raise SourceProblems(shown, (Problem("line 1", "names no file; at least one URL was expected"),))
        yield from spool.tasks(None)


def read_urls(
    location: str, open_url: Opener, options: SourceOptions | None = None, tally: SourceTally | None = None
) -> Iterator[FileTask]:
    """Yield the files of a list: one URL or path per line; blank lines and lines that begin with `#` are skipped.

    Relative paths are taken from the list's own folder. Repeated URLs, their signatures aside, are
    one file: `tally.locations` less `tally.files` says how many were.

    Raises:
        SourceProblems: All problems with their line numbers, before the first task.
        FetchError, StreamError: From the opener and the stream.
    """
    location = _own_location(location)

    def fill(filling: _Filling) -> None:
        for number, text in _lines(location, open_url, filling.problems):
            entry = text.strip()
            if entry and not entry.startswith("#"):
                filling.add(number, entry, filling.options.plans)

    return _listed(canonical_url(location), location, options, tally, fill)


def read_url(
    location: str, options: SourceOptions | None = None, tally: SourceTally | None = None
) -> Iterator[FileTask]:
    """Yield the one file at a URL or a local path, without opening it.

    Raises:
        SourceProblems: Not an address of a file.
    """
    location = location.strip()
    beside = _absolute(Path("input"))  # relative paths are taken from the working folder

    def fill(filling: _Filling) -> None:
        filling.add("--input", location, filling.options.plans)

    return _listed("url", beside, options, tally, fill)


def read_csv(
    location: str, open_url: Opener, options: SourceOptions | None = None, tally: SourceTally | None = None
) -> Iterator[FileTask]:
    """Yield the files of a CSV: column `file_url`, and where wanted the plan's and the file's own.

    Optional columns are those of `Plan` (one plan per row; rows of one URL are one task with all
    their plans), `network_id` (wins over the one in the name), `period` (YYYY-MM or a date) and
    `description`. Other columns are counted in the tally and ignored. Fields are separated by
    comma, semicolon, tab or pipe, whichever makes most of the header. UTF-8, with a byte order
    mark or without; relative paths are taken from the CSV's own folder.

    Raises:
        SourceProblems: All problems with their line numbers, before the first task.
        FetchError, StreamError: From the opener and the stream.
    """
    location = _own_location(location)

    def fill(filling: _Filling) -> None:
        _fill_from_csv(filling, _lines(location, open_url, filling.problems))

    return _listed(canonical_url(location), location, options, tally, fill)


def _fill_from_csv(filling: _Filling, lines: Iterator[tuple[int, str]]) -> None:
    header_line, header = next(((number, text) for number, text in lines if text.strip()), (1, ""))
    delimiter = max(_DELIMITERS, key=lambda it: len(_column_names(header, it)))
    columns = _column_names(header, delimiter)
    if not _header_is_usable(filling.problems, header_line, columns):
        return
    for column in columns:
        if column not in _COLUMNS:
            filling.tally.ignore(column)
    for line, row in _rows(lines, header_line, delimiter, filling.problems):
        if any(it.strip() for it in row):
            _fill_from_row(filling, line, columns, row)


def _column_names(header: str, delimiter: str) -> list[str]:
    names = next(csv.reader([header.strip("\r\n")], delimiter=delimiter), [])
    return [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in names]


def _header_is_usable(problems: _Problems, line: int, columns: list[str]) -> bool:
    repeated = [column for column, count in Counter(columns).items() if count > 1 and column in _COLUMNS]
    if "file_url" not in columns:
        found = ", ".join(columns[:20]) or "none"
        problems.add(line, f"has no column file_url; the columns are: {found}")
    if repeated:
        problems.add(line, f"names a column twice: {', '.join(repeated)}")
    return "file_url" in columns and not repeated


def _rows(
    lines: Iterator[tuple[int, str]], header_line: int, delimiter: str, problems: _Problems
) -> Iterator[tuple[int, list[str]]]:
    """Line on which a row ends and its fields; rows that are no CSV are problems."""
    reader = csv.reader((text for _, text in lines), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(header_line + reader.line_num, f"is no CSV row ({error}); look for a quote that is not closed")
        else:
            yield header_line + reader.line_num, row


def _fill_from_row(filling: _Filling, line: int, columns: list[str], row: list[str]) -> None:
    if len(row) > len(columns):  # a comma in a URL would cut it
        filling.problems.add(line, f"has {len(row)} fields where the header has {len(columns)}; quote the field")
        return
    known = {column: value.strip() or None for column, value in zip(columns, row, strict=False)}
    url, period = known.get("file_url"), known.get("period")
    if url is None:
        filling.problems.add(line, "has no file_url")
        return
    month = _month(period)
    if period and month is None:
        filling.problems.add(line, f"has the period {period!r}; YYYY-MM was expected")
        return
    has_plan = any(known.get(name) for name in _PLAN_FIELDS)
    filling.add(line, url, [_plan(known, filling.tally)] if has_plan else [], {**known, "period": month})


# --- dispatch -------------------------------------------------------------------------------

_SAYS_ITSELF = ("csv", "index")  # their rows or structures carry network ids or plans


def read_source(
    kind: str,
    location: str,
    open_url: Opener,
    options: SourceOptions | None = None,
    tally: SourceTally | None = None,
) -> Iterator[FileTask]:
    """Yield the files of a source of any `SourceKind`, in order of first appearance, positions from 1.

    Network ids do not depend on that order, nor on `match` and `max_files`.

    Raises:
        SettingError: An unknown kind, or an option that this kind does not know; at once.
        SourceProblems, FetchError, StreamError, MalformedJson: As its reader says; at the first task.
    """
    options = options or SourceOptions()
    _check_options(kind, options)
    if kind == "url":
        return read_url(location, options, tally)
    read = {"csv": read_csv, "index": read_index, "urls": read_urls}[kind]
    return read(location, open_url, options, tally)


def _check_options(kind: str, options: SourceOptions) -> None:
    if kind not in get_args(SourceKind):
        raise SettingError("source", f"{kind!r} is none of {', '.join(get_args(SourceKind))}")
    if kind != "index" and (options.structures is not None or options.match is not None):
        raise SettingError("structures, match", f"narrow an index; --source is {kind}")
    if kind in _SAYS_ITSELF and (options.network_id is not None or options.plans):
        raise SettingError("network_id, plans", f"are for --source url and urls; a source of kind {kind} names its own")
    for name in ("structures", "max_files"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise SettingError(name, f"is {value}; at least 1 was expected")
