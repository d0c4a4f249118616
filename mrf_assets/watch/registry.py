"""The indexes that are watched, declared in one TOML file that people edit.

    [indexes.acme_national]
    url = "https://payer.example/2026-11-01_index.json.gz"
    payer = "Acme Health"
    priority = "HIGH"

`mrf index add` and `remove` edit the same file and leave comments as they are. Addresses may
be signed, so whoever writes the file makes it readable by its owner alone. What became of an
index is kept elsewhere (`memory`).
"""

from __future__ import annotations

import math
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table as TomlTable

from mrf_assets.errors import Problem, SettingError, SourceProblems, StoreError
from mrf_assets.priority import Priority
from mrf_assets.settings import machine_path
from mrf_assets.urls import fault_of, is_remote, local_path
from mrf_assets.urls.address import Address

PRIORITIES = tuple(Priority.__members__)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_HEADER = re.compile(r"""\s*\[\s*indexes\s*\.\s*["']?([^\]"']+?)["']?\s*\]""")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_TABLE = "indexes"
_YEAR_MINUTES = 366 * 24 * 60
_FIRST_LINES = """\
# The indexes that mrf_assets watches; `mrf index check` says what is wrong with this file.
# Addresses may hold signatures: keep it readable by its owner alone.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredIndex:
    """One index to watch; field names are the file's keys."""

    name: str  # the table's name: [indexes.<name>]
    url: Address  # or a path; relative ones are taken from the file's folder
    payer: str  # for people, and a tag of every run
    priority: Priority = Priority.NORMAL  # its name in the file
    poll_minutes: float = 360.0
    cpt_whitelist: Path | None = None  # billing codes to keep of this index's networks; None: as the settings say
    structures: int | None = None  # read the first N reporting structures
    match: str | None = None  # only structures with this text in a plan's name, id, issuer or sponsor
    max_files: int | None = None  # the first N files
    smallest_share: float = 0.5  # of what it named before; an index that names less is taken for broken
    probe_files: bool = True  # ask for each file whether it changed under its old address


def read_registry(path: Path) -> tuple[RegisteredIndex, ...]:
    """All registered indexes, in the file's order; none where there is no file.

    Raises:
        SourceProblems: All that is wrong, with lines.
        StoreError: The file cannot be read.
    """
    return parse_registry(_text_of(path), path)


def parse_registry(text: str, path: Path) -> tuple[RegisteredIndex, ...]:
    """The indexes in a registry's text; `path` is where it stands."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SourceProblems(str(path), (Problem("TOML", f"{error}; mend it there"),)) from None
    problems: list[Problem] = []
    lines = _line_numbers(text)
    if unknown := sorted(content.keys() - {_TABLE}):
        problems.append(Problem(unknown[0][:80], f"is not known here; an index is a table [{_TABLE}.name]"))
    tables = content.get(_TABLE, {})
    if not isinstance(tables, dict):
        problems.append(Problem(_TABLE, f"must hold tables; an index is a table [{_TABLE}.name]"))
        tables = {}
    folder = path.absolute().parent
    entries = [_Entry(name, lines, problems).read(table, folder) for name, table in tables.items()]
    if problems:
        raise SourceProblems(str(path), tuple(problems))
    return tuple(entry for entry in entries if entry is not None)


def add_index(path: Path, name: str, values: Mapping[str, Any], *, replace: bool = False) -> RegisteredIndex:
    """Register an index, `values` by key of the file; None leaves a key out.

    Raises:
        SettingError: The name is taken and `replace` was not asked for.
        SourceProblems: The values cannot be used, or the file has problems already; nothing was written.
    """
    return add_indexes(path, {name: values}, replace=replace)[name]


def add_indexes(
    path: Path, indexes: Mapping[str, Mapping[str, Any]], *, replace: bool = False
) -> dict[str, RegisteredIndex]:
    """Register indexes by name, all of them or none; the file is written once.

    Raises:
        SettingError: A name is taken and `replace` was not asked for.
        SourceProblems: Values cannot be used, or the file has problems already; nothing was written.
    """
    if not indexes:
        return {}
    document, tables = _opened(path)
    for name, values in indexes.items():
        if name in tables and not replace:
            raise SettingError("name", f"{name} is registered already in {path}; use --replace, or another name")
        table = tables[name] if name in tables else tomlkit.table()
        _set(table, values)
        if name not in tables:
            tables[name] = table
    text = tomlkit.dumps(document)
    entries = parse_registry(text, path)
    _write(path, text)
    return {entry.name: entry for entry in entries if entry.name in indexes}


def _set(table: Any, values: Mapping[str, Any]) -> None:  # noqa: ANN401 - tomlkit's tables are of several kinds
    """Set keys behind those that are there: comments at a table's end are the next table's."""
    behind = []
    body = table.value.body if isinstance(table, TomlTable) else []
    while body and body[-1][0] is None:
        behind.append(body.pop())
    for key, value in values.items():
        if value is not None:
            table[key] = str(value) if isinstance(value, Path) else value
        elif key in table:
            del table[key]
    body.extend(reversed(behind))


def remove_index(path: Path, name: str) -> None:
    """Take an index out of the file; what it published stays.

    Raises:
        SettingError: There is no such index.
    """
    document, tables = _opened(path)
    if name not in tables:
        names = ", ".join(tables) or "none"
        raise SettingError("name", f"{name} is not registered in {path}; registered are: {names}")
    text = _without_section(_text_of(path), name)
    if text is None:
        del tables[name]
        text = tomlkit.dumps(document)
    parse_registry(text, path)
    _write(path, text)


def _without_section(text: str, name: str) -> str | None:
    """The text without an index's own lines; comments at their end are the next one's. None where it has no header."""
    lines = text.splitlines(keepends=True)
    headers = [number for number, line in enumerate(lines) if line.lstrip().startswith("[")]
    for number in headers:
        header = _HEADER.match(lines[number])
        if header and header[1] == name:
            end = next((other for other in headers if other > number), len(lines))
            while end > number + 1 and lines[end - 1].lstrip()[:1] in ("", "#"):
                end -= 1
            return "".join(lines[:number] + lines[end:])
    return None


def _opened(path: Path) -> tuple[tomlkit.TOMLDocument, TomlTable]:
    """The file with its comments; one with problems is not touched."""
    text = _text_of(path)
    parse_registry(text, path)
    document = tomlkit.parse(text or _FIRST_LINES)
    if _TABLE not in document:
        document[_TABLE] = tomlkit.table(is_super_table=True)
    tables = document[_TABLE]
    assert isinstance(tables, Mapping)
    return document, tables  # type: ignore[return-value]  # a proxy where tables of other kinds stand between


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StoreError(str(path), f"the index registry cannot be read ({reason}); check the file") from None


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner alone."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            str(path), f"the index registry cannot be written ({error.strerror}); check the folder"
        ) from None


def _line_numbers(text: str) -> dict[tuple[str, str | None], int]:
    """(index, key) -> line; the key None is the header."""
    numbers: dict[tuple[str, str | None], int] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header[1]
            numbers.setdefault((name, None), number)
        elif key := _KEY.match(line):
            numbers.setdefault((name, key[1]), number)
    return numbers


class _Entry:
    """One table of the file, while it is read; what is wrong goes to `problems`."""

    def __init__(self, name: str, lines: Mapping[tuple[str, str | None], int], problems: list[Problem]) -> None:
        self._name, self._lines, self._problems = name, lines, problems

    def _problem(self, key: str | None, what: str) -> None:
        line = self._lines.get((self._name, key)) or self._lines.get((self._name, None))
        key_path = f"{_TABLE}.{self._name[:80]}" + (f".{key[:80]}" if key else "")
        self._problems.append(Problem(f"line {line}, {key_path}" if line else key_path, what))

    def read(self, table: object, folder: Path) -> RegisteredIndex | None:
        """The index; None where something is wrong with it."""
        before = len(self._problems)
        values = dict(self._values(table))
        if len(self._problems) > before:
            return None
        if fault := fault_of(values["url"]):
            self._problem("url", fault)
            return None
        if not is_remote(values["url"]):
            values["url"] = str(folder / local_path(values["url"]))
        values["url"] = Address(values["url"])
        values["priority"] = Priority[values.get("priority", "NORMAL")]
        if whitelist := values.get("cpt_whitelist"):
            values["cpt_whitelist"] = folder / whitelist
        return RegisteredIndex(name=self._name, **values)

    def _values(self, table: object) -> dict[str, Any]:
        if not _NAME.match(self._name):
            self._problem(None, "is no name; use up to 63 of a-z, 0-9, _ and -, and begin with a letter or digit")
        if not isinstance(table, dict):
            self._problem(None, f"is no table; write [{_TABLE}.name] and the keys below it")
            return {}
        for key in sorted(table.keys() - _KINDS.keys()):
            self._problem(key, f"is not known; the keys are {', '.join(sorted(_KINDS))}")
        for key in ("url", "payer"):
            if key not in table:
                self._problem(None, f"has no {key}; add one")
        for key in table.keys() & _KINDS.keys():
            is_usable, expectation = _KINDS[key]
            if not is_usable(table[key]):
                self._problem(key, f"must be {expectation}")
        return table


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_local_path(value: object) -> bool:
    try:
        return _is_text(value) and bool(machine_path("cpt_whitelist", str(value)))
    except SettingError:
        return False


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least < value <= most


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value, 0, math.inf)


_Kind = tuple[Callable[[object], bool], str]  # what is usable, and how it is told
_COUNT: _Kind = (_is_count, "a whole number, 1 or more")
_KINDS: dict[str, _Kind] = {
    "url": (_is_text, "the address or path of an index, in quotes"),
    "payer": (_is_text, "the payer's name, in quotes"),
    "priority": (lambda value: isinstance(value, str) and value in PRIORITIES, f"one of {', '.join(PRIORITIES)}"),
    "poll_minutes": (
        lambda value: _is_number(value, 0, _YEAR_MINUTES),
        "a number of minutes, more than 0, a year at most",
    ),
    "cpt_whitelist": (_is_local_path, "the path on this machine of a list of billing codes, in quotes"),
    "structures": _COUNT,
    "match": (_is_text, "a text in quotes"),
    "max_files": _COUNT,
    "smallest_share": (lambda value: value == 0 or _is_number(value, 0, 1), "a number from 0 to 1"),
    "probe_files": (lambda value: isinstance(value, bool), "true or false"),
}
