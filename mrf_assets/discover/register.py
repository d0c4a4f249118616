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

    new_indexes: tuple[RegisteredIndex, ...] = ()
    moved_indexes: tuple[RegisteredIndex, ...] = ()  # watched before, at an older address or with an older signature
    unchanged_indexes: int = 0  # watched at this very address
    skipped_portals: tuple[str, ...] = ()  # portals that name too many, for a person


def watch_found(results: Iterable[PortalResult], registry: Path, most: int = MAX_WATCHED) -> Watched:
    """Register every table of contents that was found; of a portal that names more than `most` none, and it is told.

    Raises:
        SourceProblems, StoreError: The registry has problems, or cannot be written; nothing was registered.
    """
    files_by_name, skipped_portals = _by_name(results, most)
    before = {index.name: index for index in read_registry(registry)}
    name_of_url = {index.url.shown: index.name for index in before.values()}  # by hand, maybe, and otherwise
    new_entries: dict[str, dict[str, str]] = {}
    moved_entries: dict[str, dict[str, str]] = {}
    unchanged_indexes = 0
    for default_name, (portal, file) in files_by_name.items():
        name = name_of_url.get(file.shown, default_name)
        if name not in before:
            new_entries[name] = {"url": file.url, "payer": _payer(portal)}
        elif before[name].url.real != file.url:
            moved_entries[name] = {"url": file.url}
        else:
            unchanged_indexes += 1
    indexes = add_indexes(registry, new_entries | moved_entries, replace=True)
    return Watched(
        new_indexes=tuple(indexes[name] for name in new_entries),
        moved_indexes=tuple(indexes[name] for name in moved_entries),
        unchanged_indexes=unchanged_indexes,
        skipped_portals=tuple(skipped_portals),
    )


def _by_name(results: Iterable[PortalResult], most: int) -> tuple[dict[str, tuple[Portal, FoundFile]], list[str]]:
    files_by_name: dict[str, tuple[Portal, FoundFile]] = {}
    skipped_portals = []
    for result in results:
        indexes = [file for file in result.files if file.kind == "table_of_contents"]
        if len(indexes) > most:
            skipped_portals.append(
                f"{result.portal.shown} names {len(indexes)} indexes, and no more than {most} of a portal are watched; "
                "narrow them with --match, or raise --watch-limit"
            )
            continue
        for file in sorted(indexes, key=lambda file: file.shown):
            # Of two months of one index the later address wins: they sort by their date.
            files_by_name[index_name(file.url)] = (result.portal, file)
    return files_by_name, skipped_portals


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
