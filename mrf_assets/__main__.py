"""`python -m mrf_assets` is the command line."""

from mrf_assets.cli import main

if __name__ == "__main__":
    main()
