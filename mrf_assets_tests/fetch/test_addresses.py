"""Which machines an address may lead to, wherever the address comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import AddressRefused, MrfError, UnsupportedUrl
from mrf_assets.fetch import FetchOptions, open_url, probe
from mrf_assets.urls.private_addresses import is_private_address, is_private_host
from mrf_assets_tests.mrf_server import Answer, MrfServer

_CAREFUL = FetchOptions(
    connect_timeout_seconds=60, read_timeout_seconds=60, max_retries=0, refuse_private_addresses=True
)
_SECRET = "S3cr3tV4lue"


@pytest.fixture
def server() -> Iterator[MrfServer]:
    """A server with one file."""
    with MrfServer({"/a.json": b"{}"}) as running:
        yield running


def _read(url: str, options: FetchOptions = _CAREFUL) -> bytes:
    with open_url(url, options) as raw:
        return raw.read(100)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",  # noqa: S104
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
        "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "2002:7f00:1::",
        "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:0:1::1",
    ],
)  # fmt: skip
def test_an_address_of_our_own_is_private(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved, metadata, and each of them inside IPv6."""
    assert is_private_address(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """The web is still there."""
    assert not is_private_address(address)


@given(st.ip_addresses(v=4))
def test_ipv4_inside_ipv6_counts_as_what_it_stands_for(address: ipaddress.IPv4Address) -> None:
    """Mapped, 6to4 and NAT64 hide nothing."""
    number = int(address)
    inside = [(0xFFFF << 32) | number, (0x2002 << 112) | (number << 80), (0x64FF9B << 96) | number]

    assert {is_private_address(str(address))} == {
        is_private_address(str(ipaddress.IPv6Address(each))) for each in inside
    }


_SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
    "0177.0.0.01", "127.0.0.1.", "0xA9FEA9FE", "0XA9.0xFE.43518", "2852039166", "010.0.0.1", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::ffff:0:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[fd00:ec2::254]",
    "localhost", "LOCALHOST.", "a.localhost", "metadata.google.internal", "printer.local", "router.home.arpa",
    "127.0.0.256", "1.2.3.4.5", "4294967297", "0x100000000", "[:]", "08.0.0.1",
]  # fmt: skip


# Digits and dots of other scripts, which IDNA makes plain ones of.
_UNICODE = [
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "\u24db\u24de\u24d2alhost",
]


@pytest.mark.parametrize("host", _SPELLINGS)
def test_a_private_host_is_known_by_any_spelling(host: str) -> None:
    """Also what is no address though it ends in a number: nobody knows what a proxy makes of it."""
    assert is_private_host(host)


@pytest.mark.parametrize(
    "host",
    ["mrf.example", "", "8.8.8.8", "134744072", "0x8.8.8.8", "1.1", "[2606:4700::1111]", "127.0.0.1.nip.example", "a1"],
)
def test_a_public_host_is_not_taken_for_a_private_one(host: str) -> None:
    """What a name stands for is known when it is resolved."""
    assert not is_private_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]"])
def test_no_connection_is_made_to_a_private_address(server: MrfServer, host: str) -> None:
    """Whatever it is called: the address that is about to be connected to is looked at."""
    url = f"http://{host}:{server.port}/a.json?Signature={_SECRET}"

    with pytest.raises(AddressRefused, match="leads to a private address") as error:
        _read(url)
    assert probe(url, _CAREFUL) is None
    assert _SECRET not in repr(error.value)
    assert [] == server.requests


@pytest.mark.parametrize("host", [*_SPELLINGS, *_UNICODE])
@pytest.mark.parametrize("is_named", [False, True], ids=["all are refused", "a stranger names it"])
def test_no_proxy_is_asked_for_a_private_address(
    server: MrfServer, monkeypatch: pytest.MonkeyPatch, host: str, is_named: bool
) -> None:
    """It would read the number in its own way, and is in our network."""
    monkeypatch.setenv("http_proxy", server.base_url)
    monkeypatch.setenv("no_proxy", "")
    options = FetchOptions(max_retries=0).named_by(stranger=True) if is_named else _CAREFUL

    with pytest.raises(UnsupportedUrl) as error:
        _read(f"http://{host}/a.json?Signature={_SECRET}", options)
    assert _SECRET not in repr(error.value)
    assert [] == server.requests


@pytest.mark.parametrize(
    "authority",
    [
        "%31%32%37.0.0.1",
        "127.0.0.1%2f.mrf.example",
        "mrf.example%00.example",
        "[fe80::1%25eth0]",
        r"127.0.0.1\@mrf.example",
        r"mrf.example\@127.0.0.1",
        r"mrf.example\.example",
        "mrf example",
        'mrf.example"',
        "mrf.example`",
        "'127.0.0.1'",
        "&127.0.0.1",
        "mrf.exa\tmple",
    ],
)
@pytest.mark.parametrize("has_proxy", [False, True])
@pytest.mark.parametrize("options", [_CAREFUL, FetchOptions(max_retries=0)], ids=["careful", "default"])
def test_a_host_that_two_parsers_read_differently_is_asked_by_none(
    server: MrfServer, monkeypatch: pytest.MonkeyPatch, authority: str, has_proxy: bool, options: FetchOptions
) -> None:
    """The check must not look at one host, and the client ask another."""
    if has_proxy:
        monkeypatch.setenv("http_proxy", server.base_url)
        monkeypatch.setenv("no_proxy", "")

    with pytest.raises(UnsupportedUrl, match="is not a usable address") as error:
        _read(f"http://{authority}:{server.port}/a.json?Signature={_SECRET}", options)
    assert _SECRET not in repr(error.value)
    assert [] == server.requests


def test_a_password_may_hold_percent_escapes(server: MrfServer) -> None:
    """It is in front of the host."""
    assert b"{}" == _read(server.url("/a.json").replace("://", "://u:p%40ss@"), FetchOptions(max_retries=0))
    assert "Basic dTpwQHNz" == server.requests[0].headers["authorization"]


# --- who names an address --------------------------------------------------------------------

_NAMED = FetchOptions(max_retries=0).named_by(stranger=True)


def test_a_private_address_that_a_stranger_names_is_refused_by_default(server: MrfServer) -> None:
    """Whatever names it over the web; what the user names, and what is allowed, is asked."""
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(
            AddressRefused, match=r"leads to a private address, which is refused; .*=false if it is meant"
        ):
            _read(f"http://{host}:{server.port}/a.json", _NAMED)
    assert [] == server.requests

    allowed = _NAMED.changed(refuse_private_addresses=False)
    assert [b"{}"] * 2 == [_read(server.url("/a.json"), options) for options in (allowed, FetchOptions(max_retries=0))]


def test_where_an_answer_came_from_is_told(server: MrfServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a file of ours or a machine of our own network names may be in our own network."""
    (tmp_path / "a.json").write_bytes(b"{}")
    with open_url(str(tmp_path / "a.json")) as raw:
        assert raw.is_private
    for spool_dir in (None, tmp_path):
        with open_url(f"http://localhost:{server.port}/a.json", FetchOptions(spool_dir=spool_dir)) as raw:
            assert raw.is_private
    monkeypatch.setenv("http_proxy", server.base_url)
    monkeypatch.setenv("no_proxy", "")
    for host, expected in (("mrf.example", False), ("127.0.0.2", True), ("2130706434", True), ("a.local", True)):
        with open_url(f"http://{host}/a.json") as raw:
            assert expected == raw.is_private


def test_a_redirect_of_a_stranger_names_no_private_address(server: MrfServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user named the first address; the second one is its server's."""
    with MrfServer({"/b.json": b"[]"}) as inside:
        monkeypatch.setenv("http_proxy", server.base_url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        server.always("/moved.json", Answer(status=302, headers={"Location": inside.url("/b.json")}))

        with pytest.raises(AddressRefused):
            _read("http://mrf.example/moved.json", FetchOptions(max_retries=0))
        assert [] == inside.requests
        # The same from a server of our own network.
        assert b"[]" == _read(server.url("/moved.json"), FetchOptions(max_retries=0))


def test_private_addresses_are_asked_where_nothing_forbids_it(server: MrfServer) -> None:
    """The demo, and payers' files that were brought home."""
    assert b"{}" == _read(f"http://localhost:{server.port}/a.json", FetchOptions(max_retries=0))


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "http://[::1]/x", "//10.0.0.1/x"])
def test_a_redirect_to_a_private_address_is_not_followed(
    server: MrfServer, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """A public server says 302, and our network stays untouched. The test's server plays proxy to be a public one."""
    monkeypatch.setenv("http_proxy", server.base_url)
    monkeypatch.setenv("no_proxy", "")
    server.script("/moved.json", Answer(status=302, headers={"Location": f"{target}?Signature={_SECRET}"}))

    assert b"{}" == _read("http://mrf.example/a.json")
    with pytest.raises(AddressRefused, match=r"mrf\.example/moved\.json: leads to a private address") as error:
        _read("http://mrf.example/moved.json")
    assert _SECRET not in repr(error.value)
    assert ["/a.json", "/moved.json"] == [request.path for request in server.requests]


@pytest.mark.parametrize("location", ["ftp://mrf.example/a", "file:///etc/passwd", "s3://bucket/a", "data:,x"])
def test_a_redirect_leaves_neither_http_nor_https(server: MrfServer, location: str) -> None:
    """Neither our disk nor our buckets are for a server to choose."""
    server.script("/a.json", Answer(status=301, headers={"Location": f"{location}?Signature={_SECRET}"}))

    with pytest.raises(MrfError, match="redirects out of http and https") as error:
        _read(server.url("/a.json"), FetchOptions(max_retries=0))
    assert _SECRET not in repr(error.value)


def test_a_password_is_sent_to_its_own_host_alone(server: MrfServer) -> None:
    """A redirect to another host takes no userinfo along, and no .netrc is read."""
    with MrfServer({"/b.json": b"[]"}) as other:
        server.script("/a.json", Answer(status=302, headers={"Location": other.url("/b.json")}))
        url = server.url("/a.json").replace("://", f"://u:{_SECRET}@")

        assert b"[]" == _read(url, FetchOptions(max_retries=0))
        assert server.requests_of("/a.json")[0].headers["authorization"].startswith("Basic ")
        assert "authorization" not in other.requests_of("/b.json")[0].headers


def test_cookies_of_one_file_are_not_told_with_the_next(server: MrfServer) -> None:
    """A redirect may set one for its target; nobody else sees it."""
    server.script("/c", Answer(status=302, headers={"Location": "/a.json", "Set-Cookie": "a=1; Path=/"}))
    _read(server.url("/c"), FetchOptions())
    _read(server.url("/a.json"), FetchOptions())

    assert ["a=1", None] == [each.headers.get("cookie") for each in server.requests_of("/a.json")]
