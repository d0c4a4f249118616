"""Generations: which files of a network and period belong together, and how long replaced ones can be read.

    <root>/network_id=<key>/period=<YYYY-MM>/<table>-<label>-g<layout><generation>.parquet   published
    <root>/.mrf/generations/<generation>/network_id=<key>/period=<YYYY-MM>/<the same>.held       hard links of them
    <root>/.mrf/replaced/<when they go>-<since when>-<generation>              no longer published; Unix seconds

A publication replaces a directory in one step, but readers open file after file, by path. The names of
another publication are other names, so one that is overtaken meets a missing file and never a mix.
One that wants no error either opens the retained files: they stay for a grace time behind a replacement.
Their suffix keeps them out of recursive globs, which would count every row twice.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mrf_assets.clock import is_due
from mrf_assets.errors import StoreError
from mrf_assets.schema import LAYOUT, SET_TINS, STORED_TABLES, TABLES

logger = logging.getLogger(__name__)

_NAME = re.compile(
    r"\A(?P<table>[a-z_]+)-(?P<part>[0-9]{5,}-of-[0-9]{5,})(?P<twin>-[0-9a-f]{8})?"
    r"(?:-g(?P<layout>[0-9a-f]{4})(?P<generation>[0-9a-f]{8}))?\.parquet\Z"
)
_UNKNOWN_LAYOUT = "0000"
_HELD = ".held"
_CANNOT_LINK = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_YOUNG_SECONDS = 3_600.0
_LOOKS = 5  # at a directory that is being removed


@dataclass(frozen=True, slots=True, kw_only=True)
class FileName:
    """What the name of a table's file says."""

    table: str
    label: str  # 00001-of-00002, and the file_id's beginning where two files claim the same part
    part: str  # 00001-of-00002
    layout: str | None  # of the tables that it was written with; None where the name does not say
    generation: str | None  # None before it is published, and for files older than generations

    @classmethod
    def of(cls, name: str) -> FileName | None:
        """The parts of a name; None for what is no table's file."""
        if (match := _NAME.match(name)) is None or match["table"] not in STORED_TABLES:
            return None
        return cls(
            table=match["table"],
            label=match["part"] + (match["twin"] or ""),
            part=match["part"],
            layout=match["layout"],
            generation=match["generation"],
        )

    def staged_anew(self) -> str:
        """The name of a published file in a stage: a layout that is not known stays so."""
        return self._named(self.layout or _UNKNOWN_LAYOUT, self.generation or "0" * 8)

    def published(self, generation: str) -> str:
        """The name in a generation; a file that was just written has the layout of today."""
        return self._named(self.layout or LAYOUT, generation)

    def _named(self, layout: str, generation: str) -> str:
        return f"{self.table}-{self.label}-g{layout}{generation}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One table's file, where it stays readable for the grace time."""

    table: str
    network_id: str
    period: str
    path: Path
    is_of_this_layout: bool  # False: look into it for its columns


def new_generation() -> str:
    """A name that no other publication has."""
    return secrets.token_hex(4)


def retain(root: Path, staging_dir: Path, target: Path, generation: str) -> None:
    """Keep the files of a stage readable beyond the time that they stand in `target`.

    Where the file system knows no hard links, nothing is retained: an overtaken reader meets a missing file.
    """
    retained_dir = _retained_dir(root, generation, target)
    retained_dir.mkdir(parents=True)
    try:
        for path in staging_dir.iterdir():
            os.link(path, retained_dir / f"{path.name}{_HELD}")
    except OSError as error:
        shutil.rmtree(_generations(root) / generation, ignore_errors=True)
        if error.errno not in _CANNOT_LINK:
            raise
        logger.debug("%s: the file system has no hard links; replaced files are gone at once", root)


def generations_in(directory: Path) -> list[str]:
    """The generations whose files stand in a published directory: one, or none that is named."""
    with contextlib.suppress(FileNotFoundError):
        generations = {name.generation for path in directory.iterdir() if (name := FileName.of(path.name))}
        return sorted(generation for generation in generations if generation)
    return []


def expire(root: Path, generation: str, grace_seconds: float) -> None:
    """Say that a generation goes when its grace is over.

    To be said before the replacement, too: a crash in between leaves no generation that nobody removes.
    """
    _replaced(root).mkdir(parents=True, exist_ok=True)
    since = int(time.time())
    (_replaced(root) / f"{int(since + grace_seconds)}-{since}-{generation}").touch()


def purge_expired(root: Path, now: float | None = None) -> int:
    """Remove the replaced generations whose grace is over; returns how many there were."""
    now = time.time() if now is None else now
    count = 0
    for since, due, generation, mark in _expired(root):
        if not is_due(since, due - since, now):
            continue
        if not _is_published(root, generation):  # it is where the replacement failed
            shutil.rmtree(_generations(root) / generation, ignore_errors=True)
            count += 1
        mark.unlink(missing_ok=True)
    return count


def expire_orphans(root: Path, grace_seconds: float) -> int:
    """Let files expire that no publication has: somebody removed a network by hand, or a process died."""
    expired_generations = {generation for _, _, generation, _ in _expired(root)}
    orphans = 0
    for folder in _generations(root).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            is_young = not is_due(folder.stat().st_mtime, _YOUNG_SECONDS, time.time())  # about to be published, maybe
            if folder.name not in expired_generations and not is_young and not _is_published(root, folder.name):
                expire(root, folder.name, grace_seconds)
                orphans += 1
    return orphans


def published_files(
    root: Path, networks: Collection[str] | None = None, *, retained: bool = True
) -> list[PublishedFile]:
    """All published files, or those of some networks, each network and period out of one generation.

    `retained` gives the paths that stay readable for the grace time, else those of the publication itself.

    Raises:
        StoreError: Tables of a period are missing, or a file has no name of ours.
    """
    folders = sorted(root.glob("network_id=*"))
    selection = [folder for folder in folders if networks is None or _network_id(folder) in networks]
    return [file for folder in selection for file in files_of_network(root, folder, retained=retained)]


def files_of_network(root: Path, network: Path, *, retained: bool = True) -> list[PublishedFile]:
    """The published files below the folder of one network; raises as `published_files` does."""
    return [
        file
        for directory in sorted(network.glob("period=*"))
        for file in _files_of(root, directory, is_retained=retained)
    ]


def _files_of(root: Path, directory: Path, *, is_retained: bool) -> Iterator[PublishedFile]:
    names = _whole_set(directory)
    network_id = _network_id(directory.parent)
    generation = next((name.generation for name in names.values()), None)
    paths = {text: directory / text for text in sorted(names)}
    if is_retained and generation is not None:
        folder = _retained_dir(root, generation, directory)
        retained_paths = {text: folder / f"{text}{_HELD}" for text in paths}
        if all(path.exists() for path in retained_paths.values()):
            paths = retained_paths
    for text, name in sorted(names.items()):
        yield PublishedFile(
            table=name.table,
            network_id=network_id,
            period=directory.name.removeprefix("period="),
            path=paths[text],
            is_of_this_layout=name.layout == LAYOUT,
        )


def _network_id(folder: Path) -> str:
    return unquote(folder.name.removeprefix("network_id="))


def _whole_set(directory: Path) -> dict[str, FileName]:
    """The files of a published directory; each part has all its tables, and all are of one generation.

    A directory is listed as what it was when it was opened. Where it was replaced since, it is listed whole
    during its grace time and perhaps in part afterwards, while it is being removed: then it is looked at anew.
    """
    names: dict[str, FileName] = {}
    for _ in range(_LOOKS):
        try:
            file_names = [path.name for path in directory.iterdir()]
        except FileNotFoundError:  # pruned
            return {}
        names = {text: name for text in file_names if (name := FileName.of(text))}
        parts: dict[str, set[str]] = {}
        for name in names.values():
            parts.setdefault(name.label, set()).add(name.table)
        is_whole = all(tables - {SET_TINS.name} == set(TABLES) for tables in parts.values())  # older ones lack it
        if names and is_whole and len({name.generation for name in names.values()}) == 1:
            return names
    if not names:
        return {}
    raise StoreError(str(directory), "misses tables of some part, or mixes publications; ingest the network again")


def _expired(root: Path) -> Iterator[tuple[int, int, str, Path]]:
    """(since when, when it goes, generation, the file that says so)."""
    for mark in _replaced(root).glob("*"):
        due, *since, generation = mark.name.split("-")
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            # Older versions wrote no `since`; the file was made then.
            yield int(since[0] if since else mark.stat().st_mtime), int(due), generation, mark


def _is_published(root: Path, generation: str) -> bool:
    retained_dir = _generations(root) / generation
    directories = [root / path.relative_to(retained_dir) for path in retained_dir.glob("network_id=*/period=*")]
    return any(generation in generations_in(directory) for directory in directories)


def _generations(root: Path) -> Path:
    return root / ".mrf" / "generations"


def _replaced(root: Path) -> Path:
    return root / ".mrf" / "replaced"


def _retained_dir(root: Path, generation: str, target: Path) -> Path:
    return _generations(root) / generation / target.parent.name / target.name
