"""Tests of `mrf_assets.stream`."""
