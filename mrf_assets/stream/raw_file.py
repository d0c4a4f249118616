"""A file that `fetch` has opened, and what its transfer cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from mrf_assets.urls.address import Address

BLOCK_BYTES = 1 << 20


@dataclass(slots=True, kw_only=True)
class TransferCounts:
    """What it took to get one file; grows while it is read."""

    requests: int = 0  # sent, of any kind; reads of the local disk are none
    retries: int = 0  # attempts after a failed one
    resumes: int = 0  # of them, those that went on in the middle
    restarts: int = 0  # of them, those that read the beginning again, and found it the same
    rate_limited: int = 0  # answers 429
    unescaped_addresses: int = 0  # 1 where the address was refused as written, and taken without its HTML escapes

    @property
    def as_metadata(self) -> dict[str, int]:
        """What run metadata reports of it, by its names there."""
        return {"requests": self.requests, "retries": self.retries, "rate_limited": self.rate_limited}


class RawFile(Protocol):
    """An opened file as it is published: compressed bytes and what the server says of them."""

    @property
    def url(self) -> str:
        """Canonical: safe to show."""

    @property
    def size_bytes(self) -> int | None:
        """Announced size, where known."""

    @property
    def etag(self) -> str | None:
        """HTTP ETag, where given."""

    @property
    def last_modified(self) -> str | None:
        """HTTP Last-Modified, where given."""

    @property
    def content_encoding(self) -> str | None:
        """HTTP Content-Encoding of the bytes that are handed out, in lower case, where given."""

    @property
    def is_private(self) -> bool:
        """Whether it came from our own disk or from a private address: what it names may be of our own network, too."""

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes that were handed out; kept below, where a restarted download is compared with it."""

    @property
    def transfer(self) -> TransferCounts:
        """What it has taken so far."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end."""

    def close(self) -> None:
        """Stop: a read that waits in another thread ends soon, with an error."""


Opener = Callable[[Address], AbstractContextManager[RawFile]]
