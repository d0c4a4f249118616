"""Tests of `mrf_assets.ingest`."""
