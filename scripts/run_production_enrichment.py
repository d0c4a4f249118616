"""`mrf enrich` under the name that scripts of old call it by."""  # noqa: INP001 - a script

import sys

from mrf_assets.__main__ import program

if __name__ == "__main__":
    program(["enrich", *sys.argv[1:]])
