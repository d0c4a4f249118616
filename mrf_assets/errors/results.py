"""What was read cannot be kept or published, and what others refused."""

from __future__ import annotations

from mrf_assets.errors.base import MrfError
from mrf_assets.urls.address import Address


class PartDied(MrfError):
    """The process that read one part of a network ended without a word."""

    def __init__(self, part: int, how: str) -> None:
        super().__init__(part, how)
        self.part, self.how = part, how

    def __str__(self) -> str:
        return (
            f"the process that read file {self.part} of the network died ({self.how}), maybe for memory; run it again"
        )


class StoreError(MrfError):
    """The output or temporary folder cannot be read or written."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class UnexpectedRows(StoreError):
    """What stands in an output is not what its ledger says was written there."""


class DiskFull(StoreError):
    """No room left, or not enough for what is about to come.

    `shortage` is what is used up: "room", "inodes" or "quota"; `setting` is what names the folder.
    """

    def __init__(  # noqa: PLR0917 - the facts are the arguments, so that it leaves a process
        self,
        path: str,
        free_bytes: int,
        coming_bytes: int,
        kept_bytes: int,
        shortage: str = "room",
        setting: str = "an --output-dir",
    ) -> None:
        MrfError.__init__(self, path, free_bytes, coming_bytes, kept_bytes, shortage, setting)
        self.path, self.free_bytes, self.coming_bytes, self.kept_bytes = path, free_bytes, coming_bytes, kept_bytes
        self.shortage, self.setting = shortage, setting

    def __str__(self) -> str:
        if self.shortage == "inodes":
            return (
                f"{self.path}: the disk takes no more files: its inodes are used up, though "
                f"{_megabytes(self.free_bytes)} are free; remove some files, or name {self.setting} on another disk"
            )
        if self.shortage == "quota":
            return f"{self.path}: the quota is used up; remove some files, or name {self.setting} on another disk"
        needs = [f"about {_megabytes(self.coming_bytes)} are to come"] if self.coming_bytes else []
        needs += [f"MRF_MIN_FREE_BYTES keeps {_megabytes(self.kept_bytes)}"] if self.kept_bytes else []
        return (
            f"{self.path}: the disk is full: {_megabytes(self.free_bytes)} are free"
            f"{', ' if needs else ''}{' and '.join(needs)}; free some space, or name {self.setting} on a larger disk"
        )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


class AuditFailed(MrfError):
    """Blocking checks found defects in what was staged; nothing was published."""

    def __init__(
        self,
        network_id: str,
        failed_checks: tuple[str, ...],
        price_rejects: tuple[tuple[str, int], ...] = (),  # reason and count, the most frequent first
    ) -> None:
        super().__init__(network_id, failed_checks, price_rejects)
        self.network_id, self.failed_checks, self.price_rejects = network_id, failed_checks, price_rejects

    def __str__(self) -> str:
        rejects = ", ".join(f"{reason} ({count:,})" for reason, count in self.price_rejects)
        return (
            f"{self.network_id}: not published, blocking checks failed: {', '.join(self.failed_checks)}; "
            f"{f'prices were rejected: {rejects}, see docs/repairs.md; ' if rejects else ''}"
            "see the check results of the run"
        )


class WhitelistKeepsNothing(MrfError):
    """A whitelist leaves no price of a network that had some; nothing was published."""

    def __init__(self, network_id: str, period: str, items_read: int, published_prices: int) -> None:
        super().__init__(network_id, period, items_read, published_prices)
        self.network_id, self.period = network_id, period
        self.items_read, self.published_prices = items_read, published_prices

    def __str__(self) -> str:
        return (
            f"{self.network_id}: the whitelist keeps no price of {self.items_read:,} items read for {self.period}, and "
            f"{self.published_prices:,} prices are published; nothing was replaced. Correct the whitelist, or publish "
            "an empty network with --allow-empty (MRF_ALLOW_EMPTY)"
        )


class LookUpFailed(MrfError):
    """A service did not answer for one item; `reason` is a fixed word, `detail` what it said."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        http_status: int | None = None,
        is_passing: bool = True,  # worth another try
        is_refusal: bool = False,  # too many requests: nothing is wrong with the item
        retry_after_seconds: float | None = None,
        size_bytes: int = 0,
    ) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.http_status = reason, detail, http_status
        self.is_passing, self.is_refusal = is_passing, is_refusal
        self.retry_after_seconds, self.size_bytes = retry_after_seconds, size_bytes

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class SubmissionRefused(MrfError):
    """A Dagster server answered, and not with what it was asked for."""

    def __init__(self, url: Address | str, reason: str) -> None:
        super().__init__(str(url), reason)
        self.url, self.reason = str(url), reason

    def __str__(self) -> str:
        return f"Dagster at {self.url} refused: {self.reason}; its log says more"
