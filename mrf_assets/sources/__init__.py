"""From an index, a CSV, a URL list or one URL to the files that are to be ingested.

Read it in the order in which data flows:

    options      what a caller may say, and what was found: `SourceOptions`, `SourceCounts`
    locations    a text of a source -> a file's address (or why it is none), a plan, a month
    spool        files and plans in a temporary database -> network ids -> tasks
    index_json   tables of contents -> tasks
    lines        a text file -> numbered lines; problems reported all at once
    lists        URL lists and single URLs -> tasks
    csv_rows     CSVs -> tasks
    files        files that Python code names -> tasks

Downloads are the opener's business, JSON events are `stream`'s, the files' content is `extract`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from mrf_assets.sources.csv_rows import read_csv
from mrf_assets.sources.files import SourceFile, read_files
from mrf_assets.sources.index_json import read_index
from mrf_assets.sources.lists import read_url, read_urls
from mrf_assets.sources.options import SourceCounts, SourceKind, SourceOptions, check_options
from mrf_assets.stream.raw_file import Opener
from mrf_assets.tasks import FileTask

__all__ = [
    "SourceCounts",
    "SourceFile",
    "SourceKind",
    "SourceOptions",
    "read_csv",
    "read_files",
    "read_index",
    "read_source",
    "read_url",
    "read_urls",
]


def read_source(
    kind: str,
    location: str,
    open_url: Opener,
    options: SourceOptions | None = None,
    counts: SourceCounts | None = None,
) -> Iterator[FileTask]:
    """Yield the files of a source of any `SourceKind`, in order of first appearance, positions from 1.

    Network ids do not depend on that order, nor on `match` and `max_files`.

    Raises:
        SettingError: An unknown kind, or an option that this kind does not know; at once.
        SourceProblems, FetchError, StreamError, MalformedJson, StoreError: As its reader says; at the first task.
    """
    options = options or SourceOptions()
    check_options(kind, options)
    if kind == "url":
        return read_url(location, options, counts)
    reader = {"csv": read_csv, "index": read_index, "urls": read_urls}[kind]
    return reader(location, open_url, options, counts)
