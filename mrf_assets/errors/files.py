"""A file could not be had, is not what it claims to be, or cannot be read."""

from __future__ import annotations

from mrf_assets.errors.base import MrfError
from mrf_assets.urls.address import Address


class FetchError(MrfError):
    """A file could not be had from where it is published."""

    def __init__(self, url: Address | str, reason: str) -> None:
        super().__init__(str(url), reason)
        self.url, self.reason = str(url), reason

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

    def __init__(self, url: Address | str, reason: str) -> None:
        super().__init__(str(url), reason)
        self.url, self.reason = str(url), reason

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

    def __init__(self, url: Address | str, byte_offset: int, what: str) -> None:
        MrfError.__init__(self, str(url), byte_offset, what)
        self.url, self.byte_offset, self.what = str(url), byte_offset, what

    def __str__(self) -> str:
        return (
            f"{self.url} ended early: {self.what} stops at byte {self.byte_offset}; "
            "run it again, and tell the payer if it stays so"
        )


class LimitExceeded(StreamError):
    """A file goes beyond what a setting allows; real ones stay far below."""

    def __init__(self, url: Address | str, setting: str, what: str, byte_offset: int | None = None) -> None:
        MrfError.__init__(self, str(url), setting, what, byte_offset)
        self.url, self.setting, self.what, self.byte_offset = str(url), setting, what, byte_offset

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

    def __init__(self, url: Address | str, byte_offset: int, reason: str) -> None:
        super().__init__(str(url), byte_offset, reason)
        self.url, self.byte_offset, self.reason = str(url), byte_offset, reason

    def __str__(self) -> str:
        return (
            f"{self.url}: not valid JSON at byte {self.byte_offset} of the decompressed file ({self.reason}); "
            "download it again, and report it to the payer if it stays so"
        )


class NotInNetworkFile(ExtractError):
    """Valid JSON of another kind."""

    def __init__(self, url: Address | str, reason: str) -> None:
        super().__init__(str(url), reason)
        self.url, self.reason = str(url), reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class RemoteReferencesFailed(ExtractError):
    """Most of the provider groups that a file keeps elsewhere could not be had."""

    def __init__(self, url: Address | str, failures: int, addresses: int, reasons: tuple[str, ...]) -> None:
        super().__init__(str(url), failures, addresses, reasons)
        self.url, self.failures, self.addresses, self.reasons = str(url), failures, addresses, reasons

    def __str__(self) -> str:
        return (
            f"{self.url}: {self.failures} of {self.addresses} remote provider references could not be had "
            f"({'; '.join(self.reasons)}); run it again later, or set MRF_REMOTE_REFERENCE_FAILURE_SHARE higher "
            "to keep its rates without these providers"
        )
