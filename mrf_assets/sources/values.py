"""One text of a source -> one clean value: plans and months.

Locations are in `locations`; what is wrong with a text is said by the reader that knows its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

from mrf_assets.sources.tally import SourceTally
from mrf_assets.tasks import Plan

PLAN_FIELDS = tuple(it.name for it in fields(Plan))


def clean_plan(raw: Mapping[str, str | None], tally: SourceTally) -> Plan:
    """A plan as given, but trimmed, blank as null, and the two enumerations in lower case (CMS v2)."""
    texts = {name: (raw.get(name) or "").strip() or None for name in PLAN_FIELDS}
    for name in ("plan_id_type", "plan_market_type"):
        given = texts[name]
        if given and given != given.lower():
            tally.repairs[f"{name}_case"] += 1
            texts[name] = given.lower()
    return Plan(**texts)


def month_of(text: str | None) -> str | None:
    """YYYY-MM of a date, if it is one."""
    found = re.match(r"(20\d\d-(?:0[1-9]|1[0-2]))(?!\d)", text or "")
    return found.group(1) if found else None
