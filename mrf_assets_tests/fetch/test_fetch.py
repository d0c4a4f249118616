"""Opening files and addresses: real files, real sockets."""

from __future__ import annotations

import gzip
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.errors import (
    AccessRefused,
    ConnectionLostError,
    FetchError,
    HttpStatusError,
    MrfError,
    NotFoundAtSource,
    ServerBusy,
    UnsupportedUrl,
)
from mrf_assets.fetch import FetchOptions, Validators, open_url, probe
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets_tests.mrf_server import Answer, Gate, MrfServer

_DATA = b'{"in_network":[' + b"1," * 100_000 + b"1]}"
_SECRET = "S3cr3tV4lue"
_SIGNED = f"?Expires=1&Signature={_SECRET}&Key-Pair-Id={_SECRET}&name=a.json"


def _options(**changes: Any) -> FetchOptions:  # noqa: ANN401 - fields of FetchOptions
    """Options of a caller who never sleeps."""
    return FetchOptions(connect_timeout_seconds=60, read_timeout_seconds=60, wait=lambda _seconds: None).changed(
        **changes
    )


def _fetched(url: str, *, size: int = 4096, **changes: Any) -> bytes:  # noqa: ANN401 - fields of FetchOptions
    with open_url(url, _options(**changes)) as raw:
        return b"".join(iter(lambda: raw.read(size), b""))


@pytest.fixture
def server() -> Iterator[MrfServer]:
    """A server with one file at /a.json."""
    with MrfServer({"/a.json": _DATA}) as running:
        yield running


def test_a_local_path_is_read(tmp_path: Path) -> None:
    """A path of the file system is as good as a URL."""
    (tmp_path / "a.json").write_bytes(_DATA)

    assert _DATA == _fetched(str(tmp_path / "a.json"))


def test_a_local_file_tells_its_size_and_its_state(tmp_path: Path) -> None:
    """The disk knows what a server would say."""
    path = tmp_path / "a.json"
    path.write_bytes(_DATA)
    os.utime(path, ns=(0, 1_000_000_000_000_000_255))

    with open_url(str(path)) as raw:
        told = (raw.url, raw.size_bytes, raw.etag, raw.last_modified)
        assert raw.transfer == TransferCounts()
    etag = f'"{len(_DATA):x}-de0b6b3a76400ff"'
    assert (str(path), len(_DATA), etag, "Sun, 09 Sep 2001 01:46:40 GMT") == told


def test_escapes_of_a_file_url_are_decoded(tmp_path: Path) -> None:
    """`file:///a%20b` is the file `/a b`."""
    path = tmp_path / "é b#1?.json"
    path.write_bytes(_DATA)

    assert _DATA == _fetched(path.as_uri())


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_missing_file_is_told(tmp_path: Path, scheme: str) -> None:
    """There is nothing to wait for."""
    with pytest.raises(NotFoundAtSource, match="no such file"):
        _fetched(f"{scheme}{tmp_path}/none.json")


@pytest.mark.parametrize("location", ["{}", "{}/a\0b", "file://[{}"])
def test_what_is_no_file_is_told(tmp_path: Path, location: str) -> None:
    """A folder, a NUL in the path and a broken file URL are errors of the fetch, not tracebacks."""
    with pytest.raises(FetchError):
        _fetched(location.format(tmp_path))


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_body_comes_whole_whatever_the_read_size(server: MrfServer, size: int) -> None:
    """Small reads and one large one give the same bytes."""
    assert _DATA == _fetched(server.url("/a.json"), size=size)


def test_a_response_tells_size_and_validators(server: MrfServer) -> None:
    """What the server says of the file is at hand before its body is read."""
    with open_url(f"{server.url('/a.json')}{_SIGNED}") as raw:
        told = (raw.url, raw.size_bytes, raw.last_modified)
        etag = raw.etag

    assert (f"{server.url('/a.json')}?name=a.json", len(_DATA), server.last_modified) == told
    assert etag


def test_a_body_without_length_is_read_to_its_end(server: MrfServer) -> None:
    """Some servers announce no size."""
    server.script("/a.json", Answer(send_length=False))

    with open_url(server.url("/a.json")) as raw:
        assert raw.size_bytes is None
        assert len(_DATA) == sum(map(len, iter(lambda: raw.read(4096), b"")))


def test_content_encoding_is_not_decoded(server: MrfServer) -> None:
    """The bytes come as stored, so that sizes, digest and container are those of the file."""
    packed = gzip.compress(b"{}", mtime=0)
    server.script("/a.json", Answer(body=packed, headers={"Content-Encoding": "gzip"}))

    assert packed == _fetched(server.url("/a.json"))


def test_we_say_who_asks_and_want_the_file_as_it_is(server: MrfServer) -> None:
    """An honest agent, and no compression on top of what is published."""
    _fetched(server.url("/a.json"))

    (request,) = server.requests_of("/a.json")
    assert request.headers["user-agent"].startswith("mrf_assets/")
    assert request.headers["accept-encoding"] == "identity"


def test_a_signature_reaches_the_server(server: MrfServer) -> None:
    """What is not shown is still sent."""
    _fetched(f"{server.url('/a.json')}{_SIGNED}")

    assert _SIGNED.removeprefix("?") == server.requests_of("/a.json")[0].query


def test_a_redirect_is_followed(server: MrfServer) -> None:
    """UHC redirects each download to a signed address."""
    server.script("/old", Answer(status=302, headers={"Location": f"/a.json{_SIGNED}"}))

    assert _DATA == _fetched(server.url("/old"))


def test_the_body_of_a_redirect_is_not_waited_for(server: MrfServer) -> None:
    """It has no size that anybody bounds, and unpacked it may be a bomb."""
    gate = Gate()
    server.script("/old", Answer(status=302, headers={"Location": "/a.json"}, body=bytes(1 << 20), gate=gate))

    assert _DATA == _fetched(server.url("/old"))
    assert not gate.released.is_set()


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (404, NotFoundAtSource, "HTTP 404, the file is not there"),
        (410, NotFoundAtSource, "HTTP 410"),
        (401, AccessRefused, "HTTP 401, access refused"),
        (403, AccessRefused, "HTTP 403, access refused; a signed link expires"),
        (409, AccessRefused, "HTTP 409, access refused"),
        (408, ServerBusy, "HTTP 408"),
        (425, ServerBusy, "HTTP 425"),
        (429, ServerBusy, "HTTP 429"),
        (500, ServerBusy, "HTTP 500; try again later"),
        (503, ServerBusy, "HTTP 503"),
        (204, HttpStatusError, "HTTP 204"),
        (206, HttpStatusError, "HTTP 206"),
        (304, HttpStatusError, "HTTP 304"),
    ],
)
def test_other_answers_than_200_are_errors(server: MrfServer, status: int, kind: type[MrfError], text: str) -> None:
    """Their class tells whether another try makes sense, their text what to do."""
    server.always("/a.json", Answer(status=status, body=b""))

    with pytest.raises(kind, match=text) as error:
        _fetched(server.url("/a.json"))
    assert kind is type(error.value)
    assert (4 if kind is ServerBusy else 1) == server.count("/a.json")


def _unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_the_body_of_an_error_is_not_waited_for(server: MrfServer) -> None:
    """It is read where it is at hand, to keep the connection; who sends it drop by drop is left."""
    page = bytes(1_000)
    server.always("/a.json", Answer(status=404, body=page, drip_seconds=0.01))
    with pytest.raises(NotFoundAtSource):
        _fetched(server.url("/a.json"))

    assert server.sent_bytes < len(page)


def test_a_connection_outlives_a_small_error(server: MrfServer) -> None:
    """To connect again costs more than to read a page."""
    for path in ("/none", "/none", "/a.json"):
        with suppress(NotFoundAtSource):
            _fetched(server.url(path))

    assert 1 == server.connections


def test_a_refused_connection_is_worth_another_try() -> None:
    """Nobody listens: the class says that it may pass."""
    with pytest.raises(ConnectionLostError, match="no answer"):
        _fetched(f"http://127.0.0.1:{_unused_port()}/a.json")


@pytest.mark.parametrize("truncate_at", [0, 1, 50_000, len(_DATA) - 1])
@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_a_body_that_is_cut_is_told_with_its_byte(server: MrfServer, truncate_at: int, size: int) -> None:
    """Fewer bytes than announced are never taken for the file."""
    server.always("/a.json", Answer(truncate_at=truncate_at))
    server.ranges = False

    with pytest.raises(ConnectionLostError, match=f"broke at byte {truncate_at} of {len(_DATA)}"):
        _fetched(server.url("/a.json"), size=size)


def test_a_server_that_falls_silent_is_told(server: MrfServer) -> None:
    """The wait for the next piece of the body is bounded."""
    gate = Gate()
    server.always("/a.json", Answer(gate=gate, hold_at=10))

    with pytest.raises(ConnectionLostError, match=r"broke at byte 10 of .*TimeoutError"):
        _fetched(server.url("/a.json"), size=10, read_timeout_seconds=0.2)
    gate.release()


@pytest.mark.parametrize("url", ["ftp://mrf.example/a", "data://mrf.example/a", "gopher://mrf.example/"])
def test_other_schemes_are_not_read(url: str) -> None:
    """The person learns which are."""
    with pytest.raises(UnsupportedUrl, match="only http, https"):
        _fetched(url)


@pytest.mark.parametrize("url", ["http://", "http:///a.json", "http://[bad/a", "http://a b:port/", "https://.example/"])
def test_an_address_that_is_none_is_not_tried_again(url: str) -> None:
    """No network in the world would help."""
    with pytest.raises(UnsupportedUrl, match="not a usable address"):
        _fetched(url)


def test_a_redirect_out_of_http_is_not_followed(server: MrfServer) -> None:
    """A stranger's server must not make us read local files."""
    server.script("/a.json", Answer(status=302, headers={"Location": "file:///etc/hostname"}))

    with pytest.raises(UnsupportedUrl):
        _fetched(server.url("/a.json"))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404),
        Answer(status=403),
        Answer(status=500),
        Answer(truncate_at=10),
        Answer(status=302, headers={"Location": f"http://[bad/{_SIGNED}"}),
        Answer(status=302, headers={"Location": f"/none{_SIGNED}"}),
    ],
    ids=["404", "403", "500", "cut", "bad redirect", "signed redirect"],
)
def test_nothing_that_is_told_shows_a_signature(
    server: MrfServer, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """A link's secrets are in no error and no log line, whatever goes wrong and however much is logged."""
    caplog.set_level(logging.DEBUG)
    server.always("/a.json", answer)
    server.ranges = False

    with pytest.raises(FetchError) as error:
        _fetched(f"{server.url('/a.json')}{_SIGNED}")
    assert _SECRET not in repr(error.value)
    assert _SECRET not in str(error.value)
    assert _SECRET not in caplog.text
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/a.json", "http://u:{secret}@[bad/a", "ftp://u:{secret}@mrf.example/a"]
)
def test_no_error_of_an_address_shows_a_secret(address: str) -> None:
    """Neither signature nor password, where no connection came about."""
    url = address.format(port=_unused_port(), secret=_SECRET) + _SIGNED

    with pytest.raises(FetchError) as error:
        _fetched(url)
    assert _SECRET not in repr(error.value)


def test_a_file_is_known_before_it_is_read(server: MrfServer, tmp_path: Path) -> None:
    """By HEAD or by the file system; nothing is downloaded, and it is what reading the file tells."""
    (tmp_path / "a.json").write_bytes(_DATA)

    for url in (f"{server.url('/a.json')}{_SIGNED}", str(tmp_path / "a.json")):
        told = probe(url, _options())
        assert (0, len(_DATA)) == (server.count("/a.json"), told and told.size_bytes)
    for url in (f"{server.url('/a.json')}{_SIGNED}", str(tmp_path / "a.json")):
        with open_url(url, _options()) as raw:
            read = Validators(etag=raw.etag, last_modified=raw.last_modified, size_bytes=raw.size_bytes)
        assert read == probe(url, _options())
        assert None not in (read.etag, read.last_modified, read.size_bytes)


@pytest.mark.parametrize(
    "head", [Answer(status=403), Answer(status=405), Answer(status=501), Answer(send_length=False)]
)
@pytest.mark.parametrize("ranges", [True, False])
def test_where_head_tells_nothing_one_byte_is_asked_for(server: MrfServer, head: Answer, ranges: bool) -> None:
    """A link that is signed for GET refuses HEAD; S3 gave no length to it."""
    server.ranges = ranges
    expected = probe(server.url("/a.json"), _options())
    server.answer_heads("/a.json", head)

    assert expected == probe(server.url("/a.json"), _options(max_retries=0))
    assert "bytes=0-0" == server.requests_of("/a.json")[-1].headers["range"]


@pytest.mark.parametrize("location", ["/none", "http://[bad/a", "http://", "ftp://mrf.example/a", "file://[bad"])
def test_a_file_of_which_nothing_can_be_learned_is_none(location: str) -> None:
    """Reading it tells what is wrong."""
    assert probe(location, _options()) is None


@pytest.mark.parametrize("answer", [Answer(status=404, body=b"x"), Answer(status=500), Answer(status=403, body=b"x")])
def test_an_error_page_is_no_file(server: MrfServer, answer: Answer) -> None:
    """The length of an error page is not that of the file."""
    server.always("/a.json", answer)

    assert probe(server.url("/a.json"), _options()) is None


def test_a_size_that_the_server_does_not_tell_is_none(server: MrfServer) -> None:
    """The other validators are there all the same."""
    server.always("/a.json", Answer(send_length=False))
    server.ranges = False

    told = probe(server.url("/a.json"), _options())
    assert told is not None
    assert (None, server.last_modified) == (told.size_bytes, told.last_modified)


@pytest.mark.parametrize("digits", [19, 5_000])
def test_a_size_of_absurdly_many_digits_is_none(server: MrfServer, digits: int) -> None:
    """Neither Python nor the tables hold such a number; the file is read as one without a size."""
    absurd = "9" * digits
    server.answer_heads("/a.json", Answer(headers={"Content-Length": absurd}))
    server.script("/a.json", Answer(status=206, headers={"Content-Range": f"bytes 0-0/{absurd}"}, body=b"{"))

    told = probe(server.url("/a.json"), _options())

    assert told is not None
    assert told.size_bytes is None


def test_a_range_of_absurdly_many_digits_is_no_rest_of_a_file(server: MrfServer) -> None:
    """It is read from its beginning again."""
    absurd = {"Content-Range": f"bytes 1000-{'9' * 5_000}/*"}
    server.script("/a.json", Answer(cut_after=1000), Answer(status=206, headers=absurd, body=_DATA[1000:]))

    assert _DATA == _fetched(server.url("/a.json"))
