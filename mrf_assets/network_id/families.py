"""One address -> the identity of its network: a rule per naming convention, the first match wins.

Names come apart in `names`. Here nothing is known of other files: what a set decides is `sets`'.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from mrf_assets.errors import SettingError
from mrf_assets.network_id.names import INNER_DATE, Name, period_of, take_apart, undated
from mrf_assets.tasks import NetworkIdentity
from mrf_assets.urls import is_remote, local_path

# Raise it with every change of this package that gives a published file another key: the old partitions stay behind.
# 2: addresses are compared after the normalisation of RFC 3986, 6.2.2, and without anything that may be a secret.
RULE_SET_VERSION = 2

EXPLICIT_RULE = "explicit"
FALLBACK_RULES = frozenset({"stem", "url"})  # rules that know no naming convention; worth a look


@dataclass(frozen=True, slots=True, kw_only=True)
class _FamilyMatch:
    """What a family reads from a name; fields left out keep the name's own."""

    scope: str
    raw_id: str
    variant: str | None = None
    period: str | None = None
    part: int | None = None
    parts: int | None = None


_BCBSA = re.compile(r"(\d{3}_[0-9A-Z]{4})_in-network-rates\Z")


def _bcbsa(name: Name) -> _FamilyMatch | None:
    # The four characters are unique over all licensees (139 networks measured), so the host says nothing.
    match = _BCBSA.match(name.stem)
    return _FamilyMatch(scope="bcbsa", raw_id=match.group(1)) if match else None


_PL = re.compile(r"(pl-[0-9a-z]+(-[a-z]{2}\d{2})?)(?:-([0-9a-f]{64}))?(?:_|\Z)")


def _healthsparq_pl(name: Name) -> _FamilyMatch | None:
    # hr23, tr25 and tr18 are all in use. Without that tail "pl-" is too little to know a stranger's file by.
    match = _PL.match(name.stem)
    if not match or not (match.group(2) or name.tenant):
        return None
    return _FamilyMatch(scope=name.tenant or "healthsparq", raw_id=match.group(1), variant=match.group(3))


_UUID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_|\Z)")


def _healthsparq_uuid(name: Name) -> _FamilyMatch | None:
    # Elsewhere a UUID may be the employer's or the upload's, and what follows it the network.
    match = _UUID.match(name.stem)
    return _FamilyMatch(scope=name.tenant, raw_id=match.group(1)) if match and name.tenant else None


_ANTHEM = re.compile(r"([A-Z]{2}_[0-9A-Z]*MED[0-9A-Z]{4})(?:_(\d{1,6})_(\d{1,6}))?\Z")


def _anthem_s3(name: Name) -> _FamilyMatch | None:
    match = _ANTHEM.match(name.stem)
    if not match:
        return None
    if match.group(2) is None:
        return _FamilyMatch(scope="anthem", raw_id=match.group(1))
    # `_0_5`: counted from 0, without "of". A second number below the first cannot be the total.
    part = int(match.group(2)) + 1
    return _FamilyMatch(scope="anthem", raw_id=match.group(1), part=part, parts=max(part, int(match.group(3))))


_UHC = re.compile(r"(.+?_(?:Insurer|INSURER|Third-Party-Administrator))_(.+)_in-network-rates\Z")


def _uhc(name: Name) -> _FamilyMatch | None:
    # Of 1,067 codes 286 stand with several labels, and labels stand under several entities: all three are needed.
    match = _UHC.match(name.stem)
    return _FamilyMatch(scope=match.group(1), raw_id=match.group(2)) if match else None


_CMS = re.compile(r"([^_]+)_(.+)_in-network-rates\Z")
_KAISER = re.compile(r"((?:KFHP|KPIC|SELF-FUNDED)_[A-Z]+-COMMERCIAL)_in-network-rates\Z")


def _cms(name: Name) -> _FamilyMatch | None:
    # Kaiser writes its line of business where CMS wants the issuer, and "SELF-FUNDED" is nobody's name.
    if kaiser := _KAISER.match(name.stem):
        return _FamilyMatch(scope="kaiser", raw_id=kaiser.group(1))
    match = _CMS.match(name.stem)
    return _FamilyMatch(scope=match.group(1), raw_id=match.group(2)) if match else None


_HUMANA = re.compile(r"(\d+_in-network-rates)_(\d{6,18})\Z")
_NUMBERED = re.compile(r"([0-9A-Z]+_FILE)_(\d{3,9})\Z")


def _shard(name: Name) -> _FamilyMatch | None:
    # The numbers are an export's, no network stands in the name, so all shards are one network's parts. Nobody
    # says how many there are: `assign_keys` takes the highest number seen. Humana's twelve digits begin at 0.
    if match := _HUMANA.match(name.stem):
        part = int(match.group(2)) + 1
    elif (match := _NUMBERED.match(name.stem)) and int(match.group(2)):
        part = int(match.group(2))
    else:
        return None
    return _FamilyMatch(scope=name.publisher, raw_id=match.group(1), part=part, parts=part)


_GENERIC_STEM = re.compile(
    r"(?i)(?:in[-_ ]?network(?:[-_ ]?(?:rates?|files?))?|rates?|mrf|files?|data|index|download|getfile|latest)?\Z"
)


def _stem(name: Name) -> _FamilyMatch | None:
    stamps = INNER_DATE.findall(name.stem)
    stem = INNER_DATE.sub("", name.stem).strip("_-. ")
    if _GENERIC_STEM.match(stem):
        return None
    return _FamilyMatch(scope=name.publisher, raw_id=stem, period=period_of(stamps[0]) if stamps else None)


def _url(name: Name) -> _FamilyMatch:
    address = name.url.partition("://")[2] if is_remote(name.url) else str(local_path(name.url))
    digest = hashlib.sha256(undated(address).encode("utf-8", "surrogatepass")).hexdigest()
    return _FamilyMatch(scope=name.publisher, raw_id=f"u-{digest[:12]}")


_FAMILIES: tuple[tuple[str, Callable[[Name], _FamilyMatch | None]], ...] = (
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
    name = take_apart(url)
    rule, family_match = next((rule, family_match) for rule, family in _FAMILIES if (family_match := family(name)))
    return NetworkIdentity(
        rule=rule,
        rule_version=RULE_SET_VERSION,
        scope=family_match.scope,
        raw_id=family_match.raw_id,
        variant=family_match.variant,
        period=name.period or family_match.period,
        part=family_match.part or name.part,
        parts=family_match.parts or name.parts,
    )


def explicit_identity(url: str, network_id: str) -> NetworkIdentity:
    """The identity of a file whose network the user names; period and part still come from the URL.

    A key that this module made is taken as it is, so a key can be copied back from any output.

    Raises:
        SettingError: The id is blank.
    """
    if not network_id.strip():
        raise SettingError("network_id", "is blank; give a name such as acme-ppo, or leave it out")
    identity = identify(url)
    return replace(identity, rule=EXPLICIT_RULE, scope="", raw_id=network_id.strip(), variant=None)
