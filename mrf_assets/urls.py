"""URLs as strangers write them: what identifies a file, what is secret, what it is called.

Payers sign their links (CloudFront, Azure SAS, S3, GCS). A signature is a secret and
changes with every index, so it never enters an identity, a log, metadata or a table:
`canonical_url` is the only form of a URL that leaves the process.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

# CloudFront; Azure SAS; AWS SigV4 and SigV2; Google; generic tokens.
_SIGNATURE = re.compile(
    r"(?i)\A(?:amp;)*(expires|signature|key-pair-id|policy|x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid"
    r"|sig|se|sp|sv|sr|st|spr|sip|ss|srt|sk[a-z]*|token|access_token|api_?key|hdnea|hdnts)\Z"
)
_NAME_PARAMETERS = ("filename", "file", "name")
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _split(url: str) -> SplitResult:
    """Split without ever failing: a stranger's odd brackets or port make it a path, not a traceback."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # The query still holds the signature, and all before an @ may be userinfo.
        scheme, _, rest = url.partition("#")[0].partition("://")
        path, _, query = rest.partition("?")
        return SplitResult("", "", f"{scheme}://{path.rpartition('@')[2]}", query, "")
    return parts


def is_remote(location: str) -> bool:
    """True for an address with a scheme other than file; everything else is a local path."""
    return bool(_SCHEME.match(location)) and not location.lower().startswith("file://")


def local_path(location: str) -> Path:
    """The path behind a plain path or a `file://` URL."""
    if location.lower().startswith("file://"):
        return Path(url2pathname(_split(location).path))
    return Path(location)


def _kept_parameters(query: str) -> list[str]:
    return [pair for pair in query.split("&") if pair and not _SIGNATURE.match(unquote(pair.partition("=")[0]))]


def canonical_url(url: str) -> str:
    """The URL without userinfo, signature, fragment and control characters; scheme and host in lower case.

    Two links to the same file that differ in their signatures alone are equal in this form.
    Safe to store, log and show.
    """
    url = _CONTROL.sub(lambda found: quote(found.group()), url.strip())
    if not is_remote(url):
        return url
    parts = _split(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    query = "&".join(_kept_parameters(parts.query))
    return urlunsplit((parts.scheme.lower(), host + port, parts.path, query, "")).strip()


def host_of(url: str) -> str:
    """Lower-case host name; empty for local files."""
    return (_split(url).hostname or "").lower() if is_remote(url) else ""


def file_name(url: str) -> str:
    """The name of the file: a `fileName=`, `file=` or `name=` parameter, else the last path segment.

    UHC, Emblem and others put the name into the query (`GetFile?FileName=...`). Percent escapes
    are decoded. May be empty; may hold any character: never use it as a path.
    """
    if not is_remote(url):
        return local_path(url).name
    parts = _split(url)
    for pair in parts.query.split("&"):
        key, _, value = pair.partition("=")
        if key.lower() in _NAME_PARAMETERS and value:
            return unquote(value).rsplit("/", 1)[-1]
    return unquote(parts.path.rstrip("/").rsplit("/", 1)[-1])
