"""Tests of `mrf_assets.watch`."""
