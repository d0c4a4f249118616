"""Tests of `mrf_assets.batches`."""
