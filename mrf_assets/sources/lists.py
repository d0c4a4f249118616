"""URL lists and single URLs -> tasks; and how any list fills the spool, `csv_rows` included.

A person made a list, so all its problems are told at once, before the first task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from mrf_assets.errors import Problem, SettingError, SourceProblems
from mrf_assets.network_id import names_allowed_amounts
from mrf_assets.settings import Settings
from mrf_assets.sources.lines import Problems, numbered_lines
from mrf_assets.sources.locations import Unusable, absolute_path, own_location, shown, usable_location
from mrf_assets.sources.options import SourceCounts, SourceKind, SourceOptions
from mrf_assets.sources.spool import Spool, temporary_spool
from mrf_assets.stream.raw_file import Opener, RawFile
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.urls import holds_address
from mrf_assets.urls.address import Address


def read_urls(
    location: Address | str, open_url: Opener, options: SourceOptions | None = None, counts: SourceCounts | None = None
) -> Iterator[FileTask]:
    """Yield the files of a list: one URL or path per line; blank lines and lines that begin with `#` are skipped.

    Files that are called as allowed-amounts files are counted and left out, as those of an index are.
    Relative paths are taken from the list's own folder. Repeated URLs, their signatures aside, are
    one file: `counts.locations` less `counts.files` says how many were.

    Raises:
        SourceProblems: All problems with their line numbers, before the first task.
        FetchError, StreamError: From the opener and the stream.
        StoreError: The temporary disk is full.
    """
    address = own_location(Address.of(location))

    def fill(builder: ListBuilder) -> None:
        for number, text in numbered_lines(address, builder.noting(open_url), builder.problems, builder.options.limits):
            entry = text.strip()
            if entry.startswith(("{", "[")):  # a whole index in one line would pass as a path, and be shown as one
                builder.problems.add(number, "is JSON and no URL; ingest an index with --source index")
            elif entry and not entry.startswith("#"):
                builder.add(number, entry, builder.options.plans)

    return read_list("urls", address, options, counts, fill)


def read_url(
    location: str, options: SourceOptions | None = None, counts: SourceCounts | None = None
) -> Iterator[FileTask]:
    """Yield the one file at a URL or a local path, without opening it.

    Raises:
        SourceProblems: Not an address of a file.
    """
    location = location.strip()
    beside = Address(absolute_path(Path("input")))  # relative paths are taken from the working folder

    def fill(builder: ListBuilder) -> None:
        builder.add("--input", location, builder.options.plans)

    return read_list("url", beside, options, counts, fill)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListBuilder:
    """A list while it is read."""

    kind: SourceKind | Literal["files"]
    address: Address  # its own
    options: SourceOptions
    spool: Spool
    counts: SourceCounts
    problems: Problems

    def noting(self, open_url: Opener) -> Opener:
        """The same, which notes whose the list is."""

        @contextmanager
        def opened(address: Address) -> Iterator[RawFile]:
            with open_url(address) as raw:
                self.counts.is_from_stranger = not raw.is_private
                yield raw

        return opened

    def add(
        self,
        where: int | str,
        location: str,
        plans: Iterable[Plan],
        *,
        attributes: Mapping[str, str | None] | None = None,
        extra_args: Mapping[str, str] | None = None,
    ) -> None:
        """Take one file, or note its problem.

        `attributes` of it may be `network_id`, `period`, `description` and `output_prefix`; `extra_args` are settings
        of its network, see `settings.NETWORK_ARGUMENTS`.
        """
        attributes, extra_args = attributes or {}, extra_args or {}
        network_id = attributes.get("network_id") or self.options.network_id
        for name, text in {"network_id": network_id or "", **extra_args}.items():
            if holds_address(text):
                self.problems.add(where, f"has the address {shown(text)} as its {name}; is a column out of place?")
                return
        try:
            url = usable_location(location, self.address.real)
            # A single file is read all the same, and its error says what it is.
            if self.kind != "url" and names_allowed_amounts(url):
                self.spool.allowed_amount_file(url)
                return
            _require_usable(tuple(sorted(extra_args.items())))
            file_id = self.spool.file(url, network_id, attributes.get("period"))
            self.spool.bring_along(file_id, attributes.get("output_prefix"), extra_args)
        except (Unusable, SettingError) as reason:
            self.problems.add(where, str(reason))
            return
        if description := attributes.get("description"):
            self.spool.describe(file_id, description)
        self.spool.link({file_id}, {self.spool.plan(plan) for plan in plans})
        self.counts.locations += 1


@lru_cache(1 << 10)  # the rows of a list have the same few, and each check takes as long as all else of a row
def _require_usable(extra_args: tuple[tuple[str, str], ...]) -> None:
    Settings().with_arguments(dict(extra_args))


def _why_no_file(counts: SourceCounts) -> str:
    if counts.allowed_amount_files:
        return f"names no in-network file, but {counts.allowed_amount_files} allowed-amounts file(s)"
    return "names no file; at least one URL was expected"


def read_list(
    kind: SourceKind | Literal["files"],
    address: Address,
    options: SourceOptions | None,
    counts: SourceCounts | None,
    fill: Callable[[ListBuilder], None],
) -> Iterator[FileTask]:
    """Fill a spool with `fill`; tell its problems all at once, or yield the tasks."""
    options, counts = options or SourceOptions(), counts or SourceCounts()
    source = address if kind in {"csv", "urls"} else kind
    problems = Problems(source)
    with temporary_spool(options) as spool:
        fill(ListBuilder(kind=kind, address=address, options=options, spool=spool, counts=counts, problems=problems))
        problems.settle()
        spool.count_allowed_amounts(counts)
        spool.assign(counts)
        if not counts.files:
            raise SourceProblems(source, (Problem("line 1", _why_no_file(counts)),))
        for task in spool.tasks(None):
            yield replace(task, is_from_stranger=counts.is_from_stranger)
