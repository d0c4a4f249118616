"""What identifies a file, what is secret, what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from mrf_assets.urls import canonical_url, file_name, host_of, is_remote, local_path, server_of

_SECRET = "S3cr3tV4lue"
_SIGNATURES = (
    "Expires", "Signature", "Key-Pair-Id", "Policy", "X-Amz-Signature", "X-Amz-Credential", "x-amz-security-token",
    "X-Goog-Signature", "AWSAccessKeyId", "GoogleAccessId", "sig", "token",
    "access_token", "hdnea",
)  # fmt: skip


@pytest.mark.parametrize(
    ("canonical", "url"),
    [
        pytest.param("https://mrf.example/a.json.gz", "https://mrf.example/a.json.gz", id="plain"),
        pytest.param("https://mrf.example/A.json", "HTTPS://MRF.Example/A.json", id="scheme and host in lower case"),
        pytest.param("https://mrf.example/a", "https://user:pw@mrf.example/a", id="userinfo"),
        pytest.param("https://mrf.example/a", "https://mrf.example/a#part", id="fragment"),
        pytest.param("https://mrf.example:8443/a", "https://mrf.example:8443/a", id="port"),
        pytest.param("http://[::1]:80/a", "http://[::1]:80/a", id="IPv6"),
        pytest.param("https://mrf.example/a%20b", "https://mrf.example/a%20b", id="escapes stay"),
        pytest.param("https://mrf.example/a", "  https://mrf.example/a\n", id="outer white space"),
        pytest.param("https://mrf.example/a%0Ab", "https://mrf.example/a\nb", id="line break within"),
        pytest.param("https://mrf.example/a%1B[red", "https://mrf.example/a\x1b[red", id="ESC"),
        pytest.param(
            "https://mrf.example/GetFile?FileName=x.json",
            "https://mrf.example/GetFile?FileName=x.json&sig=abc",
            id="name parameter stays",
        ),
        pytest.param("https://mrf.example/a?b=1&c=2", "https://mrf.example/a?b=1&&c=2&", id="empty pairs"),
        pytest.param(
            "https://mrf.example/a", "https://mrf.example/a?Expires=1&Signature=x&Key-Pair-Id=K", id="CloudFront"
        ),
        pytest.param("https://mrf.example/a?b=1", "https://mrf.example/a?b=1&amp;Signature=x", id="HTML-escaped &"),
        pytest.param("https://mrf.example/a", "https://mrf.example/a?%53ignature=x", id="escaped key"),
        pytest.param("https://mrf.example/a", "https://mrf.example/a?sv=1&se=2&sktid=3&sig=x", id="Azure"),
        pytest.param("https://mrf.example/a?st=TX&skip=1", "https://mrf.example/a?st=TX&skip=1", id="words, no Azure"),
        pytest.param(
            "https://mrf.example/a?code=sha256-2bb80d53", "https://mrf.example/a?code=secret", id="doubtful is masked"
        ),
        pytest.param(
            "https://mrf.example/a?code=sha256-2bb80d53",
            "https://mrf.example/a?code=sha256-2bb80d53",
            id="masked stays as it is",
        ),
        pytest.param(
            "abfs://box@acme.dfs.core.windows.net/a", "abfs://box@acme.dfs.core.windows.net/a", id="Azure container"
        ),
        pytest.param("abfs://acme.dfs.core.windows.net/a", "abfs://u:pw@acme.dfs.core.windows.net/a", id="Azure key"),
        pytest.param("/data/a.json", "/data/a.json", id="path"),
        pytest.param("data/A b.json", "data/A b.json", id="relative path"),
        pytest.param("file:///data/a.json", "file:///data/a.json", id="file URL"),
        pytest.param("https://mrf.example:port/a", "https://u:p@mrf.example:port/a?sig=x", id="unusable port"),
        pytest.param("https://[::1/a?b=1", "https://[::1/a?b=1&Signature=x#f", id="unusable host"),
        pytest.param("https://host/a", "https://user:pa/ss@host/a", id="slash in the password"),
    ],
)
def test_canonical_url(canonical: str, url: str) -> None:
    """The canonical URL is the address without what varies or is secret."""
    assert canonical == canonical_url(url)


@pytest.mark.parametrize("parameter", _SIGNATURES)
@pytest.mark.parametrize("base", ["https://mrf.example/a", "https://mrf.example:99999999/a", "https://[bad/a"])
def test_a_signature_is_in_no_canonical_url(base: str, parameter: str) -> None:
    """Every known signature parameter is left out, in any case, even of URLs that cannot be split."""
    for key in (parameter, parameter.lower(), parameter.upper()):
        assert _SECRET not in canonical_url(f"{base}?x=1&{key}={_SECRET}&y=2")


_pieces = st.text(st.sampled_from("abZ09._-~%2F é"), max_size=8)


@given(
    host=st.from_regex(r"[A-Za-z]{1,8}\.example(:[1-9][0-9]{1,3})?", fullmatch=True),
    path=st.lists(_pieces, max_size=3),
    query=st.lists(st.tuples(st.one_of(_pieces, st.sampled_from(_SIGNATURES)), _pieces), max_size=4),
)
def test_canonical_url_of_a_canonical_url_is_itself(host: str, path: list[str], query: list[tuple[str, str]]) -> None:
    """Canonical form is stable, so equal files have one identity however often it is taken."""
    once = canonical_url(f"HTTPS://{host}/{'/'.join(path)}?{'&'.join(map('='.join, query))}")

    assert once == canonical_url(once)


@given(st.one_of(st.text(), st.text().map("http://{}".format), st.text().map("https://[{}".format)))
def test_no_text_makes_the_functions_fail(text: str) -> None:
    """What strangers write as an address never becomes a traceback."""
    canonical_url(text)
    host_of(text)
    file_name(text)
    local_path(text)
    local_path(f"file://{text}")


@given(st.text())
def test_a_canonical_url_has_no_control_characters(text: str) -> None:
    """No address can break a log line or colour a terminal."""
    assert not [char for char in canonical_url(f"https://mrf.example/{text}") if char < " " or char in "\x7f\x85\u2028"]


@pytest.mark.parametrize(
    ("remote", "location"),
    [
        (True, "https://mrf.example/a"),
        (True, "HTTP://mrf.example/a"),
        (True, "s3://bucket/a"),
        (False, "file:///a"),
        (False, "FILE:///a"),
        (False, "/a"),
        (False, "a.json"),
        (False, "C:\\a.json"),
        (False, "//server/a"),
    ],
)
def test_remote_is_what_has_a_scheme_other_than_file(location: str, *, remote: bool) -> None:
    """Everything without a scheme is a local path."""
    assert remote == is_remote(location)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/data/a.json", "/data/a.json"),
        ("data/a.json", "data/a.json"),
        ("/data/a b.json", "file:///data/a%20b.json"),
        ("/data/é.json", "file:///data/%C3%A9.json"),
        ("/data/a.json", "FILE:///data/a.json"),
        ("/data/a.json", "file://localhost/data/a.json"),
        ("/data/a%20b.json", "/data/a%20b.json"),
    ],
)
def test_local_path(path: str, location: str) -> None:
    """Escapes are decoded in file URLs and mean themselves in paths."""
    assert Path(path) == local_path(location)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("mrf.example", "https://MRF.example:8443/a"),
        ("mrf.example", "https://user@mrf.example/a"),
        ("::1", "http://[::1]/a"),
        ("", "/data/a"),
        ("", "file:///data/a"),
        ("", "https://[bad/a"),
    ],
)
def test_host_of(host: str, url: str) -> None:
    """The host in lower case, empty for local files and for what is no host."""
    assert host == host_of(url)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("a.json.gz", "https://mrf.example/x/a.json.gz"),
        ("a.json.gz", "https://mrf.example/x/a.json.gz?Expires=1&Signature=b/c"),
        ("a b.json", "https://mrf.example/a%20b.json"),
        ("x.json", "https://mrf.example/GetFile?FileName=x.json"),
        ("x.json", "https://mrf.example/get?v=1&name=sub/x.json"),
        ("x.json", "https://mrf.example/get?file=sub%2Fx.json"),
        ("get", "https://mrf.example/get?name="),
        ("x", "https://mrf.example/x/"),
        ("", "https://mrf.example"),
        ("a.json", "/data/a.json"),
        ("a b.json", "file:///data/a%20b.json"),
    ],
)
def test_file_name(name: str, url: str) -> None:
    """The name is the query's, where it has one, else the last segment of the path."""
    assert name == file_name(url)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://Payer.example/a", "payer.example"),
        ("https://payer.example:8443/a", "payer.example:8443"),
        ("https://user:secret@payer.example/a", "payer.example"),
        ("https://payer.example:port/a", ""),
        ("/data/a.json", ""),
    ],
)
def test_a_server_is_a_host_and_its_port(url: str, server: str) -> None:
    """One limit of requests for each; nobody's for what is no address."""
    assert server == server_of(url)
