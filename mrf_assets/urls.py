"""URLs as strangers write them: what identifies a file, what is secret, what it is called.

Payers sign their links (CloudFront, Azure SAS, S3, GCS). A signature is a secret and
changes with every index, so it never enters an identity, a log, metadata or a table:
`canonical_url` is the only form of a URL that leaves the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

# Signatures of CloudFront, AWS and Google, and plain tokens: dropped.
_SIGNATURE = re.compile(
    r"\A(expires|signature|key-pair-id|policy|x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid"
    r"|x-ms-signature|sig|token|access_token|hdnea|hdnts)\Z"
)
# Azure's, which are ordinary words (`st=TX`, `skip=100`) unless a `sig` goes with them.
_SAS = re.compile(r"\A(se|sp|sv|sr|st|spr|sip|ss|srt|skoid|sktid|skt|ske|sks|skv)\Z")
# May be a secret, may be what tells two files apart (`code=` of an Azure function): told apart, not told.
_DOUBTFUL = re.compile(r"\A(key|code|api_?key|auth.*|jwt|hmac|password|pwd|secret|.*signature|.*token)\Z")
_MASKED = re.compile(r"\Asha256-[0-9a-f]{8}\Z")
_NAME_PARAMETERS = ("filename", "file", "name")
_STORES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")
# Control characters, those that turn the direction of writing, halves of characters.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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


def store_kind(location: str) -> str | None:
    """The object store that a scheme stands for: s3, gs or az; None for anything else."""
    return _STORES.get(location.partition("://")[0].lower()) if is_remote(location) else None


def local_path(location: str) -> Path:
    """The path behind a plain path or a `file://` URL."""
    if location.lower().startswith("file://"):
        from urllib.request import url2pathname  # noqa: PLC0415 - brings http and e-mail along, and few name files so

        return Path(url2pathname(_split(location).path))
    return Path(location)


def _kept_parameters(query: str) -> Iterator[str]:
    pairs = [(pair, unquote(pair.partition("=")[0]).lower().removeprefix("amp;")) for pair in query.split("&") if pair]
    is_sas = any(name == "sig" for _, name in pairs)
    for pair, name in pairs:
        if _SIGNATURE.match(name) or (is_sas and _SAS.match(name)):
            continue
        key, _, value = pair.partition("=")
        if _DOUBTFUL.match(name) and value and not _MASKED.match(value):
            yield f"{key}=sha256-{sha256(value.encode()).hexdigest()[:8]}"
        else:
            yield pair


def canonical_url(url: str) -> str:
    """The URL without userinfo, signature and fragment; scheme and host in lower case, odd characters escaped.

    Two links to the same file that differ in their signatures alone are equal in this form.
    Safe to store, log and show.
    """
    url = _UNSAFE.sub(lambda found: quote(found.group(), errors="surrogatepass"), url.strip())
    if not is_remote(url):
        return url
    parts = _split(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    if store_kind(url) == "az" and parts.username and parts.password is None:
        host = f"{parts.username}@{host}"  # abfs://container@account.dfs.core.windows.net: a container is no secret
    query = "&".join(_kept_parameters(parts.query))
    return urlunsplit((parts.scheme.lower(), host + port, parts.path, query, "")).strip()


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
    return _UNSAFE.sub("_", _file_name(url))


def _file_name(url: str) -> str:
    if not is_remote(url):
        return local_path(url).name
    parts = _split(url)
    for pair in parts.query.split("&"):
        key, _, value = pair.partition("=")
        if key.lower() in _NAME_PARAMETERS and value:
            return unquote(value).rsplit("/", 1)[-1]
    return unquote(parts.path.rstrip("/").rsplit("/", 1)[-1])
