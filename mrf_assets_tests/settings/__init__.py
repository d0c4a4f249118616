"""Tests of `mrf_assets.settings`."""
