"""Answers as RFC 9110 and RFC 9112 allow them, byte for byte, and as they do not."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from mrf_assets.errors import ConnectionLostError, HttpStatusError
from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets_tests.raw_server import raw_server

_DATA = bytes(range(256)) * 40
_LENGTH = b"Content-Length: %d\r\n" % len(_DATA)
_OK = b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "a"\r\n'
_CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (_DATA[:1], _DATA[1:5_000], _DATA[5_000:]))
_CHUNKED = b"Transfer-Encoding: chunked\r\n"

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers each connection with the next of some bytes; gives the address of a file."""
    with ExitStack() as running:
        yield lambda *answers: running.enter_context(raw_server(answers)) + "/a.json"


def _fetched(url: str, *, max_retries: int = 0) -> tuple[bytes, int | None]:
    with open_url(url, FetchOptions(max_retries=max_retries, wait=lambda _seconds: None)) as raw:
        return b"".join(iter(lambda: raw.read(4_096), b"")), raw.size_bytes


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 199 Whatever\r\n\r\n" * 3,
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
def test_answers_before_the_final_one_are_passed_over(serve: Serve, interim: bytes) -> None:
    """They are no answers to what was asked (RFC 9110, 15.2)."""
    whole = interim + _OK + _LENGTH + b"\r\n" + _DATA

    assert (_DATA, len(_DATA)) == _fetched(serve(whole))
    told = probe(serve(interim + _OK + _LENGTH + b"\r\n"), FetchOptions(max_retries=0))
    assert told is not None
    assert len(_DATA) == told.size_bytes


def test_answers_before_the_final_one_have_an_end(serve: Serve) -> None:
    """Whoever sends nothing else has not answered."""
    with pytest.raises(ConnectionLostError):
        _fetched(serve(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50))


@pytest.mark.parametrize(
    "headers",
    [
        _CHUNKED,
        _CHUNKED + b"Content-Length: 5\r\n",
        b"Content-Length: 999999\r\n" + _CHUNKED,
        b"Content-Length: 5\r\nContent-Length: 6\r\n" + _CHUNKED,
        b"Transfer-Encoding: Chunked\r\n",
        b"Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_chunks_beat_a_length(serve: Serve, headers: bytes) -> None:
    """RFC 9112, 6.3: the length is of something else, and the size of the file is not known."""
    assert (_DATA, None) == _fetched(serve(_OK + headers + b"\r\n" + _CHUNKS + b"0\r\n\r\n"))


def test_chunks_that_end_early_are_no_whole_file(serve: Serve) -> None:
    """Whatever length is announced beside them."""
    cut = _OK + _CHUNKED + b"Content-Length: 5\r\n\r\n" + _CHUNKS

    with pytest.raises(ConnectionLostError):
        _fetched(serve(cut))


@pytest.mark.parametrize("headers", [_LENGTH + _LENGTH, _LENGTH.replace(b"\r\n", b", %d\r\n" % len(_DATA))])
def test_one_length_that_is_said_twice_is_one_length(serve: Serve, headers: bytes) -> None:
    """RFC 9110, 8.6."""
    assert (_DATA, len(_DATA)) == _fetched(serve(_OK + headers + b"\r\n" + _DATA))


@pytest.mark.parametrize("headers", [_LENGTH + b"Content-Length: 5\r\n", b"Content-Length: 5\r\n" + _LENGTH])
def test_two_lengths_are_told_as_what_they_are(serve: Serve, headers: bytes) -> None:
    """Neither the address is wrong, nor the network."""
    with pytest.raises(HttpStatusError, match="the server announces two different lengths; tell the payer"):
        _fetched(serve(_OK + headers + b"\r\n" + _DATA))


def _partial(first: int, last: int, size: int | str = len(_DATA)) -> bytes:
    head = b'HTTP/1.1 206 Partial Content\r\nConnection: close\r\nETag: "a"\r\n'
    return head + f"Content-Range: bytes {first}-{last}/{size}\r\nContent-Length: {last - first + 1}\r\n\r\n".encode()


def test_a_range_of_the_whole_file_that_nobody_asked_for_is_the_file(serve: Serve) -> None:
    """Some caches answer so; where the connection breaks, the rest is asked for as ever."""
    whole = _partial(0, len(_DATA) - 1)

    assert (_DATA, len(_DATA)) == _fetched(serve(whole + _DATA))
    broken = whole + _DATA[:3_000], _partial(3_000, len(_DATA) - 1) + _DATA[3_000:]
    assert (_DATA, len(_DATA)) == _fetched(serve(*broken), max_retries=1)


def test_the_first_portion_of_a_file_is_followed_by_the_rest(serve: Serve) -> None:
    """A server that gives a file in portions, though it was asked for all of it."""
    portions = _partial(0, 2_999) + _DATA[:3_000], _partial(3_000, len(_DATA) - 1) + _DATA[3_000:]

    assert (_DATA, len(_DATA)) == _fetched(serve(*portions), max_retries=1)


def test_a_restart_that_is_answered_with_a_range_of_the_whole_is_one(serve: Serve) -> None:
    """Without validators the beginning is read again."""
    whole = _partial(0, len(_DATA) - 1).replace(b'ETag: "a"\r\n', b"")

    assert (_DATA, len(_DATA)) == _fetched(serve(whole + _DATA[:3_000], whole + _DATA), max_retries=1)


@pytest.mark.parametrize("answer", [_partial(1, 5), _partial(0, 5, "*"), b"HTTP/1.1 206 Partial Content\r\n\r\n"])
def test_another_range_that_nobody_asked_for_is_no_file(serve: Serve, answer: bytes) -> None:
    """Nobody knows what is missing."""
    with pytest.raises(HttpStatusError, match="HTTP 206"):
        _fetched(serve(answer + b"12345"))


def test_a_transfer_that_is_compressed_is_handed_on_as_it_came(serve: Serve) -> None:
    """What is in the chunks is known by its first bytes, as all content is."""
    packed = gzip.compress(_DATA, mtime=0)
    head = _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"

    assert (packed, None) == _fetched(serve(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)))
