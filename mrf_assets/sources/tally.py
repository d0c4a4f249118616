"""What was found in a source, as counts and first examples, for a person and for the manifest.

The readers fill it; its size has a bound, whatever the source holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mrf_assets.errors import Problem

EXAMPLES = 100  # what is kept of things that may be millions


@dataclass(slots=True, kw_only=True)
class SourceTally:
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
