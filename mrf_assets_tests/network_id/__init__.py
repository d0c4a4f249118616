"""Tests of `mrf_assets.network_id`."""
