"""The program: `mrf`, or `python -m mrf_assets`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from mrf_assets import startup as lean_start  # before what it is to spare
from mrf_assets.cli.app import main


def program(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line as a process of its own, and end it."""
    try:
        main(arguments)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        lean_start.leave(end.code or 0)
    lean_start.leave(0)


if __name__ == "__main__":
    program()
