"""What a caller may say about a source besides where it is, and what was found in it.

The readers take the options as they are (here alone it is checked what fits together), and fill the counts, whose
size has a bound whatever the source holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

from mrf_assets.errors import Problem, SettingError
from mrf_assets.settings import Limits
from mrf_assets.tasks import Plan

SourceKind = Literal["csv", "index", "urls", "url"]

_SAYS_ITSELF = ("csv", "index")  # their rows or structures carry network ids or plans
EXAMPLES = 100  # what is kept of things that may be millions


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What a caller may say about a source besides where it is."""

    prefix: str = ""  # output_prefix is `<prefix>_<network_id>`, or the id alone
    network_id: str | None = None  # one network for all files: `urls` and `url`
    plans: tuple[Plan, ...] = ()  # plans of all files: `urls` and `url`
    structures: int | None = None  # read the first N reporting structures: `index`
    match: str | None = None  # only structures with a plan whose name, id, issuer or sponsor has this text: `index`
    max_files: int | None = None  # the first N files
    limits: Limits = field(default_factory=Limits)


def check_options(kind: str, options: SourceOptions) -> None:
    """Refuse an unknown kind, and options that a kind does not know.

    Raises:
        SettingError: With the name of the option.
    """
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


@dataclass(slots=True, kw_only=True)
class SourceCounts:
    """What was found in a source; whole when the first task comes out. Its size has a bound."""

    is_from_stranger: bool = False  # the source is neither a file of ours nor in our own network
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
        if len(self.problems) < EXAMPLES:
            self.problems.append(Problem(where, what))

    def report_first(self, where: str, what: str) -> None:
        """Note a problem that is found last and concerns the whole source: no other crowds it out."""
        self.problem_count += 1
        self.problems.insert(0, Problem(where, what))
        del self.problems[EXAMPLES:]

    def ignore(self, key: str) -> None:
        """Note a key or column that means nothing to us."""
        key = key[:80]
        if key in self.ignored_keys or len(self.ignored_keys) < EXAMPLES:
            self.ignored_keys[key] += 1
