"""Everything that can go wrong on purpose, as one tree.

Each error's text says which file, where, and what to do next. The facts are the
arguments, so an error survives the way out of a worker process; a bug is not in
this tree and stays a traceback.

    MrfError
    ├── InputError            the user's input; nothing was started        (exit code 2)
    │   ├── SourceProblems    problems of an index, CSV or list, all at once
    │   ├── SettingError      a setting or flag that cannot be used
    │   ├── ListFileError     a whitelist that cannot be read
    │   ├── QueryError        SQL that DuckDB refuses
    │   └── MissingExtra      a package that a plain install leaves out
    ├── IndexShrunk           a watched index names far less than before: taken for broken
    ├── FetchError            a file could not be had                      (one network fails)
    │   ├── NotFoundAtSource
    │   ├── HttpStatusError
    │   │   ├── AccessRefused the signature expired, or there is none: a newer index may help
    │   │   └── ServerBusy    429, 5xx and the like, to the last attempt
    │   ├── ConnectionLostError
    │   ├── TimeSpent         the total time for one file is used up
    │   ├── SourceChanged     another file lies there than the one that was begun
    │   ├── ChecksumMismatch  not the bytes that the server has a checksum of
    │   ├── UntrustedServer   a TLS certificate that cannot be verified
    │   ├── UnsupportedUrl
    │   │   └── AddressRefused a private address, where those are forbidden
    │   ├── RobotsRefused     the host asks programs to stay away from its page
    │   └── NotModified       no failure: asked for if changed, and it has not
    ├── StreamError           bytes that are not the file they claim to be
    │   ├── EmptyFile
    │   ├── UnsupportedContent
    │   ├── TruncatedFile
    │   ├── CorruptArchive
    │   └── LimitExceeded     a bomb, or what looks like one
    ├── ExtractError          JSON that cannot be read as in-network rates
    │   ├── MalformedJson
    │   ├── NotInNetworkFile
    │   └── RemoteReferencesFailed
    ├── PartDied              the process that read a part of a network is gone
    ├── StoreError            the output or temporary folder refused
    │   ├── UnexpectedRows       other rows stand there than those that were written
    │   └── DiskFull
    ├── AuditFailed           blocking checks failed; nothing was published
    ├── WhitelistKeepsNothing published prices would be replaced by none
    ├── LookUpFailed          a service did not answer for one item            (one item fails)
    └── SubmissionRefused     a Dagster server did not take what it was asked
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_TOLD = 20  # problems listed in full before "and n more"


class MrfError(Exception):
    """Base of all expected failures; `str()` is one line for a person."""

    spent: Mapping[str, int] = MappingProxyType({})  # what was fetched in vain: `results.spent` has the names


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

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(source, problems)
        self.source, self.problems = source, problems

    def __str__(self) -> str:
        listed = "; ".join(map(str, self.problems[:_TOLD]))
        more = f"; and {len(self.problems) - _TOLD} more" if len(self.problems) > _TOLD else ""
        return f"{self.source}: {listed}{more}"


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

    def __init__(self, url: str, what: str, before: int, now: int) -> None:
        super().__init__(url, what, before, now)
        self.url, self.what, self.before, self.now = url, what, before, now

    def __str__(self) -> str:
        return (
            f"{self.url} names {self.now} {self.what} and had {self.before}: too few to be believed; if it is right, "
            "lower smallest_share of this index in the registry"
        )


class FetchError(MrfError):
    """A file could not be had from where it is published."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class NotFoundAtSource(FetchError):
    """The address does not exist (any more)."""


class HttpStatusError(FetchError):
    """The server answered, and not with the file."""


class AccessRefused(HttpStatusError):
    """HTTP 401, 403 or 409: a signed link that has expired, most of the time; a newer one may help."""


class ServerBusy(HttpStatusError):
    """HTTP 408, 425, 429 or 5xx to the last attempt; worth another try later."""


class ConnectionLostError(FetchError):
    """No answer, or the connection broke before the last byte, to the last attempt."""


class TimeSpent(FetchError):
    """The time for one file is used up before its last byte."""


class SourceChanged(FetchError):
    """What lies at the address is no longer the file whose first bytes were read."""


class ChecksumMismatch(FetchError):
    """What was read is not what the server has a checksum of."""


class UntrustedServer(FetchError):
    """The server cannot prove who it is."""


class UnsupportedUrl(FetchError):
    """An address of a kind that is not read."""


class AddressRefused(UnsupportedUrl):
    """An address of our own network, which a stranger must not make us ask."""


class RobotsRefused(FetchError):
    """The host's robots.txt asks programs to stay away from a page; a person may open it."""


class NotModified(FetchError):
    """Asked for only if it has changed, and it has not; whoever asks so has to catch it."""


class StreamError(MrfError):
    """The bytes are not the file that they claim to be."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class EmptyFile(StreamError):
    """Not one byte of content."""


class UnsupportedContent(StreamError):
    """HTML, 7z, CSV and the like where JSON was promised."""


class CorruptArchive(StreamError):
    """A gzip or zip whose checksum or structure is wrong."""


class TruncatedFile(StreamError):
    """The file ended before its end."""

    def __init__(self, url: str, byte_offset: int, what: str) -> None:
        MrfError.__init__(self, url, byte_offset, what)
        self.url, self.byte_offset, self.what = url, byte_offset, what

    def __str__(self) -> str:
        return (
            f"{self.url} ended early: {self.what} stops at byte {self.byte_offset}; "
            "run it again, and tell the payer if it stays so"
        )


class LimitExceeded(StreamError):
    """A file goes beyond what a setting allows; real ones stay far below."""

    def __init__(self, url: str, setting: str, what: str, byte_offset: int | None = None) -> None:
        MrfError.__init__(self, url, setting, what, byte_offset)
        self.url, self.setting, self.what, self.byte_offset = url, setting, what, byte_offset

    def __str__(self) -> str:
        where = "" if self.byte_offset is None else f", from byte {self.byte_offset} of the decompressed file"
        return (
            f"{self.url}: {self.what}{where}; no real file is known to do so: tell the payer, "
            f"or set MRF_{self.setting.upper()} higher to read it nevertheless"
        )


class ExtractError(MrfError):
    """The JSON cannot be read as an in-network-rates file."""


class MalformedJson(ExtractError):
    """Not JSON from some byte on."""

    def __init__(self, url: str, byte_offset: int, reason: str) -> None:
        super().__init__(url, byte_offset, reason)
        self.url, self.byte_offset, self.reason = url, byte_offset, reason

    def __str__(self) -> str:
        return (
            f"{self.url}: not valid JSON at byte {self.byte_offset} of the decompressed file ({self.reason}); "
            "download it again, and report it to the payer if it stays so"
        )


class NotInNetworkFile(ExtractError):
    """Valid JSON of another kind."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class RemoteReferencesFailed(ExtractError):
    """Most of the provider groups that a file keeps elsewhere could not be had."""

    def __init__(self, url: str, failed: int, addresses: int, reasons: tuple[str, ...]) -> None:
        super().__init__(url, failed, addresses, reasons)
        self.url, self.failed, self.addresses, self.reasons = url, failed, addresses, reasons

    def __str__(self) -> str:
        return (
            f"{self.url}: {self.failed} of {self.addresses} remote provider references could not be had "
            f"({'; '.join(self.reasons)}); run it again later, or set MRF_REMOTE_REFERENCE_FAILURE_SHARE higher "
            "to keep its rates without these providers"
        )


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

    `lacks` is what is used up: "room", "inodes" or "quota"; `setting` is what names the folder.
    """

    def __init__(  # noqa: PLR0917 - the facts are the arguments, so that it leaves a process
        self,
        path: str,
        free_bytes: int,
        coming_bytes: int,
        kept_bytes: int,
        lacks: str = "room",
        setting: str = "an --output-dir",
    ) -> None:
        MrfError.__init__(self, path, free_bytes, coming_bytes, kept_bytes, lacks, setting)
        self.path, self.free_bytes, self.coming_bytes, self.kept_bytes = path, free_bytes, coming_bytes, kept_bytes
        self.lacks, self.setting = lacks, setting

    def __str__(self) -> str:
        if self.lacks == "inodes":
            return (
                f"{self.path}: the disk takes no more files: its inodes are used up, though "
                f"{_megabytes(self.free_bytes)} are free; remove some files, or name {self.setting} on another disk"
            )
        if self.lacks == "quota":
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

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"Dagster at {self.url} refused: {self.reason}; its log says more"
