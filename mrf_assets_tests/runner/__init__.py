"""Tests of `mrf_assets.runner`."""
