"""What all opened files tell of themselves, wherever they lie."""

from __future__ import annotations

import hashlib

from mrf_assets.fetch.validators import Validators
from mrf_assets.stream.decompress import TransferCounts


class OpenedFile:
    """The facts of a `RawFile`: what was said of it when it was opened, and what was handed out."""

    is_private = False

    def __init__(self, url: str, validators: Validators, transfer: TransferCounts) -> None:
        self.url, self.validators, self.transfer = url, validators, transfer
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
