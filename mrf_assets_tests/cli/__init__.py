"""Tests of `mrf_assets.cli`."""
