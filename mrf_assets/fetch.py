"""From a URL or a path to an opened file.

Yields what `stream` calls a `RawFile`. No retries and no resume yet; permanent and passing
failures are told apart by the error's class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

import requests
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from mrf_assets.errors import ConnectionLostError, FetchError, HttpStatusError, NotFoundAtSource, UnsupportedUrl
from mrf_assets.stream import RawFile
from mrf_assets.urls import canonical_url, is_remote, local_path

_SCHEMES = ("http://", "https://")
_HEADERS = {"User-Agent": f"mrf_assets/{version('mrf_assets')}", "Accept-Encoding": "identity"}
_GONE = (404, 410)
_REFUSED = (401, 403, 409)  # Azure answers 409 PublicAccessNotPermitted to a blob without its signature (UHC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a server may keep us waiting."""

    connect_seconds: float = 20.0
    read_seconds: float = 120.0  # between two pieces of the body


@dataclass(slots=True)
class _LocalFile:
    url: str
    size_bytes: int | None
    _file: IO[bytes]
    etag: str | None = None
    last_modified: str | None = None

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)


class _HttpFile:
    def __init__(self, url: str, response: requests.Response) -> None:
        self.url = url
        length = response.headers.get("Content-Length", "")
        self.size_bytes = int(length) if length.isdecimal() else None
        self.etag: str | None = response.headers.get("ETag")
        self.last_modified: str | None = response.headers.get("Last-Modified")
        self._body: BaseHTTPResponse = response.raw
        self._read_bytes = 0

    def read(self, size: int, /) -> bytes:
        try:
            # As sent, whatever Content-Encoding says: the first bytes of the file decide.
            data = self._body.read(size, decode_content=False)
        except (HTTPError, OSError) as error:  # fewer bytes than announced are urllib3's ProtocolError
            of = "" if self.size_bytes is None else f" of {self.size_bytes}"
            raise ConnectionLostError(
                self.url, f"the connection broke at byte {self._read_bytes}{of} ({_kind(error)}); run it again"
            ) from None
        self._read_bytes += len(data)
        return data


def _kind(error: BaseException) -> str:
    """The error's type alone: its text holds the URL with its signature."""
    return type(error).__name__


@contextmanager
def open_url(url: str, timeouts: Timeouts | None = None) -> Iterator[RawFile]:
    """Open an http(s) URL, a `file://` URL or a local path for one pass over its bytes.

    Raises:
        NotFoundAtSource: HTTP 404 or 410, or no such local file.
        HttpStatusError: Any other answer that is not 200.
        ConnectionLostError: No answer, or a broken connection; worth another try.
        UnsupportedUrl: A scheme that is not read.
    """
    if not is_remote(url):
        with _open_local(url) as local:
            yield local
    elif url.lower().startswith(_SCHEMES):
        with _open_http(url, timeouts or Timeouts()) as remote:
            yield remote
    else:
        raise UnsupportedUrl(canonical_url(url), "only http, https, file:// and local paths are read")


def size_of(url: str, timeouts: Timeouts | None = None) -> int | None:
    """Published size in bytes, by a HEAD request or the file system; None where it cannot be told."""
    try:
        if not is_remote(url):
            return local_path(url).stat().st_size
        waits = timeouts or Timeouts()
        response = requests.head(
            url, headers=_HEADERS, timeout=(waits.connect_seconds, waits.read_seconds), allow_redirects=True
        )
    except (OSError, ValueError):  # requests' errors are OSErrors
        return None
    length = response.headers.get("Content-Length", "")
    return int(length) if response.ok and length.isdecimal() else None


@contextmanager
def _open_local(location: str) -> Iterator[RawFile]:
    path: Path = local_path(location)
    shown = canonical_url(location)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFoundAtSource(shown, "no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FetchError(shown, f"cannot be read ({reason}); check the path and its permissions") from None
    with file:
        yield _LocalFile(shown, path.stat().st_size, file)


@contextmanager
def _open_http(url: str, timeouts: Timeouts) -> Iterator[RawFile]:
    shown = canonical_url(url)
    try:
        response = requests.get(
            url, headers=_HEADERS, stream=True, timeout=(timeouts.connect_seconds, timeouts.read_seconds)
        )
    except ValueError:  # requests' InvalidURL, InvalidSchema; urllib3's LocationParseError: no host, redirected to ftp
        raise UnsupportedUrl(shown, "is not a usable address; check it") from None
    except requests.exceptions.RequestException as error:
        raise ConnectionLostError(shown, f"no answer ({_kind(error)}); check the address and the network") from None
    with response:
        _expect_ok(shown, response.status_code)
        yield _HttpFile(shown, response)


def _expect_ok(shown: str, status: int) -> None:
    if status == requests.codes.ok:
        return
    if status in _GONE:
        raise NotFoundAtSource(shown, f"HTTP {status}, the file is not there; get a newer index or drop the address")
    if status in _REFUSED:
        raise HttpStatusError(shown, f"HTTP {status}, access refused; a signed link expires: get a newer index")
    raise HttpStatusError(shown, f"HTTP {status}; try again later")
