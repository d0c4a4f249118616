"""Files in object stores, through pyarrow's file systems: s3, gs, az.

Each piece is a request of its own, which pyarrow sends without a condition: before the last one is handed out
the store is asked again which object it was, so that pieces of two states are never taken for one.

Where a store is and who asks is said by settings alone, never by the address: a stranger's
`s3://bucket/key?endpoint_override=...` must not send our credentials anywhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from pyarrow import NativeFile, fs

from mrf_assets.errors import (
    AccessRefused,
    ConnectionLostError,
    FetchError,
    NotFoundAtSource,
    SourceChanged,
    UnsupportedUrl,
)
from mrf_assets.fetch.opened import OpenedFile, Validators
from mrf_assets.fetch.options import FetchOptions
from mrf_assets.fetch.retries import Retries
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.urls import host_of
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import is_private_host

_PIECE_BYTES = 1 << 23  # a request each
_AZURE_HOST = re.compile(r"(?i)([a-z0-9-]+)\.(?:dfs|blob)\.core\.windows\.net\Z")
_AWS_ERROR = re.compile(r"AWS Error (\w+)")
_REFUSALS = re.compile(r"ACCESS_DENIED|HTTP status 40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED|AuthenticationFailed")


class StoreFile(OpenedFile):
    """An opened object, as a `RawFile`; a read that fails is tried again where it was."""

    def __init__(self, address: Address, options: FetchOptions, transfer: TransferCounts) -> None:
        super().__init__(address, Validators(), transfer)
        self.is_private = is_in_private_store(address, options)
        self._options, self._retries = options, Retries(address, options, transfer, options.wait or time.sleep)
        self._system, self._path = _located(address, options)
        self._file: NativeFile | None = None
        self._offset, self._buffer = 0, memoryview(b"")
        self._reopen()
        self.validators = self._validators()

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        if not self._buffer:
            self._buffer = memoryview(self._next_piece())
        data = bytes(self._buffer[:size])
        self._buffer = self._buffer[len(data) :]
        self._digest.update(data)
        return data

    def close(self) -> None:
        """Let go of the store."""
        if self._file is not None:
            self._file.close()

    def _next_piece(self) -> bytes:
        is_again = False
        while self._offset < (self.size_bytes or 0):
            try:
                with self._retries.timed():
                    if self._file is None:
                        self._open()
                        self._require_same()
                    assert self._file is not None
                    self.transfer.requests += 1
                    self.transfer.resumes += is_again
                    piece = self._file.read_at(_PIECE_BYTES, self._offset)  # type: ignore[call-arg]  # the stubs know one argument
                if not piece:
                    raise EOFError  # noqa: TRY301 - handled as a failed read
            except (OSError, EOFError) as error:
                failure = _failure(self.url, error)
            else:
                self._retries.progressed()
                self._retries.check_time()
                if self._offset + len(piece) >= (self.size_bytes or 0):
                    self._file = None
                    self._reopen()
                    self._require_same()
                self._offset += len(piece)
                return piece
            self._file, is_again = None, True
            self._try_again(failure)
        return b""

    def _require_same(self) -> None:
        if self._validators() != self.validators:
            raise SourceChanged(self.url, "another object lies there than was begun; run it again")

    def _reopen(self) -> None:
        """Open, with more attempts where it fails."""
        while self._file is None:
            try:
                with self._retries.timed():
                    self._open()
            except OSError as error:
                failure = _failure(self.url, error)
            else:
                return
            self._try_again(failure)

    def _try_again(self, failure: FetchError) -> None:
        if not isinstance(failure, ConnectionLostError):
            raise failure
        self._retries.pause(failure)

    def _open(self) -> None:
        self.transfer.requests += 1
        self._file = self._system.open_input_file(self._path)

    def _validators(self) -> Validators:
        assert self._file is not None
        metadata: Any = self._file.metadata()  # the stubs have keys and values the other way round
        texts = {name: value.decode() for name, value in (metadata or {}).items()}
        return Validators(
            etag=texts.get("ETag"), last_modified=texts.get("Last-Modified"), size_bytes=self._file.size()
        )


@contextmanager
def open_store(address: Address, options: FetchOptions) -> Iterator[StoreFile]:
    """Open an object of a store that the settings allow.

    Raises:
        NotFoundAtSource, AccessRefused: As the store says.
        ConnectionLostError: No answer to the last attempt.
        SourceChanged: The object was replaced while it was read.
        UnsupportedUrl: A store that the settings do not allow, or an address that is none.
    """
    with options.gate.slot(address.host), closing(StoreFile(address, options, TransferCounts())) as file:
        yield file


def _located(address: Address, options: FetchOptions) -> tuple[fs.FileSystem, str]:
    """The file system that the settings describe, and the path in it."""
    kind = address.store_kind
    if kind not in options.object_store_schemes:
        raise UnsupportedUrl(
            address, f"is in an object store of kind {kind}, which the setting object_stores leaves out"
        )
    parts = urlsplit(address.real)
    path = unquote(parts.path)
    if parts.query or parts.fragment or not parts.hostname or not path.strip("/"):
        raise UnsupportedUrl(address, "is no object's address; s3://bucket/key, with options in the settings, is one")
    if kind == "az":
        account = azure_account(address, parts.hostname, parts.username, options.object_store_account)
        return fs.AzureFileSystem(account_name=account), f"{parts.username or parts.hostname}{path}"
    return _bucket_system(kind, parts.hostname, options), f"{parts.hostname}{path}"


def _bucket_system(kind: str, bucket: str, options: FetchOptions) -> fs.FileSystem:
    endpoint = urlsplit(options.object_store_endpoint or "")
    own: dict[str, Any] = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
    if kind == "gs":
        limit: Any = timedelta(seconds=options.read_timeout_seconds)  # the stubs say datetime
        return fs.GcsFileSystem(anonymous=options.object_store_anonymous, retry_time_limit=limit, **own)
    if not own:
        with suppress(OSError):  # the bucket's own answer to the request then says what is wrong
            own["region"] = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        anonymous=options.object_store_anonymous,
        connect_timeout=options.connect_timeout_seconds,
        request_timeout=options.read_timeout_seconds,
        # The attempts are counted and told here.
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        **own,
    )


def is_in_private_store(address: Address, options: FetchOptions) -> bool:
    """Whether an object lies in a store of our own network; Azure's are never asked at the endpoint of the settings."""
    endpoint = options.object_store_endpoint
    return endpoint is not None and address.store_kind in {"s3", "gs"} and is_private_host(host_of(endpoint))


def azure_account(address: Address, host: str, container: str | None, account: str | None) -> str:
    """`abfs://container@account.dfs.core.windows.net/file` names its account, `az://container/file` does not."""
    match = _AZURE_HOST.match(host)
    if container is not None:
        account = match[1] if match else None
    if account is None:
        raise UnsupportedUrl(address, "names no Azure account; set object_store_account")
    return account


def _failure(url: str, error: Exception) -> FetchError:
    """What a store's error stands for; its text is not shown, for it holds whatever the store wrote."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return NotFoundAtSource(url, "no such object; check the address")
    if _REFUSALS.search(text):
        return AccessRefused(url, "the store refuses access; check object_store_anonymous and the credentials")
    kind = _AWS_ERROR.search(text)
    return ConnectionLostError(url, f"the store does not answer ({kind[1] if kind else type(error).__name__})")
