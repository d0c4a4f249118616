"""Remote provider references: the groups that a file keeps at other addresses.

BCBSA members ship hundreds of small files per MRF. They are fetched side by side as soon as their
addresses are known, and used in the order of the file, so rows and rejects are those of one fetch after
the other. Each address is fetched once in a run, and each content kept once, on disk: a folder that
the readers of a network's parts share holds one small file per address (its lock, too) and one per content.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from mrf_assets.errors import FetchError, LimitExceeded, MrfError, RemoteReferencesFailed
from mrf_assets.extract.interface import ReadCounts, Request
from mrf_assets.extract.values import Json, Obj, Values
from mrf_assets.stream.decompress import open_json
from mrf_assets.stream.raw_file import BLOCK_BYTES
from mrf_assets.text import printable
from mrf_assets.urls.address import Address

logger = logging.getLogger(__name__)

_MAX_TOLD = 3  # reasons in an error
_MAX_LOGGED = 10
_SHOWN_CHARACTERS = 200


# Blocks of a document, its address to show, the place that stands for all its places, what to count in -> its value
Parse = Callable[[Iterable[bytes], str, int, ReadCounts], Json]


class _Content(NamedTuple):
    """What was found at an address."""

    path: Path
    size_bytes: int  # decompressed
    repairs: dict[str, int]  # of its address and container


class _Stopped(Exception):
    """The file that asked is given up."""


class RemoteGroups:
    """The remote provider groups of one file; `close` it."""

    def __init__(self, request: Request, parse: Parse) -> None:
        self._request, self._limits, self._parse = request, request.limits, parse
        self._contents: dict[str, Future[_Content] | _Content | None] = {}  # None: could not be had
        self._reasons: list[str] = []
        self._failures = self._used_bytes = self._fetched_bytes = 0
        self._count_lock, self._is_closed = threading.Lock(), False
        self._open = ExitStack()
        self._pool: ThreadPoolExecutor | None = None
        self._folder = Path()

    def close(self) -> None:
        """Give up what is not fetched yet; does not wait for servers."""
        self._is_closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._open.close()

    def expect(self, locations: Iterable[str]) -> None:
        """Begin to fetch what will be asked for.

        Raises:
            LimitExceeded: The file names too many addresses.
        """
        for location in locations:
            if location in self._contents:
                continue
            if len(self._contents) >= self._limits.max_remote_references:
                what = f"names more than {self._limits.max_remote_references} remote provider references"
                raise LimitExceeded(self._request.url, "max_remote_references", what)
            self._contents[location] = self._workers().submit(self._fetch, location)

    def groups(self, location: str, offset: int, counts: ReadCounts) -> list[Json] | None:
        """The provider groups at an address, as if they stood at `offset`; None if they cannot be had.

        What is odd about the document itself is counted where its address comes first.

        Raises:
            LimitExceeded: All remote references of the file together are too large.
        """
        self.expect([location])
        content = self._contents[location]
        is_first = isinstance(content, Future)
        if isinstance(content, Future):
            content = self._contents[location] = self._settled(location, content)
        if content is None:
            return None
        self._used_bytes += content.size_bytes  # an address that many references name is read as often
        if self._used_bytes > self._limits.max_remote_total_bytes:
            raise self._too_much()
        document_counts = ReadCounts()
        try:
            document = self._document(content, location, offset, document_counts)
        except MrfError as error:
            self._note_failure(location, error)
            return None
        if is_first:
            counts.absorb(document_counts)
            counts.repairs.update(content.repairs)
        if not isinstance(document, Obj):
            self._note_failure(location, FetchError(_shown(location), "is no JSON object"))
            return None
        return Values(counts if is_first else ReadCounts()).elements(document.get("provider_groups"))

    def check_failures(self) -> None:
        """Judge the file by its failures, at its end.

        Raises:
            RemoteReferencesFailed: More than the set share of its addresses failed.
        """
        if self._failures > _MAX_LOGGED:
            logger.warning("%s: %d remote provider references failed in all", self._request.url, self._failures)
        if self._failures > self._limits.remote_reference_failure_share * len(self._contents):
            reasons = tuple(self._reasons[:_MAX_TOLD])
            raise RemoteReferencesFailed(self._request.url, self._failures, len(self._contents), reasons)

    def _settled(self, location: str, future: Future[_Content]) -> _Content | None:
        try:
            return future.result()
        except LimitExceeded as error:
            if error.setting == "max_remote_total_bytes":
                raise
            self._note_failure(location, error)
        except MrfError as error:
            self._note_failure(location, error)
        return None

    def _note_failure(self, location: str, error: MrfError) -> None:
        if len(self._reasons) < _MAX_TOLD:
            self._reasons.append(str(error))
        self._failures += 1
        self._contents[location] = None
        if self._failures <= _MAX_LOGGED:
            logger.warning("%s: remote provider reference failed: %s", self._request.url, printable(str(error)))

    def _too_much(self) -> LimitExceeded:
        what = f"its remote provider references are more than {self._limits.max_remote_total_bytes} bytes"
        return LimitExceeded(self._request.url, "max_remote_total_bytes", what)

    def _document(self, content: _Content, location: str, offset: int, counts: ReadCounts) -> Json:
        with content.path.open("rb") as file:
            return self._parse(iter(lambda: file.read(BLOCK_BYTES), b""), _shown(location), offset, counts)

    # --- in threads

    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            folder = self._request.spool_dir
            if folder is None:
                self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            else:
                self._folder = folder / "remote"
                self._folder.mkdir(exist_ok=True)
            self._pool = ThreadPoolExecutor(self._limits.max_remote_fetches, thread_name_prefix="remote-reference")
        return self._pool

    def _fetch(self, location: str) -> _Content:
        """What is at an address; whoever asks first fetches it, in whatever process.

        Raises:
            MrfError: It cannot be had.
        """
        address = hashlib.sha256(location.encode(errors="surrogatepass")).hexdigest()
        with (self._folder / f"{address}.found").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            if not text:
                text = json.dumps(self._fetched(location))
                file.write(text)
        outcome = json.loads(text)
        if "reason" in outcome:
            raise FetchError(outcome["url"], outcome["reason"])
        return _Content(self._content(outcome["sha256"]), outcome["size_bytes"], outcome["repairs"])

    def _fetched(self, location: str) -> dict[str, str | int | dict[str, int]]:
        """Fetch it; what came of it is told as JSON, for whoever asks next."""
        partial = self._folder / f"{secrets.token_hex(8)}.partial"
        try:
            # A file of a stranger must not make us read local files.
            if not location.lower().startswith(("http://", "https://")):
                raise FetchError(_shown(location), "not an http(s) address")
            with self._request.open_url(Address(location)) as raw, partial.open("wb") as file:
                digest, size_bytes = hashlib.sha256(), 0
                document = open_json(raw, limits=self._limits)
                for block in document.blocks():
                    digest.update(block)
                    size_bytes += len(block)
                    self._count(size_bytes, len(block), raw.url)
                    file.write(block)
            partial.replace(self._content(digest.hexdigest()))
        except MrfError as error:
            if isinstance(error, LimitExceeded) and error.setting == "max_remote_total_bytes":
                raise
            url = _shown(location)
            return {"url": url, "reason": str(error).removeprefix(f"{url}: ")}
        finally:
            partial.unlink(missing_ok=True)
        return {"sha256": digest.hexdigest(), "size_bytes": size_bytes, "repairs": dict(document.repairs)}

    def _count(self, size_bytes: int, more_bytes: int, url: str) -> None:
        if self._is_closed:
            raise _Stopped
        if size_bytes > self._limits.max_remote_reference_bytes:
            what = f"is more than {self._limits.max_remote_reference_bytes} bytes of JSON"
            raise LimitExceeded(url, "max_remote_reference_bytes", what)
        with self._count_lock:
            self._fetched_bytes += more_bytes
            if self._fetched_bytes > self._limits.max_remote_total_bytes:
                raise self._too_much()

    def _content(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"


def _shown(location: str) -> str:
    return str(Address(location))[:_SHOWN_CHARACTERS]
