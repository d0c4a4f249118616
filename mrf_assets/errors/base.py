"""The base of all expected failures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class MrfError(Exception):
    """Base of all expected failures; `str()` is one line for a person."""

    cost: Mapping[str, int] = MappingProxyType({})  # what was fetched in vain: `results.fetch_cost` has the names
