"""Tests of `mrf_assets.providers`."""
