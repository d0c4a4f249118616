"""Files, plans and which go together, in a temporary database; in the end, tasks.

An index names the same file again and again (Univera 119,307 times for 3,186 files) and may be
larger than memory (Anthem's is 10 GB compressed). So the readers put in whatever they meet, then
`assign` has `network_id` name the whole set, and tasks come out one by one. Nothing is read here.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from functools import lru_cache
from itertools import groupby

from mrf_assets.errors import StoreError
from mrf_assets.network_id import assign_keys, explicit_identity, identify, partition_key
from mrf_assets.sources.locations import PLAN_FIELDS, Unusable, shown
from mrf_assets.sources.options import EXAMPLES, SourceCounts, SourceOptions
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls import canonical_url, shown_text, unshown_differences
from mrf_assets.urls.address import Address

_TABLES = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY, canonical TEXT NOT NULL UNIQUE, url TEXT NOT NULL, description TEXT,
    named TEXT, period TEXT, prefix TEXT, extra_args TEXT, key TEXT NOT NULL, wanted INTEGER NOT NULL DEFAULT 0
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
CREATE TABLE doubtful (parameter TEXT, digest BLOB, PRIMARY KEY (parameter, digest)) WITHOUT ROWID;
"""

_MAX_NAMES = 5  # parameters

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
SELECT canonical, url, description, named, period, network_id, parts, prefix, extra_args
FROM assigned JOIN file ON file.id = file_id WHERE head = ? ORDER BY file_id = head DESC, canonical
"""

_DISK_TROUBLE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})  # not our mistakes


@contextmanager
def temporary_spool(options: SourceOptions) -> Iterator[Spool]:
    """An empty spool, which is gone afterwards.

    Raises:
        StoreError: The temporary disk is full, or refuses.
    """
    try:
        with closing(Spool(options)) as spool:
            yield spool
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _DISK_TROUBLE:  # the rest of the bits are details
            raise
        # "database or disk is full"; where SQLite puts it: https://sqlite.org/tempfiles.html, section 5
        reason = f"cannot hold what the source names ({error}); free space in /var/tmp, or set TMPDIR to a larger disk"
        raise StoreError("the temporary folder", reason) from error


class Spool:
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

    def _file(self, url: str, explicit_id: str | None = None, period: str | None = None) -> int:
        """The id of a file, new or known; what later mentions know of it is added.

        Raises:
            Unusable: Two mentions of one file do not agree.
        """
        canonical = canonical_url(url)
        row = self._db.execute("SELECT named, period, id, url FROM file WHERE canonical = ?", (canonical,)).fetchone()
        if row is None:
            return self._insert(
                "INSERT INTO file (canonical, url, named, period, key) VALUES (?, ?, ?, ?, ?)",
                (canonical, url, explicit_id, period, partition_key(_identity(canonical, explicit_id, period))),
            )
        if url != row[3]:
            doubts = ((name, _digest(url.encode())) for name in unshown_differences(row[3], url))
            self._db.executemany("INSERT OR IGNORE INTO doubtful VALUES (?, ?)", doubts)
        for what, before, now in (("network_id", row[0], explicit_id), ("period", row[1], period)):
            if before and now and before != now:
                raise Unusable(f"{shown(url)} has the {what} {now!r} here and {before!r} above")
        identity = (explicit_id or row[0], period or row[1])
        if identity != row[:2]:
            key = partition_key(_identity(canonical, *identity))
            self._db.execute("UPDATE file SET named = ?, period = ?, key = ? WHERE id = ?", (*identity, key, row[2]))
        return int(row[2])

    def _describe(self, file_id: int, description: str) -> None:
        """Give a file the source's words for it; the first ones stay."""
        self._db.execute(
            "UPDATE file SET description = ? WHERE id = ? AND description IS NULL", (shown_text(description), file_id)
        )

    def bring_along(self, file_id: int, prefix: str | None, extra_args: Mapping[str, str]) -> None:
        """Note what a file has for its network.

        Raises:
            Unusable: Another mention of the file has something else.
        """
        arguments = json.dumps(dict(sorted(extra_args.items()))) if extra_args else None
        if prefix is None and arguments is None:
            return
        row = self._db.execute("SELECT canonical, prefix, extra_args FROM file WHERE id = ?", (file_id,)).fetchone()
        for what, before, now in (("output_prefix", row[1], prefix), ("extra_args", row[2], arguments)):
            if before and now and before != now:
                raise Unusable(f"{shown(row[0])} has the {what} {now} here and {before} above")
        values = (prefix or row[1], arguments or row[2], file_id)
        self._db.execute("UPDATE file SET prefix = ?, extra_args = ? WHERE id = ?", values)

    def _plan(self, plan: Plan) -> int:
        values = astuple(plan)
        digest = _digest(json.dumps(values).encode())
        plan_id = self._existing_id("plan", digest)
        return plan_id or self._insert("INSERT INTO plan VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", (digest, *values))

    def _allowed_amount_file(self, url: str) -> None:
        """Note a file that is not ingested."""
        self._db.execute("INSERT OR IGNORE INTO allowed_amount_file VALUES (?)", (canonical_url(url),))

    def count_allowed_amounts(self, counts: SourceCounts) -> None:
        """How many different ones were noted, with examples."""
        counts.allowed_amount_files = self._db.execute("SELECT count(*) FROM allowed_amount_file").fetchone()[0]
        rows = self._db.execute("SELECT canonical FROM allowed_amount_file ORDER BY 1 LIMIT ?", (EXAMPLES,))
        counts.allowed_amount_examples = tuple(canonical for (canonical,) in rows)

    def link(self, file_ids: set[int], plan_ids: set[int]) -> None:
        """Every one of the plans uses every one of the files; these files are wanted."""
        self._db.executemany("UPDATE file SET wanted = 1 WHERE id = ? AND NOT wanted", ((it,) for it in file_ids))
        pair = self._set("file", file_ids), self._set("plan", plan_ids)
        self._db.execute("INSERT OR IGNORE INTO structure VALUES (?, ?)", pair)

    def _set(self, kind: str, members: set[int]) -> int:
        ids = array("q", sorted(members))
        digest = _digest(ids.tobytes())
        if existing_id := self._existing_id(f"{kind}_set", digest):
            return existing_id
        set_id = self._insert(f"INSERT INTO {kind}_set (digest) VALUES (?)", (digest,))  # noqa: S608 - our own names
        self._db.executemany(
            f"INSERT INTO {kind}_set_member (set_id, {kind}_id) VALUES (?, ?)",  # noqa: S608 - our own names
            ((set_id, it) for it in ids),
        )
        return set_id

    def _existing_id(self, table: str, digest: bytes) -> int | None:
        row = self._db.execute(f"SELECT id FROM {table} WHERE digest = ?", (digest,)).fetchone()  # noqa: S608 - our own names
        return row and int(row[0])

    def _insert(self, statement: str, values: tuple[object, ...]) -> int:
        return self._db.execute(statement, values).lastrowid or 0

    def assign(self, counts: SourceCounts) -> None:
        """Name the networks, one group of equal keys at a time, and count. Nothing may be added after it."""
        for method in (self.file, self.plan, self.describe, self.allowed_amount_file):
            method.cache_clear()  # the tasks may be worked off for days
        rows = self._db.execute("SELECT key, id, canonical, named, period FROM file ORDER BY key, canonical")
        for _, group in groupby(rows, key=lambda row: row[0]):
            ids: dict[str, int] = {}
            identities: dict[str, NetworkIdentity] = {}
            for _, file_id, canonical, explicit_id, period in group:
                ids[canonical], identities[canonical] = file_id, _identity(canonical, explicit_id, period)
            assignments = assign_keys(identities)
            self._db.executemany(
                "INSERT INTO assigned VALUES (?, ?, ?, ?)",
                (
                    (ids[url], ids[it.mirror_of or url], it.network_id, it.identity.parts)
                    for url, it in assignments.items()
                ),
            )
            counts.files += len(assignments)
            counts.mirrors += sum(it.mirror_of is not None for it in assignments.values())
            counts.rules.update(it.identity.rule for it in assignments.values())
        self._db.execute("CREATE INDEX assigned_head ON assigned (head)")
        counts.tasks = sum(1 for _ in self._heads())
        self._tell_doubtful(counts)

    def _tell_doubtful(self, counts: SourceCounts) -> None:
        """Warn of addresses that became one file, as they differ in secrets alone, and may be several."""
        (count,) = self._db.execute("SELECT count(DISTINCT digest) FROM doubtful").fetchone()
        rows = self._db.execute("SELECT DISTINCT parameter FROM doubtful ORDER BY 1 LIMIT ?", (_MAX_NAMES,))
        if count:
            counts.report_first(
                "addresses",
                f"{count} differ from others in {', '.join(name for (name,) in rows)} alone, which may be a secret and "
                "tells no files apart; if they are different files, download them and pass the local copies",
            )

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
            self._last_plans = file_sets, tuple(Plan(**dict(zip(PLAN_FIELDS, row, strict=True))) for row in rows)
        return self._last_plans[1]

    def tasks(self, index_period: str | None) -> Iterator[FileTask]:
        """Yield the wanted files in order of first appearance."""
        for position, head in enumerate(self._heads(), start=1):
            members = self._db.execute(_MEMBERS, (head,)).fetchall()
            canonical, url, _, explicit_id, period, network_id, parts, *_ = members[0]
            prefix = next((member[7] for member in members if member[7]), self._options.prefix)
            yield FileTask(
                address=Address(url),
                network_id=network_id,
                identity=replace(_identity(canonical, explicit_id, period), parts=parts),
                position=position,
                output_prefix=f"{prefix}_{network_id}" if prefix else network_id,
                description=next((member[2] for member in members if member[2]), None),
                index_period=index_period,
                plans=self._plans(head),
                mirror_urls=tuple(member[0] for member in members[1:]),
                extra_args=json.loads(next((member[8] for member in members if member[8]), "{}")),
            )


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _identity(canonical: str, explicit_id: str | None, period: str | None) -> NetworkIdentity:
    identity = explicit_identity(canonical, explicit_id) if explicit_id else identify(canonical)
    return replace(identity, period=period) if period else identity
