"""Found indexes -> the registry of watched indexes, under names that stay the same from month to month.

So next month's address of an index takes the place of this month's, and the sensor goes on with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mrf_assets.discover.values import FoundFile, Portal, PortalResult
from mrf_assets.settings import MAX_WATCHED
from mrf_assets.urls import canonical_url, file_name, host_of
from mrf_assets.watch.registry import RegisteredIndex, add_indexes, read_registry

_DATES = re.compile(r"20\d\d[-_]?(?:0[1-9]|1[0-2])(?:[-_]?(?:0[1-9]|[12]\d|3[01]))?(?!\d)")
_SUFFIX = re.compile(r"(?:\.(?:json|gz|zip|7z))+\Z")
_OTHER = re.compile(r"[^a-z0-9]+")
_NAME_CHARACTERS = 63
_DIGEST_CHARACTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What became of the indexes."""

    added: tuple[RegisteredIndex, ...] = ()
    moved: tuple[RegisteredIndex, ...] = ()  # watched before, at an older address or with an older signature
    kept: int = 0  # watched at this very address
    left_out: tuple[str, ...] = ()  # portals that name too many, for a person


def watch_found(results: Iterable[PortalResult], registry: Path, most: int = MAX_WATCHED) -> Watched:
    """Register every table of contents that was found; of a portal that names more than `most` none, and it is told.

    Raises:
        SourceProblems, StoreError: The registry has problems, or cannot be written; nothing was registered.
    """
    wanted, left_out = _by_name(results, most)
    before = {index.name: index for index in read_registry(registry)}
    known_as = {index.url.shown: index.name for index in before.values()}  # by hand, maybe, and otherwise
    added: dict[str, dict[str, str]] = {}
    moved: dict[str, dict[str, str]] = {}
    kept = 0
    for made_name, (portal, file) in wanted.items():
        name = known_as.get(file.shown, made_name)
        if name not in before:
            added[name] = {"url": file.url, "payer": _payer(portal)}
        elif before[name].url.real != file.url:
            moved[name] = {"url": file.url}
        else:
            kept += 1
    registered = add_indexes(registry, added | moved, replace=True)
    return Watched(
        added=tuple(registered[name] for name in added),
        moved=tuple(registered[name] for name in moved),
        kept=kept,
        left_out=tuple(left_out),
    )


def _by_name(results: Iterable[PortalResult], most: int) -> tuple[dict[str, tuple[Portal, FoundFile]], list[str]]:
    found: dict[str, tuple[Portal, FoundFile]] = {}
    left_out = []
    for result in results:
        indexes = [file for file in result.found if file.kind == "table_of_contents"]
        if len(indexes) > most:
            left_out.append(
                f"{result.portal.shown} names {len(indexes)} indexes, and no more than {most} of a portal are watched; "
                "narrow them with --match, or raise --watch-limit"
            )
            continue
        for file in sorted(indexes, key=lambda file: file.shown):
            # Of two months of one index the later address wins: they sort by their date.
            found[index_name(file.url)] = (result.portal, file)
    return found, left_out


def index_name(url: str) -> str:
    """A name of the registry for an index: host and file name, without dates; with a digest of the dateless address."""
    dateless = _DATES.sub("", canonical_url(url))
    digest = sha256(dateless.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    stem = _SUFFIX.sub("", _DATES.sub("", file_name(url).lower()))
    words = _OTHER.sub("-", f"{host_of(url).removeprefix('www.')}-{stem}".lower()).strip("-")
    return f"{words[: _NAME_CHARACTERS - _DIGEST_CHARACTERS - 1].strip('-') or 'index'}-{digest}"


def _payer(portal: Portal) -> str:
    """A name that the registry takes: printable, and not empty."""
    name = "".join(character for character in portal.payer_name if character.isprintable()).strip()
    return name or "unknown payer"
