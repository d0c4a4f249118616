"""The batch runner under the name that Python code imports; `python -m mrf_assets.batch_orchestrator` is `mrf run`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mrf_assets.cli.app import main
from mrf_assets.runner.batch import BatchOptions, run_batch
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask

__all__ = ["execute_batch"]


def execute_batch(
    tasks: Iterable[FileTask],
    output_dir: Path | str,
    workers: int = 1,
    cpt_whitelist: Path | str | None = None,
    **others: Any,  # noqa: ANN401 - fields of Settings and of BatchOptions
) -> dict[str, Any]:
    """Ingest the networks of `tasks`: `run_batch`, with its settings and options side by side.

    Args:
        tasks: What to ingest, from `sources`.
        output_dir: Where parquet, plan, logs and manifest go.
        workers: How many networks at a time.
        cpt_whitelist: File of billing codes to keep.
        **others: Other fields of `Settings`, which win over `MRF_*` variables, and of `BatchOptions`.

    Returns:
        As `run_batch`.

    Raises:
        InputError: Whitelists, settings or `extra_args` that cannot be used; nothing was started.
        StoreError: The output folder cannot be written, or its disk is full.
    """
    names = {each.name for each in fields(BatchOptions)}
    options = {name: value for name, value in others.items() if name in names and value is not None}
    settings = {name: value for name, value in others.items() if name not in names}
    return run_batch(
        tasks,
        Settings.from_environment(output_dir=output_dir, cpt_whitelist=cpt_whitelist, **settings),
        BatchOptions(workers=workers, **options),
    )


if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
