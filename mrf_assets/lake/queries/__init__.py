"""The shipped queries: one question per `.sql` file, over the views of `catalog`.

A file begins with comments that state question, grain, caveats and parameters:

    -- Question: What do networks pay for one code?
    -- Grain: One row per network.
    -- Caveats: What a reader must know.
    -- Parameter billing_code: The code.
    -- Parameter billing_code_type [CPT]: Its type; in brackets what it is unless it is given.

Values are bound to `$name` by DuckDB, never written into the SQL. They come as text; the SQL casts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mrf_assets.errors import SettingError

FOLDER = Path(__file__).parent
_FIELD = re.compile(r"\A-- (?P<field>Question|Grain|Caveats): (?P<text>.+)\Z")
_PARAMETER = re.compile(r"\A-- Parameter (?P<name>[a-z_]+)(?: \[(?P<default>[^]]*)\])?: (?P<text>.+)\Z")
_MORE = re.compile(r"\A--   (?P<text>.+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One value that a query asks for."""

    name: str
    doc: str
    default: str | None  # None: it must be given


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question."""

    name: str
    sql: str
    question: str = ""
    grain: str = ""
    caveats: str = ""
    parameters: tuple[Parameter, ...] = ()

    def bind(self, arguments: Mapping[str, str], names: set[str]) -> dict[str, str]:
        """The values of the parameters that the SQL names (`names`): those given, else the defaults.

        Raises:
            SettingError: A value is missing, or one was given that nobody asks for; all are told.
        """
        defaults = {it.name: it.default for it in self.parameters if it.default is not None}
        missing = sorted(names - arguments.keys() - defaults.keys())
        if missing:
            raise SettingError("--param", f"{self.name} needs {', '.join(missing)}; give each as --param name=value")
        unknown = sorted(arguments.keys() - names)
        if unknown:
            choices = ", ".join(sorted(names)) or "none"
            raise SettingError("--param", f"{self.name} has no parameter {', '.join(unknown)}; it has: {choices}")
        return {name: arguments.get(name, defaults.get(name, "")) for name in names}


def names() -> list[str]:
    """The shipped queries."""
    return sorted(path.stem for path in FOLDER.glob("*.sql"))


def shipped(name: str) -> Query:
    """A shipped query by its name.

    Raises:
        SettingError: There is none of that name.
    """
    if name not in names():
        raise SettingError("--name", f"{name} is no shipped query; there are: {', '.join(names())}")
    return parse(name, (FOLDER / f"{name}.sql").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Query:
    """A query out of its file; the comments at its head may be absent."""
    fields: dict[str, str] = {}
    parameters: list[Parameter] = []
    last_field = ""
    for line in text.splitlines():
        if match := _FIELD.match(line):
            last_field = match["field"].lower()
            fields[last_field] = match["text"]
        elif match := _PARAMETER.match(line):
            last_field = ""
            parameters.append(Parameter(name=match["name"], doc=match["text"], default=match["default"]))
        elif last_field and (match := _MORE.match(line)):
            fields[last_field] += f" {match['text']}"
        else:
            break
    return Query(name=name, sql=text, parameters=tuple(parameters), **fields)
