"""How good what came out is: fill rates, statuses, confidence of the names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mrf_assets.providers.lookup import Output
from mrf_assets.schema import ENRICHED

_BINS = 10
_AGREES = 0.8  # from this confidence on two names are called alike
_NOT_JUDGED = ("raw_json", "source_file")


@dataclass(slots=True)
class NameConfidences:
    """How alike the payer's names and the registry's are, in tenths."""

    tenths: list[int] = field(default_factory=lambda: [0] * _BINS)
    agreements: int = 0

    @property
    def comparisons(self) -> int:
        """Rows in which there was a name to compare with."""
        return sum(self.tenths)

    def add(self, confidence: float | None) -> None:
        """Count one row."""
        if confidence is not None:
            self.tenths[min(int(confidence * _BINS), _BINS - 1)] += 1
            self.agreements += confidence >= _AGREES

    def as_facts(self) -> dict[str, int]:
        """Tenth -> rows."""
        return {f"{place / _BINS:.1f}-{(place + 1) / _BINS:.1f}": count for place, count in enumerate(self.tenths)}

    def as_text(self) -> str:
        """For a line of progress."""
        return (
            f"names: {100 * self.agreements / self.comparisons:.0f} % agree"
            if self.comparisons
            else "names: none to compare"
        )


@dataclass(slots=True)
class Quality:
    """Counted over the rows of an output."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    filled_cells: Counter[str] = field(default_factory=Counter)
    names: NameConfidences = field(default_factory=NameConfidences)

    @classmethod
    def of(cls, output: Output) -> Quality:
        """Read an output through, in pieces."""
        quality = cls()
        for rows in output.read():
            quality.add(rows)
        return quality

    def add(self, rows: pa.Table) -> None:
        """Count some rows."""
        self.rows += rows.num_rows
        self.statuses.update(str(status) for status in rows["status"].to_pylist())
        for column in ENRICHED.columns:
            if column.name not in _NOT_JUDGED:
                self.filled_cells[column.name] += rows.num_rows - _empty(rows, column.name)
        for confidence in rows["name_confidence"].to_pylist():
            self.names.add(confidence)

    def as_facts(self) -> dict[str, Any]:
        """For a report."""
        return {
            "rows": self.rows,
            "statuses": dict(self.statuses),
            "fill_rates": {
                name: round(count / max(self.rows, 1), 4) for name, count in sorted(self.filled_cells.items())
            },
            "name_confidence_histogram": self.names.as_facts(),
        }


def _empty(rows: pa.Table, name: str) -> int:
    column = rows[name]
    if pa.types.is_list(column.type):
        return sum(not value for value in column.to_pylist())
    return int(column.null_count)
