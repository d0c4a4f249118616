"""Tests of `mrf_assets.extract.oracle`."""
