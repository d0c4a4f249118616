"""The identities of a set of files -> a key for each: mirrors are found, collisions told apart.

Keys by themselves are made in `keys`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from mrf_assets.network_id.families import EXPLICIT_RULE
from mrf_assets.network_id.keys import hashed_key, partition_key
from mrf_assets.network_id.names import folders, take_apart, undated
from mrf_assets.tasks import NetworkIdentity

# Their ids come from the payer's system and not from where a file lies. Measured on 2022 indexes:
# 619 of 619 BCBSA names on two licensees' hosts had equal sizes; 34 Aetna ids under two to six
# legal entities differed by less than 1e-6 of their size, that is by their header.
_MIRRORED_RULES = frozenset({"bcbsa", "healthsparq_pl", "healthsparq_uuid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one file of a set is called, and which other addresses it has."""

    network_id: str  # the partition key
    identity: NetworkIdentity
    mirror_of: str | None = None  # canonical URL that is read in this one's place
    mirror_urls: tuple[str, ...] = ()  # canonical, sorted; at the file that is read


def _address(url: str) -> str:
    """Host and folders; not the name, so that the parts of one network stay together."""
    return undated("/".join(folders(url)))


_Place = tuple[str | None, int, int]  # period, part, parts: where a file stands in its network


class _Group:
    """Files of one partition key, while it is found out what tells them apart."""

    def __init__(self, members: Mapping[str, NetworkIdentity]) -> None:
        self.members = members
        self.facts: dict[str, tuple[str, ...] | None] = dict.fromkeys(members)  # None: the bare key will do

    def clusters(self, urls: Iterable[str], *, by_place: bool) -> list[list[str]]:
        """URLs that share a key so far, and their place too if asked; sorted."""
        clusters: dict[tuple[tuple[str, ...] | None, _Place | None], list[str]] = {}
        for url in sorted(urls):
            member = self.members[url]
            place = (member.period, member.part, member.parts) if by_place else None
            clusters.setdefault((self.facts[url], place), []).append(url)
        return list(clusters.values())

    def tell_apart(self, urls: Iterable[str], fact: Callable[[str], str]) -> None:
        """Let a fact decide between files, if it differs between them."""
        facts = {url: fact(url) for url in urls}
        if len(set(facts.values())) > 1:
            for url, value in facts.items():
                self.facts[url] = (*(self.facts[url] or ()), value)

    def key(self, url: str) -> str:
        facts, member = self.facts[url], self.members[url]
        return partition_key(member) if facts is None else hashed_key(member, facts)


def _tell_mirrored_apart(group: _Group, urls: list[str]) -> None:
    """Files of a family whose ids are global: only content may differ, by variant or by day of publication."""
    for cluster in group.clusters(urls, by_place=True):
        group.tell_apart(cluster, lambda url: f"variant {group.members[url].variant}")
    for cluster in group.clusters(urls, by_place=True):
        group.tell_apart(cluster, lambda url: f"published {take_apart(url).stamp}")


def _tell_others_apart(group: _Group, urls: list[str]) -> None:
    """Files whose ids are their publisher's: two at one place are two networks, in all their parts and periods."""
    for cluster in group.clusters(urls, by_place=False):
        if len(group.clusters(cluster, by_place=True)) < len(cluster):
            group.tell_apart(cluster, lambda url: f"address {_address(url)}")
    for cluster in group.clusters(urls, by_place=True):
        group.tell_apart(cluster, lambda url: f"url {url}")


def _with_total(group: _Group, keys: Mapping[str, str]) -> dict[str, NetworkIdentity]:
    """Shards learn how many they are, at least: nobody publishes their number."""
    highest: dict[tuple[str, str | None], int] = {}
    shards = {url: member for url, member in group.members.items() if member.rule == "shard"}
    for url, member in shards.items():
        at = (keys[url], member.period)
        highest[at] = max(highest.get(at, 1), member.part)
    shards_with_total = {
        url: replace(member, parts=highest[keys[url], member.period]) for url, member in shards.items()
    }
    return {**group.members, **shards_with_total}


def _assign_group(members: Mapping[str, NetworkIdentity]) -> dict[str, Assignment]:
    group = _Group(members)
    derived_urls = [url for url, member in members.items() if member.rule != EXPLICIT_RULE]
    group.tell_apart(derived_urls, lambda url: json.dumps([members[url].scope, members[url].raw_id]))
    mirrored_urls = [url for url in derived_urls if members[url].rule in _MIRRORED_RULES]
    _tell_mirrored_apart(group, mirrored_urls)
    _tell_others_apart(group, [url for url in derived_urls if members[url].rule not in _MIRRORED_RULES])
    keys = {url: group.key(url) for url in members}
    identities = _with_total(group, keys)
    assignments = {url: Assignment(network_id=keys[url], identity=identities[url]) for url in members}
    for primary, *mirrors in group.clusters(mirrored_urls, by_place=True):
        assignments[primary] = replace(assignments[primary], mirror_urls=tuple(mirrors))
        for mirror in mirrors:
            assignments[mirror] = replace(assignments[mirror], mirror_of=primary)
    return assignments


def assign_keys(identities: Mapping[str, NetworkIdentity]) -> dict[str, Assignment]:
    """The partition keys of a set of files: nothing lost, nothing merged that is not the same.

    Args:
        identities: By canonical URL, from `identify` or `explicit_identity`; a period that is known
            from elsewhere may have been put in.

    What a file is called depends on the set and never on its order, and only on members with an
    equal `partition_key`: a set too large for memory may be given group by group.

    - Different ids with one key (they differ by letter case): all of them get the hash.
    - Equal id, period, part and parts at two addresses: of the families with global ids (bcbsa,
      healthsparq_pl, healthsparq_uuid) they are mirrors, and the first in sorted order is read. Two
      variants, or two days of publication, are two contents: each gets a hash.
    - In every other family they are two networks: the hash is made from host and folders too,
      and all files of that key get it, so that parts and periods stay together. What lies even in
      one folder is told apart by its whole URL.
    - A network that the user named is kept as named. Its files are never taken for mirrors, so
      several may have the same period and part.
    - Shards have as many parts as the highest number in the set.
    """
    groups: dict[str, dict[str, NetworkIdentity]] = {}
    for url, identity in identities.items():
        groups.setdefault(partition_key(identity), {})[url] = identity
    assignments = {url: it for group in groups.values() for url, it in _assign_group(group).items()}
    return {url: assignments[url] for url in identities}
