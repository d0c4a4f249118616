"""Settings of watched indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrf_assets.settings import IndexWatching


def test_the_registry_stands_in_dagster_home_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemon, webserver and shell have that in common."""
    monkeypatch.setenv("DAGSTER_HOME", "/srv/dagster")

    assert Path("/srv/dagster/indexes.toml") == IndexWatching().registry
    assert Path("/etc/x.toml") == IndexWatching(index_registry=Path("/etc/x.toml")).registry
