"""A location as a source gives it -> the address of a file, or the reason why it is none.

Addresses come out absolute: a URL, or a path from the root. What they say about a network is
`network_id`'s business; nothing is opened here.
"""

from __future__ import annotations

import re
from os.path import abspath
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from mrf_assets.urls import canonical_url, is_remote, local_path, store_kind

_SHOWN_CHARS = 120
_MOST_CHARACTERS = 8_192  # browsers and servers give up earlier; signed ones have some 700
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"\w[\w.-]*\Z|[0-9A-Fa-f:.]+\Z")  # names, also international ones; IPv6
_FILE_LIKE = re.compile(r"(?i)(?:\A\.{0,2}/.+|.+\.(?:json|zip|gz))\Z")  # not "N/A", not "Missing file"


class Unusable(ValueError):
    """A location that is no address of a file; the text says why."""


def shown(location: str) -> str:
    """A location that may be anything, fit for an error: no signature, no control character, not long."""
    text = canonical_url(_SURROGATE.sub("?", location[:_MOST_CHARACTERS])).partition("?")[0]
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")


def _check_remote(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:  # brackets that do not match, a port that is no number
        raise Unusable(f"{shown(url)} is malformed ({str(error).partition(' as ')[0]})") from None
    if not _HOST.match(parts.hostname or ""):
        raise Unusable(f"{shown(url)} has no usable host")
    if parts.path in {"", "/"} and not parts.query:
        raise Unusable(f"{shown(url)} names a host and no file")
    return url


def _joined(base: str, location: str) -> str:
    try:
        if store_kind(base) is not None:  # urljoin knows no such scheme
            scheme, rest = base.split("://", 1)
            return f"{scheme}://" + urljoin(f"http://{rest}", location).partition("://")[2]
        return urljoin(base, location)
    except ValueError as error:  # "//[", which urllib takes for half an IPv6 host
        raise Unusable(f"{shown(location)} is malformed ({error})") from None


def _check_text(location: str) -> None:
    if len(location) > _MOST_CHARACTERS:  # first, as patterns may take the square of the length
        raise Unusable(f"{shown(location)} is longer than {_MOST_CHARACTERS} characters")
    if _CONTROL.search(location):
        raise Unusable(f"{shown(location)} has a line break or another control character inside")
    if _SURROGATE.search(location):
        raise Unusable(f"{shown(location)} has half a Unicode character inside")


def usable_location(location: str, base: str) -> str:
    """The address that a source's text stands for: an http(s) URL, an object's, or the absolute path of a local file.

    Relative ones are taken from the folder of `base`, the source's own location. A file of our own
    disk is one for a local source alone, an object of a store for a local one and one in a store:
    what came over the web must not choose what we read at home.

    Raises:
        Unusable: Not an address; for a person.
    """
    _check_text(location)
    scheme = _SCHEME.match(location)
    if scheme and scheme.group(1).lower() in {"http", "https"}:
        return _check_remote(location)
    if store_kind(location) is not None:
        if is_remote(base) and store_kind(base) is None:
            # Whose buckets our credentials open is not for a web page to choose.
            raise Unusable(f"{shown(location)} is in an object store, and its index is not")
        return _check_remote(location)
    if scheme and scheme.group(1).lower() != "file":
        raise Unusable(f"{shown(location)} is of a kind that is not read; http(s), s3, gs, az, file:// and paths are")
    if scheme and is_remote(base):
        raise Unusable(f"{shown(location)} is a file on the publisher's machine")
    if not scheme and not _FILE_LIKE.search(location.partition("?")[0]):
        raise Unusable(f"{shown(location)} is no URL and no path (write ./name for a file without .json, .gz or .zip)")
    if is_remote(base):
        return _check_remote(_joined(base, location))
    return absolute_path(local_path(base).parent / local_path(location))


def absolute_path(path: Path) -> str:
    """Not `resolve`: the name of a link says what the file is, as "2026-08_302_42A0_..." -> "blob17"."""
    return abspath(path)  # noqa: PTH100 - as the docstring says


def own_location(location: str) -> str:
    """A source's location as the user gave it; local ones absolute, so that file ids do not hang on the shell."""
    return location if is_remote(location) else absolute_path(local_path(location))
