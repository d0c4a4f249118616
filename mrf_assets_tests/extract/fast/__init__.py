"""Tests of `mrf_assets.extract.fast`."""
