"""URL -> network identity -> partition key: a rule set per naming family, with a version.

An index names files, not networks: what stays the same from month to month must be read from
file names, and each payer has its own convention (`_FAMILIES`, first match wins). Pure values;
`sources` calls it for every address, `tasks.NetworkIdentity` is what comes out.

Never part of an identity: signatures, the period, the part, and the container's suffix.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from mrf_assets.errors import SettingError
from mrf_assets.tasks import NetworkIdentity
from mrf_assets.urls import canonical_url, file_name, host_of, is_remote, local_path

# Raise it with every change that gives a published file another key: the old partitions stay behind.
RULE_SET_VERSION = 1

EXPLICIT_RULE = "explicit"
FALLBACK_RULES = frozenset({"stem", "url"})  # rules that know no naming convention; worth a look

KEY_PATTERN = re.compile(r"\A(?!.*\.\.)[a-z0-9][a-z0-9_.~=-]{0,119}\Z")
_HASHED = "~h"
_HASH_DIGITS = 8
_BASE_CHARS = 120 - len(_HASHED) - _HASH_DIGITS  # room for a hash that a later file may make necessary

# Their ids come from the payer's system and not from where a file lies. Measured on 2022 indexes:
# 619 of 619 BCBSA names on two licensees' hosts had equal sizes; 34 Aetna ids under two to six
# legal entities differed by less than 1e-6 of their size, that is by their header.
_MIRRORED_RULES = frozenset({"bcbsa", "healthsparq_pl", "healthsparq_uuid"})

_YEAR, _MONTH, _DAY = r"20\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
# Plan numbers of six digits look like YYYYMM, so that form counts as a date only where it is a whole folder.
_DATE = rf"{_YEAR}-{_MONTH}(?:-{_DAY})?|{_YEAR}{_MONTH}{_DAY}"
_LEADING_DATE = re.compile(rf"\A(?:PRD_)?({_DATE})(?:[_\-. ]+|\Z)")
_INNER_DATE = re.compile(rf"(?<![0-9A-Za-z])({_DATE})(?![0-9A-Za-z])")
_DATE_FOLDER = re.compile(rf"(?:{_DATE}|{_YEAR}{_MONTH})\Z")
_SUFFIX = re.compile(r"(?i)\.(?:json|jsonl|ndjson|csv|xml|txt|zip|7z|gz|gzip|bz2|xz|zst|tar|tgz)\Z")
_PART = re.compile(r"_0*([1-9]\d{0,6})_of_0*([1-9]\d{0,6})(?=[_.]|\Z)")
_TENANT = re.compile(r"(?:\A|[/.])([0-9A-Za-z-]+)-egress\.")
_GENERIC_STEM = re.compile(
    r"(?i)(?:in[-_ ]?network(?:[-_ ]?(?:rates?|files?))?|rates?|mrf|files?|data|index|download|getfile|latest)?\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """What one file of a set is called, and which other addresses it has."""

    network_id: str  # the partition key
    identity: NetworkIdentity
    mirror_of: str | None = None  # canonical URL that is read in this one's place
    mirror_urls: tuple[str, ...] = ()  # canonical, sorted; at the file that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class _Name:
    """A URL's file name, taken apart."""

    url: str  # canonical
    stem: str  # without suffixes, leading date and part
    stamp: str | None  # the date as published, which gave the period
    period: str | None
    part: int = 1
    parts: int = 1

    @property
    def tenant(self) -> str | None:
        """The payer whose folder of a HealthSparq host this is: one host serves them all."""
        found = _TENANT.search(self.url)
        return found.group(1).lower() if found else None

    @property
    def publisher(self) -> str:
        """Tenant, else host, else `local`: the narrowest scope that an address by itself gives."""
        return self.tenant or host_of(self.url) or "local"


def _folders(url: str) -> list[str]:
    path = url.partition("://")[2].partition("?")[0] if is_remote(url) else str(local_path(url))
    return path.split("/")[:-1]


def _period(stamp: str) -> str:
    digits = stamp.replace("-", "")
    return f"{digits[:4]}-{digits[4:6]}"


def _take_apart(url: str) -> _Name:
    url = canonical_url(url)
    stem = file_name(url).strip()
    while (shorter := _SUFFIX.sub("", stem)) != stem:
        stem = shorter
    stamp = None
    if leading := _LEADING_DATE.match(stem):
        stamp, stem = leading.group(1), stem[leading.end() :]
    elif folder := next(filter(_DATE_FOLDER.match, reversed(_folders(url))), None):
        stamp = folder
    part = parts = 1
    found = _PART.search(stem)
    if found and int(found.group(1)) <= int(found.group(2)):
        part, parts = int(found.group(1)), int(found.group(2))
        stem = stem[: found.start()] + stem[found.end() :]
    return _Name(url=url, stem=stem, stamp=stamp, period=_period(stamp) if stamp else None, part=part, parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a family reads from a name; fields left out keep the name's own."""

    scope: str
    raw_id: str
    variant: str | None = None
    period: str | None = None
    part: int | None = None
    parts: int | None = None


_BCBSA = re.compile(r"(\d{3}_[0-9A-Z]{4})_in-network-rates\Z")


def _bcbsa(name: _Name) -> _Found | None:
    # The four characters are unique over all licensees (139 networks measured), so the host says nothing.
    found = _BCBSA.match(name.stem)
    return _Found(scope="bcbsa", raw_id=found.group(1)) if found else None


_PL = re.compile(r"(pl-[0-9a-z]+(-[a-z]{2}\d{2})?)(?:-([0-9a-f]{64}))?(?:_|\Z)")


def _healthsparq_pl(name: _Name) -> _Found | None:
    # hr23, tr25 and tr18 are all in use. Without that tail "pl-" is too little to know a stranger's file by.
    found = _PL.match(name.stem)
    if not found or not (found.group(2) or name.tenant):
        return None
    return _Found(scope=name.tenant or "healthsparq", raw_id=found.group(1), variant=found.group(3))


_UUID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_|\Z)")


def _healthsparq_uuid(name: _Name) -> _Found | None:
    # Elsewhere a UUID may be the employer's or the upload's, and what follows it the network.
    found = _UUID.match(name.stem)
    return _Found(scope=name.tenant, raw_id=found.group(1)) if found and name.tenant else None


_ANTHEM = re.compile(r"([A-Z]{2}_[0-9A-Z]*MED[0-9A-Z]{4})(?:_(\d{1,6})_(\d{1,6}))?\Z")


def _anthem_s3(name: _Name) -> _Found | None:
    found = _ANTHEM.match(name.stem)
    if not found:
        return None
    if found.group(2) is None:
        return _Found(scope="anthem", raw_id=found.group(1))
    # `_0_5`: counted from 0, without "of". A second number below the first cannot be the total.
    part = int(found.group(2)) + 1
    return _Found(scope="anthem", raw_id=found.group(1), part=part, parts=max(part, int(found.group(3))))


_UHC = re.compile(r"(.+?_(?:Insurer|INSURER|Third-Party-Administrator))_(.+)_in-network-rates\Z")


def _uhc(name: _Name) -> _Found | None:
    # Of 1,067 codes 286 stand with several labels, and labels stand under several entities: all three are needed.
    found = _UHC.match(name.stem)
    return _Found(scope=found.group(1), raw_id=found.group(2)) if found else None


_CMS = re.compile(r"([^_]+)_(.+)_in-network-rates\Z")
_KAISER = re.compile(r"((?:KFHP|KPIC|SELF-FUNDED)_[A-Z]+-COMMERCIAL)_in-network-rates\Z")


def _cms(name: _Name) -> _Found | None:
    # Kaiser writes its line of business where CMS wants the issuer, and "SELF-FUNDED" is nobody's name.
    if kaiser := _KAISER.match(name.stem):
        return _Found(scope="kaiser", raw_id=kaiser.group(1))
    found = _CMS.match(name.stem)
    return _Found(scope=found.group(1), raw_id=found.group(2)) if found else None


_HUMANA = re.compile(r"(\d+_in-network-rates)_(\d{6,18})\Z")
_NUMBERED = re.compile(r"([0-9A-Z]+_FILE)_(\d{3,9})\Z")


def _shard(name: _Name) -> _Found | None:
    # The numbers are an export's, no network stands in the name, so all shards are one network's parts. Nobody
    # says how many there are: `assign_keys` takes the highest number seen. Humana's twelve digits begin at 0.
    if found := _HUMANA.match(name.stem):
        part = int(found.group(2)) + 1
    elif (found := _NUMBERED.match(name.stem)) and int(found.group(2)):
        part = int(found.group(2))
    else:
        return None
    return _Found(scope=name.publisher, raw_id=found.group(1), part=part, parts=part)


def _undated(address: str) -> str:
    """An address as it is next month: without dates and parts."""
    segments = ["" if _DATE_FOLDER.match(it) else _INNER_DATE.sub("", it) for it in address.split("/")]
    return _PART.sub("", "/".join(segments))


def _stem(name: _Name) -> _Found | None:
    stamps = _INNER_DATE.findall(name.stem)
    stem = _INNER_DATE.sub("", name.stem).strip("_-. ")
    if _GENERIC_STEM.match(stem):
        return None
    return _Found(scope=name.publisher, raw_id=stem, period=_period(stamps[0]) if stamps else None)


def _url(name: _Name) -> _Found:
    address = name.url.partition("://")[2] if is_remote(name.url) else str(local_path(name.url))
    digest = hashlib.sha256(_undated(address).encode("utf-8", "surrogatepass")).hexdigest()
    return _Found(scope=name.publisher, raw_id=f"u-{digest[:12]}")


_FAMILIES: tuple[tuple[str, Callable[[_Name], _Found | None]], ...] = (
    ("bcbsa", _bcbsa),
    ("healthsparq_pl", _healthsparq_pl),
    ("healthsparq_uuid", _healthsparq_uuid),
    ("anthem_s3", _anthem_s3),
    ("uhc", _uhc),
    ("cms", _cms),
    ("shard", _shard),
    ("stem", _stem),
    ("url", _url),
)


def identify(url: str) -> NetworkIdentity:
    """What an address says about network, period and part; the first family that matches decides.

    - `bcbsa`, Blue Cross Blue Shield licensees (`*.mrf.bcbs.com`): scope `bcbsa`, id plan and network.
      `2022-08_302_42A0_in-network-rates_9_of_225.json.gz` -> `bcbsa~302_42a0`.
    - `healthsparq_pl`, Aetna, Meritain and others on HealthSparq: scope the tenant's folder (else
      `healthsparq`), id `pl-...`; brand and legal entity are labels, a content hash is the variant.
      `2026-08-05_pl-4yj-hr23_Aetna-Life-Insurance-Company.json.gz` -> `aetnacvs~pl-4yj-hr23`.
    - `healthsparq_uuid`, Aetna until 2024: scope the tenant's folder, id the UUID.
      `2022-09-05_1159c83f-f4b8-403d-aa56-ddab2b0bc8ad_Aetna-...` -> `aetnacvs~1159c83f-f4b8-403d-...`.
    - `anthem_s3`, Anthem's bucket: scope `anthem`, id state and product. The state is no market.
      `CA_AHPNMED0000_01_04.json.gz` -> `anthem~ca_ahpnmed0000`.
    - `uhc`, UnitedHealthcare: scope entity and role, id label and code.
      `2025-08-01_UHC-of-California_Insurer_OHPH-Chiro_28_in-network-rates.json.gz`
      -> `uhc-of-california_insurer~ohph-chiro_28`.
    - `cms`, the CMS convention (Cigna, AmeriBen, Optum): scope the issuer, id what follows it; for
      Kaiser scope `kaiser`.
      `2026-03-01_ameriben_hd_supply_inc_in-network-rates.zip` -> `ameriben~hd_supply_inc`.
    - `shard`, Humana until 2024 and Kaiser of Washington: scope the publisher, id the name without
      the number, which becomes the part.
      `2022-07-01_KPWA_FILE_00004.json.zip` -> `healthy.kaiserpermanente.org~kpwa_file`, part 4.
    - `stem`, names of no known convention: scope the publisher, id the name without dates.
      `2022-07-27_ac-corporation_index.json` -> `mrfmftprod.bcbsnc.com~ac-corporation_index`.
    - `url`, names that say nothing, such as `in-network-rates.json`: scope the publisher, id `u-` and
      12 hex digits of the address without dates.

    The publisher is the HealthSparq tenant, else the host, else `local`. The part is counted from 1
    (Anthem's and Humana's numbers begin at 0); the period is YYYY-MM, from the date that leads the
    name, else from the deepest folder that is a date, else from a date inside the name.

    Never fails: any text gives an identity. Signature parameters change nothing.

    Source of the patterns: 16,272 addresses from indexes published between 2022 and 2026.
    """
    name = _take_apart(url)
    rule, found = next((rule, found) for rule, family in _FAMILIES if (found := family(name)))
    return NetworkIdentity(
        rule=rule,
        rule_version=RULE_SET_VERSION,
        scope=found.scope,
        raw_id=found.raw_id,
        variant=found.variant,
        period=name.period or found.period,
        part=found.part or name.part,
        parts=found.parts or name.parts,
    )


def explicit_identity(url: str, network_id: str) -> NetworkIdentity:
    """The identity of a file whose network the user names; period and part still come from the URL.

    A key that this module made is taken as it is, so a key can be copied back from any output.

    Raises:
        SettingError: The id is blank.
    """
    if not network_id.strip():
        raise SettingError("network_id", "is blank; give a name such as acme-ppo, or leave it out")
    found = identify(url)
    return replace(found, rule=EXPLICIT_RULE, scope="", raw_id=network_id.strip(), variant=None)


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


def _hashed_key(identity: NetworkIdentity, told_apart_by: tuple[str, ...] = ()) -> str:
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
    return base if whole else _hashed_key(identity)


def _address(url: str) -> str:
    """Host and folders; not the name, so that the parts of one network stay together."""
    return _undated("/".join(_folders(url)))


_Place = tuple[str | None, int, int]  # period, part, parts: where a file stands in its network


class _Group:
    """Files of one partition key, while it is found out what tells them apart."""

    def __init__(self, members: Mapping[str, NetworkIdentity]) -> None:
        self.members = members
        self.facts: dict[str, tuple[str, ...] | None] = dict.fromkeys(members)  # None: the bare key will do

    def clusters(self, urls: Iterable[str], *, by_place: bool) -> list[list[str]]:
        """URLs that share a key so far, and their place too if asked; sorted."""
        found: dict[tuple[tuple[str, ...] | None, _Place | None], list[str]] = {}
        for url in sorted(urls):
            member = self.members[url]
            place = (member.period, member.part, member.parts) if by_place else None
            found.setdefault((self.facts[url], place), []).append(url)
        return list(found.values())

    def tell_apart(self, urls: Iterable[str], fact: Callable[[str], str]) -> None:
        """Let a fact decide between files, if it differs between them."""
        facts = {url: fact(url) for url in urls}
        if len(set(facts.values())) > 1:
            for url, value in facts.items():
                self.facts[url] = (*(self.facts[url] or ()), value)

    def key(self, url: str) -> str:
        facts, member = self.facts[url], self.members[url]
        return partition_key(member) if facts is None else _hashed_key(member, facts)


def _tell_mirrored_apart(group: _Group, urls: list[str]) -> None:
    """Files of a family whose ids are global: only content may differ, by variant or by day of publication."""
    for cluster in group.clusters(urls, by_place=True):
        group.tell_apart(cluster, lambda url: f"variant {group.members[url].variant}")
    for cluster in group.clusters(urls, by_place=True):
        group.tell_apart(cluster, lambda url: f"published {_take_apart(url).stamp}")


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
    told = {url: replace(member, parts=highest[keys[url], member.period]) for url, member in shards.items()}
    return {**group.members, **told}


def _assign_group(members: Mapping[str, NetworkIdentity]) -> dict[str, Assigned]:
    group = _Group(members)
    derived = [url for url, member in members.items() if member.rule != EXPLICIT_RULE]
    group.tell_apart(derived, lambda url: json.dumps([members[url].scope, members[url].raw_id]))
    mirrored = [url for url in derived if members[url].rule in _MIRRORED_RULES]
    _tell_mirrored_apart(group, mirrored)
    _tell_others_apart(group, [url for url in derived if members[url].rule not in _MIRRORED_RULES])
    keys = {url: group.key(url) for url in members}
    identities = _with_total(group, keys)
    assigned = {url: Assigned(network_id=keys[url], identity=identities[url]) for url in members}
    for read, *mirrors in group.clusters(mirrored, by_place=True):
        assigned[read] = replace(assigned[read], mirror_urls=tuple(mirrors))
        for mirror in mirrors:
            assigned[mirror] = replace(assigned[mirror], mirror_of=read)
    return assigned


def assign_keys(identities: Mapping[str, NetworkIdentity]) -> dict[str, Assigned]:
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
    assigned = {url: it for group in groups.values() for url, it in _assign_group(group).items()}
    return {url: assigned[url] for url in identities}
