"""What a table and its columns are, and the types that they share."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

# Payers print floats with noise (163.43999999999997); ten decimals and 28 digits before
# them hold every amount seen. What needs more is rounded half-even and counted.
RATE_TYPE = pa.decimal128(38, 10)
TEXT = pa.string()
TEXTS = pa.list_(pa.string())


@dataclass(frozen=True, slots=True)
class Required:
    """Where the CMS schema demands a value: a condition on the row in SQL, and the same in words."""

    where: str | None = None  # None where each row has to have one
    in_words: str = "Each row"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type and what a reader must know of it."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = True
    words: tuple[str, ...] = ()  # the values that the CMS schema knows, where it lists them
    required: Required | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its grain and its columns."""

    name: str
    grain: str
    columns: tuple[Column, ...]

    @property
    def words(self) -> dict[str, frozenset[str]]:
        """The values that the CMS schema knows, of the columns where it lists them."""
        return {column.name: frozenset(column.words) for column in self.columns if column.words}

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, each field with its doc as metadata."""
        return pa.schema(
            [pa.field(c.name, c.type, nullable=c.nullable, metadata={"doc": c.doc}) for c in self.columns],
            metadata={"table": self.name, "grain": self.grain},
        )
