"""Tests of `mrf_assets.submit`."""
