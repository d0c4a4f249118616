"""Texts of strangers on their way into Dagster's records and its UI: see `text`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mrf_assets.text import printable_lines, printable_values

_PATHS = ("output_files",)  # paths of ours, that are opened


def printable_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without what is no text, in values, keys of JSON, and Markdown."""
    return {name: value if name in _PATHS else _plain(value) for name, value in facts.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - of any kind that Dagster takes
    match value:
        case str():
            return printable_lines(value)
        case dg.JsonMetadataValue():
            return dg.MetadataValue.json(printable_values(value.data))  # type: ignore[arg-type]  # of the same shape
        case dg.MarkdownMetadataValue():
            return dg.MetadataValue.md(printable_lines(value.md_str or ""))
        case dg.TextMetadataValue():
            return dg.MetadataValue.text(printable_lines(value.text or ""))
        case _:
            return value


def failure(error: object, facts: Mapping[str, Any] | None = None) -> dg.Failure:
    """An expected failure, as one text for a person; bad input is not cured by trying again."""
    return dg.Failure(printable_lines(str(error)), metadata=printable_metadata(facts or {}), allow_retries=False)
