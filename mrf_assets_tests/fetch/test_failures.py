"""What is wrong on our own side is told as such: certificates, proxies; and no login leaves by itself."""

from __future__ import annotations

import datetime as dt
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from mrf_assets.discover import Portal, discover
from mrf_assets.errors import ConnectionLostError, FetchError, HttpStatusError, SettingError, UntrustedServer
from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets.settings import DiscoverySettings, Settings
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.portal_server import link_page
from mrf_assets_tests.raw_server import raw_server, write_certificate

_SECRET = "S3cr3tV4lue"
_NOW = dt.datetime.now(tz=dt.UTC)
_DAY = dt.timedelta(days=1)
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")

Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_CERTIFICATES, *_PROXIES):
        monkeypatch.delenv(name, raising=False)


def _fetched(url: str) -> bytes:
    with open_url(url, FetchOptions(max_retries=0)) as raw:
        return raw.read(100)


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., Path]:
    """Makes a key and a certificate that nobody has signed but itself, in one file."""
    return partial(write_certificate, tmp_path / "server.pem")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers every request with the same bytes, over TLS where it has a certificate."""
    with ExitStack() as running:
        yield lambda answer, pem=None: running.enter_context(raw_server([answer], pem))


_OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


def test_a_certificate_that_cannot_be_verified_is_told_at_once(serve: Serve, certificate: Callable[..., Path]) -> None:
    """health1.aetna.com sends an incomplete chain; no further attempt mends that."""
    waits: list[float] = []
    options = FetchOptions(wait=waits.append)

    with (
        pytest.raises(UntrustedServer, match="certificate cannot be verified"),
        open_url(f"{serve(_OK, certificate())}/a.json", options),
    ):
        pass
    assert [] == waits


@pytest.mark.parametrize("variable", _CERTIFICATES)
def test_certificates_of_ones_own_network_are_trusted_by_a_variable(
    serve: Serve, certificate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A proxy that opens TLS signs with a certificate that only this network knows; the error says what to do."""
    pem = certificate()
    url = serve(_OK, pem)

    with pytest.raises(UntrustedServer, match=r"self.signed.*REQUESTS_CA_BUNDLE or SSL_CERT_FILE") as error:
        _fetched(f"{url}/a?Signature={_SECRET}")
    assert _SECRET not in repr(error.value)
    assert "payer" not in str(error.value)

    monkeypatch.setenv(variable, str(pem))
    assert b"{}" == _fetched(f"{url}/a")


def test_certificates_that_are_not_there_are_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt changes it, and no payer."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none.pem")

    with pytest.raises(SettingError, match=r"REQUESTS_CA_BUNDLE: /none\.pem does not exist"):
        _fetched("https://mrf.example/a")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"until": _NOW - _DAY}, r"\(certificate has expired\); check the clock of this machine"),
        ({"until": _NOW + 3 * _DAY}, r"\(certificate is not yet valid\); check the clock of this machine"),
        ({"host": "other.example"}, "check the address, and whether a proxy or a portal of your network answers"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    serve: Serve, certificate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    """Which of the three it is, and where to look first."""
    pem = certificate(**given)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))

    with pytest.raises(UntrustedServer, match=told) as error:
        _fetched(f"{serve(_OK, pem)}/a")
    assert "payer" not in str(error.value)


@pytest.fixture
def closed_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, closed_port: int, scheme: str) -> None:
    """Without its login."""
    monkeypatch.setenv(f"{scheme}_proxy", f"http://me:{_SECRET}@127.0.0.1:{closed_port}")

    with pytest.raises(
        ConnectionLostError,
        match=r"the proxy 127\.0\.0\.1 gave no connection .*check http_proxy, https_proxy and no_proxy",
    ) as error:
        _fetched(f"{scheme}://mrf.example/a?Signature={_SECRET}")
    assert _SECRET not in repr(error.value)


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_gives_no_tunnel_is_told_with_its_status(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Its rules are of our own network."""
    proxy = serve(b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
    monkeypatch.setenv("https_proxy", proxy)

    with pytest.raises(ConnectionLostError, match=rf"the proxy localhost gave no connection \(HTTP {status}\)"):
        _fetched("https://mrf.example/a")


def test_a_proxy_that_wants_a_login_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over http its answer looks like the server's."""
    monkeypatch.setenv("http_proxy", serve(b"HTTP/1.1 407 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))

    with pytest.raises(HttpStatusError, match="HTTP 407, the proxy asks for a login; put it into http_proxy"):
        _fetched("http://mrf.example/a")


@pytest.mark.parametrize("proxy", ["http://[", "http://h:port", "socks9://h:1", "http://"])
def test_a_proxy_that_is_no_address_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """The address of the file is a good one."""
    monkeypatch.setenv("http_proxy", proxy)

    with pytest.raises(FetchError, match=r"proxy .*; check http_proxy, https_proxy and no_proxy") as error:
        _fetched("http://mrf.example/a")
    assert "usable address" not in str(error.value)


def test_a_redirect_from_https_to_http_is_warned_of(
    serve: Serve, certificate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for a file; what comes may be anybody's."""
    pem = certificate()
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with MrfServer({"/a": b"{}"}) as server:
        head = f"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {server.url('/a')}?sig={_SECRET}\r\n\r\n"
        url = serve(head.encode(), pem)
        with caplog.at_level(logging.WARNING, "mrf_assets"):
            assert probe(f"{url}/b") is not None
            assert b"{}" == _fetched(f"{url}/a?sig={_SECRET}")
            _fetched(server.url("/a"))

    warnings = [record.getMessage() for record in caplog.records]
    assert 2 == len(warnings)
    assert all("redirects from https to http, to 127.0.0.1: nothing proves" in told for told in warnings)
    assert not any(_SECRET in told for told in warnings)


@pytest.fixture(params=["default", "machine 127.0.0.1", "machine mrf.example", "machine localhost"])
def netrc(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login of the user, where programs look for it."""
    path = tmp_path / ".netrc"
    path.write_text(f"{request.param} login user password {_SECRET}\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("netrc")
def test_no_login_of_netrc_leaves_with_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to the host, nor where it redirects to, nor to a proxy, which is asked as the environment says."""
    with MrfServer({"/a": b"{}"}) as server, MrfServer({"/a": b"{}"}) as proxy:
        server.always("/moved", Answer(status=302, headers={"Location": f"http://localhost:{server.port}/a"}))
        for path in ("/a", "/moved"):
            assert b"{}" == _fetched(server.url(path))
            assert probe(server.url(path)) is not None
        monkeypatch.setenv("http_proxy", proxy.base_url)
        assert b"{}" == _fetched("http://mrf.example/a")

        requests = [*server.requests, *proxy.requests]
    assert 7 == len(requests)
    assert [] == [each for each in requests if {"authorization", "proxy-authorization"} & each.headers.keys()]


@pytest.mark.usefixtures("netrc")
def test_no_login_of_netrc_leaves_with_a_look_at_a_portal() -> None:
    """robots.txt, the page, and lists."""
    with MrfServer() as server:
        link_page(server, "/portal", ["latest.json", "2026-11-01_acme_index.json"])
        server.put("/latest.json", b'{"files": []}')
        looking = DiscoverySettings(scraper_rate_per_second=1_000.0)
        discover([Portal(url=server.url("/portal"))], Settings(max_retries=0), looking, use_browser=False)

        assert {"/robots.txt", "/portal", "/latest.json"} == {each.path for each in server.requests}
        assert [] == [each for each in server.requests if "authorization" in each.headers]
