"""Tests, one file for each module; a test's name and docstring are sentences of fact."""
