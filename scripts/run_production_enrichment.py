"""`mrf enrich` under the name that scripts of old call it by."""  # noqa: INP001 - a script

import sys

from mrf_assets.cli import main

if __name__ == "__main__":
    main(["enrich", *sys.argv[1:]])
