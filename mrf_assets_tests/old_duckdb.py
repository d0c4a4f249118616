"""Versions of DuckDB that are older than ours, each in a virtual environment that is made once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mrf_assets.files import locked

OLD_VERSIONS = ("1.0.0", "1.1.3", "1.4.4")
_MAKE_SECONDS = 120
_ASK_SECONDS = 60
_PROGRAM = """import duckdb, json, sys
rows = []
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    for sql in sys.argv[2:]:
        try:
            rows.append(connection.execute(sql).fetchall())
        except duckdb.Error as error:
            rows.append(str(error))
print(json.dumps(rows, default=str))
"""


class OldDuckDB:
    """One version, asked in a process of its own."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def ask(self, database: Path, *queries: str, cwd: Path | None = None) -> list[Any]:
        """The rows of each query, or what the version said instead."""
        done = subprocess.run(
            [str(self._python), "-c", _PROGRAM, str(database), *queries],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=False,
            cwd=cwd,
        )
        assert not done.returncode, done.stderr
        answers: list[Any] = json.loads(done.stdout)
        return answers


def old_duckdb(version: str, cache: pytest.Cache) -> OldDuckDB:
    """A version out of pytest's cache; skips where it cannot be installed."""
    folder = cache.mkdir(f"duckdb-{version}")
    python, done = folder / "bin" / "python", folder / "done"
    with locked(folder / "lock", f"DuckDB {version}"):
        if not done.exists():
            try:
                for command in (
                    [sys.executable, "-m", "venv", str(folder)],
                    [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", f"duckdb=={version}"],
                ):
                    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_MAKE_SECONDS)
            except (OSError, subprocess.SubprocessError) as error:
                pytest.skip(f"DuckDB {version} cannot be installed: {getattr(error, 'stderr', None) or error}")
            done.touch()
    return OldDuckDB(python)
