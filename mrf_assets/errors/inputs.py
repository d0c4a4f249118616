"""What the user gave, or what a watched index names, cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from mrf_assets.errors.base import MrfError
from mrf_assets.urls.address import Address

_MAX_LISTED = 20  # problems listed in full before "and n more"


class InputError(MrfError):
    """What the user gave cannot be used; nothing was started."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a source, where a person can find it."""

    where: str  # "line 12", "reporting_structure[3]", "byte 81"
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class SourceProblems(InputError):
    """An index, CSV or URL list has problems; all of them are told at once."""

    def __init__(self, source: Address | str, problems: tuple[Problem, ...]) -> None:
        super().__init__(str(source), problems)
        self.source, self.problems = str(source), problems

    def __str__(self) -> str:
        first_problems = "; ".join(map(str, self.problems[:_MAX_LISTED]))
        more = f"; and {len(self.problems) - _MAX_LISTED} more" if len(self.problems) > _MAX_LISTED else ""
        return f"{self.source}: {first_problems}{more}"


class SettingError(InputError):
    """A setting or a flag has a value that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class ListFileError(InputError):
    """A whitelist file cannot be read or holds a line that is no entry."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class QueryError(InputError):
    """A query that cannot be run as it is."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class MissingExtra(InputError):
    """A feature needs a package that only an extra of ours installs."""

    def __init__(self, feature: str, package: str, extra: str, alternative: str | None = None) -> None:
        super().__init__(feature, package, extra, alternative)
        self.feature, self.package, self.extra, self.alternative = feature, package, extra, alternative

    def __str__(self) -> str:
        instead = "" if self.alternative is None else f", or {self.alternative}"
        return f"{self.feature} needs {self.package}: pip install 'mrf_assets[{self.extra}]'{instead}"


class IndexShrunk(MrfError):
    """A watched index names so much less than before that it is taken for broken."""

    def __init__(self, url: Address | str, what: str, before: int, now: int) -> None:
        super().__init__(str(url), what, before, now)
        self.url, self.what, self.before, self.now = str(url), what, before, now

    def __str__(self) -> str:
        return (
            f"{self.url} names {self.now} {self.what} and had {self.before}: too few to be believed; if it is right, "
            "lower smallest_share of this index in the registry"
        )
