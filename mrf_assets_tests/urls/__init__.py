"""Tests of `mrf_assets.urls`."""
