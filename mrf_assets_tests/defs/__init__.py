"""Tests of `mrf_assets.defs`."""
