"""Tests of `mrf_assets.discover`."""
