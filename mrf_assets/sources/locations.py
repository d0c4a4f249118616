"""A text of a source -> one clean value: the address of a file (or the reason why it is none), a plan, a month.

Addresses come out absolute: a URL, or a path from the root. What they say about a network is
`network_id`'s business; nothing is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from os.path import abspath
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from mrf_assets.errors import SettingError
from mrf_assets.sources.options import SourceCounts
from mrf_assets.tasks import Plan
from mrf_assets.urls import fault_of, is_remote, local_path, store_kind
from mrf_assets.urls.address import Address
from mrf_assets.urls.redaction import has_secrets, plain

_SHOWN_CHARS = 120
_MAX_CHARACTERS = 8_192  # browsers and servers give up earlier; signed ones have some 700
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FILE_LIKE = re.compile(r"(?i)(?:\A\.{0,2}/.+|.+\.(?:json|zip|gz))\Z")  # not "N/A", not "Missing file"
_QUERY = re.compile(r"\?|%(?:25)*3[fF]")
PLAN_FIELDS = tuple(it.name for it in fields(Plan))


class Unusable(ValueError):
    """A location that is no address of a file; the text says why."""


def shown(location: str) -> str:
    """A location that may be anything, fit for an error: no query, no login, no control character, not long."""
    text = _QUERY.split(Address(_SURROGATE.sub("?", location[:_MAX_CHARACTERS])).shown, maxsplit=1)[0]
    if not is_remote(text) and not text.lower().startswith("file://"):
        login, at, rest = text.rpartition("@")  # of an address that is spoilt beyond recognition, maybe
        text = f"...{rest}" if login and at else text
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")


def _check_remote(url: str) -> str:
    _check_address(url)
    parts = urlsplit(url)
    if parts.path in {"", "/"} and not parts.query:
        raise Unusable(f"{shown(url)} names a host and no file")
    return url


def _check_address(location: str) -> None:
    if fault := fault_of(location):
        raise Unusable(f"{shown(location)} {fault}")


def _joined(base: str, location: str) -> str:
    try:
        if store_kind(base) is not None:  # urljoin knows no such scheme
            scheme, rest = base.split("://", 1)
            return f"{scheme}://" + urljoin(f"http://{rest}", location).partition("://")[2]
        return urljoin(base, location)
    except ValueError:  # "//[", which urllib takes for half an IPv6 host
        raise Unusable(f"{shown(location)} is malformed; check what stands before its path") from None


def _check_text(location: str) -> None:
    if len(location) > _MAX_CHARACTERS:  # first, as patterns may take the square of the length
        raise Unusable(f"{shown(location)} is longer than {_MAX_CHARACTERS} characters")
    if _CONTROL.search(location):
        raise Unusable(f"{shown(location)} has a line break or another control character inside")
    if _SURROGATE.search(location):
        raise Unusable(f"{shown(location)} has half a Unicode character inside")


def usable_location(location: str, base: str) -> str:
    """The address that a source's text stands for: an http(s) URL, an object's, or the absolute path of a local file.

    Relative ones are taken from the folder of `base`, the source's own location. A file of our own
    disk is one for a local source alone, an object of a store for a local one and one in a store:
    what came over the web must not choose what we read at home. What holds a scheme and does not
    begin with it is never a path.

    Raises:
        Unusable: Not an address; for a person, without its login and query.
    """
    _check_text(location)
    scheme = _SCHEME.match(location)
    kind = scheme.group(1).lower() if scheme else ""
    if kind in {"http", "https"} and is_remote(location):
        return _check_remote(location)
    if store_kind(location) is not None:
        if is_remote(base) and store_kind(base) is None:
            # Whose buckets our credentials open is not for a web page to choose.
            raise Unusable(f"{shown(location)} is in an object store, and its index is not")
        return _check_remote(location)
    if is_remote(location):
        raise Unusable(f"{shown(location)} is of a kind that is not read; http(s), s3, gs, az, file:// and paths are")
    if kind == "file":
        if is_remote(base):
            raise Unusable(f"{shown(location)} is a file on the publisher's machine")
        return absolute_path(local_path(base).parent / local_path(location))
    return _relative(location, base, has_scheme=bool(scheme))


def _relative(location: str, base: str, *, has_scheme: bool) -> str:
    is_local = not is_remote(base)
    path = local_path(base).parent / location if is_local else None
    if path is not None and "://" not in plain(location) and _exists(path):
        return absolute_path(path)
    if is_local or not location.startswith("//"):
        _check_address(location if is_local else location.partition("?")[0])
    if has_scheme:
        raise Unusable(f"{shown(location)} is of a kind that is not read; http(s), s3, gs, az, file:// and paths are")
    if not _FILE_LIKE.search(location.partition("?")[0]):
        raise Unusable(f"{shown(location)} is no URL and no path (write ./name for a file without .json, .gz or .zip)")
    if path is None:
        return _check_remote(_joined(base, location))
    if has_secrets(location):
        raise Unusable(f"{shown(location)} is no URL and no such file; put https:// in front of its host")
    return absolute_path(path)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, a NUL
        return False


def absolute_path(path: Path) -> str:
    """Not `resolve`: the name of a link says what the file is, as "2026-08_302_42A0_..." -> "blob17"."""
    return abspath(path)  # noqa: PTH100 - as the docstring says


def own_location(address: Address) -> Address:
    """A source's location as the user gave it; local ones absolute, so that file ids do not hang on the shell.

    Raises:
        SettingError: Neither an address nor a path.
    """
    if (address.is_remote or not _exists(local_path(address.real))) and (fault := fault_of(address.real)):
        raise SettingError("--input", f"{shown(address.real)} {fault}")
    return address if address.is_remote else Address(absolute_path(local_path(address.real)))


def clean_plan(raw: Mapping[str, str | None], counts: SourceCounts) -> Plan:
    """A plan as given, but trimmed, blank as null, and the two enumerations in lower case (CMS v2)."""
    texts = {name: (raw.get(name) or "").strip() or None for name in PLAN_FIELDS}
    for name in ("plan_id_type", "plan_market_type"):
        text = texts[name]
        if text and text != text.lower():
            counts.repairs[f"{name}_case"] += 1
            texts[name] = text.lower()
    return Plan(**texts)


def month_of(text: str | None) -> str | None:
    """YYYY-MM of a date, if it is one."""
    match = re.match(r"(20\d\d-(?:0[1-9]|1[0-2]))(?!\d)", text or "")
    return match.group(1) if match else None
