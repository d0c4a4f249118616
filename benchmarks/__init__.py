"""Benchmarks: what speed and size are, measured; see RESULTS.md."""
