"""A request and its redirects, up to the head of the answer.

Connections are kept and shared by all downloads of the process; cookies belong to one file alone.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import lru_cache
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url, select_proxy
from urllib3.exceptions import HTTPError

from mrf_assets.errors import (
    AccessRefused,
    AddressRefused,
    ConnectionLostError,
    FetchError,
    HttpStatusError,
    NotFoundAtSource,
    ServerBusy,
    UnsupportedUrl,
)
from mrf_assets.fetch.addresses import PrivateAddress, PublicOnlyAdapter, connected_host
from mrf_assets.fetch.connections import TimedAdapter, is_chunked, peer_address, timed_reader
from mrf_assets.fetch.failures import connection_failure
from mrf_assets.fetch.opened import Validators
from mrf_assets.fetch.options import FetchOptions, Wait
from mrf_assets.fetch.rate import retry_after_seconds
from mrf_assets.fetch.retries import Retries, host_is_silent, note_answer, note_silence
from mrf_assets.settings import certificates
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.urls import server_of
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import PRIVATE, is_private_address, is_private_host

_HEADERS = {"User-Agent": f"mrf_assets/{version('mrf_assets')}", "Accept-Encoding": "identity", "Accept": "*/*"}
logger = logging.getLogger(__name__)

_SCHEMES = ("http://", "https://")
_POOL_SIZE = 20  # connections kept per host, and hosts
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_SMALL_BODY_BYTES = 1 << 16  # cheaper to read than to connect again
_SMALL_BODY_SECONDS = 0.5  # the same
_GONE = (404, 410)
_REFUSED = (401, 403, 409)  # Azure answers 409 PublicAccessNotPermitted to a blob without its signature (UHC)
_PROXY_LOGIN = 407
_BUSY = (408, 425, 429)
_TOO_MANY = 429
_SERVER_ERRORS = 500
_NOT_IMPLEMENTED = 501  # what some answer to every HEAD
# More digits are no size: Python refuses to read 5,000 of them, parquet and SQLite those behind the 18th.
_LENGTH = re.compile(r"[0-9]{1,18}\Z")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})\Z")


class _WithoutSecrets(logging.Filter):
    """urllib3 tells paths with their queries, at DEBUG and in some warnings: such lines are dropped."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line may be told."""
        text = record.getMessage()
        return not ("?" in text or "@" in text)


for _name in ("connectionpool", "connection", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_WithoutSecrets())


class HttpAnswer:
    """An answer whose body is not read yet. Holds a place of its host until it is closed."""

    def __init__(self, response: requests.Response, slot: ExitStack, *, is_private: bool) -> None:
        self.status = response.status_code
        self.body = response.raw
        self.is_private = is_private  # it came from a private address
        self._response, self._slot = response, slot

    def header(self, name: str) -> str | None:
        """A header, by any spelling of its name."""
        value: str | None = self._response.headers.get(name)
        return value

    @property
    def length(self) -> int | None:
        """Announced bytes of the body; None where it comes in chunks, whose own lengths count (RFC 9112, 6.3)."""
        if is_chunked([self.header("Transfer-Encoding") or ""]):
            return None
        texts = {text.strip() for text in (self.header("Content-Length") or "").split(",")}
        text = texts.pop()
        return int(text) if not texts and _LENGTH.match(text) else None

    @property
    def range(self) -> tuple[int, int, int | None] | None:
        """First byte, last byte and size of the whole, out of Content-Range; None where it is no such thing."""
        match = _RANGE.match(self.header("Content-Range") or "")
        if match is None or int(match[1]) > int(match[2]):
            return None
        return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])

    @property
    def unsatisfied_size_bytes(self) -> int | None:
        """The size that a 416 tells."""
        match = _UNSATISFIED.match(self.header("Content-Range") or "")
        return int(match[1]) if match else None

    @property
    def validators(self) -> Validators:
        """What is said of the whole file."""
        size_bytes = self.length
        if self.status == requests.codes.partial_content:
            size_bytes = None if self.range is None else self.range[2]
        return Validators(etag=self.header("ETag"), last_modified=self.header("Last-Modified"), size_bytes=size_bytes)

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the server asks to be left alone: a number of seconds, or a date."""
        return retry_after_seconds(self.header("Retry-After"))

    def read(self, size: int, seconds: float) -> bytes:
        """Up to `size` bytes of the body as they come, and as sent: whatever Content-Encoding says; empty at its end.

        Raises:
            TimeoutError: Not one within `seconds`, chunks' own lines included.
            HTTPError, OSError, ValueError: As urllib3 says.
        """
        with self._within(seconds):
            data: bytes = self.body.read1(size, decode_content=False)
            return data

    def _within(self, seconds: float) -> AbstractContextManager[None]:
        reader = timed_reader(self._response)
        return nullcontext() if reader is None else reader.within(seconds)

    def close(self) -> None:
        """Give the place back; the connection is kept where its answer is read."""
        if self._response.request.method == "HEAD":
            self.body.drain_conn()  # of nothing: urllib3 gives a connection back when somebody has read
        self._response.close()
        self._slot.close()

    def hang_up(self) -> None:
        """End a read that goes on in another thread."""
        with suppress(ValueError, RuntimeError, OSError):  # the body is read, or the connection is gone
            self.body.shutdown()

    def discard(self) -> None:
        """Close, and keep the connection where little is left to read and nearly at hand."""
        if self.length is not None and self.length <= _SMALL_BODY_BYTES:
            with self._within(_SMALL_BODY_SECONDS):
                self.body.drain_conn()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Session(requests.Session):
    """Leaves redirects and their bodies alone: even with `allow_redirects=False` requests reads them, unpacked."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, for each: they are followed here, by `_ask`."""


class Client:
    """Asks for one file; knows its address, and shows it without its secrets."""

    def __init__(
        self,
        address: Address,
        options: FetchOptions,
        counts: TransferCounts,
        retries: Retries,
        *,
        sleep: Wait | None = None,
    ) -> None:
        self._address, self._options, self._counts, self._retries = address, options, counts, retries
        self._sleep = sleep  # while others have the slots
        self._server = address.server
        self.final_address = address  # redirects followed
        self._has_told_downgrade = False
        self.is_private = False  # the answer came from a private address
        self._session = _Session()

    def answer(self, method: str, headers: dict[str, str] | None = None) -> HttpAnswer:
        """The first answer that is neither lost nor busy.

        Raises:
            ConnectionLostError, ServerBusy: To the last attempt.
            TimeSpent: No time is left.
            FetchError: What no attempt would change.
        """
        while True:
            try:
                answer = self._ask(method, headers or {})
            except ConnectionLostError as error:
                self._pause_unless_silent(error)
                continue
            else:
                note_answer(self._server)
                if not _is_busy(answer.status):
                    return answer
                answer.discard()
                self._retries.pause(
                    status_error(self._address, answer.status),
                    asked_seconds=answer.retry_after_seconds,
                    is_rate_limit=answer.status == _TOO_MANY,
                )

    def _pause_unless_silent(self, failure: ConnectionLostError) -> None:
        if host_is_silent(self._server):
            raise failure
        try:
            self._retries.pause(failure)
        except ConnectionLostError:
            if self._options.max_retries:
                note_silence(self._server)
            raise

    def _ask(self, method: str, headers: dict[str, str]) -> HttpAnswer:
        """The head of one answer, after redirects.

        Raises:
            ConnectionLostError: No answer; worth another try.
            AddressRefused, UnsupportedUrl, UntrustedServer: Not worth one.
        """
        address, is_from_stranger = self._address, self._options.is_from_stranger
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._ask_one(method, address, headers, is_from_stranger=is_from_stranger)
            location = answer.header("Location")
            if answer.status not in _REDIRECTS or location is None:
                self.final_address, self.is_private = address, answer.is_private
                return answer
            answer.discard()
            is_from_stranger = is_from_stranger or not answer.is_private
            self._retries.check_time()
            address = self._led_to(address, location)
        raise UnsupportedUrl(self._address, f"redirects more than {_MAX_REDIRECTS} times; get a newer index")

    def _led_to(self, address: Address, location: str) -> Address:
        """Where a redirect leads."""
        try:
            # Headers are Latin-1 to http.client, addresses UTF-8 to those who send them.
            target = urljoin(address.real, location.encode("latin-1").decode("utf-8", "replace"))
        except ValueError:
            raise UnsupportedUrl(self._address, "redirects to what is no address; get a newer index") from None
        is_downgrade = address.real.lower().startswith("https://") and target.lower().startswith("http://")
        if is_downgrade and not self._has_told_downgrade:
            self._has_told_downgrade = True
            logger.warning(
                "%s redirects from https to http, to %s: nothing proves that what comes is the payer's; tell the payer",
                self._address, Address(target).host,
            )  # fmt: skip
        return Address(target)

    def _ask_one(self, method: str, address: Address, headers: dict[str, str], *, is_from_stranger: bool) -> HttpAnswer:
        if not address.real.lower().startswith(_SCHEMES):
            raise UnsupportedUrl(self._address, "redirects out of http and https, which is not followed")
        policy = self._options.refuse_private_addresses
        is_refused = is_from_stranger if policy is None else policy
        request, host = self._prepared(method, address.real, headers)
        if is_refused and is_private_host(host):
            raise self._refused()
        with ExitStack() as resources:
            slot = resources.enter_context(self._options.gate.slot(server_of(str(request.url)), sleep=self._sleep))
            self._counts.requests += 1
            ca_bundle = certificates()
            environment = self._session.merge_environment_settings(
                request.url, {}, stream=True, verify=None if ca_bundle is None else str(ca_bundle), cert=None
            )
            with self._retries.timed():
                response = self._sent(request, environment, is_refused=is_refused)
            resources.callback(response.close)
            is_private = _is_private(
                response, host, has_proxy=select_proxy(str(request.url), environment["proxies"]) is not None
            )
            answer = HttpAnswer(response, ExitStack(), is_private=is_private)
            self._counts.rate_limited += answer.status == _TOO_MANY
            slot.answered(answer.status, retry_after_seconds=answer.retry_after_seconds)
            return HttpAnswer(response, resources.pop_all(), is_private=is_private)

    def _prepared(self, method: str, url: str, headers: dict[str, str]) -> tuple[requests.PreparedRequest, str]:
        """A request as it is sent, and the host that it goes to."""
        connection = {} if self._options.connection_pooling else {"Connection": "close"}
        try:
            user, password = get_auth_from_url(url)
            # Never the user's .netrc: a stranger says which host is asked.
            auth = HTTPBasicAuth(user, password) if user or password else _no_auth
            request = requests.Request(method, url, headers={**_HEADERS, **connection, **headers}, auth=auth)
            prepared_request = self._session.prepare_request(request)
            return prepared_request, connected_host(url, str(prepared_request.url))
        except ValueError:  # requests' InvalidURL, InvalidSchema; urllib3's LocationParseError
            raise UnsupportedUrl(self._address, "is not a usable address; check it") from None

    def _sent(
        self, request: requests.PreparedRequest, environment: Mapping[str, Any], *, is_refused: bool
    ) -> requests.Response:
        adapter = _adapter(os.getpid(), is_refused)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        try:
            return self._session.send(
                request,
                allow_redirects=False,
                timeout=(self._options.connect_timeout_seconds, self._options.read_timeout_seconds),
                **environment,
            )
        except PrivateAddress:
            raise self._refused() from None
        except (ValueError, requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise connection_failure(
                self._address, error, select_proxy(str(request.url), environment["proxies"])
            ) from None

    def _refused(self) -> AddressRefused:
        return AddressRefused(self._address, PRIVATE)


def _is_private(response: requests.Response, host: str, *, has_proxy: bool) -> bool:
    """Whether a private address has answered; of what a proxy has asked, the host alone is known."""
    peer = None if has_proxy else peer_address(response)
    return is_private_host(host) if peer is None else is_private_address(peer)


def _is_busy(status: int) -> bool:
    return status in _BUSY or (status >= _SERVER_ERRORS and status != _NOT_IMPLEMENTED)


def status_error(address: Address | str, status: int) -> FetchError:
    """The error that an answer stands for."""
    if status in _GONE:
        return NotFoundAtSource(address, f"HTTP {status}, the file is not there; get a newer index or drop the address")
    if status == _PROXY_LOGIN:
        return HttpStatusError(
            address, f"HTTP {status}, the proxy asks for a login; put it into http_proxy or https_proxy"
        )
    if status in _REFUSED:
        return AccessRefused(address, f"HTTP {status}, access refused; a signed link expires: get a newer index")
    if _is_busy(status):
        return ServerBusy(address, f"HTTP {status}; try again later")
    return HttpStatusError(address, f"HTTP {status}, which is no file; open the address in a browser")


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@lru_cache(maxsize=4)
def _adapter(process_id: int, public_only: bool) -> HTTPAdapter:
    """The connections of this process; a forked child makes its own."""
    del process_id
    kind = PublicOnlyAdapter if public_only else TimedAdapter
    return kind(pool_connections=_POOL_SIZE, pool_maxsize=_POOL_SIZE)
