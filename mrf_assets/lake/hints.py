"""What is near to a network or code that nobody published: a misspelt one gives no rows, and no reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import duckdb

_MAX_NAMED = 10


def network_hints(connection: duckdb.DuckDBPyConnection, networks: Iterable[str]) -> list[str]:
    """A line for each network that is not published; `connection` has the views of `catalog`."""
    choices = [network for (network,) in connection.execute("SELECT DISTINCT network_id FROM networks").fetchall()]
    return [
        f"network {network!r} is not published; there are: {_nearest(network, choices)}"
        for network in dict.fromkeys(networks)
        if network not in choices
    ]


def code_hints(connection: duckdb.DuckDBPyConnection, codes: Iterable[str]) -> list[str]:
    """A line for each billing code that is in no published price."""
    unknown = [
        code
        for code in dict.fromkeys(codes)
        if not connection.execute("SELECT 1 FROM rates WHERE billing_code = ? LIMIT 1", [code]).fetchall()
    ]
    if not unknown:
        return []
    rows = connection.execute("SELECT DISTINCT billing_code FROM rates WHERE billing_code IS NOT NULL").fetchall()
    choices = [code for (code,) in rows]
    return [f"billing code {code!r} is in no published price; there are: {_nearest(code, choices)}" for code in unknown]


def _nearest(name: str, names: Sequence[str]) -> str:
    matches = get_close_matches(name, names, _MAX_NAMED) or sorted(names)[:_MAX_NAMED]
    more = f" and {len(names) - len(matches):,} more" if len(names) > len(matches) else ""
    return f"{', '.join(matches)}{more}" if matches else "none"
