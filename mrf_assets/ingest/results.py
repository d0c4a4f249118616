"""What comes of a network and of its files, and how far a file is."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mrf_assets.errors import AuditFailed
from mrf_assets.lake.publish import TableFile
from mrf_assets.quality.network_rules import CheckResult
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.tasks import FileTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one file is."""

    network_id: str
    filename: str
    read_bytes: int  # compressed
    size_bytes: int | None  # compressed, where announced
    json_bytes: int
    rate_rows: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What came of one source file."""

    task: FileTask
    period: str
    row: dict[str, Any]  # of `files`
    rejects: dict[str, int]  # by reason
    transfer: TransferCounts
    seconds: float
    price_rejects: dict[str, int] = field(default_factory=dict)  # `rejects`, of prices and of what holds them alone


_MAX_REASONS = 3  # in an error


def fetch_cost(size_bytes: int, transfer: TransferCounts) -> dict[str, int]:
    """What it took to fetch a file, by the names that run metadata has."""
    return {"source_size_bytes": size_bytes, **transfer.as_metadata}


def cost_of_files(files: Iterable[FileResult]) -> dict[str, int]:
    """The same for several."""
    return total_cost(*(fetch_cost(file.row["size_bytes"], file.transfer) for file in files))


def total_cost(*each: Mapping[str, int]) -> dict[str, int]:
    """Sums, by name."""
    names = dict.fromkeys(name for one in each for name in one)
    return {name: sum(one.get(name, 0) for one in each) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class WhitelistCounts:
    """What whitelists kept of the items of files, and of the prices of the items kept; other prices are not counted."""

    items_read: int = 0
    items_kept: int = 0
    prices_read: int = 0
    prices_kept: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> WhitelistCounts:
        """Of a `files` row, or of the sums of several that run metadata has."""
        dropped_prices = counts["prices_rejected"] + counts["prices_filtered"]
        return cls(
            items_read=counts["items_read"],
            items_kept=counts["items_kept"],
            prices_read=counts["prices_read"],
            prices_kept=counts["prices_read"] - dropped_prices,
        )

    def __add__(self, other: WhitelistCounts) -> WhitelistCounts:
        return WhitelistCounts(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(WhitelistCounts)}
        )

    def __str__(self) -> str:
        mark = "" if self.prices_kept else "⚠️ "
        prices, items = f"{self.prices_kept:,} of {self.prices_read:,}", f"{self.items_kept:,} of {self.items_read:,}"
        return f"{mark}Whitelist: kept {prices} prices, in {items} items"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkResult:
    """What came of one network."""

    network_id: str
    files: list[FileResult]
    checks: dict[str, list[CheckResult]]  # by period
    carried_parts: list[str] = field(default_factory=list)  # published before, kept beside what was read
    published: list[TableFile] = field(default_factory=list)  # empty where blocking checks failed
    pruned_periods: list[str] = field(default_factory=list)
    start_time: dt.datetime | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of this process and of those that it waited for
    unchanged_since: dt.datetime | None = None  # where nothing was read: when what is published was extracted

    @property
    def periods(self) -> list[str]:
        """The periods that the files belong to, oldest first."""
        return sorted({file.period for file in self.files})

    @property
    def repairs(self) -> Counter[str]:
        """How often each kind of repair was made, over all files."""
        return sum((Counter(file.row["repairs"]) for file in self.files), Counter())

    @property
    def rejects(self) -> Counter[str]:
        """How many values were rejected for each reason, over all files."""
        return sum((Counter(file.rejects) for file in self.files), Counter())

    @property
    def whitelist_counts(self) -> WhitelistCounts | None:
        """What whitelists kept; None where none was set."""
        digests = ("code_whitelist_sha256", "tin_whitelist_sha256")
        if not any(file.row[name] for file in self.files for name in digests):
            return None
        return sum((WhitelistCounts.of(file.row) for file in self.files), WhitelistCounts())

    @property
    def price_rejects(self) -> Counter[str]:
        """How many prices, and rates and items with all their prices, were rejected for each reason."""
        return sum((Counter(file.price_rejects) for file in self.files), Counter())

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """Blocking checks that failed, as table.name."""
        return tuple(
            sorted(
                {
                    f"{result.check.table}.{result.check.name}"
                    for results in self.checks.values()
                    for result in results
                    if result.check.blocking and not result.passed
                }
            )
        )

    def require_published(self) -> None:
        """Raise AuditFailed if the audit stopped the publication."""
        if self.failed_checks:
            raise AuditFailed(self.network_id, self.failed_checks, tuple(self.price_rejects.most_common(_MAX_REASONS)))
