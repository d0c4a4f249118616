"""References of the plainest shape, as JSON -> provider groups by column, without a loop over objects.

Plain is what takes no repair but that of NPIs (text for numbers, 0 for null) and has no key beside the usual ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrf_assets.extract.fast.columns import Groups
from mrf_assets.extract.fast.npis import PlainLists
from mrf_assets.extract.interface import ReadCounts
from mrf_assets.schema import PROVIDERS

# Stands for a list of NPIs that was cut out, its number behind it; no file can know it.
LIST_MARK = secrets.token_hex(8)
_TIN_TYPES = PROVIDERS.words["tin_type"]
_TIN_LENGTHS = frozenset({9, 10})  # of an EIN and of an NPI
_ZERO_TINS = frozenset({"0" * 9, "0" * 10})


class Plain(NamedTuple):
    """Plain references."""

    groups: Groups
    counts: ReadCounts | None  # None counts nothing
    quotes: int  # that the references take


def read_plain(references: Sequence[Any], lists: PlainLists) -> Plain | None:
    """The groups of all references, whose lists of NPIs were cut out; None if one of them is not plain."""
    try:
        numbers = [reference["provider_group_id"] for reference in references]
        networks = [reference.get("network_name") for reference in references]
        entry_lists = [reference["provider_groups"] for reference in references]
        if _types(numbers) != {int} or _types(entry_lists) != {list} or not all(entry_lists):
            return None
        entries = list(chain.from_iterable(entry_lists))
        npi_lists, tins = list(map(itemgetter("npi"), entries)), list(map(itemgetter("tin"), entries))
        kinds, values = list(map(itemgetter("type"), tins)), list(map(itemgetter("value"), tins))
        names = [tin.get("business_name") for tin in tins]
        words = list(chain.from_iterable(filter(None, networks)))
        is_plain = (
            _TIN_TYPES.issuperset(kinds)
            and _types(values) == {str}
            and _types(names) <= {str, type(None)}
            and "" not in names
            and _types(networks) <= {list, type(None)}
            and _types(words) <= {str}
            and all(words)
            and _types(npi_lists) == {list}
            and _has_two_keys(references, or_also="network_name")
            and _has_two_keys(entries)
            and _has_two_keys(tins, or_also="business_name")
        )
        if not is_plain:
            return None
        indexes, clean_tins = _numbers_of(chain.from_iterable(npi_lists)), _cleaned_tins(kinds, values)
    except (TypeError, KeyError, AttributeError, ValueError):  # another shape
        return None
    entry_counts = list(map(len, entry_lists))
    owners = np.repeat(np.arange(len(references)), entry_counts).tolist()
    distinct_tins = set(zip(owners, kinds, clean_tins, strict=True))
    # Equal TINs may share NPIs, which are then written once.
    if len(indexes) != len(entries) or _has_odd(clean_tins) or len(distinct_tins) < len(clean_tins):
        return None
    counts = ReadCounts()
    npi_counts, npis = taken_lists(lists, indexes, counts)
    groups = Groups(
        list(map(str, numbers)),
        networks,
        [False] * len(numbers),
        entry_counts,
        kinds,
        clean_tins,
        names,
        npi_counts,
        npis,
    )
    keys = sum(map(len, chain(references, entries, tins)))
    texts = 3 * len(entries) + len(names) - names.count(None) + len(words)  # list, type and value of each entry
    return Plain(groups, counts if counts.repairs else None, 2 * (keys + texts))


def _types(values: Iterable[object]) -> set[type]:
    return set(map(type, values))


def _has_two_keys(objects: Sequence[dict[str, Any]], *, or_also: str | None = None) -> bool:
    """Whether no object, all of which have two that are known, has more keys, another one aside."""
    others = sum(map(len, objects)) - 2 * len(objects)
    return not others or (or_also is not None and others == sum(or_also in each for each in objects))


def _has_odd(tins: Sequence[str]) -> bool:
    """Whether one of these may be empty, an EIN that lost its zero, or zero: `Values.tin` looks at them."""
    return not _TIN_LENGTHS.issuperset(map(len, tins)) or not _ZERO_TINS.isdisjoint(tins)


def _cleaned_tins(kinds: Sequence[str], values: list[str]) -> list[str]:
    """What `Values.tin` makes of texts of these kinds, "" for nothing; usually by one call for all of them."""
    text = ",".join(values)
    has_no_space = text.isprintable() and " " not in text  # other white space is not printable
    if has_no_space and "-" not in text:
        return values
    if has_no_space and "npi" not in kinds and text.count(",") == len(values) - 1:
        return text.replace("-", "").split(",")
    return [
        value.strip().replace("-", "") if kind == "ein" else value.strip()
        for kind, value in zip(kinds, values, strict=True)
    ]


def _numbers_of(marks: Iterable[str]) -> list[int]:
    """The numbers behind the marks; ValueError if there is something else."""
    before, *numbers = "".join(marks).split(LIST_MARK)
    if before:
        raise ValueError(before)
    return list(map(int, numbers))


def taken_lists(lists: PlainLists, indexes: Sequence[int], counts: ReadCounts) -> tuple[list[int], NDArray[np.int64]]:
    """How many NPIs each of the chosen lists has, and all of them; what they took in repairs is counted."""
    at = np.array(indexes)
    starts, stops = lists.borders[at], lists.borders[at + 1]
    counts.repair("npi_from_text", int(lists.texts[at].sum()))
    counts.repair("npi_zero_as_null", int(lists.zeros[at].sum()))
    if (starts[1:] == stops[:-1]).all():
        npis = lists.npis[starts[0] : stops[-1]]
    else:
        npis = np.concatenate([lists.npis[start:stop] for start, stop in zip(starts, stops, strict=True)])
    return (stops - starts).tolist(), npis
