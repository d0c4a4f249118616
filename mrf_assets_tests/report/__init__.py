"""Tests of `mrf_assets.report`."""
