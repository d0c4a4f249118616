"""Tests of `mrf_assets.lake`."""
