"""One identity -> its partition key: safe in a path, SQL, a shell and a URL.

Keys that two files of a set would share are told apart in `sets`.
"""

from __future__ import annotations

import hashlib
import json
import re

from mrf_assets.network_id.families import EXPLICIT_RULE
from mrf_assets.tasks import NetworkIdentity

KEY_PATTERN = re.compile(r"\A(?!.*\.\.)[a-z0-9][a-z0-9_.~=-]{0,119}\Z")
_HASHED = "~h"
_HASH_DIGITS = 8
_BASE_CHARS = 120 - len(_HASHED) - _HASH_DIGITS  # room for a hash that a later file may make necessary


def _base(identity: NetworkIdentity) -> tuple[str, bool]:
    """The safe form without a hash, and whether it says as much as the raw one, letter case aside."""
    if identity.rule == EXPLICIT_RULE:
        raw, limit = identity.raw_id, _BASE_CHARS + len(_HASHED) + _HASH_DIGITS
        safe = re.sub(r"[^A-Za-z0-9_.~=-]", "_", raw)
    else:
        scope, raw_id = (re.sub(r"[^A-Za-z0-9_.-]", "_", text) for text in (identity.scope, identity.raw_id))
        raw, safe, limit = f"{identity.scope}~{identity.raw_id}", f"{scope}~{raw_id}", _BASE_CHARS
    safe = re.sub(r"\.{2,}", lambda dots: "_" * len(dots.group()), safe)  # dagster reads "..." as a range of keys
    if not safe[:1].isalnum():
        safe = f"x{safe}"
    whole = safe == raw and len(safe) <= limit
    return (safe if whole else safe[:_BASE_CHARS]).lower(), whole


def hashed_key(identity: NetworkIdentity, told_apart_by: tuple[str, ...] = ()) -> str:
    """The key with a hash of the raw identity, and of what tells it from others of a set."""
    raw = json.dumps([identity.scope, identity.raw_id, *told_apart_by])
    return f"{_base(identity)[0]}{_HASHED}{hashlib.sha256(raw.encode()).hexdigest()[:_HASH_DIGITS]}"


def partition_key(identity: NetworkIdentity) -> str:
    """The partition key of an identity by itself: `<scope>~<id>` in lower case.

    Matches `KEY_PATTERN` (at most 120 characters, no `..`), so it is safe as a path segment, an SQL
    literal, a shell word and in a URL. Where more than letter case was lost (characters replaced,
    the end cut off), `~h` and 8 hex digits of the raw identity's SHA-256 follow. Hyphens are never
    collapsed: that merged 63 pairs of UnitedHealthcare networks.

    Two identities may still share a key, by letter case alone; `assign_keys` tells them apart.
    """
    base, whole = _base(identity)
    return base if whole else hashed_key(identity)
