"""The NPI Registry API, one NPI per request, over connections that are kept alive."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
from collections.abc import Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Self

import aiohttp

from mrf_assets.batch import Answer, Item
from mrf_assets.errors import LookUpFailed, SettingError
from mrf_assets.nppes.answers import excerpt, read_answer
from mrf_assets.urls import canonical_url, is_remote

_VERSION = "2.1"
_USER_AGENT = f"mrf_assets/{version('mrf_assets')}"
_POOL_SIZE = 20
_MOST_ANSWER_BYTES = 4 << 20  # an answer has some 5 kB
_RECONNECTS = 2
_REFUSALS = (429, 503)
_PASSING = (408, 425, 500, 502, 504, 520, 521, 522, 523, 524)
_CHECK_NPI = "1234567893"  # the example of the CMS documentation: a valid check digit, never issued


class NppesClient:
    """Looks up NPIs; use as an async context manager.

    One session with up to 20 connections. A connection that the server closed while it was idle is
    opened anew, at most twice, inside one request.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 30.0, keep_alive: bool = True) -> None:
        if not is_remote(url) or not url.lower().startswith(("http://", "https://")):
            raise SettingError("npi_api_url", f"{canonical_url(url)} is no http(s) address")
        self._url, self._timeout, self._keep_alive = url, aiohttp.ClientTimeout(total=timeout_seconds), keep_alive
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=_POOL_SIZE, force_close=not self._keep_alive)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers={"User-Agent": _USER_AGENT, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,  # proxies, as for downloads
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
        status, headers, body = await self._get({"version": _VERSION, "number": item.key})
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
        return f"{canonical_url(self._url)} answers ({_CHECK_NPI}: {answer.row['status']})"

    async def _get(self, query: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None, "use `async with`"
        for reconnects in range(_RECONNECTS + 1):
            try:
                async with self._session.get(self._url, params=query) as response:
                    body = await response.content.read(_MOST_ANSWER_BYTES)
                    while len(body) < _MOST_ANSWER_BYTES and (more := await response.content.read(_MOST_ANSWER_BYTES)):
                        body += more
                    return response.status, response.headers, body
            except aiohttp.ServerDisconnectedError as error:
                if reconnects == _RECONNECTS:
                    raise LookUpFailed("connection_lost", "the server hung up without an answer") from error
            except TimeoutError as error:
                raise LookUpFailed("timeout", f"no answer within {self._timeout.total:g} s") from error
            except (aiohttp.ClientError, OSError) as error:
                # The error's text may hold the address.
                raise LookUpFailed("connection_lost", f"the connection broke ({type(error).__name__})") from error
        raise AssertionError("the loop returns or raises")


def _bad_status(status: int, headers: Mapping[str, str], body: bytes) -> LookUpFailed:
    return LookUpFailed(
        "rate_limited" if status in _REFUSALS else f"http_{status}",
        f"HTTP {status}: {excerpt(body)}",
        http_status=status,
        is_passing=status in (*_REFUSALS, *_PASSING),
        is_refusal=status in _REFUSALS,
        retry_after_seconds=retry_after_seconds(headers.get("Retry-After"), dt.datetime.now(tz=dt.UTC)),
        size_bytes=len(body),
    )


def retry_after_seconds(text: str | None, now: dt.datetime) -> float | None:
    """Seconds out of a Retry-After header: a number or a date; None where it says nothing. At most an hour."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), 3_600.0)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=dt.UTC)
    return min(max((until - now).total_seconds(), 0.0), 3_600.0)


def run_check(url: str, timeout_seconds: float) -> str:
    """`NppesClient.check` for callers without an event loop."""

    async def check() -> str:
        async with NppesClient(url, timeout_seconds=timeout_seconds) as client:
            return await client.check()

    return asyncio.run(check())
