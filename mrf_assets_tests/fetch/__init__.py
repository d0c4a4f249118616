"""Tests of `mrf_assets.fetch`."""
