"""NPIs to look up: out of a CSV, a parquet file, or what is published."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrf_assets.errors import Problem, SettingError, SourceProblems
from mrf_assets.providers.lookup import Item, LookUpFailure
from mrf_assets.providers.npis import published_npis
from mrf_assets.providers.nppes import npi_of, npi_problem

INVALID = "invalid_npi"
PUBLISHED = "asset:providers"
_NPI_COLUMNS = ("npi", "npi_number", "provider_npi", "number")
_NAME_COLUMNS = ("business_name", "organization_name", "provider_name", "name")
_PRIORITY_COLUMNS = ("priority", "rates", "rate_rows")
_PARQUET_ROWS = 10_000
_SHOWN_CHARACTERS = 40


@dataclass(slots=True)
class InputCounts:
    """What was read."""

    rows: int = 0
    invalid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRow:
    """One line: an item, or what is wrong with it."""

    item: Item
    problem: Problem | None = None

    @property
    def failure(self) -> LookUpFailure | None:
        """For the ledger: nothing to ask the registry for."""
        if self.problem is None:
            return None
        return LookUpFailure(
            item=self.item, reason=INVALID, detail=str(self.problem), http_status=None, requests=0, seconds=0
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what."""

    npi: str
    name: str | None = None
    priority: str | None = None

    @classmethod
    def among(cls, location: str, names: Iterable[str]) -> Columns:
        """Find them, whatever their case.

        Raises:
            SourceProblems: There is no column of NPIs.
        """
        by_name = {name.strip().lower(): name for name in names}

        def first(names: tuple[str, ...]) -> str | None:
            return next((by_name[name] for name in names if name in by_name), None)

        npi = first(_NPI_COLUMNS)
        if npi is None:
            what = f"no column named {', '.join(_NPI_COLUMNS[:-1])} or {_NPI_COLUMNS[-1]}; add one"
            raise SourceProblems(location, (Problem("header", what),))
        return cls(npi, first(_NAME_COLUMNS), first(_PRIORITY_COLUMNS))


@dataclass(slots=True)
class EnrichmentInput:
    """Where the NPIs come from; read as often as needed, never held whole."""

    location: str
    lake: Path
    counts: InputCounts = field(default_factory=InputCounts)

    def rows(self) -> Iterator[InputRow]:
        """Every line, good or bad.

        Raises:
            SettingError: The input cannot be read.
            SourceProblems: There is no column of NPIs.
        """
        self.counts = InputCounts()
        for where, values, columns in self._lines():
            self.counts.rows += 1
            row = _input_row(where, values, columns)
            self.counts.invalid += row.problem is not None
            yield row

    def _lines(self) -> Iterator[tuple[str, Mapping[str, Any], Columns]]:
        if self.location == PUBLISHED:
            yield from _published(self.lake)
            return
        try:
            if Path(self.location).suffix.lower() in (".parquet", ".pq"):
                yield from _parquet(self.location)
            else:
                yield from _csv(self.location)
        except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingError("--input", f"{self.location} cannot be read ({reason}); check the file") from error


def _csv(location: str) -> Iterator[tuple[str, Mapping[str, Any], Columns]]:
    with Path(location).open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file, restkey="_more")
        columns = Columns.among(location, lines.fieldnames or ())
        for values in lines:
            yield f"line {lines.line_num}", values, columns


def _parquet(location: str) -> Iterator[tuple[str, Mapping[str, Any], Columns]]:
    file = pq.ParquetFile(location)
    columns = Columns.among(location, file.schema_arrow.names)
    number = 0
    for batch in file.iter_batches(_PARQUET_ROWS):
        for values in batch.to_pylist():
            number += 1
            yield f"row {number}", values, columns


def _published(lake: Path) -> Iterator[tuple[str, Mapping[str, Any], Columns]]:
    columns = Columns("npi", "business_name", "rates")
    rows = (row for batch in published_npis(lake) for row in batch.to_pylist())
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row, columns


def _input_row(where: str, values: Mapping[str, Any], columns: Columns) -> InputRow:
    text = str(values.get(columns.npi) if values.get(columns.npi) is not None else "")
    name = str(values.get(columns.name) or "").strip() if columns.name else ""
    facts = {"business_name": name} if name else {}
    problem, priority = npi_problem(text), 0.0
    if columns.priority and values.get(columns.priority) not in (None, ""):
        try:
            priority = float(values[columns.priority])
        except (ValueError, TypeError):
            priority = nan
        if not isfinite(priority):  # SQLite keeps NaN as NULL, which no priority may be
            problem = problem or f"{columns.priority} is no number"
    if problem is None:
        return InputRow(item=Item(key=npi_of(text), priority=priority, facts=facts))
    description = f"{text[:_SHOWN_CHARACTERS]!r}: {problem}" if text else problem
    return InputRow(item=Item(key=where, facts=facts), problem=Problem(where, description))
