"""The browser's way out where private addresses are refused, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrf_assets.discover.browser.proxy import GuardedProxy
from mrf_assets.errors import SettingError
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.raw_server import raw_server, write_certificate


@pytest.fixture(name="server")
def _server() -> Iterator[MrfServer]:
    with MrfServer({"/a": b"content"}) as server:
        yield server


def _never(_address: str) -> bool:
    return False


def ask(request: str, *, proxy: GuardedProxy) -> bytes:
    """What comes back through the proxy."""

    async def run() -> bytes:
        async with proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
            writer.write(request.encode())
            await writer.drain()
            answer = await reader.read()
            writer.close()
            return answer

    return asyncio.run(run())


def test_plain_requests_go_through_without_what_is_the_proxys(server: MrfServer) -> None:
    """Path and query alone, and one request for each connection."""
    own = "Proxy-Authorization: secret\r\nProxy-Connection: keep\r\n"
    head = f"GET {server.url('/a?x=1')} HTTP/1.1\r\nHost: h\r\n{own}\r\n"

    answer = ask(head, proxy=GuardedProxy(_never))

    (request,) = server.requests
    assert answer.endswith(b"\r\n\r\ncontent")
    assert ("/a", "x=1") == (request.path, request.query)
    assert {"host": "h", "connection": "close"} == dict(request.headers)


def test_tunnels_go_through(server: MrfServer) -> None:
    """What is inside is the browser's and the host's; here it is not even TLS."""
    head = f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

    assert ask(head, proxy=GuardedProxy(_never)).endswith(b"\r\n\r\ncontent")


@pytest.mark.parametrize("line", ["GET http://localhost:{}/a", "CONNECT localhost:{}", "CONNECT 127.0.0.1:{}"])
def test_private_addresses_are_not_connected_to(server: MrfServer, line: str) -> None:
    """Whatever name leads there; the connection ends without a word, and the host is known from then on."""
    proxy = GuardedProxy()

    assert b"" == ask(f"{line.format(server.port)} HTTP/1.1\r\n\r\n", proxy=proxy)

    assert 1 == len(proxy.refused_hosts)
    assert 0 == server.connections


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /a HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET ftp://127.0.0.1/a HTTP/1.1",
        "CONNECT 127.0.0.1:99999 HTTP/1.1",
        "CONNECT [ HTTP/1.1",
        "nonsense",
        "GET http://127.0.0.1:1/ HTTP/1.1",
        "GET http://no.such.host.invalid/ HTTP/1.1",
    ],
)
def test_what_is_no_request_for_the_web_ends_the_connection(request_line: str) -> None:
    """Nothing is answered, and the proxy goes on."""
    assert b"" == ask(f"{request_line}\r\n\r\n", proxy=GuardedProxy(_never))


def test_a_head_without_end_ends_the_connection() -> None:
    """After 64 kB."""
    assert b"" == ask("GET http://x.example/ HTTP/1.1\r\n" + "x: y\r\n" * 20_000, proxy=GuardedProxy(_never))


@pytest.mark.parametrize("line", ["GET http://no.such.host.invalid/a?x=1", "CONNECT no.such.host.invalid:443"])
def test_a_proxy_of_the_environment_is_the_way_out(server: MrfServer, line: str) -> None:
    """It gets the request as it is, with its own password; what a name means is for it to know."""
    server.always("/a", Answer(body=b"from beyond"))
    beyond = dict.fromkeys(("http", "https"), server.base_url.replace("//", "//me:pass%20word@"))

    ask(f"{line} HTTP/1.1\r\nHost: h\r\nProxy-Authorization: other\r\n\r\n", proxy=GuardedProxy(beyond=beyond))

    assert 1 == server.connections
    for request in server.requests:  # CONNECT is no request of this server's
        assert "/a" in request.path
        assert "Basic bWU6cGFzcyB3b3Jk" == request.headers["proxy-authorization"]


@pytest.mark.parametrize(
    "line",
    [
        *("GET http://127.0.0.1:{}/a", "GET http://localhost:{}/a", "CONNECT 127.0.0.1:{}"),
        *(
            "GET http://127.0.0.1.:{}/a",
            "GET http://2130706433:{}/a",
            "CONNECT 0x7f.1:{}",
            "CONNECT [::ffff:0:127.0.0.1]:{}",
        ),
        *("GET http://metadata.google.internal:{}/a", "CONNECT a.localhost:{}"),
        *("GET http://%31%32%37.0.0.1:{}/a", r"GET http://127.0.0.1\@no.such.host.invalid:{}/a"),
    ],
)
def test_private_addresses_are_refused_before_a_proxy_of_the_environment(server: MrfServer, line: str) -> None:
    """It may be of this very machine, and would fetch them."""
    proxy = GuardedProxy(beyond=dict.fromkeys(("http", "https"), server.base_url))

    assert b"" == ask(f"{line.format(server.port)} HTTP/1.1\r\n\r\n", proxy=proxy)

    assert 0 == server.connections


def test_hosts_that_need_no_proxy_of_the_environment_are_asked_themselves(server: MrfServer) -> None:
    """As NO_PROXY says; the rule for private addresses is the same."""
    head = f"GET {server.url('/a')} HTTP/1.1\r\nHost: h\r\n\r\n"
    beyond = {"http": "http://127.0.0.1:1"}

    assert ask(head, proxy=GuardedProxy(_never, beyond=beyond, bypasses=lambda _host: True)).endswith(b"content")
    assert b"" == ask(head, proxy=GuardedProxy(beyond=beyond, bypasses=lambda _host: True))


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://[", "http://h:port", "//"])
def test_a_proxy_of_the_environment_that_is_none_of_http_is_told(url: str) -> None:
    """Passing it by would be a way out that nobody guards."""
    with pytest.raises(SettingError, match="HTTP_PROXY"):
        GuardedProxy(beyond={"https": url})


def test_a_proxy_of_the_environment_is_trusted_by_the_variables_of_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may speak TLS with a certificate that only this network knows."""
    pem = write_certificate(tmp_path / "proxy.pem")
    head = "GET http://no.such.host.invalid/a HTTP/1.1\r\nHost: h\r\n\r\n"
    with raw_server([b"HTTP/1.1 200 OK\r\n\r\ncontent"], pem) as url:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        assert b"" == ask(head, proxy=GuardedProxy(_never, beyond={"http": url}))

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        assert ask(head, proxy=GuardedProxy(_never, beyond={"http": url})).endswith(b"content")
