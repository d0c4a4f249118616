"""All settings together, and the variables that are none of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches

from mrf_assets.settings.discovery import DiscoverySettings
from mrf_assets.settings.enrichment import EnrichSettings
from mrf_assets.settings.model import PREFIX, SettingsModel, variable_of
from mrf_assets.settings.operations import Operations
from mrf_assets.settings.watching import IndexWatching

# The first holds those of `Settings`.
ALL_SETTINGS: tuple[type[SettingsModel], ...] = (EnrichSettings, Operations, IndexWatching, DiscoverySettings)


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each `MRF_*` variable that is no setting: what it may have been meant to be."""
    known = {variable_of(name) for kind in ALL_SETTINGS for name in kind.model_fields}
    return [
        f"{name} is no setting and is ignored{_meant(name, known)}"
        for name in sorted(environ)
        if name.upper().startswith(PREFIX) and name not in known
    ]


def _meant(name: str, known: set[str]) -> str:
    near = get_close_matches(name.upper(), sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else "; docs/settings.md lists the settings"
