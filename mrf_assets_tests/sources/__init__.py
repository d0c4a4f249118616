"""Tests of `mrf_assets.sources`."""
