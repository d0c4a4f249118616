"""Tests of `mrf_assets.quality`."""
