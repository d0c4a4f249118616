"""Tests of `mrf_assets.providers.lookup`."""
