"""The batch runner under the name that Python code imports; `python -m mrf_assets.batch_orchestrator` is `mrf run`."""

import sys

from mrf_assets.cli.app import main
from mrf_assets.runner.batch import execute_batch

__all__ = ["execute_batch"]

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
