"""CSVs, one file and one plan per row -> tasks.

Lines come from `lines`; what a usable row says goes the way of `lists`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from mrf_assets.settings import NETWORK_ARGUMENTS, NETWORK_PATHS
from mrf_assets.sources.lines import Problems, numbered_lines
from mrf_assets.sources.lists import ListBuilder, read_list
from mrf_assets.sources.locations import PLAN_FIELDS, absolute_path, clean_plan, month_of, own_location, shown
from mrf_assets.sources.options import SourceCounts, SourceOptions
from mrf_assets.stream.raw_file import Opener
from mrf_assets.tasks import FileTask
from mrf_assets.urls import holds_address, host_of, local_path, shown_text
from mrf_assets.urls.address import Address
from mrf_assets.urls.private_addresses import is_private_host

_DELIMITERS = ",;\t|"
_COLUMNS = ("file_url", *PLAN_FIELDS, "network_id", "description", "period", *NETWORK_ARGUMENTS)
# What `mrf discover` writes into its column `kind`, but for in_network. In CSVs of others the column means nothing.
_NO_RATES = ("table_of_contents", "allowed_amounts", "reference", "document")
_OF_DISCOVERY = ("portal", "way", "found_at")  # columns of what it writes alone
_NO_FILE = ("nothing", "blocked", "failed")  # into `status`, where a portal named none


def read_csv(
    location: Address | str, open_url: Opener, options: SourceOptions | None = None, counts: SourceCounts | None = None
) -> Iterator[FileTask]:
    """Yield the files of a CSV: column `file_url`, and where wanted the plan's and the file's own.

    Optional columns are those of `Plan` (one plan per row; rows of one URL are one task with all
    their plans), `network_id` (wins over the one in the name), `period` (YYYY-MM or a date),
    `description`, and the settings of the file's network that `settings.NETWORK_ARGUMENTS` names,
    such as `cpt_whitelist`; a CSV that came over the web may choose none of these. Other columns are
    counted in `counts` and ignored. Rows of `mrf discover` that are no rates are reported and
    skipped. Fields are separated by comma, semicolon, tab or pipe, whichever makes most of the
    header. UTF-8, with a byte order mark or without; relative paths are taken from the CSV's own folder.

    Raises:
        SourceProblems: All problems with their line numbers, before the first task.
        FetchError, StreamError: From the opener and the stream.
        StoreError: The temporary disk is full.
    """
    address = own_location(Address.of(location))

    def fill(builder: ListBuilder) -> None:
        _fill_from_csv(
            builder, numbered_lines(address, builder.noting(open_url), builder.problems, builder.options.limits)
        )

    return read_list("csv", address, options, counts, fill)


def _fill_from_csv(builder: ListBuilder, lines: Iterator[tuple[int, str]]) -> None:
    header_line, header = next(((number, text) for number, text in lines if text.strip()), (1, ""))
    delimiter = max(_DELIMITERS, key=lambda it: len(_column_names(header, it)))
    columns = _column_names(header, delimiter)
    if not _header_is_usable(builder.problems, header_line, columns):
        return
    for column in columns:
        if column not in _COLUMNS:
            builder.counts.ignore(shown_text(column))
    for line, row in _rows(lines, header_line, delimiter, builder.problems):
        if any(it.strip() for it in row):
            _fill_from_row(builder, line, columns, row)


def _column_names(header: str, delimiter: str) -> list[str]:
    names = next(csv.reader([header.strip("\r\n")], delimiter=delimiter), [])
    return [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in names]


def _header_is_usable(problems: Problems, line: int, columns: list[str]) -> bool:
    duplicates = [column for column, count in Counter(columns).items() if count > 1 and column in _COLUMNS]
    if "file_url" not in columns:
        problems.add(line, f"has no column file_url; {_columns_found(columns)}")
    if duplicates:
        problems.add(line, f"names a column twice: {', '.join(duplicates)}")
    return "file_url" in columns and not duplicates


def _columns_found(columns: list[str]) -> str:
    if any(map(holds_address, columns)):  # split at its delimiters, an address no longer shows what is secret of it
        return "it holds an address; put a line with the names of the columns in front of it"
    return f"the columns are: {', '.join(map(shown, columns[:20])) or 'none'}"


def _rows(
    lines: Iterator[tuple[int, str]], header_line: int, delimiter: str, problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    """Line on which a row ends and its fields; rows that are no CSV are problems."""
    reader = csv.reader((text for _, text in lines), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(header_line + reader.line_num, f"is no CSV row ({error}); look for a quote that is not closed")
        else:
            yield header_line + reader.line_num, row


def _fill_from_row(builder: ListBuilder, line: int, columns: list[str], row: list[str]) -> None:
    if len(row) > len(columns):  # a comma in a URL would cut it
        builder.problems.add(line, f"has {len(row)} fields where the header has {len(columns)}; quote the field")
        return
    cells = {column: value.strip() or None for column, value in zip(columns, row, strict=False)}
    if all(column in cells for column in _OF_DISCOVERY) and not is_private_host(host_of(cells["portal"] or "")):
        builder.counts.is_from_stranger = True  # the file is ours, and its addresses are a portal's
    url, period = cells.get("file_url"), cells.get("period")
    if _is_no_rates(builder, line, cells):
        return
    if url is None:
        builder.problems.add(line, "has no file_url")
        return
    month = month_of(period)
    if period and month is None:
        builder.problems.add(line, f"has the period {shown(period)}; YYYY-MM was expected")
        return
    arguments = {name: text for name in NETWORK_ARGUMENTS if (text := cells.get(name))}
    if arguments and builder.address.is_remote:  # not for strangers: what we read at home, how much memory we take
        builder.problems.add(
            line,
            f"has a {next(iter(arguments))}; a CSV that came over the web may choose no settings; download it, look at "
            "it, and pass the local copy",
        )
        return
    for name in (it for it in NETWORK_PATHS if it in arguments and not holds_address(arguments[it])):
        arguments[name] = absolute_path(local_path(builder.address.real).parent / arguments[name])
    has_plan = any(cells.get(name) for name in PLAN_FIELDS)
    plans = [clean_plan(cells, builder.counts)] if has_plan else []
    builder.add(line, url, plans, attributes={**cells, "period": month}, extra_args=arguments)


def _is_no_rates(builder: ListBuilder, line: int, cells: Mapping[str, str | None]) -> bool:
    """Whether a row of `mrf discover` is of something else; it is told, and stops nothing."""
    url, kind, where = cells.get("file_url"), cells.get("kind"), f"line {line}"
    if url is None and cells.get("status") in _NO_FILE:
        builder.counts.report(where, f"names no file: {cells.get('reason') or cells['status']}")
        return True
    if url is None or kind not in _NO_RATES:
        return False
    if kind == "allowed_amounts":
        builder.spool.allowed_amount_file(url)
    else:
        hint = "; ingest it with --source index" if kind == "table_of_contents" else ""
        builder.counts.report(where, f"is a {kind} and no rates{hint}")
    return True
