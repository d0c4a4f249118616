"""URL -> network identity -> partition key: a rule set per naming family, with a version.

An index names files, not networks: what stays the same from month to month must be read from
file names, and each payer has its own convention. Pure values, read in this order:

    names       an address -> stem, date, part, folders
    families    one address -> identity; `identify` says how each payer is read
    keys        one identity -> partition key
    sets        all identities of a source -> keys, with mirrors and collisions decided

`sources` calls it for every address, `tasks.NetworkIdentity` is what comes out.
Never part of an identity: signatures, the period, the part, and the container's suffix.
"""

from mrf_assets.network_id.families import (
    EXPLICIT_RULE,
    FALLBACK_RULES,
    RULE_SET_VERSION,
    explicit_identity,
    identify,
)
from mrf_assets.network_id.keys import KEY_PATTERN, partition_key
from mrf_assets.network_id.names import ALLOWED_AMOUNTS, IN_NETWORK, names_allowed_amounts
from mrf_assets.network_id.sets import Assignment, assign_keys

__all__ = [
    "ALLOWED_AMOUNTS",
    "EXPLICIT_RULE",
    "FALLBACK_RULES",
    "IN_NETWORK",
    "KEY_PATTERN",
    "RULE_SET_VERSION",
    "Assignment",
    "assign_keys",
    "explicit_identity",
    "identify",
    "names_allowed_amounts",
    "partition_key",
]
