"""What identifies a file, what is secret, what it is called."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from mrf_assets.tasks import file_id_of
from mrf_assets.urls import (
    canonical_url,
    fault_of,
    file_name,
    holds_address,
    host_of,
    is_remote,
    local_path,
    server_of,
    shown_text,
)

_SECRET = "S3cr3tV4lue"
_SIGNATURES = (
    "Expires", "Signature", "Key-Pair-Id", "Policy", "X-Amz-Signature", "X-Amz-Credential", "x-amz-security-token",
    "X-Goog-Signature", "AWSAccessKeyId", "GoogleAccessId", "sig", "token", "access_token", "hdnea",
    "api-key", "x-api-key", "apikey", "subscription-key", "Ocp-Apim-Subscription-Key", "client_secret", "credential",
    "sas", "session", "sessionid", "PHPSESSID", "sid", "ticket", "tempauth", "rlkey", "resourcekey", "__token__",
    "hdntl", "hdnts", "verify", "password", "pwd", "jwt", "SAMLResponse", "oauth_signature", "authorization",
)  # fmt: skip
_DOUBTFUL = ("key", "code", "hash", "md5")
# What a parameter may be written as, and still be taken for what it is: by a browser, a server, or a spreadsheet.
_SPELLINGS = {
    "as it is": "{separator}{name}={value}",
    "an entity": "&amp;{name}={value}",
    "escaped twice": "&amp;amp;{name}={value}",
    "a numeric entity": "&#38;{name}={value}",
    "a hexadecimal entity": "&#x26;{name}={value}",
    "a numeric entity, escaped": "&amp;#38;{name}={value}",
    "a percent escape": "%26{name}%3D{value}",
    "a percent escape, escaped": "%2526{name}%253D{value}",
    "a semicolon": ";{name}={value}",
    "a second question mark": "?{name}={value}",
    "a full-width name": "{separator}{full_width}={value}",
    "an invisible character inside": "{separator}{name}\u200b={value}",
    "a space before it": "{separator} {name}={value}",
    "an equals sign as entity": "{separator}{name}&equals;{value}",
}


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
        pytest.param("https://mrf.example/a?b=1&c=2", "https://mrf.example/a?b=1&amp;c=2", id="HTML-escaped &"),
        pytest.param("https://mrf.example/a", "https://mrf.example/a?%53ignature=x", id="escaped key"),
        pytest.param("https://mrf.example/a", "https://mrf.example/a?sv=1&se=2&sktid=3&sig=x", id="Azure"),
        pytest.param("https://mrf.example/a?st=TX&skip=1", "https://mrf.example/a?st=TX&skip=1", id="words, no Azure"),
        pytest.param(
            "https://mrf.example/a?code=sha256-2bb80d537b1da3e3",
            "https://mrf.example/a?code=secret",
            id="doubtful is masked where nothing else names the file",
        ),
        pytest.param(
            "https://mrf.example/a.json",
            "https://mrf.example/a.json?code=Q8sd7Fsd9fSDF8sLk2",
            id="else it is dropped, if it is random",
        ),
        pytest.param(
            "https://mrf.example/a.json?code=sha256-4ddfbae5f178979b",
            "https://mrf.example/a.json?code=ppo",
            id="a word stays",
        ),
        pytest.param(
            "https://mrf.example/a?code=sha256-2bb80d537b1da3e3",
            "https://mrf.example/a?code=sha256-2bb80d537b1da3e3",
            id="masked stays as it is",
        ),
        pytest.param(
            "https://mrf.example/a?id=sha256-278f9de265e0a82f",
            "https://mrf.example/a?id=1159c83f-f4b8-403d-aa56-ddab2b0bc8ad",
            id="random value",
        ),
        pytest.param(
            "https://mrf.example/a?plan=sha256-ef2d127de37b942b&month=2026-10",
            "https://mrf.example/a?plan=5&month=2026-10&sig=x",
            id="of a signed address the name and dates alone are shown",
        ),
        pytest.param("https://mrf.example/b/c?x=%2F", "https://mrf.example/a/../b/./c?x=%2f", id="RFC 3986, 6.2.2"),
        pytest.param("https://mrf.example/~a%20%C3%B1%5E", "https://mrf.example/%7ea %c3%B1^", id="escapes"),
        pytest.param("https://mrf.example/100%25", "https://mrf.example/100%", id="stray percent sign"),
        pytest.param("s3://bucket/a/../b c", "s3://bucket/a/../b c", id="an object's key is no path"),
        pytest.param("https://mrf.example/a;b/c", "https://mrf.example/a;b;jsessionid=x/c;sig=y", id="path parameters"),
        pytest.param("https://mrf.example/hdnts/a", "https://mrf.example/hdnts=exp=1~hmac=x/a", id="Akamai's folder"),
        pytest.param(
            "https://mrf.example/get?file=https%3A//blob.example/x.json",
            "https://mrf.example/get?file=https://u:p@blob.example/x.json%3Fsig%3Dx",
            id="address in a parameter",
        ),
        pytest.param("/data/a.json", "/data/a.json?Expires=1&Signature=x", id="download named by its address"),
        pytest.param(
            "abfs://box@acme.dfs.core.windows.net/a", "abfs://box@acme.dfs.core.windows.net/a", id="Azure container"
        ),
        pytest.param("abfs://acme.dfs.core.windows.net/a", "abfs://u:pw@acme.dfs.core.windows.net/a", id="Azure key"),
        pytest.param("/data/a.json", "/data/a.json", id="path"),
        pytest.param("data/A b.json", "data/A b.json", id="relative path"),
        pytest.param("file:///data/a.json", "file:///data/a.json", id="file URL"),
        pytest.param("https://mrf.example:port/a", "https://u:p@mrf.example:port/a?sig=x", id="unusable port"),
        pytest.param("https://[::1/a", "https://[::1/a?b=1&Signature=x#f", id="unusable host"),
        pytest.param("https://mrf.example/a", "\ufeffhttps://u:p@mrf.example/a?sig=x", id="byte order mark"),
        pytest.param("https://mrf.example/a", "/home/user/<https:/u:p@mrf.example/a?sig=x>", id="taken for a path"),
        pytest.param("https://mrf.example/a", "https%3A%2F%2Fmrf.example%2Fa%3Fsig%3Dx", id="escaped as a whole"),
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


@pytest.mark.parametrize("parameter", [*_SIGNATURES, *_DOUBTFUL])
def test_the_identity_of_a_file_does_not_depend_on_a_secret(parameter: str) -> None:
    """The next index has another value, and names the same file."""
    now, then = (canonical_url(f"https://mrf.example/a.json?{parameter}={it}") for it in (_SECRET, "0ther5ecret"))

    assert file_id_of(now) == file_id_of(then)


@pytest.mark.parametrize("parameter", _DOUBTFUL)
def test_what_alone_tells_two_files_apart_still_does(parameter: str) -> None:
    """As a hash, which says nothing of the value."""
    one, two = (canonical_url(f"https://mrf.example/download?{parameter}={it}") for it in (_SECRET, "0ther5ecret"))

    assert one != two
    assert _SECRET not in one


def _spelled(name: str, spelling: str, separator: str) -> str:
    full_width = "".join(chr(ord(char) + 0xFEE0) for char in name)
    written = _SPELLINGS[spelling]
    return written.format(separator=separator, name=name, full_width=full_width, value=_SECRET)


@pytest.mark.parametrize("spelling", _SPELLINGS)
@pytest.mark.parametrize("before", ["/a.json?x=1", "/a?x=1", "/a.json%3Fx=1", "/get?file=a.json", "/a.json?se=1"])
@pytest.mark.parametrize("name", ["sig", "Signature", "api-key"])
def test_a_secret_is_known_by_what_its_parameter_ends_up_being_called(name: str, before: str, spelling: str) -> None:
    """However it is escaped, the value is not in the form that is shown, nor does the identity depend on it."""
    url = f"https://mrf.example{before}{_spelled(name, spelling, '&')}"
    shown = canonical_url(url)

    assert _SECRET not in shown
    assert shown == canonical_url(url.replace(_SECRET, "0ther5ecret"))
    assert shown == canonical_url(shown)


@pytest.mark.parametrize("value", [_SECRET, "topsecret", "12345", "a.json.key", "https://h.example/x"])
def test_an_unknown_parameter_of_a_signed_address_is_not_shown(value: str) -> None:
    """Nobody knows what else a signature needs."""
    assert value not in canonical_url(f"https://mrf.example/a.json?zz={quote(value, safe='')}&sig=x")


_STRAY = ["\ufeff", "\u200b", "\u2060", "\xa0", "\u3000", '"', "'", "\u201c", "<", "(", "[", "{", "- ", "* ", "URL: ",
          "\\", "/", "//", "=", "\x01", "\u202e", "%EF%BB%BF", "&lt;", "a "]  # fmt: skip


@pytest.mark.parametrize("stray", _STRAY)
@pytest.mark.parametrize("slashes", ["://", ":/", ":///", ":\\\\", "%3A%2F%2F", "\uff1a\uff0f\uff0f", "&colon;//"])
def test_an_address_with_something_before_its_scheme_keeps_its_secrets(slashes: str, stray: str) -> None:
    """It is no path: neither login nor query is shown, and somebody is told."""
    url = f"{stray}https{slashes}user:{_SECRET}@mrf.example/a.json?{_SECRET}&sig={_SECRET}"

    assert _SECRET not in canonical_url(url)
    assert _SECRET not in canonical_url(f"/home/user/{url.replace('//', '/')}")  # as a path is made absolute
    assert _SECRET not in (fault_of(url) or "")
    assert fault_of(url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://{_SECRET}:{_SECRET}@mrf.example/a",
        f"https://user:{_SECRET}/{_SECRET}@mrf.example/a",
        f"https://user:{_SECRET}?{_SECRET}@mrf.example/a",
        f"https://user:{_SECRET}#{_SECRET}@mrf.example/a",
        f"https://user/{_SECRET}@mrf.example/a",
        f"https://user:1/{_SECRET}@mrf.example/a",
        f"https://user?{_SECRET}@mrf.example/a",
        f"https://user:{_SECRET}\\@mrf.example/a",
        f"https://user:{_SECRET}@{_SECRET}@mrf.example/a",
        f"https://https://user:{_SECRET}@mrf.example/a",
        f"https://mrf.example/a.json,https://user:{_SECRET}@mrf.example/b.json?sig={_SECRET}",
        f"//user:{_SECRET}@mrf.example/a?sig={_SECRET}",
        f"user:{_SECRET}@mrf.example/a.json?sig={_SECRET}",
        f"ftp://user:{_SECRET}@mrf.example/a?sig={_SECRET}",
        f"file://user:{_SECRET}@mrf.example/a?sig={_SECRET}",
    ],
)
def test_a_login_is_never_shown(url: str) -> None:
    """Wherever a slash or a question mark in a password would have it end."""
    assert _SECRET not in canonical_url(url)


def test_a_text_keeps_its_words_and_loses_its_secrets() -> None:
    """A description may quote an address."""
    text = f"PPO (see https://u:{_SECRET}@mrf.example/a.json?sig={_SECRET} ) 50% a&b"

    assert "PPO (see https://mrf.example/a.json ) 50% a&b" == shown_text(text)


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


_odd = st.text(st.sampled_from('abZ09._-~%2F35é /?#&;=:@\\"<\ufeff&amp;%26%3F'), max_size=24)


@given(st.one_of(_odd.map("https://mrf.example/{}".format), _odd.map("https://{}".format), _odd, st.text()))
def test_the_form_that_is_shown_is_stable(text: str) -> None:
    """Whatever is taken for an address."""
    once = canonical_url(text)

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


@pytest.mark.parametrize(
    "form",
    [
        "https://mrf.example/get.html?key=2026-01_{}_in-network-rates.json",
        "https://mrf.example/rates.json?code={}",
        "https://mrf.example/policy={}/rates.json",
        "s3://bucket/policy={}/rates.json",
        "s3://bucket/a;v={}/rates.json",
        "lake/session={}/rates.json",
        "/data/my_token={}/rates.json",
        "/data/session=1/{}.json",
    ],
)
def test_words_that_are_called_like_a_secret_keep_files_apart(form: str) -> None:
    """As Hive's folders are; two files that became one would be a network that is lost."""
    assert canonical_url(form.format("ppo")) != canonical_url(form.format("hmo"))
    assert canonical_url(form.format("ppo")) == canonical_url(canonical_url(form.format("ppo")))


@pytest.mark.parametrize("mark", ["&", "&amp;", "%26", "#", "%2526"])
def test_a_signature_behind_a_lost_question_mark_is_in_no_name(mark: str) -> None:
    """Neither in the form that is shown, nor in the name of which a partition key is made."""
    url = f"https://mrf.example/c/rates.json.gz{mark}sp=r{mark}sig=Q8sd7Fsd9fSDF8sLk2"

    assert "https://mrf.example/c/rates.json.gz" == canonical_url(url)
    assert "rates.json.gz" == file_name(url)


def test_an_address_of_any_length_is_judged() -> None:
    """In a time that grows with its length: a quadratic look takes an hour at these."""
    long = "a" * 300_000

    assert not holds_address(f"{long}.json")
    assert "https://mrf.example/x" in canonical_url(f"https://mrf.example/x?v={':' * 300_000}")
