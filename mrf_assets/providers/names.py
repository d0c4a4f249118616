"""How alike the payer's name of a provider and the registry's are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from rapidfuzz import fuzz

# Legal forms and fillers say nothing about who it is.
_FILLERS = re.compile(
    r"\b(the|inc|incorporated|llc|llp|lp|pllc|pc|pa|plc|ltd|limited|corp|corporation|co|company|psc|sc|apc"
    r"|md|do|phd|np|dba|of|and)\b"
)
_NO_WORD = re.compile(r"[^a-z0-9]+")
_DOTTED = re.compile(r"\b(?:[a-z]\.){2,}")  # m.d., p.l.l.c.
_PERCENT = 100.0


def normal_name(name: str) -> str:
    """A name without case, accents, punctuation and legal form."""
    text = "".join(c for c in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(c))
    text = _DOTTED.sub(lambda match: match[0].replace(".", ""), text).replace("'", "")
    words = _NO_WORD.sub(" ", text)
    return " ".join(_FILLERS.sub(" ", words).split()) or " ".join(words.split())


def name_confidence(one: str | None, other: str | None) -> float | None:
    """0 to 1, whatever the order of the words; None where one of the names is missing."""
    left, right = normal_name(one or ""), normal_name(other or "")
    if not left or not right:
        return None
    return round(fuzz.token_sort_ratio(left, right) / _PERCENT, 4)


def registry_names(row: Mapping[str, Any]) -> list[str]:
    """All names that the registry has for a provider."""
    person = " ".join(filter(None, (row[part] for part in ("first_name", "middle_name", "last_name"))))
    short = " ".join(filter(None, (row[part] for part in ("first_name", "last_name"))))
    return list(dict.fromkeys(filter(None, (row["organization_name"], person, short, *(row["other_names"] or ())))))


def best_match(business_name: str | None, names: Iterable[str]) -> tuple[str | None, float | None]:
    """The name that is most like the payer's, and how much."""
    scores = [(score, name) for name in names if (score := name_confidence(business_name, name)) is not None]
    if not scores:
        return None, None
    score, name = max(scores, key=lambda pair: pair[0])
    return name, score
