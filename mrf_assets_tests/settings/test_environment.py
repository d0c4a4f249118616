"""What the machine says beside the settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrf_assets.settings import dagster_home, default_host_state_dir


@pytest.mark.parametrize(("environ", "expected"), [({}, ".dagster_home"), ({"DAGSTER_HOME": "/d"}, "/d")])
def test_the_home_of_dagster_is_absolute(environ: dict[str, str], expected: str) -> None:
    """Dagster takes no relative path."""
    assert Path(expected).absolute() == dagster_home(environ)


def test_what_hosts_take_is_shared_by_all_of_a_user() -> None:
    """Without a setting it is one folder, of this user alone."""
    assert f"mrf_assets-hosts-{os.geteuid()}" == default_host_state_dir({}).name
