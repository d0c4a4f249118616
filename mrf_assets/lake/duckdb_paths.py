"""Paths as DuckDB takes them: it reads each as a pattern, and can mean one file alone where the pattern is escaped."""

from __future__ import annotations

import glob
from pathlib import Path


def pattern_of(path: Path | str) -> str:
    """The pattern of one path: a `*` in a folder's name would read its neighbours, too."""
    return glob.escape(str(path))
