"""A body that goes on where it broke: whoever reads it sees one file without a seam.

After a lost connection the rest is asked for by `Range`, with `If-Range` and the validator of the
answer that was begun (a strong ETag, else Last-Modified), so that bytes of two states of a file are
never mixed. Where that cannot be had (no validator, no ranges, a wrong range, another ETag) the
file is read from its beginning again, and the bytes that were handed out are compared by their
sha256: the same, and the reading goes on behind them; others, and it is `SourceChanged`. So a
server behind a balancer whose ETags differ from machine to machine costs time and is no failure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import threading
import time
from dataclasses import replace

import requests
from urllib3.exceptions import HTTPError

from mrf_assets.errors import (
    ChecksumMismatch,
    ConnectionLostError,
    HttpStatusError,
    MrfError,
    NotFoundAtSource,
    NotModified,
    ServerBusy,
    SourceChanged,
)
from mrf_assets.fetch.client import Client, HttpAnswer, status_error
from mrf_assets.fetch.opened import OpenedFile, Validators
from mrf_assets.fetch.options import FetchOptions
from mrf_assets.fetch.retries import Retries
from mrf_assets.stream.raw_file import BLOCK_BYTES, TransferCounts
from mrf_assets.urls.address import Address
from mrf_assets.urls.redaction import unescaped

logger = logging.getLogger(__name__)

_MIN_BYTES_PER_SECOND = 1_000  # a body that comes slower, over read_seconds, is as good as stalled
_MD5_BYTES = 16
_GONE = (404, 410)


class _BrokenBody(Exception):
    """The body broke off."""

    def __init__(self, how: str, *, is_drip: bool = False) -> None:
        super().__init__(how)
        self.how, self.is_drip = how, is_drip


class HttpFile(OpenedFile):
    """One file over http(s), as a `RawFile`. `open` sends the first request."""

    def __init__(self, address: Address, options: FetchOptions) -> None:
        super().__init__(address, Validators(), TransferCounts())
        self._closed = threading.Event()
        self._read_lock = threading.Lock()
        self._retries = Retries(address, options, self.transfer, options.wait or self._sleep)
        self._client = Client(address, options, self.transfer, self._retries, sleep=self._sleep)
        self._window_limit_seconds = options.read_timeout_seconds
        self._window_seconds, self._window_bytes = 0.0, 0
        self._answer: HttpAnswer | None = None
        self._end: int | None = None  # of the body that is being read, in bytes of the file
        self._offset = 0  # bytes handed out
        self._progress_at = 0  # bytes handed out when the connection was last lost
        self._md5: tuple[bytes, hashlib._Hash] | None = None
        self._trusts_ranges = True
        self._is_whole = False
        self._body_error: _BrokenBody | None = None

    @property
    def final_address(self) -> Address:
        """Where the answer came from, redirects followed."""
        return self._client.final_address

    @property
    def is_private(self) -> bool:  # type: ignore[override]  # known when it has answered
        """Whether the answer came from a private address."""
        return self._client.is_private

    def open(self, if_changed_from: Validators | None = None) -> None:
        """Ask for the file.

        Raises:
            NotModified: It is still the one that `if_changed_from` describes.
            FetchError: As `open_url` says.
        """
        condition = if_changed_from.for_condition if if_changed_from else {}
        try:
            answer = self._client.answer("GET", condition)
            if answer.status == requests.codes.not_modified and condition:
                answer.discard()
                raise NotModified(self.url, "has not changed since it was last read")
            self._begin(answer)
        except MrfError as error:  # no file is open that could tell
            error.cost = self.transfer.as_metadata
            raise

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end of the whole file.

        Raises:
            SourceChanged, ChecksumMismatch: What was handed out is not what lies there.
            FetchError: As `open_url` says.
        """
        with self._read_lock:
            try:
                return self._read(size)
            finally:
                if self._closed.is_set():
                    self._let_go()

    def _read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing_bytes = size
        while missing_bytes and not self._is_whole:
            self._require_open()
            if self._body_error is not None:
                if pieces:
                    break
                self._go_on(self._body_error)
                continue
            try:
                piece = self._receive(missing_bytes)
            except _BrokenBody as error:
                self._let_go()
                self._body_error = error
                continue
            if piece:
                pieces.append(piece)
                missing_bytes -= len(piece)
                self._offset += len(piece)
            else:
                self._end_of_body()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._digest.update(data)
        if self._md5 is not None:
            self._md5[1].update(data)
        if self._is_whole:
            self._check_md5()  # before the last bytes are handed out
        return data

    def close(self) -> None:
        """Hang up; a read or a wait that goes on in another thread ends soon, with an error."""
        self._closed.set()
        if (answer := self._answer) is not None:
            answer.hang_up()
        if self._read_lock.acquire(blocking=False):  # else the reader lets go, at its end
            self._let_go()
            self._read_lock.release()

    def _sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)
        self._require_open()

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise ConnectionLostError(self.url, f"the download was stopped at byte {self._offset}")

    # --- one body ---------------------------------------------------------------------------

    def _receive(self, size: int) -> bytes:
        """What has come of the body, up to `size` bytes; empty at its end."""
        assert self._answer is not None
        if self._end is not None:
            size = min(size, self._end - self._offset)
        return self._piece(self._answer, size) if size else b""

    def _piece(self, answer: HttpAnswer, size: int) -> bytes:
        """What one call of the socket gives: a loop that waits for a whole block would let a drip pass for life."""
        before = self._retries.spent_seconds
        try:
            with self._retries.timed():
                data = answer.read(size, self._window_limit_seconds)
        except (HTTPError, OSError, ValueError) as error:  # fewer bytes than announced are urllib3's ProtocolError
            raise _BrokenBody(type(error).__name__) from None
        self._retries.check_time()
        self._window_seconds += self._retries.spent_seconds - before
        self._window_bytes += len(data)
        if self._window_seconds >= self._window_limit_seconds:
            if self._window_bytes < _MIN_BYTES_PER_SECOND * self._window_seconds:
                raise _BrokenBody(f"{self._window_bytes} bytes in {self._window_seconds:.3g} s", is_drip=True)
            self._window_seconds, self._window_bytes = 0.0, 0
        return data

    def _end_of_body(self) -> None:
        """The body has ended: the file too, or a server that gives a file in portions has to be asked again."""
        self._let_go()
        if self._end is not None and self._offset < self._end:
            self._body_error = _BrokenBody("ended early")
        elif self.size_bytes is None or self._offset == self.size_bytes:
            self._is_whole = True
        else:
            self._body_error = _BrokenBody("ended before the file")

    def _let_go(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _use(self, answer: HttpAnswer, end: int | None) -> None:
        self._answer, self._end, self._body_error = answer, end, None
        self._window_seconds, self._window_bytes = 0.0, 0

    # --- from one body to the next ----------------------------------------------------------

    def _begin(self, answer: HttpAnswer) -> None:
        """Take an answer from byte 0 on as the file."""
        end = self._end_from_0(answer)
        self.validators = answer.validators
        if self._offset == 0:
            self.content_encoding = (answer.header("Content-Encoding") or "").strip().lower() or None
            digest = _md5_of(answer)
            self._md5 = None if digest is None else (digest, hashlib.md5(usedforsecurity=False))
        elif self._md5 is not None:
            digest = _md5_of(answer)
            self._md5 = None if digest is None else (digest, self._md5[1])
        self._use(answer, end)

    def _end_from_0(self, answer: HttpAnswer) -> int | None:
        """Where an answer ends that begins at byte 0, as far as it says so: 200, or 206 though no range was asked for.

        Raises:
            HttpStatusError: It is no such answer.
        """
        if answer.status == requests.codes.ok:
            return answer.length
        part = answer.range if answer.status == requests.codes.partial_content else None
        if part is None or part[0] != 0 or part[2] is None:
            answer.discard()
            raise status_error(self.url, answer.status)
        return part[1] + 1

    def _go_on(self, error: _BrokenBody) -> None:
        """Wait, and get to the byte behind the last one that was handed out."""
        # A drip gives bytes as well; it must not go on for as long as it likes.
        if self._offset > self._progress_at and not error.is_drip:
            self._retries.progressed()
        self._progress_at = self._offset
        self._retries.pause(self._lost(error))
        try:
            if not self._resume():
                self._restart()
        except _BrokenBody as again:
            self._let_go()
            self._body_error = again

    def _lost(self, error: _BrokenBody) -> ConnectionLostError:
        of = "" if self.size_bytes is None else f" of {self.size_bytes}"
        return ConnectionLostError(
            self.url, f"the connection broke at byte {self._offset}{of} ({error.how}); run it again"
        )

    def _resume(self) -> bool:
        """Ask for the rest; False where only a new beginning helps."""
        validator = self.validators.for_resume
        if not self._offset or validator is None or not self._trusts_ranges:
            return False
        answer = self._client.answer("GET", {"Range": f"bytes={self._offset}-", "If-Range": validator})
        if answer.status == requests.codes.ok:  # no ranges here, or another state of the file
            self._skip_known(answer)
            return True
        if answer.status == requests.codes.partial_content:
            if self._continues(answer):
                self.transfer.resumes += 1
                return True
            answer.close()
        elif answer.status == requests.codes.requested_range_not_satisfiable:
            size_bytes = answer.unsatisfied_size_bytes
            answer.discard()
            if size_bytes == self._offset and self.size_bytes is None:
                self._is_whole, self._body_error = True, None
                return True
        else:
            answer.discard()
            raise status_error(self.url, answer.status)
        self._trusts_ranges = False
        return False

    def _continues(self, answer: HttpAnswer) -> bool:
        """Take the answer if it is the rest of the very file."""
        part, answer_validators, validators = answer.range, answer.validators, self.validators
        if part is None or part[0] != self._offset:
            return False
        first, last, size = part
        whole_bytes = validators.size_bytes if size is None else size
        if whole_bytes is None or validators.size_bytes not in (None, whole_bytes) or last >= whole_bytes:
            return False  # a portion of nobody knows how much cannot be told from the whole
        if validators.etag is not None and answer_validators.etag not in (None, validators.etag):
            return False
        if validators.etag is None and answer_validators.last_modified not in (None, validators.last_modified):
            return False
        if answer.length not in (None, last - first + 1):
            return False
        self.validators = replace(validators, size_bytes=whole_bytes)
        self._use(answer, last + 1)
        return True

    def _restart(self) -> None:
        self._skip_known(self._client.answer("GET"))

    def _skip_known(self, answer: HttpAnswer) -> None:
        """Take an answer from byte 0 on, and pass over what was handed out, which has to be the same."""
        if self._offset == 0:
            self._begin(answer)
            return
        end = self._end_from_0(answer)
        self.transfer.restarts += 1
        self._use(answer, end)
        digest, remaining_bytes = hashlib.sha256(), self._offset
        while remaining_bytes:
            piece = self._piece(answer, min(remaining_bytes, BLOCK_BYTES))
            if not piece:
                break
            digest.update(piece)
            remaining_bytes -= len(piece)
        if remaining_bytes or digest.digest() != self._digest.digest():
            self._let_go()
            raise SourceChanged(
                self.url,
                f"another file lies there now than the one whose first {self._offset} bytes were read; run it again",
            )
        self._begin(answer)

    def _check_md5(self) -> None:
        if self._md5 is not None and self._md5[0] != self._md5[1].digest():
            raise ChecksumMismatch(self.url, "is not what its Content-MD5 says; run it again, and tell the payer")


def open_http(address: Address, options: FetchOptions, if_changed_from: Validators | None = None) -> HttpFile:
    """The file at an address, opened: at the address as written, else at what its HTML escapes stand for.

    An index made by a web page's template has `&amp;` in its links; some servers know a parameter of that name.

    Raises:
        FetchError: As `HttpFile.open` says.
    """
    file = HttpFile(address, options)
    try:
        file.open(if_changed_from)
    except (NotFoundAtSource, HttpStatusError) as refusal:
        unescaped_address = Address(unescaped(address.real))
        if unescaped_address == address or isinstance(refusal, ServerBusy):
            raise
        logger.info("%s: refused as written, and asked for without its HTML escapes", file.url)
        file = HttpFile(unescaped_address, options)
        file.transfer.unescaped_addresses = 1
        file.open(if_changed_from)
    return file


def _md5_of(answer: HttpAnswer) -> bytes | None:
    """The checksum of the whole body; what is no MD5 is as good as none."""
    try:
        digest = base64.b64decode(answer.header("Content-MD5") or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == _MD5_BYTES else None


def probe_http(address: Address, options: FetchOptions) -> Validators:
    """By a HEAD, or a 1-byte GET where that is refused; FetchError where neither tells.

    Where the address is refused as written, what its HTML escapes stand for is asked.
    """
    try:
        return _probed_at(address, options)
    except (NotFoundAtSource, HttpStatusError) as refusal:
        if (unescaped_address := Address(unescaped(address.real))) == address or isinstance(refusal, ServerBusy):
            raise
        return _probed_at(unescaped_address, options)


def _probed_at(address: Address, options: FetchOptions) -> Validators:
    counts = TransferCounts()
    client = Client(address, options, counts, Retries(address, options, counts, options.wait or time.sleep))
    with client.answer("HEAD") as head:
        validators = head.validators if head.status == requests.codes.ok else None
    if validators is not None and validators.size_bytes:
        return validators
    if head.status in _GONE:
        raise status_error(address, head.status)
    # A link that is signed for GET refuses HEAD with 403; S3 gave no length to HEAD in 2022.
    with client.answer("GET", {"Range": "bytes=0-0"}) as answer:
        if answer.status in (requests.codes.ok, requests.codes.partial_content):
            return answer.validators
    if validators is None:
        raise status_error(address, answer.status)
    return validators
