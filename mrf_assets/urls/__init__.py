"""URLs as strangers write them: what identifies a file, what is secret, what it is called.

Payers sign their links. A signature is a secret and changes with every index, so it never enters an
identity, a log, metadata or a table: `canonical_url` is the only form of a URL that leaves the process.
What of a query may be shown is `redaction`'s business; `address` has the value that shows itself so.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from pathlib import Path
from unicodedata import name
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from mrf_assets.text import UNPRINTABLE, percent_escaped
from mrf_assets.urls.redaction import (
    NAME_PARAMETERS,
    has_secrets,
    is_plain,
    is_secret,
    masked,
    names_file,
    plain,
    shown_query,
    unescaped,
    unshown_values,
)

_STORES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")
# Also `https:/host` and `https:\\host`: what is left of an address that was taken for a path. Not `C:/`.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,30})\s?:\s?[/\\]+")  # without a bound it is quadratic
_MAY_HOLD_ADDRESS = re.compile(r"[:%&=]|[^ -~]")
_MAY_HOLD_PARAMETER = re.compile(r"[;=%&]|[^ -~]")
_NO_SCHEME = re.compile(r"//|[^/]*@[^/@]+[:/]")  # `//host/file`, `user@host/file`
_LOGIN = re.compile(r"\A(//)?[^/]*@(?=[^/@]+[:/])")
_HOST = re.compile(r"(?:\w[\w.-]*|[0-9A-Fa-f:.]+)\Z")  # names, also international ones; IPv6
_QUERY_IN_PATH = re.compile(r"[&?#]|%(?:25)*(?:26|23)")  # of a link that lost its question mark
_ESCAPED_QUESTION_MARK = re.compile(r"(?i)%(?:25)*3f")
_NOT_SHOWN_FROM = re.compile(r"""[?#&;="'<>|{}`^\s]|%(?:25)*3[fF]""")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_TO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!-~]|[\"<>\\^`{|}]")
# Most addresses: in their canonical form as they are.
_PLAIN_URL = re.compile(r"https?://[a-z0-9.-]+(?::[1-9][0-9]{0,3})?(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)*/?\Z")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def _split(url: str) -> SplitResult:
    """Split without ever failing: what cannot be split has no parts."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def understood(url: str) -> SplitResult | None:
    """The parts of an address with a scheme other than file; None where it is in doubt which part is what.

    In doubt is what browsers, proxies and libraries read differently: a backslash or a space before the path,
    a host that is none, an `@` behind a host that may be half of a password, an address inside a path.
    """
    if not is_remote(url):
        return None
    parts = _split(url)
    login_and_host, host = parts.netloc, parts.hostname or ""
    if not _HOST.match(host) or re.search(r"[\\\s%]", login_and_host.rpartition("@")[2]) or "\\" in login_and_host:
        return None
    if login_and_host.endswith(":") or "://" in plain(parts.path) or _may_be_half_a_login(parts):
        return None
    return parts


def _may_be_half_a_login(parts: SplitResult) -> bool:
    """Whether an `@` behind the host may end a login with a `/` or `?` in it: the host is a single word, or all."""
    host = parts.hostname or ""
    if ":" in host or host == "localhost":
        return False
    behind = parts.query if "." in host else f"{parts.path}{parts.query}{parts.fragment}"
    return "@" in behind and not (parts.path and "." in host)


def is_remote(location: str) -> bool:
    """True for an address with a scheme other than file; everything else is a local path."""
    return bool(_SCHEME.match(location)) and not location.lower().startswith("file://")


def holds_address(text: str) -> bool:
    """Whether there is an address somewhere in a text, escaped or not, complete or not."""
    return bool(_ADDRESS.search(plain(text)))


def fault_of(location: str) -> str | None:
    """Why a text that holds an address is none, without any of the text; None for addresses and for paths.

    As a path, its login and its signature would become a name.
    """
    if is_remote(location):
        return None if understood(location) else "is malformed or has no usable host; check what stands before its path"
    if location.lower().startswith("file://"):
        return None
    if holds_address(location):
        return f"is no URL: {_odd_start(location)}; a URL begins with its scheme"
    if _NO_SCHEME.match(location):
        return "is no URL: it has no scheme; put https:// in front of its host"
    return None


def _odd_start(text: str) -> str:
    first = text[0]
    if first.isascii() and first.isalnum():
        return "its scheme is damaged, or something stands before it"
    if first.isprintable() and not first.isspace():
        return f"it begins with {first!r}"
    return f"the invisible character U+{ord(first):04X} ({name(first, 'nameless').lower()}) stands before it"


def store_kind(location: str) -> str | None:
    """The object store that a scheme stands for: s3, gs or az; None for anything else."""
    return _STORES.get(location.partition("://")[0].lower()) if is_remote(location) else None


def local_path(location: str) -> Path:
    """The path behind a plain path or a `file://` URL."""
    if location.lower().startswith("file://"):
        from urllib.request import url2pathname  # noqa: PLC0415 - brings http and e-mail along, and few name files so

        parts = _split(location)
        return Path(url2pathname(parts.path if parts.scheme else location))
    return Path(location)


def _normalized(text: str) -> str:
    """RFC 3986, 6.2.2.1 and 6.2.2.2; what may not stand in an address is escaped (RFC 3987, 3.1)."""
    text = _TO_ESCAPE.sub(lambda match: quote(match.group(), safe="", errors="surrogatepass"), text)
    return _ESCAPE.sub(_unescaped_if_unreserved, text)


def _unescaped_if_unreserved(match: re.Match[str]) -> str:
    char = chr(int(match.group()[1:], 16))
    return char if char in _UNRESERVED else match.group().upper()


def _without_dots(path: str) -> str:
    """RFC 3986, 6.2.2.3: `.` and `..` are followed."""
    if "/." not in path:
        return path
    output: list[str] = []
    first, *segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del output[-1:]
        elif segment != ".":
            output.append(segment)
    if segments[-1] in {".", ".."}:
        output.append("")
    return "/".join([first, *output])


def _without_query(segment: str) -> str:
    """A folder or name without a signature that stands behind an `&` in it, where a query should begin."""
    mark = _QUERY_IN_PATH.search(segment)
    return segment[: mark.start()] if mark and has_secrets(segment[mark.start() :]) else segment


def _shown_segment(segment: str) -> str:
    """One folder or name, without the secrets that stand in it (`;jsessionid=...`, Akamai's `hdnts=...`)."""
    if not _MAY_HOLD_PARAMETER.search(segment):
        return segment
    segment = _without_query(segment)
    name, is_pair, value = plain(segment.partition(";")[0]).partition("=")
    head, *parameters = re.split(r"(?i);|%(?:25)*3b", segment)
    if is_pair and is_secret(name):  # a folder such as `session=1` tells files apart; a signature changes
        head = quote(name, safe="") + (f"-{masked(value)}" if is_plain(value) and "=" not in value else "")
    return ";".join([head, *(it for it in parameters if not has_secrets(it) and is_plain(plain(it).partition("=")[2]))])


@lru_cache(1 << 12)  # a task is asked for its address again and again
def canonical_url(url: str) -> str:
    """The URL without userinfo, secrets and fragment, in the one form that RFC 3986, 6.2.2 gives it.

    Two links to the same file that differ in their signatures, their escapes or the case of the host alone are
    equal in this form. Safe to store, log and show. Of what is no address as a whole, but holds one, nothing is
    left that stands before an `@` or behind a `?`; of a path that has the form of an address, neither.
    """
    if _PLAIN_URL.match(url):
        return url
    url = percent_escaped(url.strip())
    parts = understood(unescaped(url))
    if parts is None:
        safe_url = percent_escaped(_shown_fragment(plain(url)) if is_remote(url) else _shown_path(url)).strip()
        return safe_url if safe_url == url else canonical_url(safe_url)  # without what was odd it may be an address
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    if store_kind(url) == "az" and parts.username and parts.password is None:
        host = f"{parts.username}@{host}"  # abfs://container@account.dfs.core.windows.net: a container is no secret
    path, query = _shown_path_and_query(parts)
    return percent_escaped(urlunsplit((parts.scheme.lower(), host + port, path, query, "")).strip())


def _shown_path_and_query(parts: SplitResult) -> tuple[str, str]:
    path, escaped_query = parts.path, ""
    if mark := _ESCAPED_QUESTION_MARK.search(path):  # escaped as a whole, it is still the query that holds the secret
        path, escaped_query = path[: mark.start()], path[mark.end() :]
    if parts.scheme.lower() not in _STORES:  # the key of an object is a name, whatever stands in it
        path = "/".join(map(_shown_segment, path.split("/")))
    if parts.scheme.lower() in {"http", "https"}:  # to a store, `a/../b` is a name like any other
        path = _without_dots(_normalized(path))
    is_file_named = names_file(path)
    if safe_query := escaped_query and shown_query(plain(escaped_query), is_file_named=is_file_named):
        path = f"{path}%3F{quote(plain(safe_query), safe='/', errors='surrogatepass')}"
    return path, _normalized(shown_query(parts.query, is_file_named=is_file_named))


def unshown_differences(url: str, other: str) -> list[str]:
    """The parameters that may tell two files apart, of two addresses that `canonical_url` makes one; by name.

    None where the address names its file otherwise: the parameter is a login's then, as signatures are anyway.
    """
    queries = [parts.query for it in (url, other) if not names_file((parts := _split(unescaped(it))).path)]
    names = {unquote(pair.partition("=")[0]).lower() for query in queries for pair in query.split("&")}
    if len(queries) < 2 or not names.isdisjoint(NAME_PARAMETERS):  # noqa: PLR2004 - both
        return []
    left, right = map(unshown_values, queries)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def _shown_path(path: str) -> str:
    """A local path; a download's name may still have its query."""
    if path.lower().startswith("file://"):
        return f"file://{_shown_path(path[7:].partition('?')[0])}"
    text = plain(path)
    if _ADDRESS.search(text):
        return _shown_fragment(text)
    if _NO_SCHEME.match(text):
        path = text = _LOGIN.sub(r"\1", text)
    if not has_secrets(text):
        return path
    head, _, query = text.partition("?")
    if has_secrets(head):
        head = "/".join(map(_shown_folder, head.split("/")))
    safe_query = shown_query(query, is_file_named=names_file(head))
    return f"{head}?{safe_query}" if safe_query else head


def _shown_folder(segment: str) -> str:
    """One folder or name of a local path; `session=1` and `session=2` stay two."""
    if not has_secrets(segment):
        return segment
    prefix = _NOT_SHOWN_FROM.split(segment, maxsplit=1)[0]
    return prefix if names_file(prefix) else f"{prefix}-{masked(segment)}"


def _shown_fragment(text: str) -> str:
    """Of a text in which an address stands: its scheme, host and path."""
    match = _ADDRESS.search(text)
    if match is None:
        return ""
    scheme, rest = match.group(1).lower(), text[match.end() :]
    mark = _NOT_SHOWN_FROM.search(rest)
    head, tail = (rest, "") if mark is None else (rest[: mark.start()], rest[mark.start() :])
    if "@" in tail or holds_address(head):
        head = ""
    return f"{scheme}://{head.rpartition('@')[2]}"


def shown_text(text: str) -> str:
    """A text of strangers, without the secrets of addresses that stand in it."""
    if not _MAY_HOLD_ADDRESS.search(text) or not (holds_address(text) or has_secrets(text)):
        return text
    return re.sub(r"\S+", lambda match: canonical_url(match.group()), text)


def host_of(url: str) -> str:
    """Lower-case host name; empty for local files."""
    return (_split(url).hostname or "").lower() if is_remote(url) else ""


def server_of(url: str) -> str:
    """Host, and port where it is not the scheme's own: what one limit of requests is for."""
    parts = _split(url)
    return host_of(url) if parts.port is None else f"{host_of(url)}:{parts.port}"


def file_name(url: str) -> str:
    """The name of the file: a `fileName=`, `file=` or `name=` parameter, else the last path segment.

    UHC, Emblem and others put the name into the query (`GetFile?FileName=...`). Percent escapes
    are decoded, control characters are `_`. May be empty; may hold other odd characters: never use it as a path.
    """
    return UNPRINTABLE.sub("_", _file_name(url))


def _file_name(url: str) -> str:
    if not is_remote(url):
        return local_path(url).name
    parts = _split(unescaped(url))
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    parameter_names = (unquote(value) for key, _, value in pairs if unquote(key).lower() in NAME_PARAMETERS and value)
    published_name = next(chain(parameter_names, [unquote(parts.path.rstrip("/"))]))
    return _without_query(published_name.partition("?")[0].rsplit("/", 1)[-1])
