"""Files that Python code names -> tasks; the same road as that of a list.

A caller does not have to know how networks are distinguished: all the files of a call decide it together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mrf_assets.sources.lists import ListBuilder, read_list
from mrf_assets.sources.locations import absolute_path, month_of, shown
from mrf_assets.sources.options import SourceCounts, SourceOptions
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.urls.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file to ingest; what is left out is read from its address."""

    url: str  # or a path, relative to the working folder
    network_id: str | None = None  # a name such as "acme-ppo"
    period: str | None = None  # YYYY-MM, or a date
    plans: tuple[Plan, ...] = ()
    description: str | None = None
    output_prefix: str | None = None  # label in front of the network's name in manifest and logs
    extra_args: Mapping[str, str] = field(default_factory=dict)  # `settings.NETWORK_ARGUMENTS`, for this network alone


def read_files(
    files: Iterable[SourceFile], options: SourceOptions | None = None, counts: SourceCounts | None = None
) -> Iterator[FileTask]:
    """Yield the tasks of files, in order, for `execute_batch` and `pipeline.ingest`. Nothing is opened.

    Raises:
        SourceProblems: All problems with the number of their file, before the first task.
    """

    def fill(builder: ListBuilder) -> None:
        for number, file in enumerate(files, start=1):
            _fill_from_file(builder, f"file {number}", file)

    return read_list("files", Address(absolute_path(Path("input"))), options, counts, fill)


def _fill_from_file(builder: ListBuilder, where: str, file: SourceFile) -> None:
    month = month_of(file.period)
    if file.period and month is None:
        builder.problems.add(where, f"has the period {shown(file.period)}; YYYY-MM was expected")
        return
    attributes = {
        "network_id": file.network_id,
        "period": month,
        "description": file.description,
        "output_prefix": file.output_prefix,
    }
    plans = (*builder.options.plans, *file.plans)
    builder.add(where, file.url.strip(), plans, attributes=attributes, extra_args=file.extra_args)
