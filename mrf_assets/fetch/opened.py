"""What all opened files say about themselves, wherever they are, and what tells one state of a file from the next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.urls.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What a server, a store or the file system says of a file's present state; None where it does not say."""

    etag: str | None = None  # as sent, with quotes and W/; local files: size and time of change, in quotes
    last_modified: str | None = None  # an HTTP date
    size_bytes: int | None = None  # as published: compressed

    @property
    def for_resume(self) -> str | None:
        """What `If-Range` takes: a strong ETag, else the date (RFC 9110, 13.1.5); None where there is neither."""
        if self.etag is not None and self.etag.startswith('"'):
            return self.etag
        return self.last_modified

    @property
    def for_condition(self) -> dict[str, str]:
        """Headers that ask for the file only if it has changed; empty where there is nothing to compare."""
        if self.etag is not None:
            return {"If-None-Match": self.etag}
        if self.last_modified is not None:
            return {"If-Modified-Since": self.last_modified}
        return {}

    def same_as(self, other: Validators) -> bool:
        """Whether both describe one state: by ETag where both have one, else by date and size; False in doubt.

        A size alone says nothing: a file of a fixed layout is as long next month. Weak and strong ETags are
        compared without their mark (RFC 9110, 8.8.3.2).
        """
        if None not in (self.size_bytes, other.size_bytes) and self.size_bytes != other.size_bytes:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        if self.last_modified is None or self.size_bytes is None:
            return False
        return (self.last_modified, self.size_bytes) == (other.last_modified, other.size_bytes)


class OpenedFile:
    """The facts of a `RawFile`: what was said of it when it was opened, and what was handed out."""

    is_private = False

    def __init__(self, address: Address, validators: Validators, transfer: TransferCounts) -> None:
        self.url, self.validators, self.transfer = str(address), validators, transfer
        self.content_encoding: str | None = None  # HTTP's, in lower case
        self._digest = hashlib.sha256()

    @property
    def size_bytes(self) -> int | None:
        """Announced size, where known."""
        return self.validators.size_bytes

    @property
    def etag(self) -> str | None:
        """HTTP ETag or the store's, where given; of local files size and time of change, as web servers make it."""
        return self.validators.etag

    @property
    def last_modified(self) -> str | None:
        """As HTTP or the store writes it, where given."""
        return self.validators.last_modified

    @property
    def sha256(self) -> str:
        """Of the bytes that were handed out."""
        return self._digest.hexdigest()
