"""The NPI Registry API, one NPI per request, over connections that are kept alive."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import aiohttp
from requests.utils import get_environ_proxies, select_proxy

from mrf_assets.errors import LookUpFailed, SettingError
from mrf_assets.fetch.rate import retry_after_seconds
from mrf_assets.providers.lookup import Answer, Item
from mrf_assets.providers.nppes.answers import excerpt, read_answer
from mrf_assets.settings import EnrichSettings
from mrf_assets.tls import trusted_tls
from mrf_assets.urls import understood
from mrf_assets.urls.address import Address

_VERSION = "2.1"
_USER_AGENT = f"mrf_assets/{version('mrf_assets')}"
_POOL_SIZE = 20
_MAX_ANSWER_BYTES = 4 << 20  # an answer has some 5 kB
_RECONNECTS = 2
_SCHEMES = ("http://", "https://")
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSALS = (429, 503)
_PASSING = (408, 425, 500, 502, 504, 520, 521, 522, 523, 524)
_MAX_WAIT_SECONDS = 3_600.0
_CHECK_NPI = "1234567893"  # the example of the CMS documentation: a valid check digit, never issued


class NppesClient:
    """Looks up NPIs; use as an async context manager.

    One session with up to 20 connections. A connection that the server closed while it was idle is
    opened again, at most twice, inside one request. Proxies and trusted certificates come from the environment, as for
    downloads; the
    user's .netrc is never read: with aiohttp's `trust_env` its logins, a `default` one above all, would go to the
    registry and to every host that it redirects to.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 30.0, keep_alive: bool = True) -> None:
        if not _can_be_asked(url):
            raise SettingError("npi_api_url", f"{Address(url)} is no http(s) address")
        if (proxy := _proxy_of(url)) is not None and not proxy.lower().startswith(_SCHEMES):
            scheme = proxy.partition("://")[0]  # the rest may hold a login
            raise SettingError(
                "https_proxy",
                f"names a proxy of {scheme}; NPIs are looked up over http(s) ones alone: name one, or set no_proxy",
            )
        self._url, self._timeout, self._keep_alive = url, aiohttp.ClientTimeout(total=timeout_seconds), keep_alive
        self._tls = trusted_tls()
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, settings: EnrichSettings) -> Self:
        """The client that settings describe."""
        return cls(
            settings.npi_api_url,
            timeout_seconds=settings.npi_timeout_seconds,
            keep_alive=settings.connection_pooling,
        )

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=_POOL_SIZE, force_close=not self._keep_alive, ssl=self._tls)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers={"User-Agent": _USER_AGENT, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def look_up(self, item: Item) -> Answer:
        """The registry's row of one NPI.

        Raises:
            LookUpFailed: No usable answer; says whether to try again.
        """
        status, headers, body = await self._answer({"version": _VERSION, "number": item.key})
        if status != 200:  # noqa: PLR2004 - OK
            raise _bad_status(status, headers, body)
        row = read_answer(item.key, body, dt.datetime.now(tz=dt.UTC))
        return Answer(row=row, size_bytes=len(body))

    async def check(self) -> str:
        """One request, to see whether the registry can be reached; says what came.

        Raises:
            LookUpFailed: No usable answer.
        """
        answer = await self.look_up(Item(key=_CHECK_NPI))
        return f"{Address(self._url)} answers ({_CHECK_NPI}: {answer.row['status']})"

    async def _answer(self, query: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """The first answer that is not a redirect; each hop has its own proxy, and no login of another."""
        url, parameters = self._url, query
        for _ in range(_MAX_REDIRECTS + 1):
            status, headers, body = await self._get(url, parameters)
            location = headers.get("Location")
            if status not in _REDIRECTS or location is None:
                return status, headers, body
            url, parameters = _redirected(url, location), {}
        raise LookUpFailed("redirected", f"more than {_MAX_REDIRECTS} redirects", is_passing=False)

    async def _get(self, url: str, query: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None, "use `async with`"
        for reconnects in range(_RECONNECTS + 1):
            try:
                request = self._session.get(url, params=query, proxy=_proxy_of(url), allow_redirects=False)
                async with request as response:
                    body = await response.content.read(_MAX_ANSWER_BYTES)
                    while len(body) < _MAX_ANSWER_BYTES and (more := await response.content.read(_MAX_ANSWER_BYTES)):
                        body += more
                    return response.status, response.headers, body
            except aiohttp.ServerDisconnectedError as error:
                if reconnects == _RECONNECTS:
                    raise LookUpFailed("connection_lost", "the server hung up without an answer") from error
            except TimeoutError as error:
                raise LookUpFailed("timeout", f"no answer within {self._timeout.total:g} s") from error
            except aiohttp.ClientConnectorCertificateError as error:
                raise LookUpFailed("connection_lost", _why_untrusted(error)) from error
            except (aiohttp.ClientError, OSError) as error:
                # The error's text may hold the address.
                raise LookUpFailed("connection_lost", f"the connection broke ({type(error).__name__})") from error
        raise AssertionError("the loop returns or raises")


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address; by the same rules as for downloads."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _why_untrusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    reason = getattr(error.certificate_error, "verify_message", type(error).__name__)
    return (
        f"the server's certificate cannot be verified ({reason}); if a proxy of your network opens TLS, name a file of "
        "certificates to trust in REQUESTS_CA_BUNDLE or SSL_CERT_FILE"
    )


def _can_be_asked(url: str) -> bool:
    return url.lower().startswith(_SCHEMES) and understood(url) is not None


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        target = ""
    if not _can_be_asked(target):
        raise LookUpFailed("redirected", "the redirect leads to no http(s) address", is_passing=False)
    return target


def _bad_status(status: int, headers: Mapping[str, str], body: bytes) -> LookUpFailed:
    retry_after = retry_after_seconds(headers.get("Retry-After"))
    return LookUpFailed(
        "rate_limited" if status in _REFUSALS else f"http_{status}",
        f"HTTP {status}: {excerpt(body)}",
        http_status=status,
        is_passing=status in (*_REFUSALS, *_PASSING),
        is_refusal=status in _REFUSALS,
        retry_after_seconds=None if retry_after is None else min(retry_after, _MAX_WAIT_SECONDS),
        size_bytes=len(body),
    )


def run_check(url: str, timeout_seconds: float) -> str:
    """`NppesClient.check` for callers without an event loop."""

    async def check() -> str:
        async with NppesClient(url, timeout_seconds=timeout_seconds) as client:
            return await client.check()

    return asyncio.run(check())
