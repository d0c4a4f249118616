"""Tests of `mrf_assets.schema`."""
