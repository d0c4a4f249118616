"""Dagster, thin: one noun per file. What the nouns do stands in `pipeline`."""
